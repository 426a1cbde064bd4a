"""Start a process in a session of its own, find all that belongs to it, and end exactly those by their ids."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

END_GRACE_S = 1.0
REAP_TIMEOUT_S = 30.0
"""A killed process with thousands of sockets takes its time to be gone on a busy machine."""


class Stat(NamedTuple):
    """What /proc/PID/stat says of one process; times in clock ticks, reaped children included."""

    pid: int
    parent: int
    session: int
    user: int
    system: int
    begun: int
    is_running: bool


def read_stat(pid: int) -> Stat | None:
    """Return the figures of `pid`, None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in brackets and may hold anything, so the rest is counted from the last bracket.
    words = text[text.rindex(")") + 2 :].split()
    user, system, reaped_user, reaped_system = map(int, words[11:15])
    times = (user + reaped_user, system + reaped_system)
    return Stat(pid, int(words[1]), int(words[3]), *times, begun=int(words[19]), is_running=words[0] not in "ZX")


def family(root: int) -> list[Stat]:
    """List the processes of the session that `root` leads and all their descendants, whatever session those are in."""
    found = [stat for name in os.listdir("/proc") if name.isdigit() and (stat := read_stat(int(name)))]
    members = {stat.pid for stat in found if stat.pid == root or stat.session == root}
    grown = True
    while grown:
        heirs = {stat.pid for stat in found if stat.parent in members} - members
        members |= heirs
        grown = bool(heirs)
    return [stat for stat in found if stat.pid in members]


def pinned(command: list[str], core: int | None) -> list[str]:
    """Return `command` bound to one core, unchanged when there is nothing to bind with."""
    if core is None or shutil.which("taskset") is None:
        return command
    return ["taskset", "-c", str(core), *command]


def still_running(known: dict[int, int]) -> dict[int, int]:
    """Return those of `known` (process id to starting time) that run; an id alone may have passed to another."""
    now = {pid: read_stat(pid) for pid in known}
    return {pid: stat.begun for pid, stat in now.items() if stat and stat.is_running and stat.begun == known[pid]}


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process and its family to end, then kill what is left; safe to repeat."""
    members = {stat.pid: stat.begun for stat in family(process.pid)}
    for urge in (signal.SIGTERM, signal.SIGKILL):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, urge)
        deadline_s = time.monotonic() + END_GRACE_S
        while members and time.monotonic() < deadline_s:
            time.sleep(0.01)
            if process.poll() is None:
                members |= {stat.pid: stat.begun for stat in family(process.pid)}
            members = still_running(members)
    process.wait(timeout=REAP_TIMEOUT_S)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM until the block is over: a second one must not leave a server behind."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def running(
    command: list[str], *, core: int | None, environment: dict[str, str], output: Path, directory: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` for the length of the block, both its outputs going to the file `output`."""
    with output.open("wb") as sink:
        process = subprocess.Popen(
            pinned(command, core),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with undisturbed():
            end(process)
