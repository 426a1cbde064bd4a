"""Spans of regular files: sent by the kernel where it can, read where their bytes have to be wrapped."""

import errno
import os
import tempfile

CHUNK_BYTES = 262144
# What is made when it is read may have no end.
MAX_GENERATED_BYTES = 64 * 1024 * 1024
# Some such files refuse to be read byte by byte.
PAGE_BYTES = 4096


class FileSpan:
    """`count` bytes of a regular file from `offset` on, waiting to be sent.

    The span owns the descriptor `fd` and moves no position but its own. Whoever holds the span closes it; a span that
    is dropped closes itself.
    """

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self.fd = fd
        self.offset = offset
        self.count = count

    def send(self, target: int) -> int:
        """Hand the socket `target` what it takes; returns the bytes taken, 0 when it is full.

        Raises EOFError when the file has become shorter than promised, OSError when the connection is broken.
        """
        try:
            sent = os.sendfile(target, self.fd, self.offset, min(self.count, CHUNK_BYTES))
        except BlockingIOError:
            return 0
        if not sent:
            raise EOFError(f"{self.name()} became shorter while it was sent")
        self.offset += sent
        self.count -= sent
        return sent

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes and go on behind them; raises as `send`."""
        data = os.pread(self.fd, min(self.count, size), self.offset)
        if not data:
            raise EOFError(f"{self.name()} became shorter while it was sent")
        self.offset += len(data)
        self.count -= len(data)
        return data

    def read_whole(self) -> bytes:
        """Return all there is; raises as `send`."""
        data = self.read(self.count) if self.count else b""
        while self.count:
            data += self.read(self.count)
        return data

    def name(self) -> str:
        """Return the path of the file for the log, or what there is instead of one."""
        try:
            return repr(os.readlink(f"/proc/self/fd/{self.fd}"))
        except OSError:
            return "a file"  # where there is no /proc, a descriptor does not say

    def close(self) -> None:
        """Give the descriptor back; idempotent."""
        fd = self.fd
        if fd >= 0:
            self.fd = -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def is_generated(fd: int, size: int, start: int) -> bool:
    """Tell whether a file holds something at `start` though its size is nothing, as in /proc: it is made when read."""
    return not size and bool(os.pread(fd, PAGE_BYTES, start))


def take_down(fd: int, start: int, most: int) -> FileSpan:
    """Return what a generated file holds from `start` on, `most` bytes or with -1 all, copied to the same place.

    Raises OSError, that of EFBIG when there is no end of it.
    """
    with tempfile.TemporaryFile(buffering=0) as copy:
        place = start
        while place - start != most:
            if place - start > MAX_GENERATED_BYTES:
                raise OSError(errno.EFBIG, "a file without a size has no end")
            left = most - (place - start) if most >= 0 else CHUNK_BYTES
            block = os.pread(fd, min(left, CHUNK_BYTES), place)
            if not block:
                break
            place += os.pwrite(copy.fileno(), block, place)
        return FileSpan(os.dup(copy.fileno()), start, place - start)
