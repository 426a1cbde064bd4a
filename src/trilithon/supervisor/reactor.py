"""What the supervisor waits for: descriptors, timers and signals, on its one thread."""

import contextlib
import heapq
import itertools
import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

log = logging.getLogger("trilithon.error")


class HasFileno(Protocol):
    """What can be polled."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Timer:
    """A call that is due at a moment."""

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Let it not happen; idempotent."""
        self.call = None


class Reactor:
    """Calls back on this thread when a descriptor is readable, a time has come or a signal has arrived.

    A callback that raises is logged and changes nothing else: a supervisor goes on. Signals that are handled wake it
    from its poll and are handled between two callbacks, never inside one.
    """

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.timers: list[tuple[float, int, Timer]] = []
        self.order = itertools.count()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.previous: dict[int, object] = {}
        self.bell = socket.socketpair()
        self.running = False
        for end in self.bell:
            end.setblocking(False)
        self.add(self.bell[0], self.take_signals)

    def add(self, source: HasFileno | int, callback: Callable[[], None]) -> None:
        """Call back when a descriptor is readable, or at its end."""
        self.selector.register(source, selectors.EVENT_READ, callback)

    def remove(self, source: HasFileno | int) -> None:
        """Watch a descriptor no more; to be called before it is closed. Idempotent."""
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(source)

    def later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call once in `delay_s` seconds."""
        timer = Timer(time.monotonic() + delay_s, call)
        heapq.heappush(self.timers, (timer.due, next(self.order), timer))
        return timer

    def handle_signals(self, numbers: Iterable[int], handler: Callable[[int], None]) -> None:
        """Have signals handled by `handler`; main thread only."""
        signal.set_wakeup_fd(self.bell[1].fileno(), warn_on_full_buffer=False)
        for number in numbers:
            self.handlers[number] = handler
            # The handler of the interpreter does nothing: the number comes by the wake-up descriptor.
            self.previous[number] = signal.signal(number, lambda number, frame: None)

    def release_signals(self) -> None:
        """Give the signals back."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self.previous.clear()
        self.handlers.clear()
        signal.set_wakeup_fd(-1)

    def take_signals(self) -> None:
        """Handle the signals that came."""
        try:
            numbers = self.bell[0].recv(256)
        except BlockingIOError:
            return
        for number in numbers:
            handler = self.handlers.get(number)
            if handler is not None:
                self.guard(partial(handler, number))

    def run(self) -> None:
        """Call back until `stop`."""
        self.running = True
        while self.running:
            for key, _ in self.selector.select(self.wait_s()):
                # A callback may have removed what this round still lists.
                if self.selector.get_map().get(key.fd) is key:
                    self.guard(key.data)
            now = time.monotonic()
            while self.timers and self.timers[0][0] <= now:
                call = heapq.heappop(self.timers)[2].call
                if call is not None:
                    self.guard(call)

    def wait_s(self) -> float | None:
        """Return how long to wait for descriptors."""
        while self.timers and self.timers[0][2].call is None:
            heapq.heappop(self.timers)
        return max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None

    def guard(self, call: Callable[[], None]) -> None:
        """Call, and log what it raises."""
        try:
            call()
        except Exception:
            log.exception("the supervisor met a fault of trilithon and goes on")

    def stop(self) -> None:
        """Return from `run` soon."""
        self.running = False

    def close(self) -> None:
        """Release everything, watched descriptors excepted."""
        self.selector.close()
        for end in self.bell:
            end.close()
