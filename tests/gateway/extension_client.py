"""A client that asks the same over every protocol and shows all that came: hints, head, body, trailers, the end."""

import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Self

import h2.config
import h2.connection
import h2.errors
import h2.events
from tests.net.tls_client import Trust

from trilithon.testing import Site, serve

WAYS = ["http1", "http1 tls", "h2", "h2 tls"]
DEADLINE_S = 10.0
Pairs = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    """What came for one request; `whole` is false when it was broken off, `hints` are the fields of each 1xx."""

    status: int = 0
    fields: Pairs = field(default_factory=list)
    hints: list[Pairs] = field(default_factory=list)
    body: bytes | bytearray = b""
    trailers: Pairs | None = None
    whole: bool = False
    framing: str = "frames"

    def one(self, name: bytes) -> bytes | None:
        """Return the value of the only field of that name, None without one."""
        values = [value for each, value in self.fields if each == name]
        assert len(values) < 2, f"{name!r} came {len(values)} times"
        return values[0] if values else None


class Way:
    """One way to reach a site."""

    def __init__(self, name: str, trust: Trust) -> None:
        self.name = name
        self.trust = trust
        self.is_h2 = name.startswith("h2")
        self.is_tls = name.endswith("tls")

    def serve(self, app: Any = None, **options: Any) -> AbstractContextManager[Site]:
        """Serve an application so that this way leads to it."""
        if self.is_tls:
            options.update(self.trust.options)
        return serve(app, **options)

    def client(self, site: Site, receive_buffer_bytes: int = 0) -> "Http1Client | H2Client":
        """Return a connected client."""
        sock = socket.socket()
        if receive_buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.settimeout(DEADLINE_S)
        try:
            sock.connect((site.host, site.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.is_tls:
                context = self.trust.context("h2" if self.is_h2 else "http/1.1")
                sock = context.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise
        return H2Client(sock) if self.is_h2 else Http1Client(sock)

    def ask(self, app: Any, path: str = "/", fields: Pairs | None = None, *, method: str = "GET") -> Answer:
        """Serve an application, ask once and return the answer."""
        with self.serve(app) as site, self.client(site) as client:
            return client.ask(path, fields, method=method)


class Client:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def receive(self) -> bytes:
        """Receive once, b"" at the end however it came."""
        try:
            return self.socket.recv(262144)
        except (ConnectionError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            return b""


class Http1Client(Client):
    """One connection of HTTP/1."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.buffer = bytearray()

    def ask(self, path: str = "/", fields: Pairs | None = None, *, method: str = "GET", version: str = "1.1") -> Answer:
        """Ask and read everything that comes for it."""
        self.begin(path, fields, method=method, version=version)
        return self.answer(method)

    def begin(self, path: str = "/", fields: Pairs | None = None, *, method: str = "GET", version: str = "1.1") -> None:
        """Send a request."""
        lines = b"".join(b"%b: %b\r\n" % pair for pair in fields or [])
        self.socket.sendall(f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n".encode() + lines + b"\r\n")

    def answer(self, method: str = "GET") -> Answer:
        """Read everything that comes for one request."""
        answer = Answer()
        while answer.status < 200:
            if not self.until(b"\r\n\r\n"):
                return answer
            head = self.cut(self.buffer.index(b"\r\n\r\n") + 4)[:-4]
            first, *lines = head.split(b"\r\n")
            answer.status = int(first.split(b" ")[1])
            answer.fields = pairs_of(lines)
            if answer.status < 200:
                answer.hints.append(answer.fields)
        if method == "HEAD" or answer.status in (204, 304):
            answer.framing, answer.whole = "none", True
        elif answer.one(b"transfer-encoding") is not None:
            answer.framing = "chunked"
            self.read_chunks(answer)
        elif (length := answer.one(b"content-length")) is not None:
            answer.framing = "length"
            answer.whole = self.fill(int(length))
            answer.body = self.cut(int(length))
        else:
            answer.framing = "close"
            while data := self.receive():
                self.buffer += data
            answer.body, answer.whole = self.cut(len(self.buffer)), True
        return answer

    def read_chunks(self, answer: Answer) -> None:
        """Read chunks and the trailer section."""
        parts = []
        while self.until(b"\r\n"):
            size = int(self.cut(self.buffer.index(b"\r\n") + 2)[:-2], 16)
            if not size:
                lines = []
                while self.until(b"\r\n") and (line := self.cut(self.buffer.index(b"\r\n") + 2)[:-2]):
                    lines.append(line)
                answer.trailers, answer.whole = pairs_of(lines), True
                break
            if not self.fill(size + 2):
                parts.append(self.cut(size))
                break
            parts.append(self.cut(size))
            assert self.cut(2) == b"\r\n", "a chunk is longer than its size says"
        answer.body = b"".join(parts)

    def until(self, mark: bytes) -> bool:
        """Receive until `mark` came; returns false at the end of the connection."""
        while mark not in self.buffer:
            data = self.receive()
            if not data:
                return False
            self.buffer += data
        return True

    def fill(self, size: int) -> bool:
        """Receive until so many bytes are there; returns false at the end of the connection."""
        while len(self.buffer) < size:
            data = self.receive()
            if not data:
                return False
            self.buffer += data
        return True

    def cut(self, size: int) -> bytes:
        """Take bytes off what came in."""
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data


class H2Client(Client):
    """One connection of HTTP/2, by the library h2; `credits` says that it opens its windows as it reads."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.credits = True
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.connection.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.over: set[int] = set()
        self.stream_id = 0
        self.flush()

    def flush(self) -> None:
        """Send what the library has to say."""
        self.socket.sendall(self.connection.data_to_send())

    def ask(self, path: str = "/", fields: Pairs | None = None, *, method: str = "GET") -> Answer:
        """Ask and read everything that comes for it."""
        self.begin(path, fields, method=method)
        return self.answer()

    def begin(self, path: str = "/", fields: Pairs | None = None, *, method: str = "GET") -> int:
        """Send a request on a stream of its own, and return that."""
        self.stream_id = self.connection.get_next_available_stream_id()
        head = [(b":method", method.encode()), (b":scheme", b"http"), (b":path", path.encode())]
        head[1] = (b":scheme", b"https" if hasattr(self.socket, "context") else b"http")
        self.connection.send_headers(
            self.stream_id, [*head, (b":authority", b"localhost"), *(fields or [])], end_stream=True
        )
        self.answers[self.stream_id] = Answer(body=bytearray())
        self.flush()
        return self.stream_id

    def answer(self, stream_id: int = 0) -> Answer:
        """Read everything that comes for a request, the last one unless told."""
        stream_id = stream_id or self.stream_id
        while stream_id not in self.over and self.step():
            pass
        return self.answers[stream_id]

    def step(self) -> bool:
        """Receive once; returns false at the end of the connection."""
        data = self.receive()
        for event in self.connection.receive_data(data) if data else []:
            self.take(event)
        self.flush()
        return bool(data)

    def take(self, event: Any) -> None:
        """Note what an event says."""
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            answer.hints.append(fields_of(event))
        elif isinstance(event, h2.events.ResponseReceived):
            answer.fields = fields_of(event)
            answer.status = int(dict(event.headers)[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self.credits:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            answer.whole = True
            self.over.add(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.over.add(event.stream_id)


def fields_of(event: Any) -> Pairs:
    """Return the fields of a head, without the status."""
    return [(bytes(name), bytes(value)) for name, value in event.headers if name != b":status"]


def pairs_of(lines: list[bytes]) -> Pairs:
    """Return names in lower case and values of field lines."""
    parts = [line.partition(b":") for line in lines]
    return [(name.lower(), value.strip()) for name, _, value in parts]
