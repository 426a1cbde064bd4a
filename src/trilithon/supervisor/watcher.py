"""Whether somebody waits for the end of this very process, so that it cannot leave while its successor serves."""

import ctypes
import os
import sys

# The first process of a whole machine takes orphans over; any other first process ends its container with its child.
MACHINE_INITS = frozenset({"systemd", "init", "launchd", "runit", "openrc-init", "s6-svscan", "finit"})
# They start a program anew, or end, when the process that they started has ended.
WATCHERS = frozenset({"supervisord", "runsv", "s6-supervise", "supervise", "circusd", "dinit", "monit"})

_PR_SET_CHILD_SUBREAPER = 36


def must_stay() -> bool:
    """Tell whether this process has to live for as long as anything of the service does.

    So it is with the first process of a container, with the child of such a first process, and under a program that
    watches over its child. A service manager that is told of `MAINPID` is none of these.
    """
    parent = os.getppid()
    if os.getpid() == 1 or parent == 0:
        return True
    name = name_of(parent)
    return name in WATCHERS or (parent == 1 and bool(name) and name not in MACHINE_INITS)


def name_of(pid: int) -> str:
    """Return what a process is called, empty where the system does not tell."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended, as the first process is in any case."""
    if sys.platform == "linux" and os.getpid() != 1:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
