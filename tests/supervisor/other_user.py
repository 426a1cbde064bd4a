"""Programs that have to run as another user: with an interpreter, and in a directory, that this user can reach."""

import contextlib
import os
import pwd
import shlex
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from service import SOURCE

IS_ROOT = os.geteuid() == 0
# Both are there on every system, and one of them is not this process's own user.
OTHER = next(user for user in map(pwd.getpwnam, ("nobody", "daemon")) if user.pw_uid != os.geteuid())


def blocked(path):
    """Return the first directory on the way to a path that others may not pass, None when there is none."""
    for directory in reversed([Path(path), *Path(path).parents]):
        if directory.is_dir() and not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def reachable(command):
    """Return a command that has the same paths, where other users can read the interpreter and the package.

    A Python below a home directory that is its owner's alone is shown, in a mount name space of the program's own,
    below a directory that everybody may pass. The process id stays the same.
    """
    needed = sorted({os.path.realpath(path) for path in (sys.base_prefix, sys.prefix, SOURCE, tempfile.gettempdir())})
    places = {}
    for path in needed:
        if (directory := blocked(path)) is not None:
            places.setdefault(directory, []).append(path)
    steps = []
    for number, (directory, paths) in enumerate(places.items()):
        stage = f"$stage/{number}"
        steps += [f'mkdir "{stage}"', f'mount -t tmpfs -o mode=755 none "{stage}"']
        for path in paths:
            inside = f"{stage}/{os.path.relpath(path, directory)}"
            steps += [f'mkdir -p "{inside}"', f'mount --rbind {shlex.quote(path)} "{inside}"']
        steps.append(f'mount --rbind "{stage}" {shlex.quote(str(directory))}')
    if not steps:
        return command
    script = ["set -e", "stage=/mnt", 'mount -t tmpfs none "$stage"', *steps, 'exec "$@"']
    return ["unshare", "--mount", "sh", "-c", "\n".join(script), "sh", *command]


@contextlib.contextmanager
def public_directory():
    """A directory that everybody may read, unlike those of pytest."""
    directory = Path(tempfile.mkdtemp(prefix="trilithon-"))
    try:
        directory.chmod(0o755)
        yield directory
    finally:
        shutil.rmtree(directory)


def unprivileged(command):
    """Return a command that runs another one without any privilege, as somebody else where this user is root."""
    if not IS_ROOT:
        return command
    ids = [f"--reuid={OTHER.pw_uid}", f"--regid={OTHER.pw_gid}", "--clear-groups"]
    return reachable(["setpriv", *ids, "--inh-caps=-all", "--bounding-set=-all", *command])
