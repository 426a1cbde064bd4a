"""The crew driver: threads that take turns at leading; the leader polls and calls the application itself."""

import _thread
import itertools
import logging
import resource
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from trilithon.foundation.leaf import Pulse
from trilithon.gateway.mount import Router
from trilithon.gateway.wsgi import WsgiGateway
from trilithon.net.connection import Connection
from trilithon.net.engine import Engine
from trilithon.net.life import CLOSED, FINISHING
from trilithon.wire.exchange import LOST, Exchange
from trilithon.wire.phase import STREAMS

log = logging.getLogger("trilithon.error")

# Responses are gathered to be written together, so many at most and for so many of the sentinel's ticks at most: each
# write wakes a client and cools the caches. Flask costs 70 us a request with 16 and 65 with 64, a constant answer 11.8
# and 11.0.
BATCH = 64
BATCH_TICKS = 4
# So many short calls, less 32 for each long one, and the leader calls inline again. A hop to another thread costs
# about 30 us, a leader that is stuck until the sentinel sees it 1.5 ms: one long call in fifty makes both equal.
CALM_CALLS = 64
LONG_CALL_WEIGHT = 32
# A call that takes longer blocks or computes; far above what a constant answer takes.
LONG_CALL_S = 0.0005

THIS_THREAD = getattr(resource, "RUSAGE_THREAD", None)
uncounted = itertools.count()


def waits() -> int:
    """Return how often this thread has waited for something so far; a new number each time where nobody counts."""
    # Not the times it was put off its processor: on a crowded machine that happens to the shortest of calls.
    return resource.getrusage(THIS_THREAD).ru_nvcsw if THIS_THREAD is not None else next(uncounted)


# The bodies of a turn are held together and freed together. glibc gives free memory at the top of the heap back to the
# kernel above twice the largest block it has freed, at first 128 KiB, and then each turn faults its pages in anew: 7 us
# of the 26 that an echo of 16 KiB cost. Freeing one block of this size is all it takes to tell it.
TURN_BYTES = 4 << 20


class Term:
    """One thread's time as the leader.

    `door` holds one token while the leader is inside the application. Whoever takes the token decides: the leader on
    its way out, and it leads on; the sentinel, and another thread leads. Taking from a list is atomic, so the way
    through the door needs no lock.
    """

    def __init__(self) -> None:
        self.door: list[bool] = []
        self.thread = 0


class Follower:
    """A thread that waits to be promoted; `gate` is its binary semaphore."""

    def __init__(self) -> None:
        self.gate = _thread.allocate_lock()
        self.gate.acquire()
        self.term: Term | None = None


class Crew:
    """Runs exchanges of an engine on up to `threads` threads at once, with no hand-over of a request between threads.

    One more thread than that exists, so that there is always one to poll while all others are in the application.
    `router` finds the gateway of each exchange; one that is not WSGI's goes to the engine `heir`. `lock` guards
    `away`, the threads inside the application that do not lead, `idle`, and the change of leaders.
    """

    def __init__(self, engine: Engine, threads: int, router: Router, heir: Engine | None = None) -> None:
        self.engine = engine
        self.router = router
        self.heir = heir
        self.threads = threads
        self.max_queued = engine.capacity.max_queued_requests
        self.retry_after = b"Retry-After: %d\r\n" % engine.capacity.retry_after_s
        self.runnable: deque[Exchange] = deque()
        self.lock = threading.Lock()
        self.idle: list[Follower] = []
        self.running: set[Exchange] = set()
        self.away = 0
        self.hands = 0
        self.pulse = Pulse()
        self.term = Term()
        self.promoting = False
        self.calm = 0
        self.stopped = False
        self.drained = threading.Event()
        self.awake = threading.Event()
        self.drowsy = True
        self.on_drained: Callable[[], None] | None = None
        engine.on_waiting = self.before_waiting
        engine.on_step_aside = self.step_aside
        engine.threaded = True

    # From other threads.

    def start(self) -> None:
        """Let the first thread lead."""
        bytearray(TURN_BYTES)
        with self.lock:
            self.promote()

    def part(self) -> None:
        """Accept no more, but answer one more request on each connection; ends as with `stop`."""
        self.engine.post(self.engine.part)

    def stop(self) -> None:
        """Accept no more, and end once no connection is left; `on_drained` is called then, on a crew thread."""
        self.engine.post(self.engine.stop_waiting)

    def abandon(self) -> None:
        """End at once, whatever still runs."""
        self.engine.post(self.finish)

    def enqueue(self, exchange: Exchange) -> None:
        """Take an exchange whose call can begin; on the thread that owns its connection."""
        connection: Connection = exchange.connection
        if connection.owner is not self.engine:
            # It belongs to the event loop, as connections of many streams do where there is one.
            self.engine.post(partial(self.take_foreign, exchange))
            return
        if self.is_full():
            exchange.refuse(503, self.retry_after)
            return
        if connection.protocol.phase is not STREAMS:
            if connection.dirty:
                # An earlier answer, or TLS records: whoever leads may not touch them once the connection is lent.
                connection.dirty = False
                connection.flush()
            connection.busy = True
        self.runnable.append(exchange)

    def take_foreign(self, exchange: Exchange) -> None:
        """Take an exchange of a connection that another engine owns; on the leading thread."""
        if self.stopped or self.is_full():
            exchange.refuse(503, self.retry_after)
        else:
            self.runnable.append(exchange)

    def is_full(self) -> bool:
        """Tell whether no further exchange may wait, not even in the place of one whose client has left.

        Those that a free thread is about to take do not wait.
        """
        if not self.max_queued:
            return False
        return len(self.runnable) >= self.max_queued + self.threads - self.away and not self.drop_left()

    def drop_left(self) -> bool:
        """Drop a waiting request whose client has reset its connection; returns whether there was one."""
        for exchange in list(self.runnable):
            connection: Connection = exchange.connection
            if connection.hung or exchange.outbound is LOST:
                try:
                    self.runnable.remove(exchange)
                except ValueError:
                    continue  # a thread has taken it meanwhile
                if connection.busy:
                    connection.broken()
                return True
        return False

    def sort(self, exchange: Exchange) -> None:
        """Give a new exchange to the gateway that serves its path."""
        gateway = self.router.find(exchange)
        if gateway is None:
            exchange.refuse(404)
        elif type(gateway) is WsgiGateway:
            if gateway.admit(exchange):
                self.enqueue(exchange)
        elif self.heir is not None:
            self.engine.hand_over(exchange, self.heir)

    # Leading.

    def promote(self) -> None:
        """Make another thread the leader; the lock is held."""
        term = Term()
        self.term = term
        if self.pulse.beats & 1:
            self.pulse.beats += 1  # the leader that is relieved inside does not beat any more
        if self.idle:
            follower = self.idle.pop()
            follower.term = term
            follower.gate.release()
        else:
            self.hands += 1
            follower = Follower()
            follower.term = term
            follower.gate.release()
            name = f"trilithon-crew-{self.hands}"
            threading.Thread(target=self.follow, args=(follower,), name=name, daemon=True).start()

    def follow(self, follower: Follower) -> None:
        """Live as a thread of the crew: wait, lead, work, wait again."""
        try:
            while not self.stopped:
                follower.gate.acquire()
                if self.stopped or follower.term is None:
                    return
                self.lead(follower.term)
                if self.stopped:
                    return
                self.work(follower)
        except BaseException:
            log.exception("a crew thread broke: this is a fault of trilithon")
            raise

    def lead(self, term: Term) -> None:
        """Poll and serve until relieved; returns then, counted in `away`."""
        term.thread = threading.get_ident()
        engine = self.engine
        engine.leader = term.thread
        runnable = self.runnable
        pulse = self.pulse
        pulse.thread = threading.get_native_id()
        since = pulse.ticks
        while not self.stopped:
            if not runnable or (self.away >= self.threads and self.all_away()):
                self.turn()
                continue
            try:
                exchange = runnable.popleft()
            except IndexError:
                continue  # a thread that came back from the application was faster
            if self.promoting:
                with self.lock:
                    self.away += 1
                    self.promote()
                self.call_measured(exchange)
                self.settle_away(exchange)
                return
            pulse.beats += 1
            term.door.append(True)
            if self.drowsy:  # behind the door: a sentinel that dozes off now sees it open
                self.rouse()
            self.run(exchange)
            try:
                term.door.pop()
            except IndexError:
                self.settle_away(exchange)
                return
            pulse.beats += 1
            self.settle(exchange)
            if len(engine.dirty) == 1:
                since = pulse.ticks
            if len(engine.dirty) >= BATCH or pulse.ticks - since >= BATCH_TICKS:
                engine.flush()

    def turn(self) -> None:
        """Write what waits, poll, and sort what came."""
        engine = self.engine
        engine.flush()
        if engine.terms.closing and self.has_nothing():
            self.finish()
            return
        slot = engine.slot
        if slot is not None:
            slot.rest(engine.seat, len(engine.connections), len(self.runnable))
        engine.poll(0.0 if engine.exchanges else engine.wait_s())
        exchanges = engine.exchanges
        while exchanges:
            self.sort(exchanges.popleft())

    def has_nothing(self) -> bool:
        """Tell whether nothing is left to serve: no connection, here or on its way from or to the event loop, no call.

        Where there is one, its connections may still bring requests for the crew. A call may outlast its connection,
        and its thread has the engine to do with until it is idle.
        """
        heir = self.heir
        if heir is not None and (heir.posts or heir.connections):
            return False
        with self.lock:
            return not self.away and self.engine.is_empty()

    def finish(self) -> None:
        """Nothing is left to serve: let all threads end."""
        self.stopped = True
        with self.lock:
            idle = self.idle
            self.idle = []
        for follower in idle:
            follower.gate.release()
        self.awake.set()
        self.drained.set()
        if self.on_drained is not None:
            self.on_drained()

    def all_away(self) -> bool:
        """Tell, for certain, whether all threads that may call are in the application."""
        with self.lock:
            return self.away >= self.threads

    def settle(self, exchange: Exchange) -> None:
        """Take a connection back behind a call, still leading: what it wrote is flushed with the others'."""
        connection: Connection = exchange.connection
        engine = self.engine
        if not connection.busy:
            return
        connection.busy = False
        if connection.life is CLOSED:
            return
        if connection.watched != connection.mask:
            engine.rewatch(connection)
        if connection.queued or connection.life is FINISHING:
            connection.soil()
        if connection.protocol.ahead or connection.protocol.end_seen:
            engine.pipelined.append(connection)

    def settle_away(self, exchange: Exchange) -> None:
        """Take a connection back behind a call while another thread leads."""
        connection: Connection = exchange.connection
        engine = self.engine
        if not connection.busy:
            if connection.owner is engine:
                connection.flush()
            if engine.journal is not None:
                engine.journal.flush()
            return
        connection.flush()
        following = None
        protocol = connection.protocol
        if protocol.ahead or protocol.end_seen or protocol.paused:
            following = protocol.next()
            if following is not None:
                following.opened_at = engine.now
            if connection.life is FINISHING:
                connection.flush()
        if engine.journal is not None:
            engine.journal.flush()
        engine.take_back(connection)
        if following is not None:
            engine.post(partial(engine.follow_up, connection, following))
        elif engine.terms.closing:
            engine.post(partial(engine.retire, connection))

    def run(self, exchange: Exchange) -> None:
        """Call the application."""
        connection: Connection = exchange.connection
        if connection.hung:
            connection.broken()
            return
        if exchange.outbound is LOST:
            return  # its stream was reset while it waited
        gateway = exchange.gateway
        slot = self.engine.slot
        if slot is None:
            gateway.run(exchange)
        else:
            exchange.thread = slot.enter(exchange.mark)
            self.running.add(exchange)
            gateway.run(exchange)
            self.running.discard(exchange)
            slot.leave()

    def work(self, follower: Follower) -> None:
        """Run what is waiting while another thread leads; returns as a follower when that one can do it alone.

        Two threads that run short calls only take the GIL from each other. The leader runs none while all are away.
        """
        runnable = self.runnable
        waited = True
        while True:
            with self.lock:
                if not runnable or not (waited or self.promoting or self.away >= self.threads):
                    if self.engine.terms.closing:
                        self.engine.post(no_call)  # the leader may have waited for this; the lock keeps it until then
                    self.away -= 1
                    follower.term = None
                    self.idle.append(follower)
                    return
            try:
                exchange = runnable.popleft()
            except IndexError:
                continue  # another thread was faster
            waited = self.call_measured(exchange)
            self.settle_away(exchange)

    def call_measured(self, exchange: Exchange) -> bool:
        """Run an exchange and count whether calls have become short again; returns whether this one waited long."""
        start = time.monotonic()
        before = waits()
        self.run(exchange)
        if time.monotonic() - start > LONG_CALL_S and waits() != before:
            self.calm = max(0, self.calm - LONG_CALL_WEIGHT)
            return True
        self.calm += 1
        if self.calm > CALM_CALLS:
            self.promoting = False
        return False

    def before_waiting(self) -> None:
        """Write others' output before this thread waits for a client inside the application."""
        term = self.term
        if term.thread != threading.get_ident():
            return
        try:
            term.door.pop()
        except IndexError:
            return
        self.engine.flush()
        term.door.append(True)

    def step_aside(self) -> None:
        """Have another thread lead, if this one does: it is about to wait for what only the leader can bring."""
        term = self.term
        if term.thread != threading.get_ident():
            return
        with self.lock:
            try:
                term.door.pop()
            except IndexError:
                return
            self.engine.flush()
            self.away += 1
            self.promote()

    def rouse(self) -> None:
        """Wake the sentinel."""
        self.drowsy = False
        self.awake.set()


def no_call() -> None:
    """Do nothing, on the thread of an engine that is to look round."""
