"""Readiness of descriptors: epoll where there is one, kqueue or poll elsewhere, all with epoll's shape."""

import os
import select
import sys
from typing import Protocol

READ = 0x001
WRITE = 0x004
ERROR = 0x008
HANGUP = 0x010
# With READ, when a descriptor is first watched: of several processes that wait for it one is woken, not all of them.
# Linux knows it, and only for a process that waits in this poller itself, as a crew does; where an event loop watches
# the poller all are woken, those without anything else to do that is.
EXCLUSIVE: int = getattr(select, "EPOLLEXCLUSIVE", 0)


class Poller(Protocol):
    """The shape of `select.epoll`: descriptors with a mask of interest, and (fd, mask) pairs of what is ready."""

    def register(self, fd: int, eventmask: int, /) -> None:
        """Watch `fd`; errors and hang-ups are reported whatever the mask."""

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Change what `fd` is watched for."""

    def unregister(self, fd: int, /) -> None:
        """Stop watching `fd`."""

    def poll(self, timeout: float = -1, maxevents: int = -1, /) -> list[tuple[int, int]]:
        """Wait up to `timeout` seconds, for ever when negative; releases the GIL while waiting."""

    def fileno(self) -> int:
        """Return a descriptor that is readable while anything is ready."""

    def close(self) -> None:
        """Give the descriptor back."""


class KqueuePoller:
    """kqueue (macOS and the BSDs) in epoll's shape."""

    def __init__(self) -> None:
        self.queue = select.kqueue()  # type: ignore[attr-defined,unused-ignore]
        self.masks: dict[int, int] = {}

    def fileno(self) -> int:
        """Return the kqueue's descriptor."""
        return int(self.queue.fileno())

    def register(self, fd: int, eventmask: int, /) -> None:
        """Watch `fd`."""
        self.masks[fd] = 0
        self.modify(fd, eventmask)

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Apply only what differs: a filter that is not there cannot be deleted."""
        old = self.masks[fd]
        changes = []
        for bit, kind in ((READ, select.KQ_FILTER_READ), (WRITE, select.KQ_FILTER_WRITE)):  # type: ignore[attr-defined,unused-ignore]
            if (old ^ eventmask) & bit:
                action = select.KQ_EV_ADD if eventmask & bit else select.KQ_EV_DELETE  # type: ignore[attr-defined,unused-ignore]
                changes.append(select.kevent(fd, kind, action))  # type: ignore[attr-defined,unused-ignore]
        if changes:
            self.queue.control(changes, 0, 0)
        self.masks[fd] = eventmask

    def unregister(self, fd: int, /) -> None:
        """Stop watching `fd`; a closed descriptor has left the kqueue already."""
        if self.masks.get(fd):
            try:
                self.modify(fd, 0)
            except OSError:
                pass  # the kernel dropped the filters with the descriptor
        self.masks.pop(fd, None)

    def poll(self, timeout: float = -1, maxevents: int = -1, /) -> list[tuple[int, int]]:
        """Wait; both filters of one descriptor come back as one pair."""
        most = maxevents if maxevents > 0 else 256
        ready: dict[int, int] = {}
        for event in self.queue.control(None, most, None if timeout < 0 else timeout):
            bit = READ if event.filter == select.KQ_FILTER_READ else WRITE  # type: ignore[attr-defined,unused-ignore]
            ready[event.ident] = ready.get(event.ident, 0) | bit
        return list(ready.items())

    def close(self) -> None:
        """Close the kqueue."""
        self.queue.close()


def open_poller() -> Poller:
    """Return the best poller of this platform; raises OSError when descriptors have run out."""
    if sys.platform == "linux":
        return select.epoll()
    return KqueuePoller()


def open_bell() -> tuple[int, int]:
    """Return the reading and the writing descriptor of something that other threads can ring, to wake a poll."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing
