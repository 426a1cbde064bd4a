"""The exchange: one request and its response, whichever protocol carries them; all that a gateway ever sees."""

from enum import Enum
from typing import Any

from trilithon.foundation.errors import AppStateError, AppValueError, ClientDisconnected, InternalError
from trilithon.foundation.files import FileSpan
from trilithon.wire.framing import has_no_body
from trilithon.wire.handshake import Handshake
from trilithon.wire.head import RequestHead
from trilithon.wire.response import ResponseHead, SentLine


class Inbound(Enum):
    """Where a request body stands."""

    OPEN = "open"
    COMPLETE = "complete"
    LOST = "lost"


class Outbound(Enum):
    """Where a response stands: nothing said, head held back, bytes flowing, ended, or no longer possible."""

    FRESH = "fresh"
    HELD = "held"
    FLOWING = "flowing"
    ENDED = "ended"
    LOST = "lost"


OPEN = Inbound.OPEN
COMPLETE = Inbound.COMPLETE
BROKEN = Inbound.LOST
FRESH = Outbound.FRESH
HELD = Outbound.HELD
FLOWING = Outbound.FLOWING
ENDED = Outbound.ENDED
LOST = Outbound.LOST
# Up to this size a file costs less as bytes that join the head than as a call of its own for the kernel.
MAX_COPIED_BYTES = 16384


class TlsFacts:
    """What both ends of a TLS connection agreed on, in the terms of the ASGI extension `tls`.

    `version` and `cipher` are the numbers of the registries (0x0304, 0x1301), `server_cert` and `client_chain` PEM
    texts, the client's own certificate first, `client_name` its subject in the form of RFC 4514; None: there is none.
    `server_name` is what the client asked for (SNI), `alpn` the protocol that was chosen. `variables` is for a gateway
    to keep what it makes of these.
    """

    def __init__(self) -> None:
        self.version: int | None = None
        self.version_name: str | None = None
        self.cipher: int | None = None
        self.cipher_name: str | None = None
        self.server_cert: str | None = None
        self.client_chain: tuple[str, ...] = ()
        self.client_name: str | None = None
        self.client_error: str | None = None
        self.server_name: str | None = None
        self.alpn: str | None = None
        self.variables: dict[str, str] | None = None


class Peer:
    """Who is at the other end of a connection, and how it came in.

    `client` is (host, port) or None where unknown, `server` (host, port) or (path, None) for a Unix socket; `secure`
    says whether the transport is TLS, and `tls` then holds what a gateway tells of it, as TlsFacts. `hearsay` says
    that a proxy relays for somebody it does not name, `proxied` that a trusted one holds the other end: it may have
    received by TLS what it hands on in the clear. `names` is for a gateway to keep what it makes of these.
    """

    def __init__(self, client: tuple[str, int] | None, server: tuple[str, int | None], secure: bool = False) -> None:
        self.client = client
        self.server = server
        self.secure = secure
        self.scheme = "https" if secure else "http"
        self.names: tuple[str, ...] | None = None
        self.tls: TlsFacts | None = None
        self.hearsay = False
        self.proxied = False


class SocketAnswer:
    """What accepts a WebSocket: the subprotocol, the value of Sec-WebSocket-Extensions and the application's fields."""

    def __init__(self, protocol: str | None, extensions: bytes, lines: list[SentLine]) -> None:
        self.protocol = protocol
        self.extensions = extensions
        self.lines = lines


class Receiver:
    """What a gateway wants to be told of an exchange; runs on the thread that owns the connection."""

    def body_arrived(self) -> None:
        """More of the body is buffered, or it is complete."""

    def lost(self) -> None:
        """The client is gone, or the request broke: nothing more comes in or goes out."""

    def peer_ended(self) -> None:
        """The client will send nothing more, yet may still read the answer."""

    def expired(self) -> None:
        """The request took longer than it may: an answer was given in the application's place."""

    def drained(self) -> None:
        """The output has fallen below the low-water mark."""

    def tick(self, now: float) -> None:
        """Time went by; only for an exchange whose `ticks` is set, at the sweeps of its connection's owner."""


class Transport:
    """The byte end of a connection as a protocol sees it; the net floor implements it."""

    def write(self, data: bytes) -> None:
        """Queue bytes for the client; cheap, never waits."""

    def write_span(self, span: FileSpan) -> None:
        """Queue a span of a file, which belongs to the transport from now on; cheap, never waits."""

    def fell_short(self, fault: Exception) -> None:
        """A file does not give what it promised, which breaks its response off: the log is to say so."""

    def finish(self, lingering: bool) -> None:
        """Close once the queue is written; `lingering` reads on for a while so that the client gets the answer."""

    def abort(self, reset: bool) -> None:
        """Close now, after one attempt at the queue; `reset` lets the client see an RST."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again."""

    def opened(self, exchange: "Exchange") -> None:
        """An exchange was opened that `Protocol.receive` does not return."""

    def uncorked(self) -> None:
        """The client has read what kept later requests waiting: `Protocol.next` can go on with them."""

    def ended(self, exchange: "Exchange") -> None:
        """A response is complete or broken off: the accounts of the exchange can be closed."""

    def rejected(self, status: int, reason: str) -> None:
        """What came in was no request that is served; it was answered with `status`, `reason` is for the log."""

    def troubled(self, reason: str) -> None:
        """The connection, or one of its streams, ends for a reason that the log should have."""

    def gone(self) -> bool:
        """Tell whether the connection is closed."""
        return False

    def pull(self) -> None:
        """Wait on this thread until input came and was fed, or the connection is lost."""

    def push(self, wait: bool) -> None:
        """Write the queue now; with `wait`, on this thread until it is below the low-water mark."""

    def congested(self) -> bool:
        """Tell whether the queue is above the high-water mark."""
        return False


class Carrier:
    """What a protocol does for its exchanges, over the byte end of its connection."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def send(self, exchange: "Exchange", data: bytes, final: bool) -> None:
        """Put a piece of a response on the wire, its head first when it is held back."""
        raise InternalError("send is not carried")

    def send_file(self, exchange: "Exchange", span: FileSpan, final: bool) -> None:
        """Put a span of a file on the wire as a piece of a body; it belongs to the carrier unless this raises."""
        raise InternalError("send_file is not carried")

    def send_trailers(self, exchange: "Exchange", lines: list[SentLine]) -> None:
        """End a response whose head is sent with a trailer section, which a framing without one leaves out."""
        raise InternalError("send_trailers is not carried")

    def switch(self, exchange: "Exchange", handshake: Handshake, answer: SocketAnswer) -> None:
        """Accept a WebSocket: from now on the exchange is a stream of bytes both ways."""
        raise InternalError("switch is not carried")

    def inform(self, exchange: "Exchange", status: int, block: bytes) -> None:
        """Send an interim (1xx) response."""
        raise InternalError("inform is not carried")

    def informs(self, exchange: "Exchange") -> bool:
        """Tell whether the client takes interim responses; `inform` drops what it does not take."""
        return True

    def reset(self, exchange: "Exchange") -> None:
        """Break the exchange off so that the client can tell."""
        raise InternalError("reset is not carried")

    def refuse(self, exchange: "Exchange", status: int, extra: bytes) -> None:
        """Answer with an error of the server's own instead of the application's response."""
        raise InternalError("refuse is not carried")

    def want_body(self, exchange: "Exchange") -> None:
        """The application reads: ask for the body if the client waits to be asked, and go on reading."""
        raise InternalError("want_body is not carried")

    def engage(self, exchange: "Exchange") -> None:
        """An application's call for the exchange begins; `released` will follow."""

    def take(self, exchange: "Exchange") -> bytes:
        """Return what is buffered of the body; for a carrier that shares an exchange between threads to guard."""
        return exchange.drain_body()

    def released(self, exchange: "Exchange") -> None:
        """The application's call for the exchange has returned."""

    def pull(self, exchange: "Exchange") -> None:
        """Wait on this thread until more of the body is there or the exchange is lost; never on a loop's thread."""
        raise InternalError("pull is not carried")

    def push(self, exchange: "Exchange", wait: bool) -> None:
        """Hand what is written to the kernel now; with `wait`, on this thread until the output is drained."""
        raise InternalError("push is not carried")

    def congested(self) -> bool:
        """Tell whether more output waits than the high-water mark allows."""
        raise InternalError("congested is not carried")


class Exchange:
    """One request and its response.

    `gateway`, `root_path` and `mounted_at`, the part of it that a mount adds, are set by whoever routed it,
    `connection` and `mark` by whoever received it, `thread` by whoever runs its call: to a gateway they mean nothing.
    `window_bytes` is what the client may send of the body before any of it is taken, 0 where nothing bounds that.
    `status` is the one that went out, 499 when the client left before any, 0 while there is none; `sent_bytes` are
    those of the body, less what a carrier knows it will never send. `ticks` is set by a receiver that wants `tick`
    called. `waits` is odd while a thread waits for the client.
    The gateway reads `head`, `peer` and the body, then calls `respond` once, `write` any number of times and `end`
    once. `respond` puts nothing on the wire, the first `write` or `end` does. All calls belong to the one thread that
    owns the connection at the time. After the client is gone they raise ClientDisconnected.
    """

    def __init__(self, carrier: Carrier, head: RequestHead, peer: Peer) -> None:
        self.carrier = carrier
        self.head = head
        self.peer = peer
        self.receiver: Receiver | None = None
        self.gateway: Any = None
        self.connection: Any = None
        self.root_path = ""
        self.mounted_at = ""
        self.body: list[bytes] = []
        self.body_bytes = 0
        self.received_bytes = 0
        self.inbound = OPEN
        self.outbound = FRESH
        self.response: ResponseHead | None = None
        self.bodiless = False
        self.sent_bytes: int = 0
        self.status = 0
        self.must_close = False
        self.half_closed = False
        self.window_bytes: int = 0
        self.ticks = False
        self.waits = 0
        self.opened_at = 0.0
        self.mark = -1
        self.thread = 0

    # Inbound, called by the carrier.

    def feed(self, data: bytes) -> None:
        """Add received content."""
        self.body.append(data)
        self.body_bytes += len(data)
        self.received_bytes += len(data)

    def lose(self) -> None:
        """The client is gone or broke the protocol; idempotent."""
        if self.inbound is OPEN:
            self.inbound = BROKEN
        if self.outbound is not ENDED:
            self.outbound = LOST
            self.status = self.status or 499
        # The receiver is held here: it may take itself off the exchange, and compiled calls hold no reference.
        receiver = self.receiver
        if receiver is not None:
            receiver.lost()

    # Inbound, called by the gateway.

    def take_body(self) -> bytes:
        """Return all content that is buffered, b"" when there is none; the space is credited to the client."""
        return self.carrier.take(self)

    def drain_body(self) -> bytes:
        """Do what `take_body` says; called by the carrier."""
        body = self.body
        if not body:
            return b""
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self.body_bytes = 0
        if self.inbound is OPEN:
            self.carrier.want_body(self)
        return data

    def await_body(self) -> None:
        """Wait on this thread until more of the body is there or the exchange is lost; never on a loop's thread."""
        self.waits += 1
        try:
            self.carrier.pull(self)
        finally:
            self.waits += 1

    # Outbound, called by the gateway.

    def await_drain(self) -> None:
        """Hand what is written to the kernel, on this thread until the output is drained; never on a loop's thread."""
        self.waits += 1
        try:
            self.carrier.push(self, True)
        finally:
            self.waits += 1

    def respond(self, response: ResponseHead) -> None:
        """Hold a response head ready; raises AppStateError when there is one already."""
        if self.outbound is not FRESH:
            if self.outbound is LOST or self.carrier.transport.gone():
                raise ClientDisconnected("the client is gone")
            raise AppStateError("the response was started before")
        self.response = response
        self.bodiless = has_no_body(self.head.method == "HEAD", response.status)
        self.outbound = HELD

    def switch(self, handshake: Handshake, answer: SocketAnswer) -> None:
        """Accept a WebSocket (RFC 6455 4.2.2): `write` sends its bytes from now on, the body is what comes in.

        What the client sent ahead is in the body already. Raises AppStateError or ClientDisconnected as `respond`.
        """
        if self.outbound is not FRESH:
            if self.outbound is LOST or self.carrier.transport.gone():
                raise ClientDisconnected("the client is gone")
            raise AppStateError("the response was started before")
        self.outbound = FLOWING
        self.inbound = OPEN
        self.carrier.switch(self, handshake, answer)

    def replace(self, response: ResponseHead) -> None:
        """Put another head in the place of one that is still held (PEP 3333, exc_info)."""
        if self.outbound is HELD:
            self.outbound = FRESH
        self.respond(response)

    def write(self, data: bytes) -> None:
        """Send a piece of the body, more may follow; raises AppStateError, AppValueError or ClientDisconnected."""
        self.check_flow()
        if self.bodiless:
            data = b""
        elif data:
            self.account(len(data))
        self.outbound = FLOWING
        self.carrier.send(self, data, False)

    def end(self, data: bytes) -> None:
        """Send the last piece of the body, b"" for none; raises as `write`, and when less came than was declared."""
        self.check_flow()
        if not self.bodiless:
            if data:
                self.account(len(data))
            self.check_whole()
        self.outbound = ENDED
        self.carrier.send(self, data, True)

    def end_with_trailers(self, lines: list[SentLine]) -> None:
        """End the response with a trailer section, [] for none; raises as `end`.

        A client that has not said that it takes trailers gets none (RFC 9110 6.5.1).
        """
        if self.bodiless or not self.head.takes_trailers:
            lines = []
        if self.outbound is HELD and not lines:
            self.end(b"")
            return
        self.check_flow()
        if not self.bodiless:
            self.check_whole()
        if self.outbound is HELD:
            self.carrier.send(self, b"", False)
        self.outbound = ENDED
        self.carrier.send_trailers(self, lines)

    def write_file(self, span: FileSpan) -> None:
        """Send a span of a file as a piece of the body; raises as `write`. Nobody waits for the client.

        The span belongs to the exchange from now on, whatever is raised.
        """
        self.put_file(span, False)

    def end_with_file(self, span: FileSpan) -> None:
        """Send a span of a file as the last piece of the body; raises as `end`. See `write_file`.

        As the whole body it has its length declared, where none is.
        """
        self.put_file(span, True)

    def put_file(self, span: FileSpan, final: bool) -> None:
        """Send a span of a file; see `write_file`."""
        try:
            self.check_flow()
            count = span.count
            copied = self.bodiless or count <= MAX_COPIED_BYTES
            data = span.read_whole() if copied and not self.bodiless else b""
            response = self.response
            if final and self.outbound is HELD and response is not None and response.length < 0:
                response.length = count
            if not copied:
                self.account(count)
                if final:
                    self.check_whole()
                self.outbound = ENDED if final else FLOWING
                self.carrier.send_file(self, span, final)
                return
            if final:
                self.end(data)
            else:
                self.write(data)
        except BaseException:
            span.close()
            raise
        span.close()

    def check_whole(self) -> None:
        """Raise AppValueError when less of the body came than was declared; then the client is told."""
        response = self.response
        if response is not None and response.length > self.sent_bytes:
            missing = response.length - self.sent_bytes
            if self.outbound is FLOWING:
                self.abort()
            else:
                self.sent_bytes = 0
                self.must_close = True
            raise AppValueError(f"the body is {missing} bytes short of its Content-Length {response.length}")

    def check_flow(self) -> None:
        """Raise unless body bytes may be sent now."""
        outbound = self.outbound
        if outbound is not HELD and outbound is not FLOWING:
            if outbound is LOST or self.carrier.transport.gone():
                raise ClientDisconnected("the client is gone")
            raise AppStateError("no response was started" if outbound is FRESH else "the response is complete")

    def account(self, size: int) -> None:
        """Count body bytes against the declared length; raises AppValueError before any excess is written."""
        response = self.response
        if response is not None and response.length >= 0 and self.sent_bytes + size > response.length:
            self.must_close = True
            raise AppValueError(f"the body exceeds its Content-Length {response.length} (RFC 9110 8.6)")
        self.sent_bytes += size

    def room(self) -> int:
        """Return how many body bytes the declared length still takes, -1 for any number."""
        response = self.response
        if response is None or response.length < 0 or self.bodiless:
            return -1
        return response.length - self.sent_bytes

    def refuse(self, status: int, extra: bytes = b"") -> None:
        """Answer with an error of the server's own; breaks off a response that is already on its way."""
        if self.outbound is FRESH or self.outbound is HELD:
            self.outbound = ENDED
            self.carrier.refuse(self, status, extra)
        elif self.outbound is FLOWING:
            self.abort()

    def abort(self) -> None:
        """Break off so that the client can tell that the response is not whole; idempotent."""
        if self.outbound is not ENDED and self.outbound is not LOST:
            self.outbound = LOST
            self.carrier.reset(self)


def describe(exchange: Exchange) -> str:
    """Return method and path for a log line, control characters escaped."""
    return f"{exchange.head.method} {exchange.head.path.decode('latin-1')}".encode("unicode_escape").decode("ascii")
