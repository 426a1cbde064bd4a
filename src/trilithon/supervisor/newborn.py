"""The first and the last moments of a process that was forked: its own signals, its own end."""

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.first_process import end_at_once
from trilithon.worker.leaving import call_last, exit_now
from trilithon.worker.member import Birth, ignore, live

Handler = Callable[[int, Any], object]

# What only the supervisor understands reaches workers too where a whole group or unit is signalled. An application that
# handles one of these does so. The last two are ignored by the kernel itself: with a handler, a read of the terminal
# from the background would signal the group again and again, and the supervisor start a worker each time; now it fails.
NOT_OURS: dict[int, Handler | signal.Handlers] = {
    signal.SIGUSR2: ignore,
    signal.SIGTTIN: signal.SIG_IGN,
    signal.SIGTTOU: signal.SIG_IGN,
}
# A terminal sends the first two to all processes of its group. All have their meaning for a worker from its first
# moment, long before it serves.
MEANINGS: dict[int, Handler | signal.Handlers] = {
    signal.SIGINT: ignore,
    signal.SIGHUP: ignore,
    signal.SIGTERM: end_at_once,
    signal.SIGQUIT: end_at_once,
    **NOT_OURS,
}


def fork(child: Callable[[set[int]], NoReturn]) -> int:
    """Fork, and have `child` called in the new process with the signal mask to restore; returns its process id.

    All signals are held back meanwhile: one that comes before the child has handlers of its own must not be taken for
    its parent. Raises OSError.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, full, or none at all
            stream.flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():
            # Threads that an application has started at import are told of with more to go by.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            child({int(number) for number in mask})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def begin(mask: set[int], theirs: Iterable[int], meanings: Mapping[int, Handler | signal.Handlers]) -> None:
    """Handle signals as `meanings` says and no longer as the parent did, whose handlers `theirs` have; unmask them."""
    signal.set_wakeup_fd(-1)
    for number in theirs:
        signal.signal(number, signal.SIG_DFL)
    for number, handler in meanings.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def handled_signals() -> list[int]:
    """Return the signals that have a handler of Python's here, which a fork hands on."""
    kept = (signal.SIG_DFL, signal.SIG_IGN, None)
    return [number for number in signal.valid_signals() if signal.getsignal(number) not in kept]


def end_as(call: Callable[[], int]) -> NoReturn:
    """Make `call` the rest of this process, which ends with what it returns, not in the frames that the fork copied."""
    code = int(ExitCode.UNEXPECTED)
    try:
        code = call()
        end_interpreter(code == ExitCode.OK)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        exit_now(code)


def work(birth: Birth) -> NoReturn:
    """Be a worker for the rest of this process."""
    end_as(lambda: live(birth))


def end_interpreter(is_patient: bool) -> None:
    """Do what the interpreter does at its end, waiting for threads unless a fault ends it: nobody would end them."""
    if is_patient:
        threading._shutdown()  # type: ignore[attr-defined]
    call_last()


def why(fault: OSError) -> str:
    """Say in words what the system does not let us do."""
    return fault.strerror or errno.errorcode.get(fault.errno or 0, str(fault))
