"""The sending half of an HTTP/1 connection: heads, bodies, and what becomes of the connection behind a response."""

from trilithon.foundation.errors import ClientDisconnected, InternalError
from trilithon.foundation.files import FileSpan
from trilithon.wire.chunked import MAX_JOINED_BYTES, ChunkedDecoder, chunk_pieces, last_chunk
from trilithon.wire.exchange import BROKEN, COMPLETE, OPEN, Exchange, Peer, SocketAnswer, Transport
from trilithon.wire.fields import DATE, SERVER
from trilithon.wire.framing import CHUNKED, CLOSE, NONE, response_framing
from trilithon.wire.handshake import Handshake, switching_head
from trilithon.wire.phase import BODY, DRAIN, IDLE, OVER, TUNNEL, WAIT
from trilithon.wire.protocol import Protocol
from trilithon.wire.response import SentLine, head_parts, last_line, own_answer
from trilithon.wire.terms import Terms

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# An unread body is thrown away up to this size so that the connection can be used again; beyond it closing is cheaper.
MAX_DRAIN_BYTES = 65536
# Reading stops when this much came in behind a request that is not answered yet.
MAX_AHEAD_BYTES = 4096


class Http1Sender(Protocol):
    """What an HTTP/1 connection says: see Http1.

    `headed` says that the head of the response is sent, with `framing`; `closing` that it is the last response. Of the
    request, `left` are the bytes of the body to come, or `decoder` knows; `asked` says that the application wants them.
    """

    def __init__(self, transport: Transport, terms: Terms, peer: Peer) -> None:
        super().__init__(transport, terms, peer)
        self.decoder: ChunkedDecoder | None = None
        self.left: int = 0
        self.left_to_drain: int = 0
        self.body_size: int = 0
        self.asked = False
        self.headed = False
        self.framing = NONE
        self.closing = False

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

    def send_file(self, exchange: Exchange, span: FileSpan, final: bool) -> None:
        """Send a span of a file that is not empty as a piece of the body; see Carrier."""
        if exchange is not self.exchange:
            raise ClientDisconnected("the exchange is over")
        if not self.headed:
            self.write_head(exchange, b"", False)
        chunked = self.framing == CHUNKED
        if chunked:
            self.transport.write(b"%x\r\n" % span.count)
        self.transport.write_span(span)
        if chunked:
            self.transport.write(b"\r\n0\r\n\r\n" if final else b"\r\n")
        if final:
            self.end_response(exchange)

    def send_trailers(self, exchange: Exchange, lines: list[SentLine]) -> None:
        """End a response with the last chunk and trailers; no other framing has any (RFC 9112 7.1.2). See Carrier."""
        if exchange is not self.exchange:
            raise ClientDisconnected("the exchange is over")
        if self.framing == CHUNKED:
            self.transport.write(last_chunk(lines))
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
        if response.close or exchange.must_close or framing == CLOSE or self.must_abandon(exchange):
            self.closing = True
        elif terms.closing and not (terms.patient and self.ahead):  # what was read ahead is answered too
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
        lines = [line.octets for line in answer.lines]
        roles = {line.role for line in answer.lines}
        if DATE not in roles:
            lines.append(terms.stamp.line)
        if SERVER not in roles:
            lines.append(terms.server_line)
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
        if self.closing or (self.terms.closing and not self.terms.patient):
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

    def informs(self, exchange: Exchange) -> bool:
        """Tell whether early hints are sent, never to HTTP/1.0 (RFC 9110 15.2); see Carrier."""
        return self.terms.early_hints and not exchange.head.http10

    def inform(self, exchange: Exchange, status: int, block: bytes) -> None:
        """Send an interim response in front of the head; see Carrier."""
        if not self.headed and exchange is self.exchange and self.informs(exchange):
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

    def push(self, exchange: Exchange, wait: bool) -> None:
        """Write on this thread; see Carrier."""
        if exchange is self.exchange:
            self.transport.push(wait)

    def congested(self) -> bool:
        """Tell whether the output is above its high-water mark."""
        return self.transport.congested()

    def has_room(self) -> bool:
        """Tell whether more may be read: within the bounds of a body and of what is read ahead."""
        if (self.phase is BODY or self.phase is TUNNEL) and self.exchange is not None:
            return self.exchange.body_bytes < self.terms.read_ahead_bytes
        return self.phase is not WAIT or len(self.ahead) <= MAX_AHEAD_BYTES
