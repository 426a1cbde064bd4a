"""The surroundings of a container, as far as this machine lets a test make them: process 1, nothing to write to."""

import functools
import os
import subprocess
import sys
from pathlib import Path

IS_ROOT = os.geteuid() == 0

# Every mount becomes read-only, but for those that are no files.
READ_ONLY = """
while read -r device place rest; do
    case $place in
        /proc*|/sys*|/dev|/dev/pts|/dev/mqueue) ;;
        *) mount -o remount,bind,ro "$place" 2>/dev/null || : ;;
    esac
done < /proc/self/mounts
exec "$@"
"""

# Where no name spaces are to be had: orphans come to this process all the same (PR_SET_CHILD_SUBREAPER).
SUBREAPER = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(36, 1, 0, 0, 0):
    raise OSError("prctl")
os.execv(sys.argv[1], sys.argv[1:])
"""


@functools.cache
def name_spaces():
    """Return the command that makes name spaces with a process 1 of their own, none where that is not allowed."""
    users = [] if IS_ROOT else ["--user", "--map-root-user"]
    command = ["unshare", *users, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else []


def contained(command):
    """Return a command that runs another one as the first process of a container."""
    spaces = name_spaces()
    if not spaces:
        return [sys.executable, "-c", SUBREAPER, *command]
    return [*spaces, "sh", "-c", READ_ONLY if IS_ROOT else 'exec "$@"', "sh", *command]


def first_process(service):
    """Return the process id, seen from outside, of the first process of a container that has started."""
    if not name_spaces():
        return service.pid
    return next(pid for pid, parent, _ in processes() if parent == service.pid)


def offspring(pid):
    """Return the states of the children of a process, those that have ended and wait to be reaped among them."""
    return {child: state for child, parent, state in processes() if parent == pid}


def processes():
    """Return process id, parent and state of each process."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            found.append((int(entry), int(fields[1]), fields[0]))
    return found
