"""The watchdog: a thread that tells a blocked event loop or a stuck crew from one that is only busy, and says why."""

import faulthandler
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable

from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import LOOP, Slot, WorkerState
from trilithon.wire.exchange import Exchange
from trilithon.worker.crew import Crew
from trilithon.worker.hang_report import (
    calls_on_loop,
    describe_request,
    requests_in_flight,
    running_task,
    write_requests,
    write_stack,
    write_stacks,
    write_tasks,
)
from trilithon.worker.looping import LoopDriver
from trilithon.worker.recycling import Recycler, Say, processor_us, resident_bytes
from trilithon.worker.server import Server

log = logging.getLogger("trilithon.error")

TICK_S = 1.0
# A tick that comes later than three should, and this, while the process hardly ran, means that it was stopped.
LATE_S = 0.5
# A crowded machine keeps all threads waiting: who wakes late has not seen the others stand still so long.
CREDIT_TICKS = 1.5
# The loop beats every half second, and may be late.
LEAST_S = 1.0
STDERR = 2
# Makes the interpreter's fault handler write all stacks to standard error, even while C code holds the GIL. One that
# hardly any application uses.
STACK_SIGNAL = int(signal.SIGRTMAX) - 5 if hasattr(signal, "SIGRTMAX") else int(signal.SIGPROF)


def patience_s(options: Options) -> float:
    """Return the time after which something hangs: no shorter than engines beat, zero for never.

    In development nothing does: whoever looks at a stopped application in a debugger takes his time.
    """
    timeout_s = options.hang_timeout_s
    return max(timeout_s, LEAST_S) if timeout_s and not options.reload else 0.0


class Watchdog:
    """Watches the loop and the crew of one worker that has a place on the scoreboard.

    A loop is blocked when it has not run its timers or taken a turn for `hang_timeout_s`. A crew is stuck when all its
    threads are in calls and none of these has sent or taken anything for so long. Both are reported, by `say` to the
    supervisor, and the worker counts as hung. One call that is stuck while other threads serve is only told in the log,
    and so are threads that all wait for their clients: those are in the server, which ends the waiting in time.
    Time in which this thread did not run itself, because the process was stopped or the machine crowded, counts for
    nothing. A hang that holds the GIL stops this thread as well: then the supervisor misses its beat.
    """

    def __init__(self, server: Server, slot: Slot, say: Say) -> None:
        self.server = server
        self.slot = slot
        self.say = say
        self.timeout_s = patience_s(server.options)
        self.tick_s = min(TICK_S, self.timeout_s / 4) if self.timeout_s else TICK_S
        self.recycler = Recycler(server.options, slot, say)
        self.ended = threading.Event()
        self.woke_at = time.monotonic()
        self.cpu_s = time.process_time()
        self.beat_us = 0
        # Counts no more of the time between two ticks than the loop and the crew could have used.
        self.clock_s = 0.0
        self.beat_since = 0.0
        self.progress: dict[Exchange, tuple[tuple[int, int, int], float]] = {}
        self.told: set[Exchange] = set()
        # Called at each tick, on this thread.
        self.on_tick: Callable[[], None] | None = None
        self.waited_since = 0.0
        self.told_waiting = False

    def start(self) -> None:
        """Begin to watch, before the worker says that it is ready."""
        faulthandler.register(STACK_SIGNAL, file=STDERR, all_threads=True)
        self.slot.watched()
        threading.Thread(target=self.watch, name="trilithon-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more; idempotent."""
        self.ended.set()

    def watch(self) -> None:
        """Look at everything once a tick."""
        while not self.ended.wait(self.tick_s):
            self.tick(time.monotonic())

    def tick(self, now: float) -> None:
        """Show that the watchdog lives, and look at everything; `now` is the time of `time.monotonic`."""
        gap_s = now - self.woke_at
        cpu_s = time.process_time()
        # Who computes in C with the GIL keeps this thread waiting, and is no less stuck for it.
        if cpu_s - self.cpu_s < gap_s / 2:
            if gap_s > 3 * self.tick_s + LATE_S:
                self.forget()
            gap_s = min(gap_s, CREDIT_TICKS * self.tick_s)
        self.clock_s += gap_s
        self.woke_at = now
        self.cpu_s = cpu_s
        self.slot.watched()
        if self.on_tick is not None:
            self.on_tick()
        self.slot.weigh(resident_bytes(), processor_us())
        if self.slot.state is WorkerState.READY:
            self.recycler.look(now)
            if self.timeout_s:
                self.look(now)

    def forget(self) -> None:
        """Begin to count anew."""
        self.beat_since = self.clock_s
        self.progress.clear()
        self.waited_since = self.clock_s

    def look(self, now: float) -> None:
        """Look whether loop and crew go on."""
        looping = self.server.looping
        crew = self.server.crew
        if looping is not None and self.is_blocked():
            self.report(self.describe_loop(looping, now))
        elif crew is not None and self.is_stuck(crew, now):
            self.report(self.describe_crew(crew))

    def report(self, text: str) -> None:
        """Say what hangs: to people and to the supervisor. From then on the worker is not looked at any more."""
        self.slot.state = WorkerState.HUNG
        log.error("%s", text)
        self.say({"say": "hung", "report": text.partition("\n")[0]})

    # The loop.

    def is_blocked(self) -> bool:
        """Tell whether the loop has stood still for too long."""
        beat_us = self.slot.beat_us(LOOP)
        if beat_us != self.beat_us:
            self.beat_us = beat_us
            self.beat_since = self.clock_s
        return self.clock_s - self.beat_since >= self.timeout_s

    def describe_loop(self, looping: LoopDriver, now: float) -> str:
        """Return the report of a blocked loop."""
        loop = looping.loop
        task = running_task(loop)
        calls = calls_on_loop(self.server.gateways)
        holders = {exchange for exchange, own in calls if own is not None and own is task}
        # A call that begins eagerly is not told its task before its first wait.
        holders = holders or {exchange for exchange, own in calls if own is None}
        notes = dict.fromkeys(holders, "holds the event loop")
        exchanges = requests_in_flight(self.server.engines())
        exchanges += [exchange for exchange in holders if exchange not in exchanges]
        by = " and ".join(describe_request(exchange, now) for exchange in holders) or "what is no request's call"
        return (
            f"the event loop has been blocked for {self.clock_s - self.beat_since:.1f} s by {by}\n"
            f"requests in flight:\n{write_requests(exchanges, notes)}\n"
            f"stacks:\n{write_stacks({looping.engine.leader: 'the event loop'})}\n"
            f"other tasks of the event loop:\n{write_tasks(loop)}"
        )

    # The crew.

    def is_stuck(self, crew: Crew, now: float) -> bool:
        """Tell whether no thread of the crew gets on; tells of single calls that do not."""
        running = list(crew.running)
        before = self.progress
        self.progress = {}
        for exchange in running:
            done = (exchange.sent_bytes, exchange.received_bytes, exchange.waits)
            last = before.get(exchange)
            stands = last is not None and last[0] == done and not is_waiting(exchange)
            self.progress[exchange] = last if last is not None and stands else (done, self.clock_s)
        self.look_for_waiting(crew, running)
        self.told.intersection_update(running)
        late = [exchange for exchange, (_, since) in self.progress.items() if self.clock_s - since >= self.timeout_s]
        if len(late) >= crew.threads and crew.away >= crew.threads:
            return True
        for exchange in late:
            if exchange not in self.told:
                self.told.add(exchange)
                self.tell(exchange, now)
        return False

    def look_for_waiting(self, crew: Crew, running: list[Exchange]) -> None:
        """Tell once of threads that all wait for slow clients, whose time-outs free them, while requests queue up."""
        waiting = sum(is_waiting(exchange) for exchange in running)
        if waiting < crew.threads or crew.away < crew.threads or not crew.runnable:
            self.waited_since = self.clock_s
            self.told_waiting = False
        elif self.clock_s - self.waited_since >= self.timeout_s and not self.told_waiting:
            self.told_waiting = True
            log.warning(
                "for %g s all %d threads have waited for slow clients, and %d requests for a thread: --threads has "
                "more, --body-timeout and --write-timeout free them sooner",
                self.timeout_s,
                crew.threads,
                len(crew.runnable),
            )

    def tell(self, exchange: Exchange, now: float) -> None:
        """Tell of one call that is stuck while others are not."""
        stack = write_stack(sys._current_frames().get(exchange.thread))
        log.warning("a call keeps its thread without sending: %s; it is at\n%s", describe_request(exchange, now), stack)

    def describe_crew(self, crew: Crew) -> str:
        """Return the report of a stuck crew."""
        running = list(crew.running)
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        notes = {exchange: f"keeps {names.get(exchange.thread, 'a thread')}" for exchange in running}
        exchanges = requests_in_flight(self.server.engines())
        exchanges += [exchange for exchange in running if exchange not in exchanges]
        threads = {exchange.thread: describe_request(exchange, time.monotonic()) for exchange in running}
        count = f"all {crew.threads} threads are" if crew.threads > 1 else "the only thread is"
        return (
            f"{count} stuck in calls of the application, for {self.timeout_s:g} s or longer\n"
            f"requests in flight, {len(crew.runnable)} of them waiting for a thread:\n"
            f"{write_requests(exchanges, notes)}\n"
            f"stacks:\n{write_stacks(threads)}"
        )


def is_waiting(exchange: Exchange) -> bool:
    """Tell whether the thread that runs a call waits for the client, and so is not in the application."""
    return exchange.waits & 1 == 1
