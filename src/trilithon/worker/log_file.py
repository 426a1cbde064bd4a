"""Files that a process appends its logs to: opened once, opened anew on request, never the end of the server."""

import contextlib
import logging
import os
import stat
import sys
from collections.abc import Container
from logging import FileHandler
from logging.handlers import WatchedFileHandler

from trilithon.foundation.errors import ConfigError

# Names for what is open already. Opening the paths would fail where they lead to a socket or to another user's pipe.
STANDARD = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
_LINE_FEED = 0x0A
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

_open_files: dict[str, "LogFile"] = {}


class LogFile:
    """A file that lines are appended to. The descriptor `fd` stays the same whichever file is behind it.

    Several processes may append to one file: each write goes to its end as a whole. `owner` is who the file has to
    belong to, as (user, group), when this process is root and others are to open it anew; -1 for nobody. Any thread may
    call `append`; `reopen` is for one at a time. Raises OSError from the constructor.
    """

    def __init__(self, path: str, owner: tuple[int, int] = (-1, -1)) -> None:
        self.path = path
        self.owner = owner
        self.lost = 0
        self.is_failing = False
        self.is_cut = False
        self.fd = self._open()

    def append(self, data: bytes) -> bool:
        """Append whole lines with one write; False when they could not be written, and count as lost."""
        if self.is_cut:
            data = b"\n" + data  # what follows must not join the line that was cut
        done = 0
        try:
            while done < len(data):
                done += os.write(self.fd, data[done:] if done else data)
        except OSError as error:
            self.is_cut = data[done - 1] != _LINE_FEED if done else self.is_cut
            self.lost += data.count(b"\n", max(done, 1))
            self.fail(error)
            return False
        self.is_cut = False
        return True

    def fail(self, fault: Exception) -> None:
        """Say on standard error that the file cannot be written; once until it can be again."""
        if not self.is_failing:
            self.is_failing = True
            reason = getattr(fault, "strerror", None) or fault
            say(f"log file {self.path} cannot be written: {reason}; lines are counted and lost until it can be")

    def reopen(self) -> None:
        """Append to whatever the path leads to now, a new file if there is none; stays with the old one on failure."""
        if self.path in STANDARD or self.is_in_place():
            return
        try:
            fresh = self._open()
        except OSError as error:
            say(f"log file {self.path} cannot be opened anew: {error.strerror}; the file opened before is kept")
            return
        # In one step, so that a thread that writes meets either file.
        os.dup2(fresh, self.fd, inheritable=False)
        os.close(fresh)
        self.is_cut = False

    def is_in_place(self) -> bool:
        """Tell whether the path still leads to the file that is open."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except OSError:
            return False

    def _open(self) -> int:
        if self.path in STANDARD:
            return os.dup(STANDARD[self.path])
        is_given_away = self.owner != (-1, -1) and os.geteuid() == 0
        # Where that user may put links into the directory, root must not follow them, nor give away what they lead to.
        flags = _APPEND if not is_given_away or is_roots(self.path) else _APPEND | os.O_NOFOLLOW
        fd = os.open(self.path, flags, 0o666)
        try:
            status = os.fstat(fd)
            if is_given_away and stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                os.fchown(fd, *self.owner)
        except BaseException:
            os.close(fd)
            raise
        return fd


class LogFileHandler(logging.Handler):
    """Write records to a log file; one that cannot be written loses records and nothing else."""

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self.file = file

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; never raises."""
        try:
            data = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
        except Exception:
            self.handleError(record)
            return
        if self.file.append(data):
            self.file.is_failing = False
            if lost := self.file.lost:
                self.file.lost = 0
                told = {"msg": "log file: %d lines were lost while it could not be written", "args": (lost,)}
                level = {"levelname": "WARNING", "levelno": logging.WARNING}
                self.emit(logging.makeLogRecord({**told, **level, "name": record.name}))


def open_log_file(path: str, option: str, owner: tuple[int, int] = (-1, -1)) -> LogFile:
    """Return the log file of a path, the same one each time; raises ConfigError naming `option`."""
    file = _open_files.get(path)
    if file is not None:
        file.reopen()  # a process that was forked long after it was opened may find it moved
    else:
        try:
            file = LogFile(path, owner)
        except OSError as error:
            raise ConfigError(option, path, f"cannot be written: {error.strerror}; choose a file that can be") from None
        _open_files[path] = file
    return file


def close_other_log_files(wanted: Container[str]) -> None:
    """Close the log files whose paths are not `wanted` any more, before anything is served."""
    for path in [path for path in _open_files if path not in wanted]:
        os.close(_open_files.pop(path).fd)


def reopen_log_files() -> None:
    """Open all log files anew, ours and those of `logging.FileHandler`, as after a rotation; never raises.

    A file that cannot be opened is told on standard error, and the one opened before stays in use.
    """
    for file in list(_open_files.values()):
        file.reopen()
    # The only place that knows the handlers of all loggers, of queues and of other handlers.
    for reference in list(getattr(logging, "_handlerList", [])):
        handler = reference()
        if isinstance(handler, FileHandler) and not isinstance(handler, WatchedFileHandler):
            reopen_handler(handler)


def reopen_handler(handler: FileHandler) -> None:
    """Have a handler write to whatever its path leads to now; never raises."""
    with handler.lock or contextlib.nullcontext():
        before = handler.stream
        if before is None:
            return  # it opens its file with the first record
        try:
            # A handler with mode "w" would empty a file that nobody moved.
            if os.path.samestat(os.stat(handler.baseFilename), os.fstat(before.fileno())):
                return
        except (OSError, ValueError):
            pass  # gone from its place, or closed: open anew
        try:
            handler.stream = handler._open()
        except Exception as error:
            say(f"log file {handler.baseFilename} cannot be opened anew: {error}; the file opened before is kept")
            return
        with contextlib.suppress(OSError, ValueError):
            before.close()


def is_roots(path: str) -> bool:
    """Tell whether the directory of a file is for root alone to write to."""
    status = os.stat(os.path.dirname(os.path.abspath(path)))
    return status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def say(message: str) -> None:
    """Write a line to standard error, if that is possible; the log may be what fails."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"trilithon: {message}\n")
            sys.stderr.flush()
