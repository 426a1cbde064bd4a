"""A client on a plain socket that shows an HTTP/1 answer exactly as it came: head, framing, body and how it ended."""

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

DEADLINE_S = 10.0

Fields = Iterable[tuple[str, str | bytes]]


def as_bytes(text: str | bytes) -> bytes:
    """Encode `text` as latin-1, the way fields travel; bytes stay as they are."""
    return text if isinstance(text, bytes) else text.encode("latin-1")


def chunked(*blocks: bytes) -> bytes:
    """Frame every block as a chunk and end the body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(block), block) for block in blocks) + b"0\r\n\r\n"


def request_bytes(
    target: str | bytes = "/",
    method: str = "GET",
    *,
    fields: Fields = (),
    body: bytes | None = None,
    version: str = "1.1",
) -> bytes:
    """Write a request; Host and Content-Length are added unless `fields` has its own (or Transfer-Encoding)."""
    lines = [(as_bytes(name), as_bytes(value)) for name, value in fields]
    names = {name.lower() for name, _ in lines}
    if version == "1.1" and b"host" not in names:
        lines.insert(0, (b"Host", b"test.example"))
    if body is not None and not names & {b"content-length", b"transfer-encoding"}:
        lines.append((b"Content-Length", b"%d" % len(body)))
    head = b"".join(b"%s: %s\r\n" % line for line in lines)
    return b"%s %s HTTP/%s\r\n%s\r\n%s" % (as_bytes(method), as_bytes(target), as_bytes(version), head, body or b"")


@dataclass
class Answer:
    """One answer; `complete` is false when the connection ended inside it. Framing: length, chunked, close or none."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    framing: str = "none"
    body: bytes = b""
    complete: bool = False
    interim: list[int] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Return the values of every line called `name`, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        """Return the value of the only line called `name`; None without one."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} was sent {len(values)} times: {values}"
        return values[0] if values else None


class RawClient:
    """One connection to `site` (anything with host and port) or to the Unix socket `path`."""

    def __init__(self, site: Any = None, *, path: str | None = None, receive_buffer_bytes: int = 0) -> None:
        family = socket.AF_UNIX if path else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE_S)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            self.socket.connect(path or (site.host, site.port))
        except OSError:
            self.socket.close()
            raise
        if not path:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.waiting = b""
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close in the orderly way; idempotent."""
        self.socket.close()

    def reset(self) -> None:
        """Close with RST, as a client that crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, *parts: bytes) -> None:
        """Send all parts with one call."""
        self.socket.sendall(b"".join(parts))

    def _more(self) -> bool:
        """Wait for bytes; false at the end of the connection, orderly or reset."""
        if self.ended:
            return False
        try:
            data = self.socket.recv(262144)
        except ConnectionError:
            data = b""
        self.waiting += data
        self.ended = not data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """Take everything up to and with `mark`; what there is when the connection ends first."""
        while mark not in self.waiting:
            if not self._more():
                taken, self.waiting = self.waiting, b""
                return taken
        cut = self.waiting.index(mark) + len(mark)
        taken, self.waiting = self.waiting[:cut], self.waiting[cut:]
        return taken

    def exactly(self, count: int) -> bytes:
        """Take `count` bytes; fewer when the connection ends first."""
        parts = [self.waiting]
        size = len(self.waiting)
        while size < count:
            self.waiting = b""
            if not self._more():
                break
            parts.append(self.waiting)
            size += len(self.waiting)
        joined = b"".join(parts)
        self.waiting = joined[count:]
        return joined[:count]

    def rest(self) -> bytes:
        """Take everything until the server ends the connection."""
        parts = [self.waiting]
        self.waiting = b""
        while self._more():
            parts.append(self.waiting)
            self.waiting = b""
        return b"".join(parts)

    def head(self) -> Answer:
        """Read one head, interim or final."""
        raw = self.until(b"\r\n\r\n")
        assert raw.endswith(b"\r\n\r\n"), f"no complete head came, only {raw!r}"
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        status, _, reason = rest.partition(" ")
        fields = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon and name and name == name.strip(), f"malformed field line {line!r}"
            fields.append((name, value.strip(" \t")))
        return Answer(version, int(status), reason, fields)

    def answer(self, method: str = "GET") -> Answer:
        """Read the final answer to a request with `method`, interim ones before it, and its body."""
        interim = []
        result = self.head()
        while 100 <= result.status < 200 and result.status != 101:
            interim.append(result.status)
            result = self.head()
        result.interim = interim
        if method == "HEAD" or result.status in (101, 204, 304):
            result.complete = True
        else:
            self._body(result)
        return result

    def _body(self, answer: Answer) -> None:
        coding, length = answer.one("Transfer-Encoding"), answer.one("Content-Length")
        assert not (coding and length), "both Transfer-Encoding and Content-Length"
        if coding:
            assert coding.lower() == "chunked", coding
            answer.framing = "chunked"
            self._chunks(answer)
        elif length is not None:
            answer.framing = "length"
            answer.body = self.exactly(int(length))
            answer.complete = len(answer.body) == int(length)
        else:
            answer.framing = "close"
            answer.body = self.rest()
            answer.complete = True

    def _chunks(self, answer: Answer) -> None:
        blocks = []
        while block := self.chunk():
            blocks.append(block)
        answer.body = b"".join(blocks)
        answer.complete = block == b""

    def chunk(self) -> bytes | None:
        """Read one chunk; b"" is the end of the body (trailers included), None the end of the connection before it."""
        line = self.until(b"\r\n")
        if not line.endswith(b"\r\n"):
            return None
        size = int(line[:-2].split(b";")[0], 16)
        if size == 0:
            while (line := self.until(b"\r\n")) != b"\r\n":
                if not line.endswith(b"\r\n"):
                    return None
            return b""
        block = self.exactly(size + 2)
        return block[:-2] if len(block) == size + 2 else None

    def ask(
        self,
        target: str | bytes = "/",
        method: str = "GET",
        *,
        fields: Fields = (),
        body: bytes | None = None,
        version: str = "1.1",
    ) -> Answer:
        """Send one request and read its answer."""
        self.send(request_bytes(target, method, fields=fields, body=body, version=version))
        return self.answer(method)

    def at_end(self) -> bool:
        """Tell whether the server ends the connection without another byte; waits for either."""
        return not self.waiting and not self._more()


def fetch(
    site: Any,
    target: str | bytes = "/",
    method: str = "GET",
    *,
    fields: Fields = (),
    body: bytes | None = None,
    version: str = "1.1",
) -> Answer:
    """Send one request on a connection of its own."""
    with RawClient(site) as client:
        return client.ask(target, method, fields=fields, body=body, version=version)
