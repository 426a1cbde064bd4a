"""Even load: new connections go to the worker with the fewest, idle ones move to workers with less to do."""

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

from trilithon.foundation.cells import clock_us
from trilithon.foundation.scoreboard import Scoreboard, Slot, WorkerState
from trilithon.net.arrival import Doorway
from trilithon.net.connection import Connection
from trilithon.net.engine import Engine
from trilithon.net.levelling import choose, is_turn_over, plan, window_s
from trilithon.net.life import OPEN
from trilithon.net.listener import Listener, descriptor_limit
from trilithon.net.mailbox import MAX_PARCELS, Mailbox, Neighbour, Parcel
from trilithon.net.poller import READ
from trilithon.net.standing import (
    COLLECTED,
    CPU_PERMILLE,
    HAS_ROOM,
    MEASURED_AT,
    RATE,
    RECENT_WORK,
    RESTS,
    WORK_S,
    Standing,
    note_arrivals,
    recent_arrivals,
    takes_connections,
)
from trilithon.wire.http1 import Http1
from trilithon.wire.phase import IDLE

TICK_S = 0.125
# Without a tick for so long, a worker has rested, and its figures begin anew.
REST_S = 0.5
# A connection's requests are spread over this much time at least.
MIN_AGE_S = 0.1
# A connection that a worker has not collected by then is taken back.
PATIENCE_S = 0.1
# Later where all threads of this worker are in calls: the other one may only be waiting for a processor.
BUSY_PATIENCE_S = 2.0
# So long a worker gets nothing after that.
SHUN_S = 1.0
# More than any worker has connections.
ALL_BUSY = 1 << 30
# Descriptors that are left to the application.
KEPT_DESCRIPTORS = 64


@dataclass(slots=True)
class Candidate:
    """A worker that may get a connection; `neighbour` is None for this one."""

    neighbour: Neighbour | None
    connections: int
    arrivals: float


@dataclass(slots=True)
class Sample:
    """How many requests a connection had brought at a moment, and its rate by then."""

    requests: int
    at: float
    rate: float


class Balancer:
    """One worker's part in the even load of all: what it accepts for others, gives and takes.

    Owned by the worker's engines, whose threads call it; `lock` guards what they share. `place`, `dispatch` and `take`
    belong to the engine that listens. `threads` is how many calls each worker can run at a time, zero for any number.
    """

    def __init__(self, scoreboard: Scoreboard, slot: int, reading: socket.socket, threads: int = 0) -> None:
        self.scoreboard = scoreboard
        self.slot = scoreboard.slot(slot)
        self.reading = reading
        self.threads = threads
        self.engines: list[Engine] = []
        self.doorways: dict[str, Doorway] = {}
        self.neighbours: dict[int, Neighbour] = {}
        self.lock = threading.RLock()
        self.candidates: list[Candidate] = []
        self.outgoing: dict[int, list[Parcel]] = {}
        self.kept = 0
        self.room = descriptor_limit() - KEPT_DESCRIPTORS
        self.measured_at = 0.0
        self.requests = 0
        self.rate = 0.0
        self.work = 0.0
        self.cpu_s = time.process_time()
        self.cpu = 0.0
        self.ticks = 0
        self.absent = 0.0
        self.is_waiting = False
        self.samples: dict[Connection, Sample] = {}
        self.sampled_at = 0.0
        self.wishes: dict[Connection, tuple[int, float]] = {}
        self.slot.cells.write(RESTS, 1)
        self.slot.cells.write(HAS_ROOM, 1)

    def attend(self, engine: Engine) -> None:
        """Take part in the turns of an engine; the first one has the mailbox. Called before it listens."""
        engine.steward = self
        engine.tick_s = min(engine.tick_s, TICK_S)
        self.engines.append(engine)
        if len(self.engines) == 1:
            mailbox = Mailbox(engine.poller, self.reading, self.take)
            engine.listeners[mailbox.fd] = mailbox
            mailbox.resume()

    def add(self, neighbour: Neighbour) -> None:
        """Know another worker from now on, in the place of one that had its slot; from any thread."""
        self.post(partial(self.exchange, neighbour.slot, neighbour))

    def remove(self, slot: int) -> None:
        """Forget a worker, and serve what it has not collected; from any thread."""
        self.post(partial(self.exchange, slot, None))

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` run on the thread of the engine that listens."""
        if self.engines:
            self.engines[0].post(call)
        else:
            call()

    def exchange(self, slot: int, neighbour: Neighbour | None) -> None:
        """Put a worker in the place of another, or of none."""
        with self.lock:
            old = self.neighbours.pop(slot, None)
            if neighbour is not None:
                self.neighbours[slot] = neighbour
        if old is not None:
            # One that does not serve yet leaves them to the others: all have this mailbox. So does one that leaves, but
            # for what it may have sent when they had looked already.
            serves = self.slot.state is WorkerState.READY or old.sent
            parcels = old.take_back() if serves and self.engines and not self.engines[0].closed else []
            old.close()
            self.admit(parcels)

    # New connections.

    def place(self, listener: Listener, sock: socket.socket, address: Any) -> bool:
        """Find the worker that an accepted connection goes to; returns False when that is this one."""
        if not self.neighbours or self.slot.state is WorkerState.STOPPING:
            return False  # those who are told to stop all stop at the same time
        if not self.candidates:
            self.find_candidates()
        best = min(self.candidates, key=claim)
        best.connections += 1
        best.arrivals += 1
        if best.neighbour is None:
            self.kept += 1
            return False
        parcel = Parcel(sock, listener.door, listener.identify(sock, address))
        self.outgoing.setdefault(best.neighbour.slot, []).append(parcel)
        return True

    def find_candidates(self) -> None:
        """List the workers that a batch of new connections is spread over."""
        now_us = clock_us()
        own = self.count()
        counts = [own]
        handicap = self.handicap(self.slot)
        for neighbour in self.neighbours.values():
            slot = self.scoreboard.slot(neighbour.slot)
            is_shunned = not handicap and self.engines[0].now < neighbour.shunned_until
            if is_shunned or not takes_connections(slot, now_us):
                continue
            self.catch_up(neighbour)
            count = slot.connections() + neighbour.sent
            counts.append(count)
            arrivals = recent_arrivals(slot, now_us) + neighbour.sent
            self.candidates.append(Candidate(neighbour, count + self.handicap(slot), arrivals))
        # Handing over has its price: among many connections a few more or less make no difference.
        favour = sum(counts) // len(counts) // 16
        arrivals = recent_arrivals(self.slot, now_us) - 0.5
        self.candidates.append(Candidate(None, own + handicap - favour, arrivals))

    def handicap(self, slot: Slot) -> int:
        """Return what is added to the connections of a worker whose threads are all in calls."""
        return ALL_BUSY if self.threads and slot.in_flight() >= self.threads else 0

    def catch_up(self, neighbour: Neighbour) -> None:
        """Note whether a worker has collected what was sent."""
        slot = self.scoreboard.slot(neighbour.slot)
        neighbour.catch_up(slot.cells.read(COLLECTED), slot.busy_since_us(), time.monotonic())

    def dispatch(self) -> None:
        """Hand over what was placed since the last time; what a full mailbox refuses is served here."""
        self.candidates.clear()
        if self.kept:
            note_arrivals(self.slot, self.kept)
            self.kept = 0
        if not self.outgoing:
            return
        outgoing, self.outgoing = self.outgoing, {}
        for slot, parcels in outgoing.items():
            neighbour = self.neighbours[slot]
            if self.send(neighbour, parcels):
                for parcel in parcels:
                    parcel.sock.close()
            else:
                self.admit(parcels)

    def send(self, neighbour: Neighbour, parcels: list[Parcel]) -> bool:
        """Send connections to a worker and remember that it has to collect them."""
        with self.lock:
            self.catch_up(neighbour)
            if not neighbour.send(parcels):
                return False
            if not neighbour.sent:
                neighbour.since = time.monotonic()
            neighbour.sent += len(parcels)
        for _ in parcels:
            self.slot.gave()
        self.expect()
        return True

    def expect(self) -> None:
        """Have the engine that listens look soon whether all was collected, though it may have nothing else to do."""
        engine = self.engines[0]
        self.is_waiting = True
        engine.next_sweep = min(engine.next_sweep, engine.now + TICK_S)
        if not engine.leads():
            engine.post(lambda: None)  # its poll may sleep for longer

    # Arrivals.

    def take(self, parcels: list[Parcel]) -> None:
        """Serve connections that came from another worker, or came back."""
        self.admit(parcels)
        cells = self.slot.cells
        cells.write(COLLECTED, cells.read(COLLECTED) + 1)
        for _ in parcels:
            self.slot.took()

    def recall(self, engine: Engine) -> None:
        """Take back what workers that stop too have left in their mailboxes: they collect no more; see Steward."""
        for neighbour in self.neighbours.values() if engine is self.engines[0] else ():
            if neighbour.sent and self.scoreboard.slot(neighbour.slot).state is not WorkerState.READY:
                neighbour.sent = 0
                self.admit(neighbour.take_back())

    def admit(self, parcels: list[Parcel]) -> None:
        """Serve connections here."""
        if not parcels:
            return
        engine = self.engines[0]
        for parcel in parcels:
            try:
                self.open(engine, parcel)
            except OSError:
                parcel.sock.close()  # its client is gone
        note_arrivals(self.slot, len(parcels))
        self.tell_room()

    def open(self, engine: Engine, parcel: Parcel) -> None:
        """Make a connection of what came; raises OSError."""
        sock = parcel.sock
        sock.setblocking(False)
        connection = Connection(engine, sock)
        doorway = self.doorways.get(parcel.door) or next(iter(self.doorways.values()))
        if parcel.requests < 0:
            doorway.enter(connection, parcel.peer)
        else:
            protocol = Http1(connection, engine.terms, parcel.peer)
            protocol.requests = parcel.requests
            connection.speak(protocol)
            connection.retime()
            self.samples[connection] = Sample(parcel.requests, engine.now, parcel.rate)
            self.shift(parcel.rate)
        engine.admit(connection)

    def tell_room(self) -> None:
        """Let the others know whether this worker may have more."""
        limit = self.engines[0].capacity.max_connections
        room = min(limit, self.room) if limit else self.room
        self.slot.cells.write(HAS_ROOM, self.count() < room)

    def count(self) -> int:
        """Return how many connections this worker has."""
        return sum(len(engine.connections) for engine in self.engines)

    # The clock.

    def tick(self, engine: Engine, now: float) -> None:
        """Measure, see which connections are to move, and whether others collect theirs; every TICK_S or so."""
        with self.lock:
            if now >= self.measured_at + 0.9 * TICK_S:
                self.measure(now)
                self.wish(now)
        if engine is self.engines[0]:
            for neighbour in self.neighbours.values():
                if neighbour.sent:
                    self.look_after(neighbour, now)
            self.is_waiting = any(neighbour.sent for neighbour in self.neighbours.values())
        if not self.is_waiting and not self.count():
            self.slot.cells.write(RESTS, 1)

    def measure(self, now: float) -> None:
        """Take the figures of the time since the last tick."""
        elapsed = now - self.measured_at
        cpu_s = time.process_time()
        total = self.slot.requests()
        count = total - self.requests
        self.work = self.work * math.exp(-elapsed / WORK_S) + count
        if elapsed > REST_S:
            self.ticks = 0
            self.rate = 0.0
            self.cpu = 0.0
        else:
            self.ticks += 1
            measured = max(0.0, count + self.absent) / elapsed
            gain = max(1 / self.ticks, min(0.5, 2 * elapsed / window_s(max(measured, self.rate))))
            self.rate += gain * (measured - self.rate)
            self.cpu += 0.5 * ((cpu_s - self.cpu_s) / elapsed - self.cpu)
        self.absent = 0.0
        self.measured_at = now
        self.requests = total
        self.cpu_s = cpu_s
        self.tell()
        self.tell_room()

    def shift(self, rate: float) -> None:
        """Change what is expected by the rate of connections that came, or that went.

        The requests that they brought since the last tick while they were elsewhere, or here, are accounted for too.
        """
        self.rate = max(0.0, self.rate + rate)
        self.absent += rate * (time.monotonic() - self.measured_at)

    def tell(self) -> None:
        """Write the figures down for the others."""
        cells = self.slot.cells
        cells.write(RATE, round(self.rate))
        cells.write(RECENT_WORK, round(self.work))
        cells.write(CPU_PERMILLE, round(self.cpu * 1000))
        cells.write(MEASURED_AT, clock_us())
        cells.write(RESTS, 0)

    def look_after(self, neighbour: Neighbour, now: float) -> None:
        """Take back what a worker has not collected in time."""
        self.catch_up(neighbour)
        patience_s = BUSY_PATIENCE_S if self.handicap(self.slot) else PATIENCE_S
        if neighbour.sent and now - neighbour.since > patience_s and neighbour.has_mail():
            neighbour.shunned_until = now + SHUN_S
            neighbour.sent = 0
            self.admit(neighbour.take_back())

    # Idle connections.

    def wish(self, now: float) -> None:
        """Choose the connections that are to move; each goes once it is between two requests."""
        self.wishes.clear()
        if now - self.sampled_at > window_s(self.rate):
            self.sample(now)
        now_us = clock_us()
        if self.engines[0].terms.patient:
            self.wish_all_away(now, now_us)
            return
        others = [Standing(slot, now_us) for slot in self.open_slots(now, now_us)]
        own = Standing(self.slot, now_us)
        quotas = plan(own, others) if others else []
        if not quotas:
            return
        rated = self.rate_connections(now)
        rates = [rate for rate, _ in rated]
        taken: set[int] = set()
        for quota in quotas:
            for place in choose(rates, quota, taken):
                taken.add(place)
                self.wishes[rated[place][1]] = (quota.slot, rates[place])
        if not taken and rates and is_turn_over(own, others) and quotas[0].rate:
            self.wishes[rated[0][1]] = (quotas[0].slot, rates[0])
        self.announce()

    def wish_all_away(self, now: float, now_us: int) -> None:
        """Let all connections that can move go to the others: this worker leaves, and they need not be closed."""
        heirs = self.open_slots(now, now_us)
        if heirs:
            for number, (connection, protocol) in enumerate(self.movable()):
                heir = heirs[number % len(heirs)]
                self.wishes[connection] = (heir.index, self.rate_of(connection, protocol, now))
        self.announce()

    def announce(self) -> None:
        """Have the engines fulfil the wishes before their next poll."""
        if self.wishes:
            for engine in self.engines:
                engine.wishing = True

    def open_slots(self, now: float, now_us: int) -> list[Slot]:
        """Return the slots of the workers that may be given connections."""
        slots = [self.scoreboard.slot(slot) for slot, other in self.neighbours.items() if now >= other.shunned_until]
        return [slot for slot in slots if takes_connections(slot, now_us)]

    def movable(self) -> Iterator[tuple[Connection, Http1]]:
        """Go through the connections that could move: what TLS and HTTP/2 have agreed on is in this process."""
        for engine in self.engines:
            for connection in list(engine.connections.values()):
                protocol = connection.protocol
                if type(protocol) is Http1 and connection.tls is None and connection.life is OPEN:
                    yield connection, protocol

    def sample(self, now: float) -> None:
        """Note where each connection stands, so that its rate is known when it is asked for."""
        self.samples = {
            connection: Sample(protocol.requests, now, self.rate_of(connection, protocol, now))
            for connection, protocol in self.movable()
        }
        self.sampled_at = now

    def rate_of(self, connection: Connection, protocol: Http1, now: float) -> float:
        """Return how many requests a second a connection brings, by what it brought of late."""
        sample = self.samples.get(connection)
        if sample is None:  # it is younger than the samples
            return protocol.requests / max(MIN_AGE_S, now - self.sampled_at)
        age = now - sample.at
        window = max(age, window_s(self.rate))
        return (sample.rate * (window - age) + protocol.requests - sample.requests) / window

    def rate_connections(self, now: float) -> list[tuple[float, Connection]]:
        """Return the connections that could move and their requests a second, the highest first."""
        rated = [(self.rate_of(connection, protocol, now), connection) for connection, protocol in self.movable()]
        rated.sort(key=itemgetter(0), reverse=True)
        return rated

    def fulfil(self, engine: Engine) -> None:
        """Give away those chosen connections of an engine that are between two requests; before it polls."""
        with self.lock:
            self.give(engine)

    def give(self, engine: Engine) -> None:
        """Give away what is ready to go; the lock is held."""
        engine.wishing = False
        ready: dict[int, list[Connection]] = {}
        for connection, (slot, _) in self.wishes.items():
            if connection.owner is not engine or connection.life is not OPEN:
                continue  # it is the other engine's by now, or closed
            if is_between_requests(connection):
                ready.setdefault(slot, []).append(connection)
            else:
                engine.wishing = True
        for slot, connections in ready.items():
            neighbour = self.neighbours.get(slot)
            if neighbour is None or not takes_connections(self.scoreboard.slot(slot), clock_us()):
                continue
            for first in range(0, len(connections), MAX_PARCELS):
                if not self.part_with(connections[first : first + MAX_PARCELS], neighbour):
                    break

    def part_with(self, connections: list[Connection], neighbour: Neighbour) -> bool:
        """Hand connections between two requests to a worker; returns False when it cannot have them."""
        parcels = [
            Parcel(connection.sock, "", connection.protocol.peer, served(connection), self.wishes.pop(connection)[1])
            for connection in connections
        ]
        if not self.send(neighbour, parcels):
            return False
        self.shift(-sum(parcel.rate for parcel in parcels))
        for connection in connections:
            connection.close()
        self.tell()
        return True


def claim(candidate: Candidate) -> tuple[int, float]:
    """Return what a new connection goes by: the least wins."""
    return candidate.connections, candidate.arrivals


def served(connection: Connection) -> int:
    """Return how many requests a connection of HTTP/1 has brought."""
    protocol = connection.protocol
    return protocol.requests if isinstance(protocol, Http1) else 0


def is_between_requests(connection: Connection) -> bool:
    """Tell whether nothing of a connection is in this process but what a parcel says of it."""
    protocol = connection.protocol
    return (
        not connection.busy
        and not connection.dirty
        and not connection.queued
        and protocol.phase is IDLE
        and not protocol.ahead
        and not protocol.end_seen
        and not protocol.paused
        and connection.watched == READ
    )
