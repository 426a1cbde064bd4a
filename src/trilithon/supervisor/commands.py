"""What the control socket's commands do to a supervisor, and how it describes itself."""

import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from trilithon.foundation.cells import clock_us
from trilithon.foundation.scoreboard import LOOP, MAX_WORKERS, Snapshot, WorkerState
from trilithon.foundation.version import VERSION
from trilithon.supervisor.chronicle import Chronicle
from trilithon.supervisor.control import RefusedCommand
from trilithon.supervisor.roster import Roster, Worker
from trilithon.supervisor.vigil import is_stopped

Done = Callable[[str], None]

# A worker whose event loop or watchdog, which beat once a second, has shown no life for so long is no longer "ready".
UNRESPONSIVE_S = 5.0


class Charge(Protocol):
    """The supervisor, as far as commands need it."""

    roster: Roster
    chronicle: Chronicle
    wanted: int
    generation: int
    is_stopping: bool

    def reload(self, done: Done | None = None) -> None:
        """Replace all workers."""

    def stop(self, is_quick: bool = False) -> None:
        """End all workers, then itself."""

    def scale(self, count: int) -> None:
        """Have so many workers."""

    def reopen(self) -> None:
        """Have log files opened again."""


class Office(Protocol):
    """Who is in charge and where, as far as commands need it."""

    def phase(self) -> str:
        """Return in a word or two what the supervisor is doing."""

    def told(self) -> str:
        """Return in words what is under way between programs, empty for nothing."""

    def places(self) -> list[str]:
        """Return where is listened."""

    def reload_refusal(self) -> str:
        """Return why a reload cannot begin now, empty when it can."""

    def stop_refusal(self) -> str:
        """Return why a stop would not end the service, empty when it would."""

    def begin(self, done: Done) -> None:
        """Start the program anew and hand over to it; raises RefusedCommand."""

    def ask_back(self, done: Done) -> None:
        """Give back to the program before; raises RefusedCommand."""


class SupervisorCommands:
    """The commands of a supervisor; see `control.Commands`."""

    def __init__(self, charge: Charge, office: Office) -> None:
        self.charge = charge
        self.office = office
        self.began_at = time.monotonic()

    def status(self) -> dict[str, Any]:
        """Return the state of the supervisor and of each worker."""
        charge = self.charge
        supervisor = {
            "pid": os.getpid(),
            "version": VERSION,
            "uptime_s": round(time.monotonic() - self.began_at, 1),
            "state": self.office.phase(),
            "generation": charge.generation,
            "wanted": charge.wanted,
            "addresses": self.office.places(),
            "restarts": charge.chronicle.total,
            "recent": charge.chronicle.told(),
            "upgrade": self.office.told(),
        }
        return {"supervisor": supervisor, "workers": [worker_status(worker) for worker in charge.roster.all()]}

    def reload(self, done: Done) -> None:
        """Replace all workers, one at a time."""
        self.refuse_while_stopping()
        self.charge.reload(done)

    def stop(self, quick: bool) -> None:
        """Begin to stop; not here where another program serves, which would go on."""
        if refusal := self.office.stop_refusal():
            raise RefusedCommand(refusal)
        self.charge.stop(quick)

    def scale(self, change: int, absolute: bool) -> int:
        """Want so many workers, or so many more; returns how many are wanted now."""
        self.refuse_while_stopping()
        count = change if absolute else self.charge.wanted + change
        if count < 1:
            raise RefusedCommand("at least one worker has to stay; trilithon ctl stop ends the server")
        if count > MAX_WORKERS:
            raise RefusedCommand(f"{MAX_WORKERS} workers are the most")
        self.charge.scale(count)
        return self.charge.wanted

    def reopen(self) -> None:
        """Open the log files anew."""
        self.charge.reopen()

    def upgrade(self, done: Done) -> None:
        """Start the program anew and hand over to it."""
        self.refuse_while_stopping()
        self.office.begin(done)

    def rollback(self, done: Done) -> None:
        """Give back to the program before the upgrade."""
        self.refuse_while_stopping()
        self.office.ask_back(done)

    def refuse_while_stopping(self) -> None:
        """Raise RefusedCommand where the end has begun."""
        if self.charge.is_stopping:
            raise RefusedCommand("the server stops")


def worker_status(worker: Worker) -> dict[str, Any]:
    """Return what the roster and the scoreboard know of a worker; durations in seconds."""
    seen = worker.slot.snapshot()
    silent_s = silence_s(seen)
    return {
        "worker": worker.serial,
        "slot": worker.place,
        "pid": worker.pid,
        "state": condition(worker, silent_s),
        "generation": worker.generation,
        "age_s": round(time.monotonic() - worker.born_at, 1),
        "requests": seen.requests,
        "in_flight": seen.in_flight,
        "queued": seen.queued,
        "bytes_received": seen.bytes_in,
        "bytes_sent": seen.bytes_out,
        "connections": connections(seen),
        "rss_bytes": seen.rss_bytes or None,
        "loop_lag_s": silent_s if silent_s >= UNRESPONSIVE_S else seen.lag_us / 1e6,
        "p50_s": seen.p50_us / 1e6 if seen.requests else None,
        "p99_s": seen.p99_us / 1e6 if seen.requests else None,
        "reason": worker.leaves_because,
    }


def silence_s(seen: Snapshot) -> float:
    """Return for how long a worker that serves has shown no sign of life, zero for one that does not serve."""
    if seen.state is not WorkerState.READY:
        return 0.0
    now_us = clock_us()
    # An engine of threads beats only while one of them is free, which is no more than busy.
    signs = [sign for sign in (seen.watched_us, seen.beats_us[LOOP]) if sign]
    return max((now_us - sign for sign in signs), default=0) / 1e6


def condition(worker: Worker, silent_s: float) -> str:
    """Return in a word what a worker is doing, or that it does nothing."""
    if is_stopped(worker.pid):
        return "stopped"
    return "unresponsive" if silent_s >= UNRESPONSIVE_S else worker.state.name.lower()


def connections(seen: Snapshot) -> dict[str, int]:
    """Return the open connections by protocol; what has not spoken yet is only in the total."""
    return {
        "all": seen.connections,
        "http1": seen.http1,
        "http2": seen.http2,
        "websocket": seen.websockets,
    }
