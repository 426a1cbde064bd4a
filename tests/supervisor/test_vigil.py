"""The vigil on a clock of the test's: real processes that stand still, were stopped, or are not to be looked at."""

import faulthandler
import logging
import os
import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from service import until

from trilithon.foundation.cells import clock_us
from trilithon.foundation.scoreboard import CREW, LOOP, Scoreboard, Slot, WorkerState
from trilithon.supervisor.vigil import HEADSTART, LENIENCE_S, LOOK_S, Vigil
from trilithon.worker.watchdog import STACK_SIGNAL

pytestmark = [pytest.mark.real, pytest.mark.once]

TIMEOUT_S = 10.0
HANGS_S = TIMEOUT_S + LENIENCE_S
# The cells of a slot that its own worker writes.
BEAT_AT = 4
WATCHED_AT = 6


@dataclass
class Still:
    """A process that does nothing, with a slot that says that it serves; `stacks` is where its fault handler writes."""

    pid: int
    slot: Slot
    stacks: int

    def __str__(self) -> str:
        """Write how the log calls it."""
        return "worker 7"


def stand_still(writing: int) -> None:
    """Be a worker whose interpreter does not run."""
    faulthandler.register(STACK_SIGNAL, file=writing, all_threads=True)
    os.write(writing, b"ready\n")
    while True:
        signal.pause()


@pytest.fixture
def worker():
    """Return a worker that stands still."""
    board = Scoreboard.create()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            stand_still(writing)
        finally:
            os._exit(1)
    os.close(writing)
    slot = board.slot(0)
    slot.occupy(pid, 1)
    slot.watched()
    slot.beat(LOOP)
    slot.state = WorkerState.READY
    assert os.read(reading, 100) == b"ready\n"
    yield Still(pid, slot, reading)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reading)
    board.close()


class Watch:
    """A vigil whose time the test lets pass, and whom it calls hung."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self.hung: list[tuple[str, str]] = []
        self.vigil: Vigil[Still] = Vigil(timeout_s, lambda worker, why: self.hung.append((str(worker), why)))
        self.now = 1000.0

    def let_pass(self, seconds: float, *workers: Still, beat: bool = False) -> None:
        """Let time pass, look by look; the worker's watchdog lives if `beat`."""
        end = self.now + seconds
        while self.now < end:
            self.now += LOOK_S
            if beat:
                workers[0].slot.cells.write(WATCHED_AT, int(self.now * 1e6))
            self.vigil.look(workers, self.now)


@pytest.fixture
def log(caplog):
    """Return what is logged."""
    caplog.set_level(logging.INFO, "trilithon.error")
    return caplog


def test_an_interpreter_that_stands_still_is_told_with_stacks_and_requests(worker, log):
    mark = worker.slot.begin(b"GET /slow/%0a?secret HTTP/1.1", time.monotonic() - 12)
    worker.slot.begin(b"GET /next HTTP/1.1", time.monotonic() - 13)
    worker.slot.enter(mark)
    watch = Watch()
    watch.let_pass(HANGS_S, worker)
    assert not watch.hung and not log.messages
    watch.let_pass(LOOK_S, worker)
    # Its stacks are asked for first, and written by the process itself, which does not run any Python.
    assert not watch.hung
    stacks = ""
    while "in stand_still" not in stacks:
        stacks += os.read(worker.stacks, 65536).decode()
    assert "(most recent call first):" in stacks
    ((_, level, text),) = log.record_tuples
    assert level == logging.ERROR
    assert text.splitlines() == [
        "worker 7 hangs: its interpreter has stood still for 12 s; the stacks of its threads follow on its standard "
        "error; requests in flight:",
        "  GET /slow/%0a, 12.0 s old (in the application)",
        "  GET /next, 13.0 s old",
    ]
    watch.let_pass(LOOK_S, worker)
    assert watch.hung == [("worker 7", "its interpreter has stood still for 12 s")]
    assert len(log.messages) == 1


def test_requests_that_are_not_marked_are_counted(worker, log):
    for _ in range(40):
        worker.slot.begin(b"GET /many HTTP/1.1", time.monotonic())
    Watch().let_pass(HANGS_S + LOOK_S, worker)
    assert log.text.count("  GET /many, ") == 32
    assert log.messages[0].endswith("\n  and 8 more")


def test_what_a_client_sent_cannot_break_the_log(worker, log):
    worker.slot.begin(b"GET /\x1b[31m\nERROR HTTP/1.1", time.monotonic())
    Watch().let_pass(HANGS_S + LOOK_S, worker)
    assert r"GET /\x1b[31m\x0aERROR, " in log.messages[0]


def test_a_watchdog_that_lives_is_enough(worker, log):
    watch = Watch()
    watch.let_pass(HEADSTART * TIMEOUT_S, worker, beat=True)
    assert not watch.hung and not log.messages
    # It has had the time to tell of the engines, and did not.
    watch.let_pass(LENIENCE_S + 2 * LOOK_S, worker, beat=True)
    assert watch.hung == [("worker 7", "its event loop has stood still for 17 s")]


@pytest.mark.parametrize("engine", [LOOP, CREW])
def test_an_engine_that_beats_does_not_hang(worker, log, engine):
    worker.slot.cells.write(BEAT_AT, 0)
    watch = Watch()
    for _ in range(int(5 * TIMEOUT_S)):
        until(lambda: clock_us() > worker.slot.beat_us(engine), "the next microsecond")
        worker.slot.beat(engine)
        watch.let_pass(LOOK_S, worker, beat=True)
    assert not watch.hung and not log.messages


def test_an_engine_that_stands_still_beside_another_one_hangs(worker, log):
    worker.slot.beat(CREW)
    watch = Watch()
    for _ in range(int(TIMEOUT_S * HEADSTART + LENIENCE_S) + 2):
        worker.slot.cells.write(BEAT_AT, worker.slot.beat_us(LOOP) + 1)
        watch.let_pass(LOOK_S, worker, beat=True)
    assert watch.hung == [("worker 7", "its crew has stood still for 17 s")]


@pytest.mark.parametrize(
    "state",
    [WorkerState.EMPTY, WorkerState.STARTING, WorkerState.RETIRING, WorkerState.STOPPING, WorkerState.HUNG],
)
def test_only_workers_that_serve_are_looked_at(worker, log, state):
    worker.slot.state = state
    watch = Watch()
    watch.let_pass(10 * TIMEOUT_S, worker)
    assert not watch.hung and not log.messages


def test_a_watchdog_that_has_not_begun_is_not_missed(worker, log):
    worker.slot.clear()
    worker.slot.state = WorkerState.READY
    watch = Watch()
    watch.let_pass(10 * TIMEOUT_S, worker)
    assert not watch.hung and not log.messages


def test_without_a_time_out_nothing_hangs(worker, log):
    watch = Watch(0.0)
    watch.let_pass(1000, worker)
    assert not watch.hung and not log.messages


def stat_of(pid: int) -> str:
    """Return the letter by which the kernel says what a process does."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_a_process_that_is_stopped_does_not_hang(worker, log):
    watch = Watch()
    watch.let_pass(TIMEOUT_S / 2, worker)
    os.kill(worker.pid, signal.SIGSTOP)
    until(lambda: stat_of(worker.pid) == "T", "the stop")
    watch.let_pass(5 * TIMEOUT_S, worker)
    os.kill(worker.pid, signal.SIGCONT)
    until(lambda: stat_of(worker.pid) != "T", "the going on")
    # All of its time is before it again.
    watch.let_pass(HANGS_S, worker)
    assert not watch.hung
    assert [level for _, level, _ in log.record_tuples] == [logging.WARNING] * 2
    assert log.messages == [
        "worker 7 is stopped, by SIGSTOP or a debugger: its clients wait until it goes on",
        "worker 7 goes on after it was stopped",
    ]
    watch.let_pass(2 * LOOK_S, worker)
    assert len(watch.hung) == 1


def test_a_process_that_is_stopped_is_told_of_though_nothing_hangs(worker, log):
    watch = Watch(0.0)
    os.kill(worker.pid, signal.SIGSTOP)
    until(lambda: stat_of(worker.pid) == "T", "the stop")
    watch.let_pass(LOOK_S, worker)
    # It runs in between, as one that is traced.
    until(lambda: clock_us() > worker.slot.beat_us(LOOP), "the next microsecond")
    worker.slot.beat(LOOP)
    watch.let_pass(LOOK_S, worker)
    assert not log.messages
    watch.let_pass(5 * LOOK_S, worker)
    assert log.messages == ["worker 7 is stopped, by SIGSTOP or a debugger: its clients wait until it goes on"]


def test_time_in_which_the_supervisor_itself_did_not_run_does_not_count(worker, log):
    watch = Watch()
    watch.let_pass(TIMEOUT_S / 2, worker)
    for _ in range(3):
        watch.now += 100 * TIMEOUT_S
        watch.let_pass(LOOK_S, worker)
    watch.let_pass(HANGS_S - LOOK_S, worker)
    assert not watch.hung and not log.messages
    watch.let_pass(3 * LOOK_S, worker)
    assert len(watch.hung) == 1


def test_a_worker_that_has_just_ended_is_no_trouble(worker, log):
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    gone = Still(pid, worker.slot, -1)
    watch = Watch()
    watch.let_pass(HANGS_S + LOOK_S, gone)
    assert log.messages[1] == f"the process {pid} cannot be asked for its stacks: No such process"
    watch.let_pass(LOOK_S)
    assert not watch.vigil.records


def test_workers_are_looked_at_each_for_itself(worker, log):
    board = Scoreboard.create()
    slot = board.slot(1)
    slot.watched()
    slot.state = WorkerState.READY
    lively = Still(os.getpid(), slot, -1)
    watch = Watch()
    for _ in range(int(HANGS_S) + 2):
        slot.cells.write(WATCHED_AT, slot.watched_us() + 1)
        watch.let_pass(LOOK_S, lively, worker)
    assert [name for name, _ in watch.hung] == ["worker 7"]
    board.close()
