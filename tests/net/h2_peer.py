"""A client of HTTP/2 that says on a real socket whatever it is told, and judges what comes back."""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pytest
from hpack import Decoder

from tests.wire.h2_bytes import PREFACE, raw
from tests.wire.h2_memory import GET, SETTINGS_ACK, Sent, headers, ping
from trilithon.wire.h2_codes import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
)

# How long an answer may take before it counts as missing; far less than the lingering of the servers under test.
DEADLINE_S = 6.0
# Streams that the judge itself opens, above those of the cases.
FIRST_OWN_STREAM = 20_001
HEAD = [(b":method", b"HEAD"), *GET[1:]]

Step = bytes | Callable[["Peer"], None]


@dataclass
class Case:
    """One case of a suite: the checklist lines it holds, what the client does, and what the judge wants to see."""

    name: str
    mark: pytest.MarkDecorator
    steps: list[Step]
    greeting: bytes = PREFACE + raw(SETTINGS)


class Peer:
    """One connection. Every wait ends at `DEADLINE_S` with a TimeoutError; a reset of the connection raises."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        greeting: bytes = PREFACE + raw(SETTINGS),
        receive: int = 0,
        acknowledges: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            # An end that TLS has not announced is an error.
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost", suppress_ragged_eofs=False)
        self.buffer = bytearray()
        self.decoder = Decoder()
        self.ended = False
        self.seen: list[Sent] = []
        self.own = FIRST_OWN_STREAM
        self.settings: dict[int, int] = {}
        self.acknowledges = acknowledges
        self.send(greeting)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    # Saying.

    def send(self, *frames: bytes) -> None:
        """Send frames; a server that has closed its side is no error here, what it said before is still to be read."""
        try:
            self.socket.sendall(b"".join(frames))
        except (BrokenPipeError, ConnectionResetError):
            return

    def play(self, *steps: Step) -> None:
        """Send what is bytes and call the rest, in order."""
        for step in steps:
            if isinstance(step, bytes):
                self.send(step)
            else:
                step(self)

    # Hearing.

    def take(self) -> Sent | None:
        """Return the next frame, None at the end of the connection; SETTINGS and PING are acknowledged."""
        while not self.whole():
            if self.ended:
                assert not self.buffer, f"the connection ended within a frame: {bytes(self.buffer[:60])!r}"
                return None
            data = self.socket.recv(262144)
            self.ended = not data
            self.buffer += data
        sent = self.cut()
        if sent.kind == HEADERS or sent.kind == CONTINUATION:
            block = sent.payload
            while not sent.flags & END_HEADERS:
                more = self.take_continuation()
                block += more.payload
                sent.flags |= more.flags & END_HEADERS
            sent.fields = [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)]
        elif sent.kind == SETTINGS and not sent.flags & ACK:
            for at in range(0, len(sent.payload), 6):
                name, value = sent.payload[at : at + 2], sent.payload[at + 2 : at + 6]
                self.settings[int.from_bytes(name, "big")] = int.from_bytes(value, "big")
            if self.acknowledges:
                self.send(SETTINGS_ACK)
        elif sent.kind == PING and not sent.flags & ACK and self.acknowledges:
            self.send(ping(sent.payload, ack=True))
        self.seen.append(sent)
        return sent

    def take_continuation(self) -> Sent:
        """Return the CONTINUATION frame that has to come next."""
        while not self.whole():
            data = self.socket.recv(262144)
            assert data, "the connection ended within a field block"
            self.buffer += data
        sent = self.cut()
        assert sent.kind == CONTINUATION, "a field block was interrupted"
        return sent

    def whole(self) -> bool:
        """Tell whether a whole frame has come in."""
        return len(self.buffer) >= 9 and len(self.buffer) >= 9 + int.from_bytes(self.buffer[:3], "big")

    def cut(self) -> Sent:
        """Take the first frame off what came in."""
        end = 9 + int.from_bytes(self.buffer[:3], "big")
        data = bytes(self.buffer[:end])
        del self.buffer[:end]
        return Sent(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:])

    def until(self, wanted: Callable[[Sent], bool]) -> Sent:
        """Take frames up to the one that is wanted, among those that were taken before too."""
        for sent in self.seen:
            if wanted(sent):
                return sent
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            found = self.take()
            assert found is not None, f"the connection ended; {self.told()}"
            assert found.kind != GOAWAY or not found.code or wanted(found), f"the server leaves; {self.told()}"
            if wanted(found):
                return found
        raise TimeoutError(f"not in time; {self.told()}")

    def told(self) -> str:
        """Say what came, for messages."""
        return "came " + " ".join(f"{sent.kind}/{sent.stream_id}" for sent in self.seen[-20:]) + self.goodbyes()

    def goodbyes(self) -> str:
        """Say what GOAWAY frames said, for messages."""
        return "".join(f" GOAWAY {sent.code} {sent.payload[8:]!r}" for sent in self.seen if sent.kind == GOAWAY)

    def to_end(self) -> list[Sent]:
        """Take frames up to the end of the connection, and return all there ever were."""
        deadline = time.monotonic() + DEADLINE_S
        while self.take() is not None:
            assert time.monotonic() < deadline, "the connection goes on and on"
        return self.seen

    def response(self, stream_id: int) -> tuple[int, bytes]:
        """Wait for a whole response and return its status and content."""
        self.until(lambda sent: sent.stream_id == stream_id and sent.ended)
        frames = [sent for sent in self.seen if sent.stream_id == stream_id]
        heads = [sent.fields for sent in frames if sent.kind == HEADERS and sent.fields[:1][0][0] == b":status"]
        return int(dict(heads[-1])[b":status"]), b"".join(sent.payload for sent in frames if sent.kind == DATA)


# What a judge waits for.


def ponged(peer: Peer) -> None:
    """Wait until the server has read everything that was sent."""
    payload = peer.own.to_bytes(8, "big")
    peer.own += 2
    peer.send(ping(payload))
    peer.until(lambda sent: sent.kind == PING and bool(sent.flags & ACK) and sent.payload == payload)


def alive(peer: Peer) -> None:
    """The connection still serves: a PING and a request that needs no window are answered."""
    ponged(peer)
    stream_id = peer.own
    peer.own += 2
    peer.send(headers(stream_id, HEAD))
    assert peer.response(stream_id) == (200, b""), peer.told()


def refused(*codes: int) -> Step:
    """The connection ends: one GOAWAY of one of these codes, nothing behind it, and promptly the end of the TCP one."""

    def judge(peer: Peer) -> None:
        frames = peer.to_end()
        assert [sent.kind for sent in frames].count(GOAWAY) == 1, peer.told()
        assert frames[-1].kind == GOAWAY, peer.told()
        assert frames[-1].code in codes, peer.told()

    return judge


def closed(peer: Peer) -> None:
    """The connection ends promptly, whatever the server says before that."""
    deadline = time.monotonic() + DEADLINE_S
    while peer.socket.recv(65536):
        assert time.monotonic() < deadline, "the connection goes on and on"


def was_reset(stream_id: int, *codes: int) -> Step:
    """The stream ends with one RST_STREAM of one of these codes, and the connection still serves."""

    def judge(peer: Peer) -> None:
        found = peer.until(lambda sent: sent.kind == RST_STREAM and sent.stream_id == stream_id)
        assert found.code in codes, f"reset with {found.code}"
        alive(peer)
        resets = [sent for sent in peer.seen if sent.kind == RST_STREAM and sent.stream_id == stream_id]
        assert len(resets) == 1, f"reset {len(resets)} times"

    return judge


def answered(stream_id: int, body: bytes | None = None, status: int = 200) -> Step:
    """The stream is answered so, and the connection still serves."""

    def judge(peer: Peer) -> None:
        found, content = peer.response(stream_id)
        assert found == status
        assert body is None or content == body
        alive(peer)

    return judge


def whole(stream_id: int) -> Step:
    """Wait until a stream is answered."""

    def wait(peer: Peer) -> None:
        peer.response(stream_id)

    return wait


def headed(stream_id: int) -> Step:
    """Wait until the answer of a stream has begun."""

    def wait(peer: Peer) -> None:
        peer.until(lambda sent: sent.kind == HEADERS and sent.stream_id == stream_id)

    return wait
