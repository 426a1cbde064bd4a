"""How a worker's process comes to be: forked from the supervisor."""

import atexit
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Protocol

from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import Options
from trilithon.worker.member import Birth, live


class Launcher(Protocol):
    """A way to start workers."""

    def prepare(self, generation: int, options: Options, done: Callable[[str], None]) -> None:
        """Get ready to start workers of a generation; calls `done` with "" then, or with why it cannot be."""

    def launch(self, birth: Birth) -> int:
        """Start a worker and return its process id; raises OSError. The caller closes its own copies."""

    def close(self) -> None:
        """Release what is held for further workers."""


class ForkLauncher:
    """Forks workers from the supervisor, which has not imported the application: each worker imports it itself.

    `release` is called in the child, to close there what belongs to the supervisor alone.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self.release = release

    def prepare(self, generation: int, options: Options, done: Callable[[str], None]) -> None:
        """See Launcher: there is nothing to prepare."""
        done("")

    def launch(self, birth: Birth) -> int:
        """Fork; see Launcher."""
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that comes before the child has its own handlers must not be taken for the supervisor.
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                be_born(birth, self.release, signals)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        return pid

    def close(self) -> None:
        """See Launcher."""


def be_born(birth: Birth, release: Callable[[], None], signals: set[int]) -> None:
    """Live as a worker in a process that was just forked, then end it; never returns."""
    code = int(ExitCode.UNEXPECTED)
    try:
        # What the supervisor does at its end is not the worker's to do.
        atexit._clear()
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        release()
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        code = live(birth)
        end_interpreter()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def end_interpreter() -> None:
    """Do what the interpreter does at its end, without unwinding into the frames that the fork copied."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
