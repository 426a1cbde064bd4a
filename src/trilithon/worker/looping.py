"""The loop driver: one reader callback of the running event loop serves every ready connection."""

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from trilithon.foundation.cells import microseconds
from trilithon.foundation.scoreboard import BEAT_US
from trilithon.gateway.asgi import AsgiGateway
from trilithon.gateway.mount import Router
from trilithon.gateway.wsgi import WsgiGateway
from trilithon.net.engine import Engine
from trilithon.net.remote_stream import RemoteStream
from trilithon.wire.exchange import LOST, Exchange
from trilithon.wire.phase import STREAMS

EAGER = sys.version_info >= (3, 12)
# Before 3.12 a turn makes all its tasks before the first one runs. More than these at once are so many new objects that
# the collector looks at them in every turn, a tenth of what a small request costs besides its system calls.
MAX_EVENTS = 256 if EAGER else 32
BEAT_S = BEAT_US / 1e6


class LoopDriver:
    """Turns an engine from inside an event loop, any that has `add_reader`.

    `router` finds the gateway of each exchange; one that is not ASGI's goes to the engine `heir`. When `max_calls`
    run, further exchanges wait in order, `max_queued_requests` of them at most.
    """

    def __init__(
        self, engine: Engine, loop: asyncio.AbstractEventLoop, router: Router, heir: Engine | None = None
    ) -> None:
        self.engine = engine
        self.loop = loop
        self.router = router
        self.heir = heir
        self.max_calls = engine.capacity.max_requests
        self.max_queued = engine.capacity.max_queued_requests
        self.retry_after = b"Retry-After: %d\r\n" % engine.capacity.retry_after_s
        self.waiting: deque[Exchange] = deque()
        self.turning = False
        self.flush_due = False
        self.turn_due = False
        self.sweeper: asyncio.TimerHandle | None = None
        self.beater: asyncio.TimerHandle | None = None
        self.beat_due = 0.0
        self.on_drained: Callable[[], None] | None = None
        engine.max_events = MAX_EVENTS
        engine.on_wrote = self.wrote
        engine.on_pipelined = self.pipelined

    def start(self) -> None:
        """Begin to turn."""
        self.engine.leader = threading.get_ident()
        self.loop.add_reader(self.engine.poller.fileno(), self.turn)
        if self.engine.slot is not None:
            self.beat_due = time.monotonic()
            self.beat()

    def part(self) -> None:
        """Accept no more, but answer one more request on each connection; `on_drained` as with `stop`."""
        self.engine.part()
        self.turn()

    def stop(self) -> None:
        """Accept no more; `on_drained` is called once no connection is left."""
        self.engine.stop_waiting()
        self.turn()

    def close(self) -> None:
        """Leave the loop."""
        self.loop.remove_reader(self.engine.poller.fileno())
        if self.sweeper is not None:
            self.sweeper.cancel()
            self.sweeper = None
        if self.beater is not None:
            self.beater.cancel()
            self.beater = None
        self.on_drained = None

    def turn(self) -> None:
        """Receive all that is ready, start what it opened, write what that produced."""
        engine = self.engine
        self.turning = True
        self.turn_due = False
        engine.poll(0.0)
        exchanges = engine.exchanges
        started = False
        while exchanges:
            started = True
            if self.max_calls:
                self.begin_bounded(exchanges.popleft())
            else:
                self.begin(exchanges.popleft())
        self.turning = False
        if started and not EAGER:
            # The tasks begin in the next callbacks; the flush stands in line behind them.
            self.wrote()
        else:
            if engine.dirty:
                engine.flush()
            elif engine.journal is not None:
                engine.journal.flush()
            self.rest()
        if self.sweeper is None and engine.needs_sweep():
            self.sweeper = self.loop.call_later(engine.tick_s, self.sweep)
        if not engine.connections and engine.terms.closing and self.on_drained is not None:
            self.on_drained()
        if engine.pipelined:
            self.pipelined()

    def begin(self, exchange: Exchange) -> None:
        """Give a new exchange to the gateway that serves its path."""
        gateway = self.router.find(exchange)
        if gateway is None:
            exchange.refuse(404)
        elif type(gateway) is AsgiGateway:
            gateway.start(exchange)
        elif exchange.connection.protocol.phase is STREAMS:
            # The streams of one connection belong to different applications: the connection stays here.
            exchange.carrier = RemoteStream(exchange.carrier, self.engine)
            if isinstance(gateway, WsgiGateway) and gateway.admit(exchange):
                gateway.start(exchange)
        elif self.heir is not None:
            self.engine.hand_over(exchange, self.heir)

    def running(self) -> int:
        """Count the calls that have not ended."""
        return sum(len(mount.gateway.running) for mount in self.router.mounts if type(mount.gateway) is AsgiGateway)

    def begin_bounded(self, exchange: Exchange) -> None:
        """Start a call, or let it wait, or refuse it (RFC 9110 15.6.4)."""
        if self.running() < self.max_calls and not self.waiting:
            self.begin(exchange)
        elif self.max_queued and len(self.waiting) >= self.max_queued and not self.drop_left():
            exchange.refuse(503, self.retry_after)
        else:
            self.waiting.append(exchange)

    def drop_left(self) -> bool:
        """Drop the waiting requests whose clients have left; returns whether there were any."""
        before = len(self.waiting)
        self.waiting = deque(exchange for exchange in self.waiting if exchange.outbound is not LOST)
        return len(self.waiting) < before

    def call_ended(self) -> None:
        """Start a waiting call in the place of one that ended; only used with `max_calls`."""
        while self.waiting and self.running() < self.max_calls:
            exchange = self.waiting.popleft()
            if exchange.outbound is not LOST:
                self.begin(exchange)

    def sweep(self) -> None:
        """Take a turn for the deadlines' sake."""
        self.sweeper = None
        self.turn()

    def wrote(self) -> None:
        """Have output that is written outside of a turn flushed at the end of this loop iteration."""
        if not self.turning and not self.flush_due:
            self.flush_due = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what the tasks of this iteration produced."""
        self.flush_due = False
        self.engine.flush()
        self.rest()
        if self.engine.terms.closing and not self.engine.connections and self.on_drained is not None:
            self.on_drained()

    def rest(self) -> None:
        """Note on the scoreboard that this engine waits for the loop."""
        slot = self.engine.slot
        if slot is not None:
            slot.rest(self.engine.seat, len(self.engine.connections), len(self.waiting))

    def beat(self) -> None:
        """Note on the scoreboard that the loop is alive, and how late it is."""
        slot = self.engine.slot
        if slot is None:
            return
        now = time.monotonic()
        slot.lag(max(0, microseconds(now - self.beat_due)))
        slot.beat(self.engine.seat)
        if not self.engine.connections:
            self.engine.tally(slot)
        self.beat_due = now + BEAT_S
        self.beater = self.loop.call_later(BEAT_S, self.beat)

    def pipelined(self) -> None:
        """Take a turn soon for requests that were read ahead."""
        if not self.turning and not self.turn_due:
            self.turn_due = True
            self.loop.call_soon(self.turn)
