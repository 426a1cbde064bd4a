"""One HTTP/1 connection without a socket: a transport of bytes, and an application that takes bodies and counts."""

from dataclasses import dataclass, field

from trilithon.foundation.limits import MessageLimits
from trilithon.wire.exchange import Exchange, Inbound, Peer, Transport
from trilithon.wire.http1 import CONTINUE, Http1
from trilithon.wire.response import asgi_head
from trilithon.wire.terms import Stamp, Terms

from .recording import Call

DATE_LINE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


class Memory(Transport):
    """A transport that keeps what is written and remembers what it was told."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False
        self.lingering = False
        self.aborted = False
        self.paused = False

    def write(self, data: bytes) -> None:
        assert not self.closed, f"written behind the close: {data!r}"
        self.written += data

    def finish(self, lingering: bool) -> None:
        self.closed, self.lingering = True, lingering

    def abort(self, reset: bool) -> None:
        self.closed, self.aborted = True, True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


@dataclass
class Outcome:
    """What became of a connection: what was written without interim answers, the calls, and how it ended."""

    written: bytes
    calls: list[Call] = field(default_factory=list)
    closed: bool = False
    aborted: bool = False

    def whole(self) -> tuple[bytes, list[tuple[object, ...]], bool]:
        """Return what may not depend on how the bytes were cut: calls that never became whole may."""
        shown = [
            (call.method, call.raw_path, call.query, call.version, call.fields, call.body)
            for call in self.calls
            if call.complete
        ]
        return self.written.replace(CONTINUE, b""), shown, self.closed


class Connection:
    """Drives the state machine as an engine does, with an application that answers every whole request.

    While `hold` is set the application does nothing; `release` lets it go on. An `early` one answers without reading.
    """

    def __init__(self, terms: Terms, *, early: bool = False, transport: Memory | None = None) -> None:
        self.transport = transport or Memory()
        self.machine = Http1(self.transport, terms, Peer(("192.0.2.1", 1), ("192.0.2.2", 80)))
        self.exchange: Exchange | None = None
        self.body = bytearray()
        self.calls: list[Call] = []
        self.inbox: list[bytes] = []
        self.hold = False
        self.early = early

    def feed(self, data: bytes) -> None:
        """Hand bytes over, as soon as the machine reads."""
        if data:
            self.inbox.append(data)
        while self.inbox and not self.transport.paused and not self.transport.closed:
            self.run(self.machine.receive(self.inbox.pop(0)))

    def end(self) -> None:
        """Tell that the client ended its side."""
        if not self.transport.closed:
            self.machine.receive_end()
            self.run(None)

    def run(self, exchange: Exchange | None) -> None:
        """Run the application on what is open, and go on with what was read ahead."""
        while True:
            if exchange is not None:
                self.open(exchange)
            if self.hold or self.exchange is None or not self.step():
                return
            exchange = self.machine.next()

    def release(self) -> None:
        """Let the application go on."""
        self.hold = False
        self.run(None)

    def open(self, exchange: Exchange) -> None:
        """Write the call of a new exchange down."""
        assert self.exchange is None, "two exchanges at once"
        head = exchange.head
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.fields]
        call = Call(head.method, "", head.query.decode("latin-1"), head.version, fields, head.path.decode("latin-1"))
        call.ended.set()
        self.calls.append(call)
        self.exchange, self.body = exchange, bytearray()

    def step(self) -> bool:
        """Take what there is of the body and answer once it is whole; tell whether the exchange is over."""
        exchange = self.exchange
        assert exchange is not None
        if not self.early:
            self.body += exchange.take_body()
        if exchange.inbound is Inbound.OPEN and not self.early:
            return False
        self.exchange = None
        if exchange.inbound is Inbound.LOST:
            return True
        call = self.calls[-1]
        call.body, call.complete = self.body.decode("latin-1"), True
        body = b"canary" if call.raw_path == "/canary" else b"call %d" % len(self.calls)
        response = asgi_head(200)
        response.read_asgi([(b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain")])
        exchange.respond(response)
        exchange.end(body)
        return True

    def outcome(self) -> Outcome:
        """Return what became of the connection so far."""
        transport = self.transport
        return Outcome(bytes(transport.written), list(self.calls), transport.closed, transport.aborted)


def new_terms(limits: MessageLimits | None = None) -> Terms:
    """Return the terms of an engine that has met no line yet."""
    stamp = Stamp()
    stamp.line = DATE_LINE
    return Terms(limits or MessageLimits(), 65536, stamp)


def drive(
    pieces: list[bytes],
    *,
    eof: bool = False,
    limits: MessageLimits | None = None,
    early: bool = False,
    terms: Terms | None = None,
) -> Outcome:
    """Feed `pieces`, the end if `eof`, and return what became of the connection.

    Without `terms` nothing is remembered of earlier connections.
    """
    connection = Connection(terms or new_terms(limits), early=early)
    for piece in pieces:
        connection.feed(piece)
    if eof:
        connection.end()
    return connection.outcome()
