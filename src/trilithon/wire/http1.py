"""HTTP/1.1 and 1.0 on one connection, as a state machine over bytes (RFC 9112)."""

from trilithon.foundation.errors import PeerError
from trilithon.wire.chunked import ChunkedDecoder
from trilithon.wire.exchange import COMPLETE, ENDED, FLOWING, LOST, Exchange, Peer, Transport
from trilithon.wire.framing import CLOSE
from trilithon.wire.head import RequestHead
from trilithon.wire.http1_sender import CONTINUE, MAX_AHEAD_BYTES, Http1Sender
from trilithon.wire.partial import PartialHead, strip_empty_lines
from trilithon.wire.phase import BODY, DRAIN, HEAD, IDLE, OVER, TUNNEL, WAIT
from trilithon.wire.response import ALLOW
from trilithon.wire.terms import Terms


class Http1(Http1Sender):
    """One HTTP/1 connection: bytes in, at most one exchange open at a time, bytes out.

    Call `receive` with what came in, `receive_end` at its end, `next` when `ahead` holds bytes after an exchange
    ended. Each returns an exchange that was opened, or None.
    """

    def __init__(self, transport: Transport, terms: Terms, peer: Peer) -> None:
        super().__init__(transport, terms, peer)
        self.partial: PartialHead | None = None
        self.empty_lines = 0
        self.requests = 0

    # Bytes in.

    def receive(self, data: bytes) -> Exchange | None:
        """Take bytes off the wire; returns an exchange that they opened. Never raises for what a client sent."""
        phase = self.phase
        if phase is TUNNEL:
            self.receive_stream(data)
            return None
        try:
            if phase is IDLE or phase is HEAD:
                return self.receive_head(data)
            if phase is BODY or phase is DRAIN:
                self.receive_body(data)
                if phase is DRAIN and self.ahead:
                    return self.next()  # the next request came with the end of the body that was thrown away
            elif phase is WAIT:
                self.ahead = self.ahead + data if self.ahead else data
                if len(self.ahead) > MAX_AHEAD_BYTES and not self.paused:
                    self.paused = True
                    self.transport.pause()
        except PeerError as error:
            self.fault(error)
        return None

    def receive_stream(self, data: bytes) -> None:
        """Take bytes of a switched exchange."""
        exchange = self.exchange
        if exchange is None:
            return
        exchange.feed(data)
        receiver = exchange.receiver  # held, see receive_body
        if receiver is not None:
            receiver.body_arrived()
        if self.phase is TUNNEL and not self.paused and not self.has_room():
            self.paused = True
            self.transport.pause()

    def next(self) -> Exchange | None:
        """Go on with what was read ahead of the response that is now complete, unless the client must read first."""
        if self.phase is not IDLE or self.transport.congested():
            return None
        data = self.ahead
        self.ahead = b""
        exchange = self.receive(data) if data else None
        if self.end_seen:
            if exchange is None:
                self.receive_end()
        elif self.paused and self.has_room():
            self.paused = False
            self.transport.resume()
        return exchange

    def receive_end(self) -> None:
        """Take the end of the client's stream: what is incomplete is lost, a whole request is still answered."""
        self.end_seen = True
        exchange = self.exchange
        if exchange is not None and (self.phase is WAIT or self.phase is TUNNEL):
            if self.phase is WAIT:
                self.mark_last(exchange)
            else:
                exchange.inbound = COMPLETE
            if not self.paused:
                self.paused = True
                self.transport.pause()
            receiver = exchange.receiver
            if receiver is not None:
                receiver.peer_ended()
        elif self.phase is BODY and exchange is not None:
            self.lose()
            self.transport.abort(self.headed and self.framing == CLOSE)
        else:
            self.phase = OVER
            self.transport.finish(False)

    def lose(self) -> None:
        """The connection broke: whatever is open is lost; idempotent."""
        self.phase = OVER
        exchange = self.exchange
        if exchange is not None:
            self.exchange = None
            ended = exchange.outbound is ENDED
            exchange.lose()
            if not ended:
                self.transport.ended(exchange)

    def cut_off(self) -> bool:
        """Lose what is open; a body that the close was to end is not whole (RFC 9112 8). See Protocol."""
        unclear = self.exchange is not None and self.headed and self.framing == CLOSE and self.phase is not TUNNEL
        self.lose()
        return unclear

    def receive_head(self, data: bytes) -> Exchange | None:
        """Gather a request head and open its exchange when it is whole; raises PeerError."""
        partial = self.partial
        if partial is None:
            if data[0] == 13 or data[0] == 10:
                data, self.empty_lines = strip_empty_lines(data, self.empty_lines)
                if len(data) < 2:
                    if data:
                        self.start_partial(data)
                    return None
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.start_partial(data)
                return None
            head, rest = data[:end], data[end + 4 :]
        else:
            if partial.gathered == b"\r":
                # The first half of an empty line before the request line.
                self.partial = None
                return self.receive_head(b"\r" + data)
            whole = partial.feed(data)
            if whole is None:
                return None
            head, rest = whole
            self.partial = None
        self.empty_lines = 0
        return self.open(self.terms.reader.read(head, self.peer.secure or self.peer.proxied), rest)

    def start_partial(self, data: bytes) -> None:
        """Keep the first part of a head."""
        self.phase = HEAD
        self.partial = PartialHead(self.terms.limits, self.peer.secure or self.peer.proxied)
        if data != b"\r":
            self.partial.feed(data)
        else:
            self.partial.gathered += data

    def open(self, head: RequestHead, rest: bytes) -> Exchange | None:
        """Open the exchange of a whole head, `rest` being the bytes behind it; raises PeerError."""
        terms = self.terms
        if head.method == "CONNECT":
            self.answer(405, ALLOW)
            self.transport.rejected(405, "HTTP/2 is not spoken here")
            return None
        if 0 < terms.limits.max_body_bytes < head.length:
            self.fault(PeerError(413, "body larger than the limit", "RFC 9110 15.5.14"), head.method == "HEAD")
            return None
        exchange = Exchange(self, head, self.peer)
        self.exchange = exchange
        self.requests += 1
        self.headed = False
        self.asked = False
        self.closing = head.close or (head.http10 and not head.keep_alive)
        if terms.max_requests and self.requests >= terms.max_requests:
            self.closing = True
        if head.chunked:
            self.decoder = ChunkedDecoder(terms.limits)
        elif head.length > 0:
            self.left = head.length
        else:
            exchange.inbound = COMPLETE
            self.phase = WAIT
            self.ahead = rest
            if self.end_seen:
                self.mark_last(exchange)
            return exchange
        self.phase = BODY
        self.body_size = 0
        if rest:
            try:
                self.receive_body(rest)
            except PeerError as error:
                # Nothing of a request whose first bytes are already wrong reaches the application.
                self.exchange = None
                self.fault(error, head.method == "HEAD")
                return None
        if self.end_seen:
            if self.phase is BODY:
                self.exchange = None  # its body will never be whole
                return None
            self.mark_last(exchange)
        return exchange

    def mark_last(self, exchange: Exchange) -> None:
        """The client has ended its side: unless more was read ahead, this request is its last."""
        exchange.half_closed = True
        if not self.ahead:
            self.closing = True

    def receive_body(self, data: bytes) -> None:
        """Take body bytes of the open exchange; raises PeerError (400, 413)."""
        if self.decoder is not None:
            content = self.decoder.feed(data)
            self.body_size += len(content)
            limit = self.terms.limits.max_body_bytes
            if limit and self.body_size > limit:
                raise PeerError(413, "body larger than the limit", "RFC 9110 15.5.14")
            complete = self.decoder.done
            if complete:
                self.ahead = self.decoder.rest
                self.decoder = None
        else:
            content = data
            complete = len(data) >= self.left
            if complete:
                if len(data) > self.left:
                    content = data[: self.left]
                    self.ahead = data[self.left :]
                self.left = 0
            else:
                self.left -= len(data)
            self.body_size += len(content)
        if self.phase is DRAIN:
            # Thrown away behind its response, up to a bound (RFC 9112 9.3).
            self.left_to_drain -= len(content)
            if complete:
                self.phase = IDLE
                self.conclude()
            elif self.left_to_drain < 0:
                self.stop(True)
            return
        exchange = self.exchange
        if exchange is None:
            return
        if content:
            exchange.feed(content)
        if complete:
            exchange.inbound = COMPLETE
            self.phase = WAIT
        elif exchange.body_bytes >= self.terms.read_ahead_bytes and not self.paused:
            self.paused = True
            self.transport.pause()
        receiver = exchange.receiver  # held: it may take itself off the exchange, and compiled calls hold no reference
        if receiver is not None and (content or complete):
            receiver.body_arrived()

    def fault(self, error: PeerError, bodiless: bool = False) -> None:
        """Answer a broken request with its status and close; the application is not called for it."""
        exchange = self.exchange
        if exchange is None:
            if self.phase is DRAIN:
                self.stop(True)  # its response is complete: another one would pass for that of the next request
                return
            self.answer(error.status, b"", bodiless)
            self.transport.rejected(error.status, error.reason)
            return
        if exchange.outbound is FLOWING:
            self.lose()
            self.transport.abort(self.framing == CLOSE)
            return
        self.exchange = None
        if exchange.outbound is not ENDED and exchange.outbound is not LOST:
            exchange.status = error.status
            self.answer(error.status, b"", exchange.head.method == "HEAD")
            exchange.lose()
            self.transport.ended(exchange)
        else:
            self.stop(True)

    def time_out(self) -> None:
        """A head or a body took too long: 408 where an answer is still possible, then the close (RFC 9110 15.5.9)."""
        if self.phase is IDLE:
            self.phase = OVER
            self.transport.finish(False)
        elif self.phase is not OVER and self.phase is not TUNNEL:
            self.fault(PeerError(408, "request took too long", "RFC 9110 15.5.9"))

    def look(self, now: float) -> None:
        """Let a receiver that wants it know the time; see Protocol."""
        exchange = self.exchange
        if exchange is not None and exchange.ticks:
            receiver = exchange.receiver  # held, see receive_body
            if receiver is not None:
                receiver.tick(now)

    def drained(self) -> None:
        """Tell whoever waited for the client to read; see Protocol."""
        exchange = self.exchange
        if exchange is None:
            self.transport.uncorked()
            return
        receiver = exchange.receiver  # held, see receive_body
        if receiver is not None:
            receiver.drained()

    def retire(self) -> None:
        """Close a connection between requests; one that a request has begun to come on ends behind its response.

        See Protocol.
        """
        if self.exchange is None and self.phase is not HEAD:
            self.phase = OVER
            self.transport.finish(False)

    def is_new(self) -> bool:
        """Tell whether no request has begun to come; see Protocol."""
        return self.phase is IDLE and not self.requests

    # The application reads.

    def want_body(self, exchange: Exchange) -> None:
        """Ask for the body with 100 Continue where the client waits for that, and read on."""
        if exchange is not self.exchange:
            return
        if not self.asked:
            self.asked = True
            if exchange.head.expects_continue and not self.body_size and not self.headed and self.phase is BODY:
                self.transport.write(CONTINUE)
        streams = self.phase is BODY or self.phase is TUNNEL
        if self.paused and streams and not self.end_seen and exchange.body_bytes < self.terms.read_ahead_bytes:
            self.paused = False
            self.transport.resume()

    def pull(self, exchange: Exchange) -> None:
        """Wait for input on this thread; see Carrier."""
        if exchange is self.exchange:
            self.transport.pull()
