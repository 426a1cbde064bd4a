"""The end of the command's own process, which threads of the application must not keep alive for ever."""

import atexit
import contextlib
import logging
import os
import sys
import threading
from typing import NoReturn

log = logging.getLogger("trilithon.error")

# Beyond its own time-outs, a process that leaves gets so long to end, a worker as well.
END_S = 5.0


def leave(code: int, patience_s: float) -> None:
    """See to it that this process ends with `code`, its last functions called; called by the main thread at its end.

    Returns for the interpreter to end by itself: it waits for threads that are no daemons, and after `patience_s` it
    waits no more. Without patience such threads end with the process in here. Only for a process that is a server.
    """
    if not lingering_threads():
        return
    if not patience_s:
        end_now(code)
    is_over = threading.Event()
    # Called last, so it comes first, behind the end of the threads: what else is called then may take its time.
    atexit.register(is_over.set)
    threading.Thread(target=cut, args=(code, patience_s, is_over), name="trilithon-end", daemon=True).start()


def cut(code: int, patience_s: float, is_over: threading.Event) -> None:
    """End the process unless its threads end in time."""
    if is_over.wait(patience_s):
        return
    names = ", ".join(thread.name for thread in lingering_threads())
    if names:
        log.warning("ended although threads of the application still ran %g s after the stop: %s", patience_s, names)
        end_now(code)


def lingering_threads() -> list[threading.Thread]:
    """Return the threads that the interpreter waits for at its end."""
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]


def end_now(code: int) -> NoReturn:
    """Do what the interpreter does at its end, but wait for no thread."""
    try:
        call_last()
    finally:
        exit_now(code)


def call_last() -> None:
    """Call what the interpreter calls at its end."""
    atexit._run_exitfuncs()
    logging.shutdown()


def exit_now(code: int) -> NoReturn:
    """End this process with nothing more than what it has written already."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
