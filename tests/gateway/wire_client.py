"""A raw HTTP/1.1 client for tests that judge exact bytes: it sends what it is told and reads answers strictly."""

import re
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

DEADLINE_S = 10.0
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([0-9]{3}) ([\t -~\x80-\xff]*)")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\x00]*?)[ \t]*")
SIZE_LINE = re.compile(rb"[0-9A-Fa-f]+")


class Truncated(Exception):
    """The server ended the connection inside a message; `body` holds what came of it."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__(f"ended after {len(body)} bytes of the body")
        self.body = body


@dataclass(frozen=True)
class Head:
    """A status line and its fields, names in lower case."""

    version: bytes
    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    raw: bytes

    def all(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field == name]

    def field(self, name: bytes) -> bytes | None:
        values = self.all(name)
        assert len(values) < 2, f"{name!r} came {len(values)} times"
        return values[0] if values else None


@dataclass(frozen=True)
class Answer:
    """A whole response and how its body was framed: "none", "length", "chunked" or "close"."""

    head: Head
    body: bytes
    framing: str

    @property
    def status(self) -> int:
        return self.head.status

    def field(self, name: bytes) -> bytes | None:
        return self.head.field(name)


class Wire:
    """One connection. `place` is (host, port), a Unix path or anything with `host` and `port`."""

    def __init__(self, place: Any, receive_buffer_bytes: int = 0) -> None:
        if isinstance(place, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            address: Any = place
        else:
            address = place[:2] if isinstance(place, tuple) else (place.host, place.port)
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(DEADLINE_S)
        try:
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise
        self.buffer = bytearray()
        self.is_ended = False

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def finish(self) -> None:
        """Send FIN and stay readable."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, target: str = "/", *lines: str, method: str = "GET", version: str = "1.1") -> None:
        """Send a request without a body; `lines` are further field lines."""
        self.send(request(target, *lines, method=method, version=version))

    def ask(self, target: str = "/", *lines: str, method: str = "GET") -> Answer:
        """Send a request without a body and read its answer."""
        self.get(target, *lines, method=method)
        return self.answer(method)

    def send_until_stuck(self, data: bytes, total_bytes: int, stuck_s: float = 0.3) -> int:
        """Send `data` again and again up to `total_bytes`; return what was taken once nothing moves for `stuck_s`."""
        self.socket.setblocking(False)
        sent_bytes = 0
        view = memoryview(data)
        try:
            while sent_bytes < total_bytes:
                if not select.select([], [self.socket], [], stuck_s)[1]:
                    break
                offset = sent_bytes % len(data)
                sent_bytes += self.socket.send(view[offset : offset + total_bytes - sent_bytes])
        finally:
            self.socket.settimeout(DEADLINE_S)
        return sent_bytes

    def fill(self) -> bool:
        """Read once more; False when the connection has ended, by FIN or by RST."""
        if not self.is_ended:
            try:
                data = self.socket.recv(1 << 18)
            except (ConnectionResetError, BrokenPipeError):
                data = b""
            self.buffer += data
            self.is_ended = not data
        return not self.is_ended

    def is_quiet(self, for_s: float = 0.0) -> bool:
        """True when nothing is waiting to be read, and nothing comes within `for_s`."""
        return not self.buffer and not select.select([self.socket], [], [], for_s)[0]

    def line(self) -> bytes:
        """Read one CRLF line, without its end."""
        while (end := self.buffer.find(b"\n")) < 0:
            if not self.fill():
                raise Truncated(bytes(self.buffer))
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        assert line.endswith(b"\r\n"), f"a bare LF ends {line!r}"
        return line[:-2]

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            if not self.fill():
                raise Truncated(bytes(self.buffer))
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def rest(self) -> bytes:
        """Read up to the end of the connection; fails on the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while self.fill():
            assert time.monotonic() < deadline, "the connection does not end"
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def has_ended(self) -> bool:
        """Wait for the end of the connection; True when not one more byte came."""
        return self.rest() == b""

    def head(self) -> Head:
        """Read a head, also an interim one."""
        status_line = self.line()
        match = STATUS_LINE.fullmatch(status_line)
        assert match, f"not a status line: {status_line!r}"
        raw, fields = [status_line], []
        while line := self.line():
            field = FIELD_LINE.fullmatch(line)
            assert field, f"not a field line: {line!r}"
            raw.append(line)
            fields.append((field[1].lower(), field[2]))
        return Head(b"1." + match[1], int(match[2]), match[3], fields, b"\r\n".join(raw))

    def chunk(self) -> bytes:
        """Read one chunk; b"" is the last, its trailer section is read too."""
        line = self.line()
        assert SIZE_LINE.fullmatch(line), f"not a chunk size: {line!r}"
        data = self.exactly(int(line, 16))
        if data:
            assert self.exactly(2) == b"\r\n"
        else:
            while self.line():
                pass
        return data

    def body(self, head: Head, method: str = "GET") -> Answer:
        """Read what belongs to `head`; raises Truncated when the connection ends before it does."""
        length, coding = head.field(b"content-length"), head.field(b"transfer-encoding")
        assert length is None or coding is None, "Content-Length beside Transfer-Encoding"
        if method == "HEAD" or head.status in (204, 304):
            return Answer(head, b"", "none")
        if coding is not None:
            assert coding == b"chunked"
            parts: list[bytes] = []
            try:
                while part := self.chunk():
                    parts.append(part)
            except Truncated as cut:
                raise Truncated(b"".join(parts) + cut.body) from None
            return Answer(head, b"".join(parts), "chunked")
        if length is not None:
            assert length.isdigit()
            return Answer(head, self.exactly(int(length)), "length")
        return Answer(head, self.rest(), "close")

    def answer(self, method: str = "GET") -> Answer:
        """Read one whole final response."""
        return self.body(self.head(), method)


def request(target: str = "/", *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Write a request head; Host is added unless `lines` carry one."""
    fields = list(lines)
    if not any(line.lower().startswith("host:") for line in lines):
        fields.insert(0, "Host: test")
    return "\r\n".join([f"{method} {target} HTTP/{version}", *fields, "", ""]).encode("latin-1")


def post(length: int, *lines: str, version: str = "1.1") -> bytes:
    """Write the head of a POST with a body of `length` bytes."""
    return request("/", "Host: t", f"Content-Length: {length}", *lines, method="POST", version=version)


def ask(place: Any, target: str = "/", *lines: str, method: str = "GET") -> Answer:
    """Exchange one request on a connection of its own."""
    with Wire(place) as wire:
        return wire.ask(target, *lines, method=method)
