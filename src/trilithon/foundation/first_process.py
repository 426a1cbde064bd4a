"""The first process of a container: which signals end it before a server handles them itself."""

import os
import signal
from types import FrameType


def answer_as_first_process() -> None:
    """Let signals end this process from now on though it is the first of a container.

    The kernel spares that one every signal without a handler, and a server has its own only once it has loaded. Does
    nothing in other processes, nor outside the main thread, and leaves handlers alone that are there. Imports hardly
    anything, to be the first thing that the command does.
    """
    if os.getpid() != 1:
        return
    for number in (signal.SIGTERM, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_DFL:
            try:
                signal.signal(number, end_at_once)
            except ValueError:
                return  # another thread's to say


def end_at_once(number: int, frame: FrameType | None = None) -> None:
    """End this process now, with the exit code that a shell gives to one ended by that signal."""
    os._exit(128 + number)
