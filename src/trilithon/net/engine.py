"""The engine: one set of connections, polled, parsed, swept and flushed in turns; the drivers decide what runs."""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import Any, Protocol

from trilithon.foundation.limits import Limits
from trilithon.foundation.scoreboard import LOOP, Slot
from trilithon.net.arrival import Doorway
from trilithon.net.certificates import TlsStore
from trilithon.net.connection import Connection, Owner
from trilithon.net.life import CLOSED
from trilithon.net.listener import Entrance, Listener, resume_all
from trilithon.net.poller import ERROR, HANGUP, READ, open_bell, open_poller
from trilithon.net.shared_stream import SharedStream
from trilithon.net.tempo import Tempo, sweep_interval
from trilithon.wire.exchange import Exchange
from trilithon.wire.forwarded import Forwarding
from trilithon.wire.hosts import AllowedHosts
from trilithon.wire.phase import ARRIVAL, IDLE, STREAMS, TUNNEL
from trilithon.wire.terms import Terms

log = logging.getLogger("trilithon.error")

MAX_EVENTS = 256
# A turn that receives more than this finds it gone from the cache when it is worked on and sent: the next one takes
# half as many connections, down to so many. An echo of 64 KiB costs 44 us so, 53 with all connections in one turn.
MAX_VOLUME_BYTES = 262144
# Likewise for requests, of which one event of HTTP/2 may bring a hundred: each is a task at once, and so many new
# objects keep the collector busy. 32 streams on each of 16 connections cost 8.4 us a request so, 9.6 with 48 requests
# and 10.2 without a bound.
MAX_EXCHANGES = 31
MIN_EVENTS = 1
# A client that has just connected is about to ask; one that is silent for longer has connected ahead.
NEWCOMER_S = 1.0


class Journal(Protocol):
    """Where finished exchanges are written down; any thread may call it."""

    def record(
        self, client: tuple[str, int] | None, request_line: bytes, status: int, sent_bytes: int, duration_s: float
    ) -> None:
        """Take one finished exchange."""

    def flush(self) -> None:
        """Write what was gathered."""


class Steward(Protocol):
    """Who sees to it that the workers of a server have equally much to do."""

    is_waiting: bool
    doorways: dict[str, Doorway]

    def tick(self, engine: "Engine", now: float) -> None:
        """Look at the figures; called every `tick_s` or so while `is_waiting`, or while there are connections."""

    def fulfil(self, engine: "Engine") -> None:
        """Give connections away that are between two requests; called before a poll while the engine is `wishing`."""

    def place(self, listener: Listener, sock: socket.socket, address: Any) -> bool:
        """Take an accepted connection for another worker; returns False when it is for this one."""

    def dispatch(self) -> None:
        """Hand over what was placed; called behind every batch of accepted connections."""

    def recall(self, engine: "Engine") -> None:
        """Serve what was handed over to workers that leave too, and that they have not taken."""


class Engine(Owner):
    """Connections, listeners and deadlines of one thread.

    A turn is: `poll` receives and parses all that is ready and leaves what it opened in `exchanges`; the driver runs
    those; `flush` writes all that they produced. Writing together wakes each client once and keeps the caches warm.
    Only `post` may be called from other threads. Where there is a `slot`, what happens is noted on the scoreboard,
    as the doings of the event loop or of the crew: `seat` says which.
    """

    def __init__(self, terms: Terms, limits: Limits, journal: Journal | None = None) -> None:
        super().__init__(terms, Tempo(limits.timeouts, limits.buffers))
        self.capacity = limits.capacity
        self.max_events = MAX_EVENTS
        self.batch = MIN_EVENTS
        self.journal = journal
        self.poller = open_poller()
        self.connections: dict[int, Connection] = {}
        self.listeners: dict[int, Entrance] = {}
        self.exchanges: deque[Exchange] = deque()
        self.dirty: list[Connection] = []
        self.pipelined: list[Connection] = []
        self.now = time.monotonic()
        self.next_stamp = 0.0
        self.sweep_s = sweep_interval(limits)
        self.tick_s = self.sweep_s
        self.sweep_at = 0.0
        self.next_sweep = self.now + self.sweep_s
        self.full = False
        # Guards the change of hands of a connection between the engine's thread and a crew thread.
        self.lending = threading.Lock()
        self.posts: deque[Callable[[], None]] = deque()
        self.bell = open_bell()
        self.poller.register(self.bell[0], READ)
        self.on_wrote: Callable[[], None] | None = None
        self.on_pipelined: Callable[[], None] | None = None
        self.on_waiting: Callable[[], None] | None = None
        self.on_step_aside: Callable[[], None] | None = None
        self.leader = 0
        self.forwarding: Forwarding | None = None
        self.hosts: AllowedHosts | None = None
        self.store: TlsStore | None = None
        self.steward: Steward | None = None
        self.wishing = False
        self.slot: Slot | None = None
        self.seat = LOOP
        self.closed = False

    # The turn.

    def poll(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for readiness, then receive and parse all of it."""
        if self.pipelined:
            self.resume_pipelined()
            timeout_s = 0.0
        if self.wishing and self.steward is not None:
            self.steward.fulfil(self)
        events = self.poller.poll(timeout_s, self.batch)
        now = time.monotonic()
        self.now = now
        slot = self.slot
        if slot is not None:
            slot.wake(self.seat, now)
        if now >= self.next_stamp:
            self.stamp(now)
        connections = self.connections
        for fd, mask in events:
            connection = connections.get(fd)
            if connection is None:
                self.ready_other(fd)
            elif connection.busy:
                self.ready_busy(connection, mask)
            else:
                connection.ready(mask)
        if self.volume > MAX_VOLUME_BYTES or len(self.exchanges) > max(len(events), MAX_EXCHANGES):
            self.batch = max(MIN_EVENTS, self.batch >> 1)
        elif self.batch < self.max_events:
            self.batch = min(self.max_events, self.batch << 1)
        if slot is not None:
            slot.carry(self.volume, self.sent)
        self.volume = self.sent = 0
        if now >= self.next_sweep:
            self.sweep(now)

    def flush(self) -> None:
        """Write what the turn produced."""
        while self.dirty:
            dirty = self.dirty
            self.dirty = []
            for connection in dirty:
                if connection.owner is self and connection.dirty:
                    connection.dirty = False
                    connection.flush()
        if self.journal is not None:
            self.journal.flush()

    def resume_pipelined(self) -> None:
        """Parse the requests that were read ahead of responses now complete."""
        pipelined = self.pipelined
        self.pipelined = []
        for connection in pipelined:
            if connection.owner is self:
                connection.go_on()

    def ready_other(self, fd: int) -> None:
        """Handle a descriptor that is no connection's: a listener, the bell, or one closed earlier in this turn."""
        listener = self.listeners.get(fd)
        if listener is not None:
            listener.accept()
        elif fd == self.bell[0]:
            try:
                os.read(fd, 4096)
            except BlockingIOError:
                pass  # another turn has read it
            while self.posts:
                self.posts.popleft()()

    def stamp(self, now: float) -> None:
        """Refresh the Date line (RFC 9110 6.6.1)."""
        wall = time.time()
        self.terms.stamp.line = b"Date: " + formatdate(wall, usegmt=True).encode("ascii") + b"\r\n"
        self.next_stamp = now + 1.0 - wall % 1.0

    def sweep(self, now: float) -> None:
        """Hold every connection against its deadlines: no timer object each, one pass an interval for all."""
        self.next_sweep = now + self.sweep_s
        if self.steward is not None:
            self.steward.tick(self, now)
            if self.needs_sweep():
                self.next_sweep = now + self.tick_s
            if now < self.sweep_at:
                return
        self.sweep_at = now + self.sweep_s
        for connection in list(self.connections.values()):
            if not connection.busy:
                connection.check_deadlines(now)
        if not self.full:
            for listener in self.listeners.values():
                listener.retry(now)
        if self.store is not None:
            self.store.reload_if_changed(now)
        if self.slot is not None:
            self.tally(self.slot)

    def tally(self, slot: Slot) -> None:
        """Note on the scoreboard how many connections speak what."""
        phases = [connection.protocol.phase for connection in list(self.connections.values())]
        streams = phases.count(STREAMS)
        tunnels = phases.count(TUNNEL)
        slot.tally(self.seat, len(phases) - streams - tunnels, streams, tunnels)

    def needs_sweep(self) -> bool:
        """Tell whether there is anything to sweep."""
        if self.connections or self.store is not None or (self.steward is not None and self.steward.is_waiting):
            return True
        return any(listener.paused for listener in self.listeners.values())

    def wait_s(self) -> float:
        """Return how long a poll may sleep: until the next sweep when there is something to sweep, else for ever.

        On a scoreboard it has to show that it is alive.
        """
        if self.needs_sweep() or self.slot is not None:
            return max(0.0, self.next_sweep - time.monotonic())
        return -1.0

    def ready_busy(self, connection: Connection, mask: int) -> None:
        """Stop watching a connection that a crew thread has to itself: level-triggered readiness would spin."""
        with self.lending:
            busy = connection.busy
            if busy:
                if mask & (ERROR | HANGUP):
                    connection.hung = True
                self.unwatch(connection)
        if not busy and connection.life is not CLOSED:
            connection.ready(mask)

    def take_back(self, connection: Connection) -> None:
        """End the time in which a crew thread had a connection to itself; called by that thread."""
        with self.lending:
            if connection.life is not CLOSED:
                self.rewatch(connection)
            connection.busy = False

    # From other threads.

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` run on the engine's thread in its next turn; from any thread."""
        if self.closed:
            call()
            return
        self.posts.append(call)
        try:
            os.write(self.bell[1], b"\0\0\0\0\0\0\0\1")
        except (BlockingIOError, OSError):
            pass  # the bell rings already, or the engine is closed

    # Connections.

    def admit(self, connection: Connection) -> None:
        """Take in an accepted connection."""
        if self.steward is not None and not self.connections:
            self.next_sweep = 0.0  # the figures of a worker that rested begin now
        self.connections[connection.fd] = connection
        self.poller.register(connection.fd, READ)
        if self.slot is not None:
            self.slot.accepted()
        if self.capacity.max_connections and len(self.connections) >= self.capacity.max_connections and not self.full:
            self.full = True
            log.warning("%d connections are open: no more are accepted for now", len(self.connections))
            for listener in self.listeners.values():
                listener.pause()

    def opened(self, connection: Connection, exchange: Exchange) -> None:
        """Keep a new exchange for the driver; see Owner."""
        if self.slot is not None:
            exchange.mark = self.slot.begin(exchange.head.start.line, self.now)
        if connection.lock is not None:
            exchange.carrier = SharedStream(exchange.carrier, connection)
        if self.forwarding is not None:
            self.forwarding.apply(exchange)
        if self.hosts is not None and not self.hosts.allows(exchange.head.host):
            exchange.refuse(421)
            return
        self.exchanges.append(exchange)

    def leads(self) -> bool:
        """Tell whether this thread is the engine's; see Owner."""
        return threading.get_ident() == self.leader

    def step_aside(self) -> None:
        """Let the driver put another thread in the place of this one; see Owner."""
        if self.on_step_aside is not None:
            self.on_step_aside()

    def finished(self, connection: Connection, exchange: Exchange) -> None:
        """Write a finished exchange down and let the next one of its connection come; see Owner."""
        if self.journal is not None:
            duration = time.monotonic() - exchange.opened_at
            line = exchange.head.start.line
            self.journal.record(exchange.peer.client, line, exchange.status, exchange.sent_bytes, duration)
        if exchange.mark >= 0 and self.slot is not None:
            self.slot.end(exchange.mark, exchange.status, exchange.opened_at)
            exchange.mark = -1
        protocol = connection.protocol
        if (protocol.ahead or protocol.end_seen) and protocol.phase is not STREAMS:
            self.uncorked(connection)

    def uncorked(self, connection: Connection) -> None:
        """Have the requests that were read ahead parsed in the next turn; see Owner."""
        if not connection.busy:
            self.pipelined.append(connection)
            if self.on_pipelined is not None:
                self.on_pipelined()

    def rejected(self, connection: Connection, status: int, reason: str) -> None:
        """Write down what was no request; see Owner."""
        log.debug("refused with %d what %s sent: %s", status, connection.protocol.peer.client, reason)
        if self.journal is not None:
            self.journal.record(connection.protocol.peer.client, b"-", status, 0, 0.0)

    def wrote(self, connection: Connection) -> None:
        """Remember a connection with output; see Owner."""
        self.dirty.append(connection)
        if self.on_wrote is not None:
            self.on_wrote()

    def watch(self, connection: Connection, mask: int) -> None:
        """Change what is listened for; see Owner."""
        if connection.watched != mask and connection.watched >= 0:
            connection.watched = mask
            self.poller.modify(connection.fd, mask)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that closes; see Owner."""
        if connection.busy or connection.lock is not None:
            # A crew thread closes what this engine may be looking at, or as it closes itself.
            with self.lending:
                self.connections.pop(connection.fd, None)
                self.unwatch(connection)
        else:
            self.connections.pop(connection.fd, None)
            self.unwatch(connection)
        if self.full and len(self.connections) < self.capacity.max_connections:
            self.full = False
            self.post(partial(resume_all, self.listeners))  # on its own thread: it may be closing them

    def unwatch(self, connection: Connection) -> None:
        """Listen no more to a connection."""
        if connection.watched >= 0:
            connection.watched = -1
            if not self.closed:
                self.poller.unregister(connection.fd)

    def before_waiting(self) -> None:
        """Let the driver flush what waits behind this thread; see Owner."""
        if self.on_waiting is not None:
            self.on_waiting()

    def hand_over(self, exchange: Exchange, heir: "Engine") -> None:
        """Give a connection with its open exchange to another engine, its output written as far as possible.

        It stays there for as long as its requests belong there, so the cost is one change of hands, not one a request.
        """
        connection: Connection = exchange.connection
        connection.flush()
        if connection.life is CLOSED:
            return
        self.unwatch(connection)
        connection.owner = heir
        heir.post(partial(heir.take_over, connection, exchange))
        # Only now: until then it is to be seen here or there, or the worker would seem to have nothing left to do.
        self.connections.pop(connection.fd, None)

    def take_over(self, connection: Connection, exchange: Exchange) -> None:
        """Take in a connection that another engine handed over, with the exchange it was handed over for."""
        if self.closed:
            connection.give_up()
            return
        connection.dirty = False
        self.connections[connection.fd] = connection
        self.rewatch(connection)
        self.exchanges.append(exchange)

    def rewatch(self, connection: Connection) -> None:
        """Listen again to a connection that was parked, or with the interest it has by now."""
        if connection.watched < 0:
            connection.watched = connection.mask
            self.poller.register(connection.fd, connection.mask)
        else:
            self.watch(connection, connection.mask)

    def follow_up(self, connection: Connection, exchange: Exchange) -> None:
        """Take in an exchange that a crew thread has parsed out of what its connection had read ahead."""
        connection.open(exchange)

    # Listeners and the end.

    def listen(self, sock: socket.socket, doorway: Doorway) -> None:
        """Accept connections from a bound, listening, non-blocking socket; the engine closes it."""
        listener = Listener(self, self.poller, self.admit, sock, doorway)
        self.listeners[listener.fd] = listener
        listener.shares = self.slot is not None
        if self.steward is not None:
            listener.placer = self.steward
            self.steward.doorways[listener.door] = doorway
        listener.resume()

    def part(self) -> None:
        """Accept no more, and make every response the last one of its connection; idle ones wait for one more request.

        For where another process goes on accepting: closing an idle connection may cross a request on its way.
        """
        self.terms.patient = True
        self.stop_listening()

    def stop_waiting(self) -> None:
        """Close idle connections, those behind `part` too; newcomers when this is called again later."""
        self.terms.patient = False
        self.stop_listening()

    def stop_listening(self) -> None:
        """Accept no more, make every response the last one of its connection, and part with idle ones."""
        self.now = time.monotonic()  # who is let in now has just connected, however long this engine has slept
        for listener in self.listeners.values():
            listener.close()
        self.listeners.clear()
        # Not before: a crew that shares these terms would take itself for done while connections are still let in.
        self.terms.closing = True
        if self.steward is not None:
            self.steward.recall(self)
        for connection in list(self.connections.values()):
            self.retire(connection)

    def retire(self, connection: Connection) -> None:
        """Let a connection end; one that serves a request ends behind its response. None is told while patient."""
        if connection.owner is self and not connection.busy and not self.terms.patient:
            if connection.protocol.phase is IDLE or connection.protocol.phase is ARRIVAL:
                connection.ready(READ)  # a request that has come already is answered
            if not (connection.protocol.is_new() and time.monotonic() - connection.born_at < NEWCOMER_S):
                connection.retire()

    def is_empty(self) -> bool:
        """Tell whether nothing is left to serve here, nor where workers that are gone have left what this one gave."""
        if self.steward is not None and not (self.connections or self.posts):
            self.now = time.monotonic()
            self.steward.recall(self)
        return not (self.connections or self.posts)

    def close(self) -> None:
        """Close everything at once."""
        for listener in self.listeners.values():
            listener.close()
        self.listeners.clear()
        # A crew thread that was left behind in the application may be closing its connection right now.
        with self.lending:
            self.closed = True
        # Connections that were handed over, and steps that threads wait for; what comes from now on is done at once.
        while self.posts:
            self.posts.popleft()()
        for connection in list(self.connections.values()):
            connection.give_up()
        self.poller.close()
        for fd in set(self.bell):
            os.close(fd)
