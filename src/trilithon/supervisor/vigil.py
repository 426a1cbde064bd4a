"""The vigil: sees from outside a worker whose interpreter does not run, which no thread of its own could tell."""

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from trilithon.foundation.cells import clock_us
from trilithon.foundation.scoreboard import CREW, LOOP, Slot, WorkerState
from trilithon.worker.logs import escape
from trilithon.worker.watchdog import STACK_SIGNAL

log = logging.getLogger("trilithon.error")

LOOK_S = 1.0
# The worker's own watchdog knows more: it comes first with what it can see.
HEADSTART = 1.5
# A look that comes later than this finds that the supervisor itself has slept: nobody's time counts.
SLEPT_S = 3 * LOOK_S
# On a crowded machine a watchdog may be late by itself.
LENIENCE_S = 2 * LOOK_S


class Watched(Protocol):
    """A worker as the vigil needs it; its text names it in the log."""

    pid: int
    slot: Slot


Member = TypeVar("Member", bound=Watched)


@dataclass(slots=True)
class Stillness:
    """How long a sign of life has stood still, counted only while the process could have run."""

    beat: int
    still_s: float = 0.0

    def see(self, beat: int, elapsed_s: float) -> float:
        """Take note of the sign as it is now; returns for how long it has stood still."""
        if beat != self.beat:
            self.beat = beat
            self.still_s = 0.0
        else:
            self.still_s += elapsed_s
        return self.still_s


@dataclass(slots=True)
class Stop:
    """A process that was found stopped, and its signs of life by then; `told` once the log says so."""

    signs: tuple[int, int, int]
    told: bool = False


@dataclass(slots=True)
class Record:
    """What the vigil knows of one worker; `verdict` is why it is hung, once its stacks have been asked for."""

    watchdog: Stillness
    loop: Stillness
    crew: Stillness
    verdict: str = ""


class Vigil(Generic[Member]):
    """Looks at the workers' signs of life once a second; a hung one is told of by `hung`, with the reason.

    A worker counts as hung when its watchdog has not run for `timeout_s` and a little more: code in C holds the GIL.
    Then its fault handler is made to write all stacks, and the requests that its slot marks are logged; `hung` is
    called at the next look, for the stacks to be written before it ends the process. Workers that start are never
    looked at, and a process that is stopped (SIGSTOP, a debugger) is not hung: whoever did it lets it go on, or kills
    it. The log says so, without a `timeout_s` too.
    """

    def __init__(self, timeout_s: float, hung: Callable[[Member, str], None]) -> None:
        self.timeout_s = timeout_s
        self.hung = hung
        self.records: dict[int, Record] = {}
        self.stops: dict[int, Stop] = {}
        self.looked_at = 0.0

    def look(self, workers: Iterable[Member], now: float) -> None:
        """Look at all workers; called every `LOOK_S`, with the time in seconds of a clock that never goes back."""
        elapsed_s = now - self.looked_at
        self.looked_at = now
        if elapsed_s > SLEPT_S:
            self.records.clear()
        records, self.records = self.records, {}
        stops, self.stops = self.stops, {}
        for worker in workers:
            if worker.slot.state is not WorkerState.READY or not worker.slot.watched_us():
                continue
            stop = stops.get(worker.pid)
            if is_stopped(worker.pid):
                self.stops[worker.pid] = self.see_stopped(worker, stop)
                continue
            if stop is not None and stop.told:
                log.warning("%s goes on after it was stopped", worker)
            record = records.get(worker.pid)
            if record is not None and record.verdict:
                self.hung(worker, record.verdict)
            elif self.timeout_s:
                self.records[worker.pid] = self.judge(worker, record, elapsed_s)

    def see_stopped(self, worker: Watched, before: Stop | None) -> Stop:
        """Take note that a process is stopped, and tell of it once it has been so from one look to the next.

        One that is traced stops for a moment again and again.
        """
        slot = worker.slot
        now = Stop((slot.watched_us(), slot.beat_us(LOOP), slot.beat_us(CREW)))
        if before is None or before.signs != now.signs:
            return now
        if not before.told:
            log.warning("%s is stopped, by SIGSTOP or a debugger: its clients wait until it goes on", worker)
            before.told = True
        return before

    def judge(self, worker: Watched, record: Record | None, elapsed_s: float) -> Record:
        """Look at one worker; returns what is known of it from now on."""
        slot = worker.slot
        watched = slot.watched_us()
        loop = slot.beat_us(LOOP)
        crew = slot.beat_us(CREW)
        if record is None:
            return Record(Stillness(watched), Stillness(loop), Stillness(crew))
        still_s = record.watchdog.see(watched, elapsed_s)
        loop_s = record.loop.see(loop, elapsed_s) if loop else 0.0
        crew_s = record.crew.see(crew, elapsed_s) if crew else 0.0
        if still_s >= self.timeout_s + LENIENCE_S:
            record.verdict = f"its interpreter has stood still for {still_s:.0f} s"
        elif max(loop_s, crew_s) >= self.timeout_s * HEADSTART + LENIENCE_S:
            which = "event loop" if loop_s >= crew_s else "crew"
            record.verdict = f"its {which} has stood still for {max(loop_s, crew_s):.0f} s"
        if record.verdict:
            log.error(
                "%s hangs: %s; the stacks of its threads follow on its standard error; requests in flight:\n%s",
                worker,
                record.verdict,
                write_marks(slot),
            )
            ask_for_stacks(worker.pid)
        return record


def write_marks(slot: Slot) -> str:
    """Return a line for each request that a slot marks, those that a thread of the crew runs first."""
    now_us = clock_us()
    marks = sorted(slot.marks(), key=lambda mark: not mark.thread)
    lines = []
    for mark in marks:
        note = " (in the application)" if mark.thread else ""
        age_s = max(0.0, (now_us - mark.began_us) / 1e6)
        lines.append(f"  {escape(mark.request.decode('latin-1'))}, {age_s:.1f} s old{note}")
    unmarked = slot.in_flight() - len(marks)
    if unmarked > 0:
        lines.append(f"  and {unmarked} more")
    return "\n".join(lines) or "  none"


def ask_for_stacks(pid: int) -> None:
    """Have a worker's fault handler write the stacks of all its threads."""
    try:
        os.kill(pid, STACK_SIGNAL)
    except OSError as error:
        log.warning("the process %d cannot be asked for its stacks: %s", pid, error.strerror)


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped, false where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb", 0) as file:
            return file.read(512).rpartition(b") ")[2][:1] in (b"T", b"t")
    except OSError:
        return False
