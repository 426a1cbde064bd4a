"""The leaf of raw system calls on non-blocking sockets; this twin serves where `leaf.pyx` is not compiled."""

import os
import time

COMPILED = False
"""Whether the compiled build is running."""


def receive(fd: int, size: int) -> bytes | None:
    """Read up to `size` bytes (at most 131,072) from the socket `fd`.

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

    `ticks` counts the watcher's looks, and so is a coarse clock that costs nothing to read. When a watch ends,
    `stood_at` is the odd count it stood at; `asleep` says whether the beating thread (`thread` is its native id) was
    waiting for something then, and not for its turn on a processor; `ran_s` is the processor time it used since the
    look before. On a system that does not tell, it counts as asleep.

    The compiled twin watches without the GIL, so that watching a busy interpreter costs it nothing.
    """

    def __init__(self) -> None:
        self.beats = 0
        self.ticks = 0
        self.thread = 0
        self.stood_at = 0
        self.asleep = False
        self.ran_s = 0.0
        self.seen = 0
        self.seen_cpu_s = 0.0

    def watch(self, tick_s: float, quiet_ticks: int) -> float:
        """Return once the counter has stood still: how late the GIL was got for it in seconds, when it stood at odd.

        When it stood at even for `quiet_ticks`, return -1.
        """
        quiet = 0
        while True:
            start = time.monotonic()
            time.sleep(tick_s)
            self.ticks += 1
            beats = self.beats
            if beats & 1:
                cpu_s = self.cpu_s()
                if beats == self.seen:
                    self.stood_at = beats
                    self.asleep = self.is_asleep()
                    self.ran_s = cpu_s - self.seen_cpu_s
                    self.seen_cpu_s = cpu_s
                    return max(0.0, time.monotonic() - start - tick_s)
                self.seen_cpu_s = cpu_s
                quiet = 0
            elif beats != self.seen:
                quiet = 0
            else:
                quiet += 1
                if quiet >= quiet_ticks:
                    return -1.0
            self.seen = beats

    def cpu_s(self) -> float:
        """Return the processor time of the beating thread, zero where the system does not tell."""
        try:
            # Linux makes the clock of a thread out of its number; pthread_getcpuclockid crashes for one that has ended.
            return time.clock_gettime((~self.thread << 3) | 6)
        except OSError:
            return 0.0

    def is_asleep(self) -> bool:
        """Tell whether the beating thread waits for something, true where the system does not tell."""
        try:
            with open(f"/proc/self/task/{self.thread}/stat", "rb", 0) as file:
                return b") R" not in file.read(256)
        except OSError:
            return True
