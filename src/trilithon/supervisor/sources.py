"""The files that `--reload` watches: which of them count, what they look like now, and what has changed since."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

# Directories that nobody edits by hand; those whose name begins with a dot are left out as well.
_NEVER_ENTERED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
# A directory that holds one of these is an environment with other people's code.
_ENVIRONMENT_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
# What editors and the interpreter leave beside a file for a moment, should somebody include "*".
_NEVER_TAKEN = re.compile(r"\.#.*|#.*#|.*~|\..*\.sw.|4913|.*___jb_(?:tmp|old)___|.*\.tmp|.*\.py[co]|\.DS_Store")

# The time of the last change in nanoseconds and the size; numbers of inodes are not stable on every file system.
Look = tuple[int, int]


@dataclass(slots=True)
class Sight:
    """What was there at one moment: the files that count and the directories that were entered, by path.

    A directory goes with its device and inode, for one that was removed and made again is another one.
    """

    files: dict[str, Look] = field(default_factory=dict)
    directories: dict[str, tuple[int, int]] = field(default_factory=dict)

    def changes(self, later: "Sight") -> list[str]:
        """Return the paths of files that are new, gone or different in `later`, sorted."""
        return sorted({path for path, _ in self.files.items() ^ later.files.items()})


class Sources:
    """Directories with all beneath them, and the patterns that choose files.

    `roots` are absolute paths of directories. A pattern matches the end of a path inside its root, in whole segments:
    `*.py` any such file, `templates/*.html` those in any directory `templates`; `**` stands for any number of
    directories, and one that begins with a slash has to match the whole path. An excluded directory is not entered.
    """

    def __init__(self, roots: Sequence[str], include: Iterable[str], exclude: Iterable[str]) -> None:
        self.roots = [os.path.abspath(root) for root in roots]
        self._include = _one_of(include)
        self._exclude = _one_of(exclude)

    def look(self) -> Sight:
        """Look at everything; what cannot be read or has just vanished is not there.

        Costs a stat for each directory and each file that counts.
        """
        sight = Sight()
        seen: set[tuple[int, int]] = set()
        waiting = [(root, root) for root in reversed(self.roots)]
        links: list[tuple[str, str]] = []
        while waiting or links:
            # Links come last, so that a file is known by its own name and not by one that leads to it.
            root, directory = waiting.pop() if waiting else links.pop()
            identity = _identity(directory)
            if identity is None or identity in seen:
                continue
            seen.add(identity)
            entries = _entries(directory)
            if directory != root and any(entry.name in _ENVIRONMENT_MARKS for entry in entries):
                continue
            sight.directories[directory] = identity
            for entry in entries:
                if _is_directory(entry):
                    if self.enters(root, entry.path):
                        (links if entry.is_symlink() else waiting).append((root, entry.path))
                elif self.takes(root, entry.path):
                    found = _look(entry)
                    if found is not None:
                        sight.files[entry.path] = found
        return sight

    def takes(self, root: str, path: str) -> bool:
        """Tell whether the file `path` below `root` counts, by its name alone."""
        name = path.rpartition(os.sep)[2]
        return (
            not _NEVER_TAKEN.fullmatch(name)
            and self._include.matches(root, path)
            and not self._exclude.matches(root, path)
        )

    def enters(self, root: str, path: str) -> bool:
        """Tell whether the directory `path` below `root` is entered, by its name alone."""
        name = path.rpartition(os.sep)[2]
        return name[0] != "." and name not in _NEVER_ENTERED and not self._exclude.matches(root, path)

    def root_of(self, path: str) -> str | None:
        """Return the root that `path` is below."""
        return next((root for root in self.roots if path.startswith(root.rstrip(os.sep) + os.sep)), None)


class _Patterns:
    """Patterns that match the end of a path inside its root, or a whole path."""

    def __init__(self, inner: re.Pattern[str], whole: re.Pattern[str]) -> None:
        self.inner = inner
        self.whole = whole

    def matches(self, root: str, path: str) -> bool:
        return bool(self.inner.fullmatch(path, len(root.rstrip(os.sep)) + 1) or self.whole.fullmatch(path))


def _one_of(patterns: Iterable[str]) -> _Patterns:
    inner, whole = [], []
    for pattern in patterns:
        if pattern.startswith("/"):
            whole.append(_expression(pattern.rstrip("/")))
        else:
            inner.append("(?:.*/)?" + _expression(pattern.removeprefix("./").rstrip("/")))
    # An alternative that nothing can match stands for no patterns.
    return _Patterns(*(re.compile("|".join(each) or r"(?!)", re.DOTALL) for each in (inner, whole)))


_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^]/]*\]|.", re.DOTALL)
_MEANING = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _expression(pattern: str) -> str:
    return "".join(_translated(pattern))


def _translated(pattern: str) -> Iterator[str]:
    for token in _TOKEN.findall(pattern):
        if token in _MEANING:
            yield _MEANING[token]
        elif token.startswith("[") and len(token) > 1:
            inside = token[1:-1].replace("\\", r"\\").replace("[", r"\[")
            negated, inside = inside.startswith("!"), inside.removeprefix("!")
            yield f"[{'^' if negated else ''}{inside.replace('^', chr(92) + '^').replace(']', chr(92) + ']')}]"
        else:
            yield re.escape(token)


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        found = os.stat(directory)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads round in a circle


def _look(entry: os.DirEntry[str]) -> Look | None:
    try:
        found = entry.stat()
    except OSError:
        return None  # just gone, or a link that leads nowhere, as Emacs makes to lock a file
    return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None
