"""A fault of loading or start-up taken apart for the error page: exceptions, frames, the source around them."""

import linecache
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from trilithon.foundation.errors import LoadError, StartupError, TrilithonError
from trilithon.worker.loader import is_machinery

# A recursion without end has a thousand frames of which the newest few say everything.
MAX_FRAMES = 40
MAX_EXCEPTIONS = 12
CONTEXT_LINES = 5
MAX_LINE_CHARACTERS = 400

_LIBRARY = re.compile(r"[/\\](?:site|dist)-packages[/\\]|^<")
_STANDARD = tuple(
    os.path.realpath(path) + os.sep for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")} if path
)
_WRITTEN_FRAME = re.compile(r'^\s+File "(.+)", line (\d+), in (.+)$')
_WRITTEN_HEAD = "Traceback (most recent call last):"
# `DB_PASSWORD = "..."`, `"token": '...'` and `postgres://user:...@host`: error pages end up on screens that are shared.
_SECRET = re.compile(
    r"""((?:pass(?:wd|word|phrase)?|secret|token|api[_-]?key|credential|private[_-]?key|signature)[\w-]*["']?\s*"""
    r"""(?::[^="']{0,40})?[=:]\s*[rbfuRBFU]{0,2})("[^"]*"?|'[^']*'?)""",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(\w://[^/\s:@\"']*:)[^/\s@\"']+(?=@)")


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in a file. `marked` are the columns of its line that the fault is about, of equal value for none."""

    file: str
    line: int
    function: str
    is_own: bool
    source: tuple[tuple[int, str], ...]
    marked: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Raised:
    """One exception: what led to it, in words, its name, its message and its frames, the newest first."""

    relation: str
    name: str
    message: str
    frames: tuple[Frame, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a page says about a fault; `text` is what the terminal shows."""

    subject: str
    raised: tuple[Raised, ...]
    text: str


def report(fault: BaseException, text: str) -> Report:
    """Take a fault apart; `text` is what was written about it for the terminal. Never raises for what it reads."""
    if isinstance(fault, LoadError):
        subject = f"{fault.value} cannot be loaded"
        cause = fault.__cause__
        if cause is None:
            raised = [Raised("", "", fault.remedy, (), 0)]
        else:
            raised = list(_chain(cause, "", set()))
    elif isinstance(fault, StartupError):
        subject = "the application's start-up failed"
        raised = [_from_text(str(fault))]
    elif isinstance(fault, TrilithonError):
        subject = "the server cannot start"
        raised = [Raised("", "", str(fault), (), 0)]
    else:
        subject = "the application cannot be started"
        raised = list(_chain(fault, "", set()))
    shown = tuple(_masked_exception(each) for each in raised[:MAX_EXCEPTIONS])
    return Report(masked(subject), shown, masked(text))


def masked(text: str) -> str:
    """Return the text with what looks like the value of a secret replaced."""
    text = _SECRET.sub(lambda match: match[1] + match[2][0] + "\N{BULLET}" * 6 + match[2][0], text)
    return _LOGIN.sub(lambda match: match[1] + "\N{BULLET}" * 6, text)


def _masked_exception(raised: Raised) -> Raised:
    return Raised(raised.relation, raised.name, masked(raised.message), raised.frames, raised.left_out)


def _chain(fault: BaseException, relation: str, seen: set[int]) -> Iterator[Raised]:
    """Yield an exception and then what led to it."""
    if id(fault) in seen:
        return
    seen.add(id(fault))
    stack = traceback.extract_tb(fault.__traceback__)
    frames = [frame for each in reversed(stack) if (frame := _frame(each)) is not None]
    name = _name(fault)
    if isinstance(fault, SyntaxError) and fault.filename and fault.lineno:
        # What is written of it repeats the line, which is shown as a frame.
        message = "\n".join([fault.msg, *getattr(fault, "__notes__", ())])
        frames.insert(0, _syntax_frame(fault))
    else:
        message = "".join(traceback.format_exception_only(fault)).strip().removeprefix(name).removeprefix(":").strip()
    yield Raised(relation, name, message, tuple(frames[:MAX_FRAMES]), max(0, len(frames) - MAX_FRAMES))
    if isinstance(fault, BaseExceptionGroup):
        for number, inner in enumerate(fault.exceptions, 1):
            yield from _chain(inner, f"in the group, {number} of {len(fault.exceptions)}", seen)
    if fault.__cause__ is not None:
        yield from _chain(fault.__cause__, "caused by", seen)
    elif fault.__context__ is not None and not fault.__suppress_context__:
        yield from _chain(fault.__context__, "raised while handling", seen)


def _name(fault: BaseException) -> str:
    kind = type(fault)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _frame(found: traceback.FrameSummary) -> Frame | None:
    if found.lineno is None or is_machinery(found.filename):
        return None
    return place(found.filename, found.lineno, found.name, _columns(found))


def _columns(found: traceback.FrameSummary) -> tuple[int, int]:
    """Return the marked columns in characters; the interpreter counts them in bytes."""
    start, end = found.colno, found.end_colno
    if start is None or end is None or found.lineno is None or found.end_lineno != found.lineno:
        return (0, 0)
    octets = linecache.getline(found.filename, found.lineno).encode("utf-8", "surrogatepass")
    first, last = (len(octets[:column].decode("utf-8", "replace")) for column in (start, end))
    # A mark under the whole line says nothing.
    return (first, last) if octets.strip() != octets[start:end].strip() else (0, 0)


def _syntax_frame(fault: SyntaxError) -> Frame:
    start = max(0, (fault.offset or 1) - 1)
    end = (fault.end_offset or 0) - 1
    if fault.end_lineno != fault.lineno or end <= start:
        end = start + 1
    return place(str(fault.filename), fault.lineno or 1, "", (start, end))


def place(file: str, line: int, function: str, marked: tuple[int, int] = (0, 0)) -> Frame:
    """Return a frame with the source around it, as far as that can be read."""
    lines = linecache.getlines(file)
    first = max(1, line - CONTEXT_LINES)
    around = lines[first - 1 : line + CONTEXT_LINES]
    source = tuple((first + index, _shown(text)) for index, text in enumerate(around))
    # A line that had something replaced has its columns elsewhere.
    if 0 < line <= len(lines) and masked(lines[line - 1]) != lines[line - 1]:
        marked = (0, 0)
    return Frame(_short(file), line, function, is_own(file), source, marked)


def _shown(line: str) -> str:
    return masked(line.rstrip("\r\n").replace("\x0c", " "))[:MAX_LINE_CHARACTERS]


def is_own(file: str) -> bool:
    """Tell whether a file is the application's own, and not that of a library or the interpreter."""
    if _LIBRARY.search(file):
        return False
    return not os.path.realpath(file).startswith(_STANDARD)


def _short(file: str) -> str:
    """Return the path relative to the current directory where it is below, for a library its path in the library."""
    match = list(_LIBRARY.finditer(file))
    if match and not file.startswith("<"):
        return file[match[-1].end() :]
    for root in (os.getcwd(), *_STANDARD):
        root = root.rstrip(os.sep) + os.sep
        if file.startswith(root):
            return file[len(root) :]
    return file


def _from_text(text: str) -> Raised:
    """Read the traceback that frameworks send as the message of a failed start-up; the text itself when it is none."""
    rest = text.rpartition(_WRITTEN_HEAD)[2]
    lines = rest.strip("\n").split("\n")
    frames: list[Frame] = []
    last = 0
    for number, line in enumerate(lines):
        match = _WRITTEN_FRAME.match(line)
        if match:
            last = number
            if not is_machinery(match[1]):
                frames.insert(0, place(match[1], int(match[2]), match[3]))
    if not frames:
        return Raised("", "", text.strip(), (), 0)
    # Behind the last frame and its indented lines stands the exception.
    while last + 1 < len(lines) and lines[last + 1].startswith(" "):
        last += 1
    name, _, message = "\n".join(lines[last + 1 :] if last + 1 < len(lines) else lines[-1:]).partition(":")
    return Raised("", name.strip(), message.strip(), tuple(frames[:MAX_FRAMES]), max(0, len(frames) - MAX_FRAMES))


def python_facts() -> str:
    """Return which Python runs, and out of which environment."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    return f"Python {version} in {sys.prefix}"
