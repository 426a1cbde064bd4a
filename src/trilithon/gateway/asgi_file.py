"""Files that ASGI applications send by path or by descriptor (extensions http.response.pathsend and zerocopysend)."""

import errno
import io
import os
import stat
from typing import Any

from trilithon.foundation.errors import AppTypeError, AppValueError
from trilithon.foundation.files import FileSpan, is_generated, take_down

# Without O_NONBLOCK the opening of a FIFO would wait for its writer.
OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def open_path(path: object) -> FileSpan:
    """Open a whole file; raises AppTypeError, and the OSError that says why it cannot be sent.

    A relative path begins at the working directory, as everywhere else in the application.
    """
    if not isinstance(path, str):
        raise AppTypeError(f"the path must be str, not {type(path).__name__}")
    fd = os.open(path, OPEN_FLAGS)
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if not is_generated(fd, status.st_size, 0):
            return FileSpan(fd, 0, status.st_size)
        span = take_down(fd, 0, -1)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return span


def open_span(file: Any, offset: object, count: object) -> FileSpan:
    """Return what an application wants sent of its open file, with a descriptor of its own; no position moves.

    None stands for the file's position, and for all that follows. Raises AppTypeError, AppValueError and OSError.
    """
    for name, number in (("offset", offset), ("count", count)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise AppTypeError(f"{name} {number!r} must be an int")
        if isinstance(number, int) and number < 0:
            raise AppValueError(f"{name} {number} is negative")
    fd = descriptor(file)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise AppValueError("only what a regular file holds can be sent without a copy")
    start = offset if isinstance(offset, int) else position(file, fd)
    if is_generated(fd, status.st_size, start):
        return take_down(fd, start, count if isinstance(count, int) else -1)
    rest = max(0, status.st_size - start)
    return FileSpan(os.dup(fd), start, min(count, rest) if isinstance(count, int) else rest)


def descriptor(file: Any) -> int:
    """Return the descriptor of an open file, which may be one itself; raises AppTypeError."""
    if type(file) is int:
        return file
    try:
        return int(file.fileno())
    except (AttributeError, io.UnsupportedOperation):
        raise AppTypeError(f"{type(file).__name__} has no descriptor to send from") from None


def position(file: Any, fd: int) -> int:
    """Return where a read would go on; a file object that reads ahead knows better than its descriptor."""
    tell = getattr(file, "tell", None)
    return int(tell()) if tell is not None else os.lseek(fd, 0, os.SEEK_CUR)


def advance(file: Any, target: int) -> None:
    """Let the next read go on at `target`."""
    seek = getattr(file, "seek", None)
    if seek is not None:
        seek(target)
    else:
        os.lseek(descriptor(file), target, os.SEEK_SET)
