"""The leaf of raw system calls on non-blocking sockets; this twin serves where `leaf.pyx` is not compiled."""

import os
import time

COMPILED = False
"""Whether the compiled build is running."""


def receive(fd: int, size: int) -> bytes | None:
    """Read up to `size` bytes (at most 65,536) from the socket `fd`.

    Returns None when nothing is there yet and b"" at the end of the stream. Raises OSError when the connection is
    broken.
    """
    try:
        return os.read(fd, size)
    except BlockingIOError:
        return None


def send(fd: int, data: bytes, offset: int) -> int:
    """Write `data` from `offset` on to the socket `fd`; returns the bytes taken, 0 when the socket is full.

    Raises OSError when the connection is broken.
    """
    try:
        return os.write(fd, memoryview(data)[offset:] if offset else data)
    except BlockingIOError:
        return 0


def gather(fd: int, parts: list[bytes], offset: int) -> int:
    """Write the first 64 `parts`, the first of them from `offset` on, with one call; returns as `send` does."""
    try:
        if offset:
            return os.writev(fd, [memoryview(parts[0])[offset:], *parts[1:64]])
        return os.writev(fd, parts[:64])
    except BlockingIOError:
        return 0


class Pulse:
    """A counter that one thread beats and another watches: odd while the first is inside something, even outside.

    `ticks` counts the watcher's looks, and so is a coarse clock that costs nothing to read.
    `stood_at` is the odd count at which the last watch ended.

    The compiled twin watches without the GIL, so that watching a busy interpreter costs it nothing.
    """

    def __init__(self) -> None:
        self.beats = 0
        self.ticks = 0
        self.stood_at = 0

    def watch(self, tick_s: float, quiet_ticks: int) -> float:
        """Return once the counter has stood still: how late the GIL was got for it in seconds, when it stood at odd.

        When it stood at even for `quiet_ticks`, return -1.
        """
        seen = -1
        quiet = 0
        while True:
            start = time.monotonic()
            time.sleep(tick_s)
            self.ticks += 1
            beats = self.beats
            if beats != seen:
                seen = beats
                quiet = 0
            elif beats & 1:
                self.stood_at = beats
                return max(0.0, time.monotonic() - start - tick_s)
            else:
                quiet += 1
                if quiet >= quiet_ticks:
                    return -1.0
