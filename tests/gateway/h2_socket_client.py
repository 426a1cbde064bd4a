"""WebSocket clients on streams of HTTP/2: frames written by hand, so that any of them may be sent, legal or not."""

import socket
import struct
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from hpack import Decoder
from tests.gateway.socket_client import DEADLINE_S, RECEIVE_BYTES, SocketClient, pieces_of
from tests.wire.h2_bytes import PREFACE, number, raw
from tests.wire.hpack_blocks import unindexed

from trilithon.wire.h2_codes import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    NO_ERROR,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

Pairs = list[tuple[bytes, bytes]]

MAX_DATA_BYTES = 16384
DEFAULT_WINDOW = 65535
LARGE_WINDOW = 1 << 20


def extended_connect(target: str = "/", *more: tuple[str, str], version: str = "13") -> Pairs:
    """Return the fields that open a WebSocket (RFC 8441 5); `more` are further ones."""
    pairs = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", target)]
    pairs += [(":authority", "test.example"), ("sec-websocket-version", version), *more]
    return [(name.lower().encode(), value.strip().encode()) for name, value in pairs]


class Line:
    """One stream of a wire: what has come on it, and what may be sent."""

    def __init__(self, wire: "H2Wire", stream_id: int) -> None:
        self.wire = wire
        self.stream_id = stream_id
        self.heads: list[Pairs] = []
        self.data = bytearray()
        self.sizes: list[int] = []
        self.ended = False
        self.reset: int | None = None
        self.window = wire.initial_window
        self.credits = wire.credits
        self.owed = 0
        self.done = False

    @property
    def over(self) -> bool:
        """Tell whether nothing more will come."""
        return self.ended or self.reset is not None

    def field(self, name: bytes) -> bytes | None:
        """Return the value of the only field called `name` of the last head; None without one."""
        values = [value for key, value in self.heads[-1] if key == name]
        assert len(values) <= 1, f"{name!r} came {len(values)} times"
        return values[0] if values else None

    def status(self, within_s: float = DEADLINE_S) -> int:
        """Wait for the final head and return its status."""
        self.wire.wait(lambda: self.over or (self.heads and self.heads[-1][0][1] >= b"200"), within_s)
        assert self.heads, f"no head came; reset with {self.reset}"
        assert self.heads[-1][0][0] == b":status", self.heads
        return int(self.heads[-1][0][1])

    def rest(self, within_s: float = DEADLINE_S) -> bytes:
        """Wait for the end of the stream and return the content that came."""
        self.wire.wait(lambda: self.over, within_s)
        return bytes(self.data)

    def send(self, data: bytes, *, end: bool = False, padding: int = -1) -> None:
        """Send DATA as far as the windows go, waiting for them to open; a stream that is over takes nothing more."""
        place = 0
        while place < len(data) or end:
            room = min(len(data) - place, MAX_DATA_BYTES - 256, self.window, self.wire.window)
            if room <= 0 and place < len(data):
                self.wire.wait(lambda: self.over or (self.window > 0 and self.wire.window > 0), DEADLINE_S)
                if self.over:
                    return
                continue
            last = end and place + room == len(data)
            self.frame(data[place : place + room], end=last, padding=padding)
            place += room
            if last:
                return

    def frame(self, data: bytes, *, end: bool = False, padding: int = -1) -> None:
        """Send one DATA frame, whatever the windows say; with `padding` a padded one."""
        self.done = self.done or end
        flags = END_STREAM if end else 0
        if padding >= 0:
            flags |= 8
            data = bytes([padding]) + data + bytes(padding)
        self.window -= len(data)
        self.wire.window -= len(data)
        self.wire.write(raw(DATA, flags, self.stream_id, data))

    def end(self) -> None:
        """End this side of the stream, once."""
        if not self.done:
            self.frame(b"", end=True)

    def cancel(self, code: int = CANCEL) -> None:
        """Reset the stream."""
        self.done = True
        self.wire.write(raw(RST_STREAM, 0, self.stream_id, number(code)))


class H2Wire:
    """One connection to `site`, anything with host and port, that speaks HTTP/2 by prior knowledge.

    `stream_window` is what the server may send on each stream. While `credits` holds, of the wire and of a stream,
    what was received is given back.
    """

    def __init__(
        self,
        site: Any,
        *,
        stream_window: int = LARGE_WINDOW,
        credits: bool = True,
        receive_buffer_bytes: int = 0,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect((site.host, site.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.credits = credits
        self.stream_window = stream_window
        self.buffer = bytearray()
        self.block = b""
        self.decoder = Decoder()
        self.lines: dict[int, Line] = {}
        self.settings: dict[int, int] = {}
        self.goaways: list[tuple[int, int]] = []
        self.pongs: list[bytes] = []
        self.initial_window = DEFAULT_WINDOW
        self.window = DEFAULT_WINDOW
        self.next_id = 1
        self.ended = False
        greeting = PREFACE + raw(SETTINGS, 0, 0, number(INITIAL_WINDOW_SIZE, 2) + number(stream_window))
        self.write(greeting + raw(WINDOW_UPDATE, 0, 0, number(16 * LARGE_WINDOW)))
        self.wait(lambda: self.settings, DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def write(self, data: bytes) -> None:
        """Send octets; a server that has closed meanwhile is no error here."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            pass  # what it said before is still to be read

    def request(self, pairs: Pairs, *, end: bool = False, early: bytes | None = None, early_end: bool = False) -> Line:
        """Open a stream with these fields; `early` is content that follows at once, the last with `early_end`."""
        line = Line(self, self.next_id)
        self.next_id += 2
        self.lines[line.stream_id] = line
        line.done = end or early_end
        block = b"".join(unindexed(name, value) for name, value in pairs)
        opening = raw(HEADERS, END_HEADERS | (END_STREAM if end else 0), line.stream_id, block)
        if early is not None:
            line.window -= len(early)
            self.window -= len(early)
            opening += raw(DATA, END_STREAM if early_end else 0, line.stream_id, early)
        self.write(opening)
        return line

    def get(self, target: str = "/") -> Line:
        """Send a plain request."""
        pairs = [(":method", "GET"), (":scheme", "http"), (":path", target), (":authority", "test.example")]
        return self.request([(name.encode(), value.encode()) for name, value in pairs], end=True)

    def wait(self, condition: Any, within_s: float) -> None:
        """Read until `condition` holds; fails on the deadline and at the end of the connection."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert self.receive(deadline), f"the connection ended; {self.goaways}"

    def receive(self, deadline: float) -> bool:
        """Wait for octets and act on the frames in them; false at the end of the connection. Fails on the deadline."""
        if self.ended:
            return False
        remaining = deadline - time.monotonic()
        assert remaining > 0, "the server is silent"
        self.socket.settimeout(remaining)
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise AssertionError("the server is silent") from None
        except ConnectionError:
            data = b""
        finally:
            self.socket.settimeout(DEADLINE_S)
        self.ended = not data
        self.buffer += data
        buffer = self.buffer
        while len(buffer) >= 9 and len(buffer) >= 9 + (length := int.from_bytes(buffer[:3], "big")):
            kind, flags, stream_id = struct.unpack("!BBI", buffer[3:9])
            payload = bytes(buffer[9 : 9 + length])
            del buffer[: 9 + length]
            self.take(kind, flags, stream_id, payload)
        return bool(data)

    def take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Act on one frame of the server."""
        line = self.lines.get(stream_id)
        if kind in (HEADERS, CONTINUATION):
            assert line is not None and not line.ended, "a head where none can be"
            self.block += payload
            if flags & END_HEADERS:
                pairs = [(bytes(name), bytes(value)) for name, value in self.decoder.decode(self.block, raw=True)]
                self.block = b""
                line.heads.append(pairs)
            line.ended = line.ended or (kind == HEADERS and bool(flags & END_STREAM))
        elif kind == DATA:
            assert line is not None and line.heads and not line.over, "content where none can be"
            line.data += payload
            line.sizes.append(len(payload))
            line.ended = bool(flags & END_STREAM)
            self.give_back(line, len(payload))
        elif kind == RST_STREAM:
            assert line is not None, "a reset of no stream"
            line.reset = int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            self.settings = dict(struct.iter_unpack("!HI", payload))
            self.initial_window = self.settings.get(INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
            self.write(raw(SETTINGS, ACK))
        elif kind == WINDOW_UPDATE:
            if line is not None:
                line.window += int.from_bytes(payload, "big")
            elif not stream_id:
                self.window += int.from_bytes(payload, "big")
        elif kind == PING:
            if flags & ACK:
                self.pongs.append(payload)
            else:
                self.write(raw(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaways.append((int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")))

    def give_back(self, line: Line, size: int) -> None:
        """Credit what was received, once it is half a window, as clients do."""
        line.owed += size
        if self.credits and line.credits and line.owed * 2 >= max(self.stream_window, 1024):
            self.credit(line, line.owed)
            line.owed = 0

    def to_end(self, within_s: float = DEADLINE_S) -> None:
        """Wait for the end of the connection."""
        deadline = time.monotonic() + within_s
        while self.receive(deadline):
            pass

    def credit(self, line: Line, size: int) -> None:
        """Let the server send so much more, on a stream and in all."""
        updates = raw(WINDOW_UPDATE, 0, 0, number(size))
        if not line.over:
            updates += raw(WINDOW_UPDATE, 0, line.stream_id, number(size))
        self.write(updates)

    def expect_alive(self) -> None:
        """Check that the connection still answers."""
        token = struct.pack("!Q", len(self.pongs) + 1)
        self.write(raw(PING, 0, 0, token))
        self.wait(lambda: token in self.pongs, DEADLINE_S)
        assert not self.goaways, self.goaways


class OverStream(SocketClient):
    """A WebSocket client on a stream; `site` may be a wire, which it then shares, else it has one of its own.

    Once the server has ended its side, the client ends its own too.
    """

    wire: H2Wire
    line: Line

    def __init__(
        self,
        site: Any,
        target: str = "/",
        *,
        fields: Iterable[tuple[str, str]] = (),
        cut: str = "whole",
        early: bytes = b"",
        receive_buffer_bytes: int = 0,
    ) -> None:
        self.cut = cut
        self.received = bytearray()
        self.ended = False
        self.reset_came = False
        self.closed_by = None
        self.unfinished = 0
        self.shares = isinstance(site, H2Wire)
        self.wire = site if isinstance(site, H2Wire) else H2Wire(site, receive_buffer_bytes=receive_buffer_bytes)
        self.socket = self.wire.socket
        try:
            self._open(target, list(fields), early)
        except BaseException:
            self.close()
            raise

    def _open(self, target: str, fields: list[tuple[str, str]], early: bytes) -> None:
        self.line = self.wire.request(extended_connect(target, *fields), early=early or None)
        assert self.line.status() == 200, self.line.heads
        assert not self.line.ended and self.line.reset is None
        self.fields = [(name.decode(), value.decode()) for name, value in self.line.heads[-1]]
        names = {name for name, _ in self.fields}
        assert not names & {"sec-websocket-accept", "upgrade", "connection", "content-length", "transfer-encoding"}
        self.extension = self.field("sec-websocket-extensions")
        self.compressed = bool(self.extension and self.extension.split(";")[0].strip() == "permessage-deflate")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave without a word: the whole connection, or the stream of a shared one."""
        if not self.shares:
            self.socket.close()
        elif not self.line.over or not self.line.done:
            self.line.cancel()

    def reset(self) -> None:
        """Reset the stream, as a client whose user has gone."""
        self.line.cancel()

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.line.end()

    def send(self, *frames: bytes, cut: str | None = None) -> None:
        """Send frames as one stream, one DATA frame for each piece of the client's cut."""
        line = self.line
        for piece in pieces_of(b"".join(frames), cut or self.cut):
            if line.over or line.done:
                return
            line.send(bytes(piece))

    def _receive(self, deadline: float) -> bool:
        line = self.line
        while not line.data and not line.over:
            if not self.wire.receive(deadline):
                self.ended = True
                return False
        if line.data:
            self.received += line.data
            line.data.clear()
            return True
        self.ended = True
        self.reset_came = not line.ended
        assert line.reset in (None, NO_ERROR) or self.reset_came, f"reset with {line.reset} behind the end"
        line.end()
        return False
