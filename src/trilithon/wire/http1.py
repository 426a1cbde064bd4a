"""HTTP/1.1 and 1.0 on one connection, as a state machine over bytes (RFC 9112)."""

from trilithon.foundation.errors import ClientDisconnected, InternalError, PeerError
from trilithon.wire.chunked import MAX_JOINED_BYTES, ChunkedDecoder, chunk_pieces
from trilithon.wire.exchange import (
    BROKEN,
    COMPLETE,
    ENDED,
    FLOWING,
    LOST,
    OPEN,
    Exchange,
    Peer,
    SocketAnswer,
    Transport,
)
from trilithon.wire.framing import CHUNKED, CLOSE, NONE, response_framing
from trilithon.wire.handshake import Handshake, switching_head
from trilithon.wire.head import RequestHead
from trilithon.wire.partial import PartialHead, strip_empty_lines
from trilithon.wire.phase import BODY, DRAIN, HEAD, IDLE, OVER, TUNNEL, WAIT
from trilithon.wire.protocol import Protocol
from trilithon.wire.response import head_parts, last_line, own_answer
from trilithon.wire.terms import Terms

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# An unread body is thrown away up to this size so that the connection can be used again; beyond it closing is cheaper.
MAX_DRAIN_BYTES = 65536
# Reading stops when this much came in behind a request that is not answered yet.
MAX_AHEAD_BYTES = 4096


class Http1(Protocol):
    """One HTTP/1 connection: bytes in, at most one exchange open at a time, bytes out.

    Call `receive` with what came in, `receive_end` at its end, `next` when `ahead` holds bytes after an exchange
    ended. Each returns an exchange that was opened, or None.
    """

    def __init__(self, transport: Transport, terms: Terms, peer: Peer) -> None:
        super().__init__(transport, terms, peer)
        self.partial: PartialHead | None = None
        self.decoder: ChunkedDecoder | None = None
        self.left: int = 0
        self.left_to_drain: int = 0
        self.body_size: int = 0
        self.empty_lines = 0
        self.requests = 0
        self.asked = False
        self.headed = False
        self.framing = NONE
        self.closing = False

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

    def has_room(self) -> bool:
        """Tell whether more may be read: within the bounds of a body and of what is read ahead."""
        if (self.phase is BODY or self.phase is TUNNEL) and self.exchange is not None:
            return self.exchange.body_bytes < self.terms.read_ahead_bytes
        return self.phase is not WAIT or len(self.ahead) <= MAX_AHEAD_BYTES

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
        return self.open(self.terms.reader.read(head, self.peer.secure), rest)

    def start_partial(self, data: bytes) -> None:
        """Keep the first part of a head."""
        self.phase = HEAD
        self.partial = PartialHead(self.terms.limits, self.peer.secure)
        if data != b"\r":
            self.partial.feed(data)
        else:
            self.partial.gathered += data

    def open(self, head: RequestHead, rest: bytes) -> Exchange | None:
        """Open the exchange of a whole head, `rest` being the bytes behind it; raises PeerError."""
        terms = self.terms
        if head.method == "CONNECT":
            self.answer(405, b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n")
            self.transport.rejected(405)
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
            self.transport.rejected(error.status)
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
        """Close a connection between requests; one that serves a request ends behind its response; see Protocol."""
        if self.exchange is None:
            self.phase = OVER
            self.transport.finish(False)

    # Bytes out.

    def answer(self, status: int, extra: bytes, bodiless: bool = False) -> None:
        """Send an answer of the server's own and close behind it."""
        terms = self.terms
        self.transport.write(own_answer(status, extra + terms.stamp.line + terms.server_line, bodiless))
        self.stop(True)

    def stop(self, lingering: bool) -> None:
        """Take no further request and close behind what is written."""
        self.phase = OVER
        self.ahead = b""
        self.transport.finish(lingering)

    def send(self, exchange: Exchange, data: bytes, final: bool) -> None:
        """Put a piece of the response on the wire; see Carrier."""
        if exchange is not self.exchange:
            raise ClientDisconnected("the exchange is over")
        if not self.headed:
            self.write_head(exchange, data, final)
        elif self.framing == CHUNKED:
            for piece in chunk_pieces(data, final):
                self.transport.write(piece)
        elif data and self.framing != NONE:
            self.transport.write(data)
        if final:
            self.end_response(exchange)

    def send_file(self, exchange: Exchange, fd: int, offset: int, count: int) -> None:
        """Send `count` bytes of a file as the whole body and the end of the response; see Carrier."""
        if exchange is not self.exchange:
            raise ClientDisconnected("the exchange is over")
        self.write_head(exchange, b"", False)
        if not exchange.bodiless and count:
            self.transport.write_file(fd, offset, count)
        self.end_response(exchange)

    def write_head(self, exchange: Exchange, data: bytes, final: bool) -> None:
        """Write a response head with the first piece of its body; framing and persistence are settled here."""
        self.headed = True
        response = exchange.response
        if response is None:
            raise InternalError("no response head is held")
        exchange.status = response.status
        request = exchange.head
        terms = self.terms
        framing = response_framing(exchange.bodiless, response.length, final, request.http10)
        self.framing = framing
        if response.close or exchange.must_close or terms.closing or framing == CLOSE or self.must_abandon(exchange):
            self.closing = True
        parts = head_parts(response, framing, len(data) if final else -1)
        if not response.dated:
            parts.append(terms.stamp.line)
        if terms.server_line and not response.named:
            parts.append(terms.server_line)
        parts.append(last_line(response.status, self.closing, request.http10))
        if framing == NONE or not data:
            self.transport.write(b"".join(parts))
            return
        if framing == CHUNKED:
            parts.append(b"%x\r\n" % len(data))
        tail = b"\r\n" if framing == CHUNKED else b""
        if len(data) <= MAX_JOINED_BYTES:
            parts.append(data)
            parts.append(tail)
            self.transport.write(b"".join(parts))
        else:
            self.transport.write(b"".join(parts))
            self.transport.write(data)
            if tail:
                self.transport.write(tail)

    def switch(self, exchange: Exchange, handshake: Handshake, answer: SocketAnswer) -> None:
        """Send 101 and let the bytes pass; see Carrier."""
        if exchange is not self.exchange:
            raise ClientDisconnected("the exchange is over")
        terms = self.terms
        lines = [line.octets for line in answer.lines] + [terms.stamp.line, terms.server_line]
        if exchange.head.expects_continue:
            self.transport.write(CONTINUE)  # comes before the switch (RFC 9110 7.8)
        self.transport.write(switching_head(handshake, answer.protocol, answer.extensions, lines))
        exchange.status = 101
        self.headed = True
        self.framing = CLOSE
        self.closing = True
        self.phase = TUNNEL
        ahead = self.ahead
        self.ahead = b""
        if ahead:
            exchange.feed(ahead)
        if self.end_seen:
            exchange.inbound = COMPLETE
        elif self.paused and self.has_room():
            self.paused = False
            self.transport.resume()

    def must_abandon(self, exchange: Exchange) -> bool:
        """Tell whether the unread rest of the body makes this the last response of the connection."""
        if exchange.inbound is not OPEN:
            return exchange.inbound is BROKEN
        if exchange.head.expects_continue and not self.asked and not self.body_size:
            return True  # the client may or may not send the body now: only the close is unambiguous (RFC 9110 10.1.1)
        return self.decoder is None and self.left > MAX_DRAIN_BYTES and not self.asked

    def end_response(self, exchange: Exchange) -> None:
        """Close the accounts of a complete response, and drain, wait for or refuse what comes next."""
        self.exchange = None
        if self.closing or self.terms.closing:
            # A client that asked for the close sends nothing more; another may have its next request under way.
            asked = exchange.head.close or exchange.head.http10
            self.stop(not asked or exchange.inbound is OPEN or bool(self.ahead))
        elif exchange.inbound is COMPLETE:
            self.phase = IDLE
            self.conclude()
        elif self.left > MAX_DRAIN_BYTES or exchange.inbound is BROKEN:
            self.stop(True)
        else:
            self.phase = DRAIN
            self.left_to_drain = MAX_DRAIN_BYTES
            self.conclude()
        self.transport.ended(exchange)

    def conclude(self) -> None:
        """Go on reading after a response, unless the client must read first or bytes read ahead come first."""
        if self.transport.congested():
            if not self.paused:
                self.paused = True
                self.transport.pause()
        elif self.paused and not self.end_seen and not self.ahead:
            self.paused = False
            self.transport.resume()

    def inform(self, exchange: Exchange, status: int, block: bytes) -> None:
        """Send an interim response, never to HTTP/1.0 (RFC 9110 15.2)."""
        if not self.headed and not exchange.head.http10 and exchange is self.exchange:
            self.transport.write(b"HTTP/1.1 %d \r\n%b\r\n" % (status, block))

    def refuse(self, exchange: Exchange, status: int, extra: bytes) -> None:
        """Answer with an error of the server's own; the connection closes behind it."""
        if exchange is self.exchange:
            self.exchange = None
            exchange.status = status
            self.answer(status, extra, exchange.head.method == "HEAD")
            self.transport.ended(exchange)

    def reset(self, exchange: Exchange) -> None:
        """Break off: no final chunk, no padding, no second status line (RFC 9112 8)."""
        if exchange is self.exchange:
            self.exchange = None
            self.phase = OVER
            self.transport.abort(self.headed and self.framing == CLOSE)
            self.transport.ended(exchange)

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

    def push(self, exchange: Exchange, wait: bool) -> None:
        """Write on this thread; see Carrier."""
        if exchange is self.exchange:
            self.transport.push(wait)

    def congested(self) -> bool:
        """Tell whether the output is above its high-water mark."""
        return self.transport.congested()
