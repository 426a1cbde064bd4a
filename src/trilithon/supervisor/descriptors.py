"""The open descriptors of this process, and what each of them is, in words for people."""

import fcntl
import os
import socket
import stat
import sys
from dataclasses import dataclass
from enum import Enum

Identity = tuple[int, int, int]
"""A descriptor's number, and the device and inode behind it: the same number may stand for another file later."""

_LISTED_IN = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
_SQLITE_MAGIC = b"SQLite format 3\0"
_SQLITE_COMPANIONS = ("-wal", "-shm", "-journal")


class Sort(Enum):
    """What a descriptor is, as far as it matters to processes that share it."""

    HARMLESS = "harmless"
    CONNECTION = "connection"
    LISTENER = "listener"
    DATAGRAM = "datagram"
    PAIR = "pair"
    SOCKET = "socket"
    PIPE = "pipe"
    FILE = "file"
    DATABASE = "database"
    SELECTOR = "selector"
    EVENT = "event"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Opened:
    """A descriptor: its sort, and what was done to have it, as in "opened a connection to 127.0.0.1:5432"."""

    sort: Sort
    deed: str = ""


def open_descriptors() -> set[Identity]:
    """Return what is open now, without the descriptor that looking takes."""
    found = set()
    for name in os.listdir(_LISTED_IN):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue  # the one that listed the directory, closed again
        found.add((int(name), status.st_dev, status.st_ino))
    return found


def examine(descriptor: int) -> Opened:
    """Say what a descriptor is; raises OSError when it is closed."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        return _socket(descriptor)
    if stat.S_ISFIFO(mode):
        return Opened(Sort.PIPE, "opened a pipe")
    if stat.S_ISREG(mode):
        return _file(descriptor, _path(descriptor))
    # Terminals and the null device have no position, and nobody writes to a directory.
    if stat.S_IFMT(mode):
        return Opened(Sort.HARMLESS)
    return _nameless(_path(descriptor))


def _path(descriptor: int) -> str:
    """Return where a descriptor leads, empty where the system does not say."""
    try:
        if sys.platform == "linux":
            return os.readlink(f"/proc/self/fd/{descriptor}")
        if hasattr(fcntl, "F_GETPATH"):
            return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    except OSError:
        pass
    return ""


def _socket(descriptor: int) -> Opened:
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        family, kind = sock.family, sock.type
        try:
            own = sock.getsockname()
        except OSError:
            own = ""
        try:
            peer = sock.getpeername()
        except OSError:
            peer = None
        if kind == socket.SOCK_DGRAM:
            if family == socket.AF_UNIX and not own:
                return Opened(Sort.HARMLESS)  # it can only send, as to a log daemon: nobody can answer it
            where = f" to {_spell(peer)}" if peer else ""
            return Opened(Sort.DATAGRAM, f"opened a datagram socket{where}")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return Opened(Sort.LISTENER, f"opened a socket that listens on {_spell(own)}")
        if peer is None:
            return Opened(Sort.SOCKET, "opened a socket")
        if family == socket.AF_UNIX and not peer and not own:
            return Opened(Sort.PAIR, "opened a pair of sockets")
        return Opened(Sort.CONNECTION, f"opened a connection to {_spell(peer or own)}")


def _spell(address: object) -> str:
    """Return a socket's address as people write it."""
    if isinstance(address, bytes):
        return "@" + os.fsdecode(address.lstrip(b"\0"))
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str):
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"{host}:{address[1]}"
    return str(address)


def _file(descriptor: int, path: str) -> Opened:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    writes = flags & os.O_ACCMODE != os.O_RDONLY
    if writes and flags & os.O_APPEND:
        return Opened(Sort.HARMLESS)  # each write goes to the end, as those of a log file do
    if path.startswith(("/memfd:", "/dev/shm/")) or flags & getattr(os, "O_PATH", 0):
        return Opened(Sort.HARMLESS)  # memory that is there to be shared, or a name that cannot be read from
    if path.endswith(_SQLITE_COMPANIONS):
        return Opened(Sort.HARMLESS)  # beside a database, which is told of
    if _is_sqlite(descriptor):
        return Opened(Sort.DATABASE, f"opened the SQLite database {path}")
    purpose = {os.O_RDONLY: "reading", os.O_WRONLY: "writing"}.get(flags & os.O_ACCMODE, "reading and writing")
    return Opened(Sort.FILE, f"opened {path or 'a file'} for {purpose}")


def _is_sqlite(descriptor: int) -> bool:
    try:
        return os.pread(descriptor, len(_SQLITE_MAGIC), 0) == _SQLITE_MAGIC
    except OSError:
        return False  # opened for writing only


def _nameless(path: str) -> Opened:
    """Say what a descriptor is that stands for no file at all."""
    if "eventpoll" in path or not path:
        return Opened(Sort.SELECTOR, "made a selector")
    if "eventfd" in path or "timerfd" in path or "signalfd" in path:
        return Opened(Sort.EVENT, "opened a descriptor for events")
    if "notify" in path:
        return Opened(Sort.WATCH, "opened a watch on files")
    return Opened(Sort.HARMLESS)
