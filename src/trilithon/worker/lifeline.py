"""The lifeline: a worker that cannot hear that its supervisor is gone is ended by the kernel all the same."""

import contextlib
import ctypes
import fcntl
import math
import os
import signal
import socket
import sys

from trilithon.net.channel import Channel

# What the kernel sends when the supervisor is gone. Its handler is the system's own `alarm`, which takes the number of
# the signal for the seconds until SIGALRM: a little more than the default of `graceful_timeout`. No handler written in
# Python would run while a worker spins in C, or waits there, with the GIL.
SIGNAL = int(signal.SIGRTMIN) + 4 if sys.platform == "linux" else 0


class Lifeline:
    """A socket whose other end only the supervisor has, so that it closes with it, however that ends; on Linux only.

    A worker that hears of its supervisor's end by the channel calls `cut` and ends in its own time. For one that does
    not, because it spins, holds the GIL or hangs in an import, SIGALRM comes `SIGNAL` seconds later. Nothing is sent
    while the supervisor lives, and nothing when a template ends that the worker was forked from.
    """

    def __init__(self) -> None:
        self.end: socket.socket | None = None

    def hold(self, channel: Channel) -> None:
        """Begin to hold on to the supervisor; called in the main thread, once this process has changed its user.

        Before, the kernel might not let it signal itself afterwards.
        """
        if sys.platform != "linux":
            return
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.signal(SIGNAL, ctypes.cast(libc.alarm, ctypes.c_void_p))
            self.end, theirs = socket.socketpair()
            with theirs:
                fcntl.fcntl(self.end, fcntl.F_SETOWN, os.getpid())
                fcntl.fcntl(self.end, fcntl.F_SETSIG, SIGNAL)
                fcntl.fcntl(self.end, fcntl.F_SETFL, os.O_ASYNC)
                channel.send({"say": "lifeline"}, [theirs.fileno()])

    def respect_application(self) -> None:
        """Let go where the application handles SIGALRM: the timer that it goes by would be overwritten; any thread.

        To be called now and then, since an application may begin with that at any time.
        """
        if self.end is not None and signal.getsignal(signal.SIGALRM) != signal.SIG_DFL:
            libc = ctypes.CDLL(None)
            libc.signal(SIGNAL, ctypes.c_void_p(int(signal.SIG_IGN)))  # one that is on its way ends nobody
            self.end.close()
            libc.signal(SIGNAL, ctypes.c_void_p(int(signal.SIG_DFL)))
            self.end = None

    def cut(self, delay_s: float) -> None:
        """Be ended in `delay_s` seconds at the latest: nobody else would do it. An application's own alarm is its own.

        Called once the supervisor is gone, in the main thread.
        """
        if self.end is not None:
            self.end.close()  # what it has not sent yet does not come any more
            is_ours = signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
            signal.alarm(math.ceil(delay_s) if is_ours else 0)
