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


class Stat(NamedTuple):
    """What /proc/PID/stat says of one process; times in clock ticks, reaped children included."""

    pid: int
    parent: int
    session: int
    user: int
    system: int


def read_stat(pid: int) -> Stat | None:
    """Return the figures of `pid`, None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in brackets and may hold anything, so the rest is counted from the last bracket.
    words = text[text.rindex(")") + 2 :].split()
    user, system, reaped_user, reaped_system = map(int, words[11:15])
    return Stat(pid, int(words[1]), int(words[3]), user + reaped_user, system + reaped_system)


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


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process and its family to end, then kill what is left; safe to repeat."""
    members = {stat.pid for stat in family(process.pid)}
    for urge in (signal.SIGTERM, signal.SIGKILL):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, urge)
        deadline_s = time.monotonic() + END_GRACE_S
        while time.monotonic() < deadline_s:
            process.poll()
            left = {stat.pid for stat in family(process.pid)} if process.returncode is None else members
            members = {pid for pid in members | left if read_stat(pid) is not None and pid != process.pid}
            if process.returncode is not None and not members:
                return
            time.sleep(0.01)
        if process.returncode is None:
            members.add(process.pid)
    process.wait(timeout=5)


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
        end(process)
