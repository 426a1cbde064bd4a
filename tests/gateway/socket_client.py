"""A WebSocket client on a plain socket: it sends any frame, legal or not, and looks at what comes back strictly."""

import base64
import hashlib
import os
import random
import socket
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

DEADLINE_S = 10.0
# How long a server may keep the connection once it has nothing more to say and the client is silent.
END_BOUND_S = 1.5
RECEIVE_BYTES = 262144

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SENDABLE = frozenset([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, *range(3000, 5000)])
RESERVED_OPCODES = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
CONTROL_OPCODES = [CLOSE, PING, PONG]
MASK = b"\x37\xfa\x21\x3d"
CUTS = ["whole", "bytes", "random"]
DEFLATE = "permessage-deflate"
RSV1 = 4
TAIL = b"\x00\x00\xff\xff"  # what the sender of a compressed message strips


def masked(data: bytes, key: bytes) -> bytes:
    """XOR `data` with the repeated key, as one large number."""
    if not data:
        return b""
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def length_octets(length: int, form: int) -> tuple[int, bytes]:
    """Return the 7-bit field and the octets behind it; `form` is 7, 16 or 64 bits, 0 the shortest."""
    if form == 7 or (not form and length < 126):
        return length, b""
    if form == 16 or (not form and length < 65536):
        return 126, struct.pack("!H", length)
    return 127, struct.pack("!Q", length)


def frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length: int | None = None,
    form: int = 0,
) -> bytes:
    """Build a frame; `length` lies about the payload, `form` picks the length's encoding, no `mask` leaves it bare."""
    data = payload.encode() if isinstance(payload, str) else payload
    short, octets = length_octets(len(data) if length is None else length, form)
    head = bytes([fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short]) + octets
    return head + data if mask is None else head + mask + masked(data, mask)


def close_frame(code: int | None = None, reason: bytes | str = b"", **more: Any) -> bytes:
    """Build a close frame; without a code its payload is empty."""
    data = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, (b"" if code is None else struct.pack("!H", code)) + data, **more)


def fragments(opcode: int, parts: Iterable[bytes], *, rsv: int = 0) -> list[bytes]:
    """Build the frames of one message, `parts` as its fragments."""
    pieces = list(parts)
    last = len(pieces) - 1
    return [
        frame(CONTINUATION if place else opcode, piece, fin=place == last, rsv=0 if place else rsv)
        for place, piece in enumerate(pieces)
    ]


def pieces_of(data: bytes, cut: str) -> Iterator[memoryview]:
    """Cut `data`: "whole", into single "bytes", at "random" places (always the same ones), or every so many bytes."""
    view = memoryview(data)
    if cut == "whole":
        yield view
    elif cut == "random":
        chance = random.Random(len(data))
        place = 0
        while place < len(data):
            size = chance.choice((1, 1, 2, 3, 5, 8, 13, 40, 200, 3000))
            yield view[place : place + size]
            place += size
    else:
        size = 1 if cut == "bytes" else int(cut)
        yield from (view[place : place + size] for place in range(0, len(data), size))


@dataclass(frozen=True)
class Frame:
    """One frame as it came from the server."""

    fin: bool
    rsv: int
    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """The code of a close frame; None when its payload is empty."""
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def reason(self) -> str:
        """The reason of a close frame."""
        assert self.opcode == CLOSE, self
        return self.payload[2:].decode()


def parameters(element: str) -> dict[str, str | None]:
    """Read one element of the field: its parameters, each at most once."""
    name, *rest = (part.strip() for part in element.split(";"))
    assert name == DEFLATE, element
    found: dict[str, str | None] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        assert key.strip() not in found, f"{key} is said twice"
        found[key.strip()] = value.strip().strip('"') if equals else None
    return found


class SocketClient:
    """One WebSocket on `site` (anything with host and port), open once it is constructed.

    Every wait has a deadline. What the server sends has to be legal: unmasked, of minimal length, no reserved bits but
    RSV1 where `compressed` was agreed, control frames short and whole, nothing behind a close frame.
    """

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
        self.socket = socket.socket()
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(DEADLINE_S)
        self.received = bytearray()
        self.ended = False
        self.reset_came = False
        self.closed_by: Frame | None = None
        self.unfinished = 0
        try:
            self.socket.connect((site.host, site.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open(target, list(fields), early)
        except BaseException:
            self.socket.close()
            raise

    def _open(self, target: str, fields: list[tuple[str, str]], early: bytes) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            ("Host", "test.example"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Version", "13"),
            *fields,
        ]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        self.socket.sendall(f"GET {target} HTTP/1.1\r\n{head}\r\n".encode() + early)
        deadline = time.monotonic() + DEADLINE_S
        while b"\r\n\r\n" not in self.received:
            assert self._receive(deadline), f"no answer to the handshake but {bytes(self.received)!r}"
        answer, _, rest = bytes(self.received).partition(b"\r\n\r\n")
        self.received[:] = rest
        first, *answered = answer.decode("latin-1").split("\r\n")
        assert first.split(" ")[:2] == ["HTTP/1.1", "101"], answer
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in answered)]
        accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        assert self.field("sec-websocket-accept") == accept.decode(), answer
        self.extension = self.field("sec-websocket-extensions")
        self.compressed = bool(self.extension and self.extension.split(";")[0].strip() == "permessage-deflate")

    def field(self, name: str) -> str | None:
        """Return the value of the handshake's only field called `name`; None without one."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def close(self) -> None:
        """Close the connection without a word; idempotent."""
        self.socket.close()

    def reset(self) -> None:
        """Close with RST, as a client that crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, *frames: bytes, cut: str | None = None) -> None:
        """Send frames as one stream in the client's cut; a server that has closed meanwhile is no error here."""
        for piece in pieces_of(b"".join(frames), cut or self.cut):
            try:
                self.socket.sendall(piece)
            except ConnectionError:
                return

    def _receive(self, deadline: float) -> bool:
        """Wait for bytes; false at the end of the connection. Fails on the deadline."""
        if self.ended:
            return False
        remaining = deadline - time.monotonic()
        assert remaining > 0, f"the server is silent; {len(self.received)} bytes of a frame came"
        self.socket.settimeout(remaining)
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise AssertionError(
                f"the server is silent; what came of a frame is {bytes(self.received[:80])!r}"
            ) from None
        except ConnectionError:
            self.reset_came = True
            data = b""
        finally:
            self.socket.settimeout(DEADLINE_S)
        self.received += data
        self.ended = not data
        return bool(data)

    def next(self, within_s: float = DEADLINE_S) -> Frame | None:
        """Read one frame; None when the server ended the connection instead."""
        deadline = time.monotonic() + within_s
        while (found := self._split()) is None:
            if not self._receive(deadline):
                assert not self.received, f"the connection ended within a frame: {bytes(self.received[:80])!r}"
                return None
        return found

    def _split(self) -> Frame | None:
        """Take one frame off what was received and check what every frame of a server owes."""
        data = self.received
        if len(data) < 2:
            return None
        short = data[1]
        assert short < 128, f"a server's frame is masked: {bytes(data[:20])!r}"
        head = 2 if short < 126 else 4 if short == 126 else 10
        if len(data) < head:
            return None
        length = short if head == 2 else int.from_bytes(data[2:head], "big")
        assert length_octets(length, 0) == (short, bytes(data[2:head])), f"length {length} is not minimal"
        if len(data) < head + length:
            return None
        found = Frame(data[0] > 127, data[0] >> 4 & 7, data[0] & 15, bytes(data[head : head + length]))
        del data[: head + length]
        self._check(found)
        return found

    def _check(self, found: Frame) -> None:
        assert self.closed_by is None, f"{found} came behind {self.closed_by}"
        assert found.rsv in ((0, 4) if self.compressed else (0,)), found
        if found.opcode >= CLOSE:
            assert found.opcode in CONTROL_OPCODES and found.fin and not found.rsv, found
            assert len(found.payload) <= 125, found
        else:
            assert (found.opcode == CONTINUATION) == bool(self.unfinished), f"fragments are interleaved: {found}"
            assert found.opcode in (CONTINUATION, TEXT, BINARY), found
            self.unfinished = 0 if found.fin else self.unfinished + 1
        if found.opcode == CLOSE:
            assert len(found.payload) != 1, found
            assert found.code is None or found.code in SENDABLE, found
            found.reason.encode()
            self.closed_by = found

    def expect(self, *expected: tuple[int, bytes | str], within_s: float = DEADLINE_S) -> None:
        """Read a whole frame for each expected opcode and payload, and no other frame before them."""
        for opcode, payload in expected:
            data = payload.encode() if isinstance(payload, str) else payload
            found = self.next(within_s)
            shown = found and (found.fin, found.rsv, found.opcode, found.payload[:60], len(found.payload))
            assert found == Frame(True, 0, opcode, data), f"{shown} instead of {opcode}, {data[:60]!r}, {len(data)}"

    def expect_alive(self) -> None:
        """Check that the server says nothing but the answer to a ping."""
        token = os.urandom(8)
        self.send(frame(PING, token), cut="whole")
        self.expect((PONG, token))

    def expect_close(self, code: int | None, reason: str | None = None, *, within_s: float = DEADLINE_S) -> Frame:
        """Read the close frame: it has to be the next frame and to have this code, and this reason if one is given."""
        found = self.next(within_s)
        assert found is not None, f"the connection {'was reset' if self.reset_came else 'ended'} without a close frame"
        assert found.opcode == CLOSE, f"{found} instead of close {code}"
        assert found.code == code, f"{found.code} {found.reason!r} instead of close {code}"
        assert reason is None or found.reason == reason, found
        return found

    def expect_end(self, within_s: float = END_BOUND_S) -> None:
        """Check that the server ends the connection in order and in time, without another byte."""
        begun = time.monotonic()
        found = self.next(within_s)
        assert found is None, f"{found} came instead of the end"
        assert not self.reset_came, f"reset after {time.monotonic() - begun:.3f} s instead of an orderly end"

    def expect_failure(self, code: int) -> str:
        """Check that the server fails the connection: a close frame and, at once, the end; return the reason."""
        reason = self.expect_close(code).reason
        self.expect_end()
        return reason

    def shake(self, code: int | None = 1000, reason: str = "", *, answer: int | None = None) -> None:
        """Close in order: send a close frame, get it answered, and see the server close the connection first."""
        self.send(close_frame(code, reason))
        self.expect_close(code if answer is None else answer)
        self.expect_end()


class Squeezed:
    """The messages of a client in both directions, compressed exactly as the server agreed to, plain if it did not."""

    def __init__(self, client: SocketClient) -> None:
        agreed = parameters(client.extension or DEFLATE)
        self.client = client
        self.client_bits = int(agreed.get("client_max_window_bits") or 15)
        self.server_bits = int(agreed.get("server_max_window_bits") or 15)
        self.client_forgets = "client_no_context_takeover" in agreed
        self.server_forgets = "server_no_context_takeover" in agreed
        self.deflater: Any = None
        self.inflater: Any = None

    def payload(self, data: bytes) -> bytes:
        """Compress a message as the agreement says."""
        if self.deflater is None or self.client_forgets:
            self.deflater = zlib.compressobj(9, zlib.DEFLATED, -max(self.client_bits, 9))
        return (self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def send(self, opcode: int, data: bytes) -> None:
        """Send a message in one frame, compressed if that was agreed."""
        if self.client.compressed:
            self.client.send(frame(opcode, self.payload(data), rsv=RSV1))
        else:
            self.client.send(frame(opcode, data))

    def expect(self, opcode: int, data: bytes) -> bool:
        """Read a message and hold it against `data`; return whether it was compressed."""
        found = self.client.next()
        assert found is not None and found.fin and found.opcode == opcode, found
        if not found.rsv:
            assert found.payload == data
            return False
        assert found.payload, "a compressed message cannot be without bytes (RFC 7692 7.2.3.6)"
        if self.inflater is None or self.server_forgets:
            self.inflater = zlib.decompressobj(-self.server_bits)
        inflated = self.inflater.decompress(found.payload + TAIL)
        assert inflated == data
        assert not self.inflater.unused_data and not self.inflater.unconsumed_tail
        return True
