"""A connection: the socket under a protocol, its queue of output, its deadlines."""

import select
import socket
import struct
import time
from enum import Enum
from typing import Any

from trilithon.foundation.leaf import gather, receive, send
from trilithon.net.files import FileSpan
from trilithon.net.poller import ERROR, HANGUP, READ, WRITE
from trilithon.net.tempo import Tempo
from trilithon.wire.exchange import Exchange, Peer, Transport
from trilithon.wire.http1 import Http1
from trilithon.wire.phase import BODY, DRAIN, HEAD, IDLE, TUNNEL, WAIT
from trilithon.wire.terms import Terms

RECEIVE_BYTES = 65536
# A WebSocket message of 64 KiB and its head come with one read.
RECEIVE_STREAM_BYTES = 131072
LINGER_BYTES = 8 * 1024 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Life(Enum):
    """Where a connection stands on its way to being closed."""

    OPEN = "open"
    FINISHING = "finishing"  # closes once the queue is written
    LINGERING = "lingering"  # has said all; reads on so that the client gets it (RFC 9112 9.6)
    CLOSED = "closed"


OPEN = Life.OPEN
FINISHING = Life.FINISHING
LINGERING = Life.LINGERING
CLOSED = Life.CLOSED


class Owner:
    """What a connection asks of the engine that owns it; `volume` counts the bytes that its connections receive."""

    def __init__(self, terms: Terms, tempo: Tempo) -> None:
        self.terms = terms
        self.tempo = tempo
        self.now = 0.0
        self.volume = 0

    def opened(self, connection: "Connection", exchange: Exchange) -> None:
        """A request head is whole."""

    def finished(self, connection: "Connection", exchange: Exchange) -> None:
        """A response is complete or lost."""

    def rejected(self, connection: "Connection", status: int) -> None:
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


class Connection(Transport):
    """One accepted socket; all its methods run on the thread that owns it.

    That is the engine's thread, except while `busy`: then the thread that runs the application has it to itself, the
    engine keeps off, and what it writes is left in the queue until it pushes or lets go. `hung` says that the
    client was seen to be gone in that time.
    """

    def __init__(self, owner: Owner, sock: socket.socket, peer: Peer, now: float) -> None:
        self.owner = owner
        self.sock = sock
        self.fd = sock.fileno()
        self.out: list[Any] = []
        self.out_offset = 0
        self.queued = 0
        self.mask = READ
        self.watched = READ
        self.life = OPEN
        self.lingering = False
        self.dirty = False
        self.busy = False
        self.hung = False
        self.clogged = False
        self.timed = IDLE
        self.read_deadline = now + owner.tempo.header_s if owner.tempo.header_s else 0.0
        self.write_deadline = 0.0
        self.window_start = 0.0
        self.window_bytes = 0
        self.lingered_bytes = 0
        self.protocol = Http1(self, owner.terms, peer)

    # Called by the engine.

    def ready(self, events: int) -> None:
        """Handle readiness; never raises for what a client did."""
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
            protocol.receive_end()
            if self.mask & READ and self.life is not CLOSED:
                self.watch(self.mask & ~READ)
            return
        exchange = protocol.receive(data)
        if exchange is not None:
            self.open(exchange)
        elif protocol.phase is BODY or protocol.phase is DRAIN:
            self.window_bytes += len(data)
        if protocol.phase is not self.timed:
            self.retime()

    def go_on(self) -> None:
        """Serve the next request out of what was read ahead."""
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
            self.window_start = now
            self.window_bytes = 0
        elif phase is WAIT:
            seconds = tempo.request_s
        elif phase is IDLE:
            seconds = tempo.keep_alive_s
        self.timed = phase
        if self.life is OPEN:
            self.read_deadline = now + seconds if seconds else 0.0

    def check_deadlines(self, now: float) -> None:
        """End what has taken too long."""
        if self.read_deadline and now >= self.read_deadline:
            self.read_deadline = 0.0
            if self.life is LINGERING:
                self.close()
            elif self.life is OPEN:
                self.read_expired(now)
        exchange = self.protocol.exchange
        if exchange is not None and exchange.ticks:
            receiver = exchange.receiver
            if receiver is not None:
                receiver.tick(now)
        if self.write_deadline and now >= self.write_deadline and self.life is not CLOSED:
            self.reset_on_close()
            self.broken()

    def read_expired(self, now: float) -> None:
        """The phase took its time: a body that comes fast enough gets another window, the rest ends."""
        protocol = self.protocol
        if protocol.phase is BODY or protocol.phase is DRAIN:
            enough = self.owner.tempo.min_body_rate * (now - self.window_start)
            if protocol.paused or (self.window_bytes and self.window_bytes >= enough):
                self.window_start = now
                self.window_bytes = 0
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

    # Transport.

    def write(self, data: bytes) -> None:
        """Queue bytes; see Transport."""
        self.out.append(data)
        self.queued += len(data)
        if not self.dirty:
            self.soil()

    def write_file(self, fd: int, offset: int, count: int) -> None:
        """Queue a span of a file; see Transport."""
        self.out.append(FileSpan(fd, offset, count))
        self.queued += count
        if not self.dirty:
            self.soil()

    def soil(self) -> None:
        """Have the engine flush this connection at the end of the turn, unless a crew thread has it to itself."""
        if not self.busy:
            self.dirty = True
            self.owner.wrote(self)

    def flush(self) -> None:
        """Write what the kernel takes; closes behind the last byte of a connection that finishes."""
        if self.life is CLOSED:
            return
        before = self.queued
        try:
            if before:
                self.drain_queue()
        except EOFError:
            self.broken()
            return
        except OSError:
            self.broken()
            return
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
            exchange = self.protocol.exchange
            # A local reference: a receiver may drop itself from its exchange while it runs.
            receiver = exchange.receiver if exchange is not None else None
            if receiver is not None:
                receiver.drained()
            elif exchange is None:
                self.owner.uncorked(self)
        if not self.queued and self.life is FINISHING:
            self.depart()

    def stall_deadline(self) -> float:
        """Return the time at which a write without progress becomes a stall, zero for never."""
        seconds = self.owner.tempo.write_s
        return self.owner.now + seconds if seconds else 0.0

    def drain_queue(self) -> None:
        """Write parts until the queue or the socket's room ends; raises OSError, and EOFError for a short file."""
        out = self.out
        while out:
            first = out[0]
            if type(first) is not bytes:
                count = self.send_span(first)
            elif len(out) == 1:
                count = send(self.fd, first, self.out_offset)
            elif type(out[1]) is not bytes:
                count = send(self.fd, first, self.out_offset)
            else:
                count = self.send_parts(out)
            if not count:
                return
            self.queued -= count
            if type(first) is bytes:
                self.drop(count)
            elif not first.count:
                first.close()
                del out[0]

    def send_span(self, span: FileSpan) -> int:
        """Write from a file span; raises as `drain_queue`."""
        return span.send(self.fd)

    def send_parts(self, out: list[Any]) -> int:
        """Write several byte parts with one call."""
        most = 1
        while most < len(out) and most < 64 and type(out[most]) is bytes:
            most += 1
        return gather(self.fd, out[:most], self.out_offset)

    def drop(self, count: int) -> None:
        """Take `count` written bytes off the front of the queue."""
        out = self.out
        if len(out) == 1 and count + self.out_offset == len(out[0]):
            out.clear()
            self.out_offset = 0
            return
        count += self.out_offset
        whole = 0
        while whole < len(out) and type(out[whole]) is bytes and count >= len(out[whole]):
            count -= len(out[whole])
            whole += 1
        del out[:whole]
        self.out_offset = count

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
        elif self.queued:
            try:
                self.drain_queue()
            except (OSError, EOFError):
                pass  # the client is told by the close in any case
        self.close()

    def rejected(self, status: int) -> None:
        """Tell the engine of a request that never became an exchange; see Transport."""
        self.owner.rejected(self, status)

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
            self.window_start = now
            self.window_bytes = 0
            self.read_deadline = now + tempo.body_s if tempo.body_s else 0.0
        if self.wait(select.POLLIN, self.read_deadline - now if self.read_deadline else -1.0):
            try:
                data = receive(self.fd, RECEIVE_BYTES)
            except OSError:
                self.broken()
                return
            if data:
                self.window_bytes += len(data)
                self.protocol.receive(data)
            elif data is not None:
                self.protocol.receive_end()
        elif self.read_deadline:
            self.read_expired(time.monotonic())

    def push(self, wait: bool) -> None:
        """Write on this thread; see Transport. Only while busy."""
        self.flush()
        if not wait or self.queued <= self.owner.tempo.high_water:
            return
        self.owner.before_waiting()
        while self.queued > self.owner.tempo.low_water and self.life is not CLOSED:
            seconds = self.owner.tempo.write_s
            if not self.wait(select.POLLOUT, seconds or -1.0):
                self.reset_on_close()
                self.broken()
                return
            self.flush()

    def wait(self, events: int, timeout_s: float) -> bool:
        """Wait on this thread for the socket alone; returns whether it became ready."""
        poll = select.poll()
        poll.register(self.fd, events)
        return bool(poll.poll(max(0, int(timeout_s * 1000)) if timeout_s >= 0 else None))

    # The end.

    def broken(self) -> None:
        """The client is gone: what is open is lost."""
        if self.life is not CLOSED:
            self.protocol.lose()
            self.close()

    def reset_on_close(self) -> None:
        """Make the close an RST, which a client cannot take for the end of a whole response."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        except OSError:
            pass  # the socket is broken already, or no TCP one

    def depart(self) -> None:
        """The last byte is written: close, or let the client read it first (RFC 9112 9.6)."""
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
        for part in self.out:
            if type(part) is not bytes:
                part.close()
        self.out.clear()
        self.queued = 0
        self.read_deadline = self.write_deadline = 0.0
        self.sock.close()
