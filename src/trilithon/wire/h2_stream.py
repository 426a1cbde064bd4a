"""One HTTP/2 stream: its state, its windows and what it has to send; the carrier of its exchange."""

from collections import deque
from enum import Enum

from trilithon.foundation.errors import ClientDisconnected, InternalError
from trilithon.foundation.files import FileSpan
from trilithon.wire.exchange import COMPLETE, Carrier, Exchange, SocketAnswer, Transport
from trilithon.wire.handshake import Handshake, accepting_head
from trilithon.wire.protocol import Protocol
from trilithon.wire.response import SentLine


class StreamState(Enum):
    """Where a stream stands (RFC 9113 5.1); one that is idle or closed has no object.

    A response that ends before its request does leaves its stream half-closed (local) for a moment, in which the client
    may end it; then it is reset with NO_ERROR (RFC 9113 8.1).
    """

    OPEN = "open"
    HALF_CLOSED_LOCAL = "half-closed (local)"
    HALF_CLOSED_REMOTE = "half-closed (remote)"
    CLOSED = "closed"


OPEN_BOTH = StreamState.OPEN
WE_DONE = StreamState.HALF_CLOSED_LOCAL
PEER_DONE = StreamState.HALF_CLOSED_REMOTE
CLOSED = StreamState.CLOSED

# How a stream came to be closed: both ends were through, the client reset it, or we did.
BY_END = 1
BY_PEER = 2
BY_US = 3
# So much of a file is read at once: as frames and TLS records it makes one packet of a loopback or an offloading card.
BLOCK_BYTES = 65280
# So many closed streams are remembered, and up to twice as many; what is older is only known not to be idle.
KEPT_CLOSED = 256


class ClosedStreams:
    """How the streams that were closed last were closed, in bounded memory (RFC 9113 5.1)."""

    def __init__(self) -> None:
        self.young: dict[int, int] = {}
        self.old: dict[int, int] = {}

    def note(self, stream_id: int, how: int) -> None:
        """Remember how a stream was closed; the first reason counts."""
        if len(self.young) >= KEPT_CLOSED:
            self.old = self.young
            self.young = {}
        self.young.setdefault(stream_id, how)

    def note_reset(self, stream_id: int) -> None:
        """Take note that the client has reset a stream that we had: it sends nothing behind that (RFC 9113 5.1)."""
        for kept in (self.young, self.old):
            if kept.get(stream_id) == BY_US:
                kept[stream_id] = BY_PEER

    def find(self, stream_id: int) -> int:
        """Return how a stream was closed, zero when that is not known."""
        how = self.young.get(stream_id, 0)
        return how if how else self.old.get(stream_id, 0)


class Link(Protocol):
    """What a stream, and the sender of a connection, ask of the connection."""

    def respond(self, stream: "Stream", data: bytes, final: bool) -> None:
        """Send a piece of the response, its head first when that is still held."""

    def trail(self, stream: "Stream", lines: list[SentLine]) -> None:
        """End the response with trailers."""

    def send_interim(self, stream: "Stream", status: int, block: bytes) -> None:
        """Send an interim response."""

    def break_off(self, stream: "Stream") -> None:
        """Reset a stream whose response cannot be completed."""

    def decline(self, stream: "Stream", status: int, extra: bytes) -> None:
        """Send an answer of the server's own."""

    def credit(self, stream: "Stream") -> None:
        """The application reads: let the client send more."""

    def call_over(self, stream: "Stream", exchange: Exchange) -> None:
        """The application's call for the exchange of a stream has returned."""

    def sent(self, stream: "Stream") -> None:
        """The last frame of a response is on its way."""


class Stream(Carrier):
    """One stream and its request, from the whole head on; what it carries is its own exchange alone.

    `window_out` is what the client lets us send and may be negative, `window_in` what it may still send, `taken` what
    it has sent since it was last credited. `queue` holds what waits for a window or for its turn, pieces of memory and
    of files, `queued` bytes without the first `offset` of the first piece; `final` says that nothing comes behind it,
    but for `trailers`.
    `delivered` says that the gateway has seen the exchange, `engaged` that an application works on it, `tunnel` that it
    is an Extended CONNECT (RFC 8441).
    `seen_at` and `stalled_at` are when a look at the clock found `body_seen` and a closed window, zero for never. A
    stream that is half-closed (local) has no exchange any more.
    """

    def __init__(self, link: Link, transport: Transport, stream_id: int, priority: int) -> None:
        super().__init__(transport)
        self.link = link
        self.stream_id = stream_id
        self.priority = priority
        self.tunnel = False
        self.state = OPEN_BOTH
        self.exchange: Exchange | None = None
        self.window_out: int = 0
        self.window_in: int = 0
        self.taken: int = 0
        self.length: int = -1
        self.body_size: int = 0
        self.body_seen: int = 0
        self.asked = False
        self.headed = False
        self.final = False
        self.queue: deque[bytes | FileSpan] | None = None
        self.offset: int = 0
        self.queued: int = 0
        self.trailers: list[SentLine] | None = None
        self.ready = False
        self.clogged = False
        self.high_water: int = 0
        self.delivered = False
        self.engaged = False
        self.seen_at = 0.0
        self.stalled_at = 0.0

    def put(self, piece: "bytes | FileSpan", size: int) -> None:
        """Queue a piece of the response."""
        if self.queue is None:
            self.queue = deque()
        self.queue.append(piece)
        self.queued += size

    def first_queued(self, most: int) -> bytes:
        """Return the first piece of the queue, which is not empty; what waits begins at its `offset`.

        Of a file a block is read at a time, at most `most` bytes, which the windows take. Raises OSError or EOFError
        when it does not give what it promised.
        """
        queue = self.queue
        assert queue is not None, "what has something queued has a queue"
        piece = queue[0]
        if isinstance(piece, bytes):
            return piece
        block = piece.read(min(most, BLOCK_BYTES))
        if not piece.count:
            queue.popleft()
            piece.close()
        queue.appendleft(block)
        return block

    def take_queued(self, size: int) -> None:
        """Take bytes off the first piece of the queue."""
        queue = self.queue
        assert queue is not None, "see first_queued"
        piece = queue[0]
        assert isinstance(piece, bytes), "see first_queued"
        self.queued -= size
        self.offset += size
        if self.offset == len(piece):
            queue.popleft()
            self.offset = 0

    def drop_queued(self) -> None:
        """Throw away what is queued, and close the files in it."""
        queue = self.queue
        if queue is not None:
            for piece in queue:
                if not isinstance(piece, bytes):
                    piece.close()
            self.queue = None
        self.queued = 0
        self.offset = 0

    def send(self, exchange: Exchange, data: bytes, final: bool) -> None:
        """Send a piece of the response; raises ClientDisconnected when the stream is over. See Carrier."""
        if self.state is CLOSED or self.final:
            raise ClientDisconnected("the stream is over")
        self.link.respond(self, data, final)

    def send_trailers(self, exchange: Exchange, lines: list[SentLine]) -> None:
        """End a response that was begun with a trailer section; raises ClientDisconnected when the stream is over."""
        if self.state is CLOSED or self.final:
            raise ClientDisconnected("the stream is over")
        if not self.headed:
            raise InternalError("trailers before a response head")
        self.link.trail(self, lines)

    def send_file(self, exchange: Exchange, span: FileSpan, final: bool) -> None:
        """Queue a span of a file, which is read piece by piece as its turns come; see Carrier."""
        if self.state is CLOSED or self.final:
            raise ClientDisconnected("the stream is over")
        self.put(span, span.count)
        self.link.respond(self, b"", final)

    def switch(self, exchange: Exchange, handshake: Handshake, answer: SocketAnswer) -> None:
        """Accept a WebSocket with a 200 that leaves the stream open both ways (RFC 8441 5); see Carrier."""
        if self.state is CLOSED or self.headed:
            raise ClientDisconnected("the stream is over")
        if self.state is PEER_DONE:
            exchange.inbound = COMPLETE
        exchange.response = accepting_head(handshake, answer.protocol, answer.extensions, answer.lines)
        self.link.respond(self, b"", False)
        exchange.response = None  # a socket that is open for long need not keep it

    def inform(self, exchange: Exchange, status: int, block: bytes) -> None:
        """Send an interim response, unless the final one has begun; 101 does not exist (RFC 9113 8.6)."""
        if self.state is not CLOSED and not self.headed and status != 101:
            self.link.send_interim(self, status, block)

    def reset(self, exchange: Exchange) -> None:
        """Break off with RST_STREAM; other streams go on."""
        if self.state is not CLOSED:
            self.link.break_off(self)

    def refuse(self, exchange: Exchange, status: int, extra: bytes) -> None:
        """Answer with an error of the server's own; other streams go on."""
        if self.state is not CLOSED:
            self.link.decline(self, status, extra)

    def want_body(self, exchange: Exchange) -> None:
        """Let the client send more of the body as the application takes it, with 100 Continue where it waits."""
        if self.state is OPEN_BOTH:
            self.link.credit(self)

    def engage(self, exchange: Exchange) -> None:
        """Hold the stream's place until the call is over; see Carrier."""
        self.engaged = True

    def released(self, exchange: Exchange) -> None:
        """Give the place of the call back; see Carrier."""
        if self.engaged:
            self.engaged = False
            self.link.call_over(self, exchange)

    def pull(self, exchange: Exchange) -> None:
        """Wait for input of the connection on this thread; see Carrier."""
        if self.state is not CLOSED:
            self.transport.pull()

    def push(self, exchange: Exchange, wait: bool) -> None:
        """Write on this thread; see Carrier. With `wait` it reads too, for only the client can open a window."""
        if self.state is CLOSED:
            return
        self.transport.push(wait)
        while wait and self.queued > self.high_water and not self.transport.gone():
            self.transport.pull()

    def congested(self) -> bool:
        """Tell whether more of this stream waits than the high-water mark allows; `drained` follows then."""
        if self.state is CLOSED:
            return False
        if self.queued > self.high_water or self.transport.congested():
            self.clogged = True
            return True
        return False
