"""Signals of a process that runs an event loop: handled even while an application blocks the loop."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from trilithon.worker.log_file import reopen_log_files


class Signals:
    """Handles signals while a loop runs: each number's call gets the number.

    Handlers of the interpreter, not of the loop, so that they work while an application blocks the loop. Does nothing
    outside the main thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, calls: Mapping[int, Callable[[int], None]]) -> None:
        self.loop = loop
        self.calls = calls
        self.bell: tuple[socket.socket, socket.socket] | None = None
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self.hang_bell()
            for number in self.calls:
                self.previous[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, *fault: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        if self.bell is not None:
            signal.set_wakeup_fd(-1)
            self.loop.remove_reader(self.bell[0])
            for end in self.bell:
                end.close()

    def hang_bell(self) -> None:
        """Have a signal wake the loop.

        The kernel may give it to any thread, and the interpreter's handler runs only once the main thread wakes.
        """
        self.bell = socket.socketpair()
        for end in self.bell:
            end.setblocking(False)
        self.loop.add_reader(self.bell[0], self.silence)
        signal.set_wakeup_fd(self.bell[1].fileno(), warn_on_full_buffer=False)

    def silence(self) -> None:
        """Empty the bell; what woke the loop has been handled by now."""
        if self.bell is not None:
            with contextlib.suppress(BlockingIOError):
                self.bell[0].recv(64)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.calls[number](number)


class ReopeningSignal:
    """SIGUSR1 opens the log files anew while this context lasts.

    Enter it before the application is loaded: one that wants the signal for itself, to print stacks by, gets it. `loop`
    is to be set once there is one. Does nothing outside the main thread, nor where somebody handles the signal already.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> "ReopeningSignal":
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
            signal.signal(signal.SIGUSR1, self.handle)
        return self

    def __exit__(self, *fault: object) -> None:
        if signal.getsignal(signal.SIGUSR1) == self.handle:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Open the files anew between two callbacks of the loop: this may have interrupted one that writes to them."""
        if self.loop is None:
            reopen_log_files()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: all is over
                self.loop.call_soon_threadsafe(reopen_log_files)
