"""One HTTP/2 connection without a socket: a client that speaks in frames, and an application that does as told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder as LibraryDecoder

from trilithon.foundation.limits import Buffers, H2Limits, Limits, MessageLimits, Timeouts
from trilithon.wire.exchange import Exchange, Peer, Receiver
from trilithon.wire.h2_codes import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from trilithon.wire.http2 import Http2
from trilithon.wire.response import asgi_head

from .h2_bytes import PREFACE, number, raw
from .hpack_blocks import unindexed
from .inmemory import Memory, new_terms

Pairs = list[tuple[bytes, bytes]]
GET: Pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.test")]
POST: Pairs = [(b":method", b"POST"), *GET[1:]]
SETTINGS_ACK = raw(SETTINGS, ACK)


@dataclass
class Sent:
    """One frame that the server sent."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes
    fields: Pairs = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Tell whether it ends its stream."""
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def code(self) -> int:
        """Return the error code of a RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")


class Told(Receiver):
    """A gateway that writes down what it was told."""

    def __init__(self) -> None:
        self.news: list[str] = []

    def body_arrived(self) -> None:
        self.news.append("body")

    def lost(self) -> None:
        self.news.append("lost")

    def peer_ended(self) -> None:
        self.news.append("ended")

    def drained(self) -> None:
        self.news.append("drained")


class H2Memory(Memory):
    """A transport that can be full, and keeps the accounts of exchanges."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.over: list[Exchange] = []
        self.statuses: list[int] = []
        self.fresh: list[Exchange] = []
        self.on_pull: Callable[[], None] | None = None

    def congested(self) -> bool:
        return self.full

    def pull(self) -> None:
        assert self.on_pull is not None, "nobody would wake this thread"
        self.on_pull()

    def opened(self, exchange: Exchange) -> None:
        self.fresh.append(exchange)

    def ended(self, exchange: Exchange) -> None:
        assert exchange not in self.over, "ended twice"
        self.over.append(exchange)

    def rejected(self, status: int, reason: str) -> None:
        self.statuses.append(status)


class Script:
    """A client, the connection under test, and what the application has got; `now` is the clock."""

    def __init__(
        self,
        limits: H2Limits | None = None,
        message: MessageLimits | None = None,
        *,
        timeouts: Timeouts | None = None,
        buffers: Buffers | None = None,
        websockets: bool = True,
        secure: bool = False,
        greet: bool = True,
    ) -> None:
        self.transport = H2Memory()
        self.terms = new_terms(message)
        peer = Peer(("192.0.2.1", 1), ("192.0.2.2", 80), secure)
        chosen = Limits(http2=limits or H2Limits(), timeouts=timeouts or Timeouts(), buffers=buffers or Buffers())
        self.machine = Http2(self.transport, self.terms, peer, chosen, websockets)
        self.now = 1000.0
        self.exchanges: list[Exchange] = []
        self.decoder = LibraryDecoder()
        self.read = 0
        if greet:
            assert self.send(PREFACE, raw(SETTINGS), SETTINGS_ACK) == []
            self.frames()

    def send(self, *frames: bytes) -> list[Exchange]:
        """Let the client send frames in one piece; returns the exchanges that were opened."""
        self.machine.now = self.now
        assert self.machine.receive(b"".join(frames)) is None
        opened = self.transport.fresh
        self.transport.fresh = []
        for exchange in opened:
            exchange.receiver = Told()
            exchange.carrier.engage(exchange)
        self.exchanges += opened
        return opened

    def one(self, *frames: bytes) -> Exchange:
        """Send frames that open exactly one exchange."""
        opened = self.send(*frames)
        assert len(opened) == 1, f"{len(opened)} exchanges were opened"
        return opened[0]

    def frames(self) -> list[Sent]:
        """Return the frames that the server sent since the last call, each field block decoded by another library."""
        found: list[Sent] = []
        data = bytes(self.transport.written[self.read :])
        self.read += len(data)
        block = b""
        while data:
            length = int.from_bytes(data[:3], "big")
            assert len(data) >= 9 + length, "half a frame was written"
            sent = Sent(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length])
            data = data[9 + length :]
            if sent.kind in (HEADERS, CONTINUATION):
                block += sent.payload
                if sent.flags & END_HEADERS:
                    (found[-1] if sent.kind == CONTINUATION else sent).fields = [
                        (bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)
                    ]
                    block = b""
            if sent.kind != CONTINUATION:
                found.append(sent)
        return found

    def kinds(self) -> list[tuple[int, int]]:
        """Return kind and stream of what the server sent."""
        return [(sent.kind, sent.stream_id) for sent in self.frames()]

    def resets(self) -> list[tuple[int, int]]:
        """Return stream and code of each RST_STREAM that the server sent."""
        return [(sent.stream_id, sent.code) for sent in self.frames() if sent.kind == RST_STREAM]

    def pass_time(self, seconds: float) -> None:
        """Let the machine look at the clock now and `seconds` later."""
        self.now = max(self.now, self.machine.now) + 0.1
        self.machine.look(self.now)
        self.now += seconds
        self.machine.look(self.now)

    def linger(self) -> list[tuple[int, int]]:
        """Let the time go by that a client has to read an early answer; returns as `resets`."""
        self.frames()
        self.pass_time(Timeouts().linger_timeout_s)
        return self.resets()

    def goodbye(self) -> tuple[int, int]:
        """Return last stream and code of the one GOAWAY sent, behind which the connection was closed."""
        last = self.frames()[-1]
        assert last.kind == GOAWAY
        assert self.transport.closed
        return int.from_bytes(last.payload[:4], "big"), last.code

    def alive(self) -> bool:
        """Tell whether the connection still serves, by a PING and a request of another stream."""
        self.frames()
        stream_id = (self.machine.last_id + 2) | 1
        exchange = self.one(headers(stream_id, GET))
        answer(exchange, b"alive")
        return [sent.kind for sent in self.frames()] == [HEADERS, DATA]


def block(pairs: Pairs) -> bytes:
    """Return a field block of plain literals, which leaves the table alone."""
    return b"".join(unindexed(name, value) for name, value in pairs)


def headers(stream_id: int, pairs: Pairs, *, end: bool = True) -> bytes:
    """Return a HEADERS frame."""
    return raw(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block(pairs))


def data(stream_id: int, payload: bytes, *, end: bool = False) -> bytes:
    """Return a DATA frame."""
    return raw(DATA, END_STREAM if end else 0, stream_id, payload)


def reset(stream_id: int, code: int = 8) -> bytes:
    """Return a RST_STREAM frame."""
    return raw(RST_STREAM, 0, stream_id, number(code))


def update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return raw(WINDOW_UPDATE, 0, stream_id, number(increment))


def settings(*pairs: tuple[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return raw(SETTINGS, 0, 0, b"".join(number(name, 2) + number(value) for name, value in pairs))


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    """Return a PING frame."""
    return raw(PING, ACK if ack else 0, 0, payload)


def start(exchange: Exchange, status: int = 200, fields: Pairs | None = None) -> None:
    """Let the application hold a response head ready."""
    head = asgi_head(status)
    head.read_asgi(fields or [])
    exchange.respond(head)


def answer(exchange: Exchange, body: bytes, status: int = 200, fields: Pairs | None = None) -> None:
    """Let the application answer in one piece and return."""
    start(exchange, status, fields)
    exchange.end(body)
    release(exchange)


def release(exchange: Exchange) -> None:
    """Say that the application's call for an exchange has returned."""
    stream: Any = exchange.carrier
    stream.released(exchange)


def news(exchange: Exchange) -> list[str]:
    """Return what the gateway of an exchange was told."""
    receiver = exchange.receiver
    assert isinstance(receiver, Told)
    return receiver.news


def content(frames: list[Sent], stream_id: int) -> bytes:
    """Return the content that frames carry for one stream."""
    return b"".join(sent.payload for sent in frames if sent.kind == DATA and sent.stream_id == stream_id)
