"""A connection: the socket under a protocol, its queue of output, its deadlines."""

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable

from trilithon.foundation.files import FileSpan
from trilithon.foundation.leaf import receive
from trilithon.net.life import CLOSED, FINISHING, LINGERING, OPEN, Life
from trilithon.net.outlet import Outlet
from trilithon.net.poller import ERROR, HANGUP, READ, WRITE
from trilithon.net.tempo import Tempo
from trilithon.net.tls import PlainHttp, TlsError
from trilithon.wire.exchange import Exchange
from trilithon.wire.phase import ARRIVAL, BODY, DRAIN, HEAD, IDLE, STREAMS, TUNNEL, WAIT
from trilithon.wire.protocol import Protocol
from trilithon.wire.response import own_answer
from trilithon.wire.terms import Terms

log = logging.getLogger("trilithon.error")

RECEIVE_BYTES = 65536
# A WebSocket message of 64 KiB and its head come with one read.
RECEIVE_STREAM_BYTES = 131072
UNLOCKED: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
LINGER_BYTES = 8 * 1024 * 1024
NOT_TLS = b"This port speaks HTTPS: the address begins with https://\n"


class Owner:
    """What a connection asks of the engine that owns it; `volume` and `sent` count the bytes they receive and send.

    `threaded` says that applications run on several threads, which share the connections of many streams.
    """

    def __init__(self, terms: Terms, tempo: Tempo) -> None:
        self.terms = terms
        self.tempo = tempo
        self.now = 0.0
        self.volume = 0
        self.sent = 0
        self.threaded = False

    def leads(self) -> bool:
        """Tell whether this thread is the engine's."""
        return True

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` run on the engine's thread."""

    def step_aside(self) -> None:
        """This thread is about to wait for what only the engine's thread can bring: another one takes its place."""

    def opened(self, connection: "Connection", exchange: Exchange) -> None:
        """A request head is whole."""

    def finished(self, connection: "Connection", exchange: Exchange) -> None:
        """A response is complete or lost."""

    def rejected(self, connection: "Connection", status: int, reason: str) -> None:
        """What the client sent was no request: it was answered with `status`."""

    def wrote(self, connection: "Connection") -> None:
        """The connection has output to write at the end of the turn."""

    def uncorked(self, connection: "Connection") -> None:
        """The client of a connection between requests has read what kept the next one waiting."""

    def watch(self, connection: "Connection", mask: int) -> None:
        """The connection wants to hear of `mask` from now on."""

    def forget(self, connection: "Connection") -> None:
        """The connection is about to close its socket."""

    def before_waiting(self) -> None:
        """This thread is about to wait for one client: the output of others must not wait with it."""


class Connection(Outlet):
    """One accepted socket; all its methods run on the thread that owns it.

    That is the engine's thread, except while `busy`: then the thread that runs the application has it to itself, the
    engine keeps off, and what it writes is left in the queue until it pushes or lets go. `hung` says that the
    client was seen to be gone in that time. A connection of many streams is never busy: several threads may want it
    at once, so where there are any it has a `lock`; `held` says that its holder will see to the output.
    """

    def __init__(self, owner: Owner, sock: socket.socket) -> None:
        super().__init__(sock)
        self.owner = owner
        self.mask = READ
        self.watched = READ
        self.life: Life = OPEN
        self.lingering = False
        self.dirty = False
        self.busy = False
        self.hung = False
        self.held = False
        self.clogged = False
        self.lock: threading.RLock | None = None
        self.timed = IDLE
        self.born_at = owner.now
        self.read_deadline = self.write_deadline = 0.0
        self.window_start = 0.0
        self.window_bytes = 0
        self.lingered_bytes = 0

    def speak(self, protocol: Protocol) -> None:
        """Go on with another protocol, the first or the next; its first request has the time of a head to come."""
        self.protocol = protocol
        if protocol.phase is STREAMS and self.owner.threaded:
            self.lock = threading.RLock()
        self.timed = protocol.phase
        protocol.now = now = self.owner.now
        header_s = self.owner.tempo.header_s
        self.read_deadline = now + header_s if protocol.phase is IDLE and header_s else 0.0
        protocol.begin()

    # Called by the engine.

    def ready(self, events: int) -> None:
        """Handle readiness; never raises for what a client did."""
        if self.lock is None:
            self.attend(events)
        else:
            with self.lock:
                self.attend(events)

    def attend(self, events: int) -> None:
        """Read and write what can be."""
        if self.life is CLOSED:
            return  # by another thread, before this one had the lock
        if events & (READ | HANGUP | ERROR):
            if self.life is LINGERING:
                self.discard()
            elif self.mask & READ:
                self.read()
            elif events & (HANGUP | ERROR):
                self.broken()
        if events & WRITE and self.life is not CLOSED:
            self.flush()

    def read(self) -> None:
        """Receive once and let the protocol have it."""
        protocol = self.protocol
        try:
            data = receive(self.fd, RECEIVE_STREAM_BYTES if protocol.phase is TUNNEL else RECEIVE_BYTES)
        except OSError:
            self.broken()
            return
        if data is None:
            return
        self.owner.volume += len(data)
        if not data:
            self.end_input()
        elif self.tls is None:
            self.take_in(data)
        else:
            self.unseal(data)

    def take_in(self, data: bytes) -> None:
        """Let the protocol have what came in."""
        protocol = self.protocol
        protocol.now = self.owner.now
        exchange = protocol.receive(data)
        protocol = self.protocol
        if exchange is not None:
            self.open(exchange)
        elif protocol.phase is BODY or protocol.phase is DRAIN:
            self.window_bytes += len(data)
        if protocol.phase is not self.timed:
            self.retime()

    def end_input(self) -> None:
        """Let the protocol know that the client has ended its side."""
        self.protocol.receive_end()
        if self.mask & READ and self.life is not CLOSED:
            self.watch(self.mask & ~READ)

    def unseal(self, data: bytes) -> None:
        """Let the protocol have what TLS records hold."""
        try:
            data = self.open_records(data)
        except PlainHttp:
            self.tls = None
            terms = self.owner.terms
            self.write(own_answer(400, terms.stamp.line + terms.server_line, False, NOT_TLS))
            self.owner.rejected(self, 400, "HTTP without TLS")
            self.finish(True)
            return
        except TlsError as fault:
            log.debug("TLS with %s failed: %s", self.protocol.peer.client, fault)
            self.try_drain()  # the alert that says why
            self.broken()
            return
        if self.queued and not self.dirty:
            self.soil()
        if data or self.protocol.phase is ARRIVAL:
            self.take_in(data)
        if self.tls is not None and self.tls.ended and self.life is OPEN:
            self.end_input()

    def go_on(self) -> None:
        """Serve the next request out of what was read ahead."""
        self.protocol.now = self.owner.now
        exchange = self.protocol.next()
        if exchange is not None:
            self.open(exchange)
        if self.protocol.phase is not self.timed:
            self.retime()

    def open(self, exchange: Exchange) -> None:
        """Hand a new exchange to the engine."""
        exchange.opened_at = self.owner.now
        exchange.connection = self
        self.owner.opened(self, exchange)

    def retime(self) -> None:
        """Set the read deadline that belongs to the phase the protocol is in now."""
        phase = self.protocol.phase
        tempo = self.owner.tempo
        now = self.owner.now
        seconds = 0.0
        if phase is HEAD:
            seconds = tempo.header_s
        elif phase is BODY or phase is DRAIN:
            seconds = tempo.body_s
            self.window_start, self.window_bytes = now, 0
        elif phase is WAIT:
            seconds = tempo.request_s
        elif phase is IDLE:
            seconds = tempo.keep_alive_s
        self.timed = phase
        if self.life is OPEN:
            self.read_deadline = now + seconds if seconds else 0.0

    def check_deadlines(self, now: float) -> None:
        """End what has taken too long."""
        with self.lock or UNLOCKED:
            self.check(now)

    def check(self, now: float) -> None:
        """Hold the deadlines against the clock."""
        if self.read_deadline and now >= self.read_deadline:
            self.read_deadline = 0.0
            if self.life is LINGERING:
                self.close()
            elif self.queued and self.protocol.phase is IDLE:
                self.retime()  # the client still reads the last answer: its time begins behind that
            elif self.life is OPEN:
                self.read_expired(now)
        if self.life is not CLOSED:
            self.protocol.look(now)
        if self.write_deadline and now >= self.write_deadline and self.life is not CLOSED:
            self.reset_on_close()
            self.broken()

    def read_expired(self, now: float) -> None:
        """The phase took its time: a body that comes fast enough gets another window, the rest ends."""
        protocol = self.protocol
        if protocol.phase is BODY or protocol.phase is DRAIN:
            enough = self.owner.tempo.min_body_rate * (now - self.window_start)
            if protocol.paused or (self.window_bytes and self.window_bytes >= enough):
                self.window_start, self.window_bytes = now, 0
                self.read_deadline = now + self.owner.tempo.body_s
                return
        if protocol.phase is WAIT and protocol.exchange is not None:
            # The application did not answer in time (request_timeout_s): its response is not waited for any longer.
            exchange = protocol.exchange
            receiver = exchange.receiver
            exchange.refuse(503)
            if receiver is not None:
                receiver.expired()
            return
        protocol.time_out()

    def retire(self) -> None:
        """The server stops: let the protocol part with its client."""
        with self.lock or UNLOCKED:
            self.protocol.retire()

    def give_up(self) -> None:
        """The server ends: close at once, whatever is open."""
        with self.lock or UNLOCKED:
            self.abort(self.protocol.cut_off())

    # Transport.

    def write(self, data: bytes) -> None:
        """Queue bytes; see Transport."""
        self.out.append(data)
        self.queued += len(data)
        if not self.dirty:
            self.soil()

    def write_span(self, span: FileSpan) -> None:
        """Queue a span of a file; see Transport."""
        self.out.append(span)
        self.queued += span.count
        if not self.dirty:
            self.soil()

    def soil(self) -> None:
        """Have the engine flush this connection at the end of the turn, unless a crew thread has it to itself."""
        if not self.busy and not self.held:
            self.dirty = True
            self.owner.wrote(self)

    def flush(self) -> None:
        """Write what the kernel takes; closes behind the last byte of a connection that finishes."""
        if self.lock is None:
            self.put_out()
        else:
            with self.lock:
                self.put_out()

    def put_out(self) -> None:
        """Write, and see to what follows from how far that went."""
        if self.life is CLOSED:
            return
        before = self.queued
        try:
            if before:
                self.drain_queue()
        except (OSError, EOFError):
            self.broken()
            return
        self.owner.sent += before - self.queued
        if self.queued:
            if not self.mask & WRITE:
                self.watch(self.mask | WRITE)
                self.write_deadline = self.stall_deadline()
            elif self.queued != before:
                self.write_deadline = self.stall_deadline()
        elif self.mask & WRITE:
            self.watch(self.mask & ~WRITE)
            self.write_deadline = 0.0
        if self.clogged and self.queued <= self.owner.tempo.low_water:
            self.clogged = False
            self.protocol.drained()
        if not self.queued and self.life is FINISHING:
            self.depart()

    def stall_deadline(self) -> float:
        """Return the time at which a write without progress becomes a stall, zero for never."""
        seconds = self.owner.tempo.write_s
        return self.owner.now + seconds if seconds else 0.0

    def congested(self) -> bool:
        """Tell whether the queue stays above the high-water mark after an attempt to write it."""
        high = self.owner.tempo.high_water
        if self.queued <= high:
            return False
        self.flush()
        if self.queued <= high:
            return False
        self.clogged = True
        return True

    def pause(self) -> None:
        """Stop reading; see Transport."""
        if self.mask & READ:
            self.watch(self.mask & ~READ)

    def resume(self) -> None:
        """Read again; see Transport."""
        if not self.mask & READ and self.life is OPEN:
            self.watch(self.mask | READ)

    def watch(self, mask: int) -> None:
        """Change what the engine listens for; while busy the owner's thread asks the socket itself."""
        self.mask = mask
        if not self.busy and self.life is not CLOSED:
            self.owner.watch(self, mask)

    def finish(self, lingering: bool) -> None:
        """Close behind the queue; see Transport."""
        if self.life is OPEN:
            self.life = FINISHING
            self.lingering = lingering
            self.read_deadline = 0.0
            if not self.dirty:
                self.soil()

    def abort(self, reset: bool) -> None:
        """Close now; see Transport."""
        if self.life is CLOSED:
            return
        if reset:
            self.reset_on_close()
        elif self.try_drain():
            self.say_farewell()
        self.close()

    def rejected(self, status: int, reason: str) -> None:
        """Tell the engine of a request that never became an exchange; see Transport."""
        self.owner.rejected(self, status, reason)

    def troubled(self, reason: str) -> None:
        """Log why the protocol parts with its client; see Transport."""
        log.debug("HTTP/2 with %s: %s", self.protocol.peer.client, reason)

    def opened(self, exchange: Exchange) -> None:
        """Take one of several exchanges; see Transport."""
        self.open(exchange)

    def uncorked(self) -> None:
        """Have the protocol go on in the next turn; see Transport."""
        self.owner.uncorked(self)

    def ended(self, exchange: Exchange) -> None:
        """Close the accounts of an exchange; see Transport."""
        if self.life is OPEN and self.protocol.phase is not self.timed:
            self.retime()
        self.owner.finished(self, exchange)

    def gone(self) -> bool:
        """Tell whether the connection is closed; see Transport."""
        return self.life is CLOSED

    def pull(self) -> None:
        """Wait for input on this thread; see Transport. Only while busy."""
        if self.life is not OPEN:
            return
        self.owner.before_waiting()
        self.flush()
        tempo = self.owner.tempo
        now = time.monotonic()
        if self.timed is not BODY or not self.read_deadline:
            self.timed = BODY
            self.window_start, self.window_bytes = now, 0
            self.read_deadline = now + tempo.body_s if tempo.body_s else 0.0
        if self.wait(select.POLLIN, self.read_deadline - now if self.read_deadline else -1.0):
            self.read()
        elif self.read_deadline:
            self.read_expired(time.monotonic())

    def push(self, wait: bool) -> None:
        """Write on this thread; see Transport. Only while busy."""
        self.flush()
        if not wait or self.queued <= self.owner.tempo.high_water:
            return
        self.owner.before_waiting()
        while self.queued > self.owner.tempo.low_water and self.life is not CLOSED:
            if not self.wait(select.POLLOUT, self.owner.tempo.write_s or -1.0):
                self.reset_on_close()
                self.broken()
                return
            self.flush()

    # The end.

    def broken(self) -> None:
        """The client is gone: what is open is lost."""
        if self.life is not CLOSED:
            self.protocol.lose()
            self.close()

    def depart(self) -> None:
        """The last byte is written: close, or let the client read it first (RFC 9112 9.6)."""
        self.say_farewell()
        tempo = self.owner.tempo
        if not self.lingering or not tempo.linger_s or self.protocol.end_seen:
            self.close()
            return
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.life = LINGERING
        self.read_deadline = self.owner.now + tempo.linger_s
        if not self.mask & READ:
            self.watch(self.mask | READ)

    def discard(self) -> None:
        """Throw away what a lingering client still sends, up to a bound."""
        try:
            data = receive(self.fd, RECEIVE_BYTES)
        except OSError:
            data = b""
        if data is None:
            return
        self.lingered_bytes += len(data)
        if not data or self.lingered_bytes > LINGER_BYTES:
            self.close()

    def close(self) -> None:
        """Close the socket; idempotent."""
        if self.life is CLOSED:
            return
        self.life = CLOSED
        self.owner.forget(self)
        self.discard_output()
        self.read_deadline = self.write_deadline = 0.0
        self.sock.close()
