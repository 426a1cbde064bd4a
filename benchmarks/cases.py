"""The questions: what is asked of a server, under what load, and which answer is right."""

import json
from dataclasses import dataclass
from enum import Enum

BROWSER_FIELDS = (
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.8,de;q=0.5"),
    ("Cache-Control", "max-age=0"),
    ("Cookie", "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=necessary"),
    ("Referer", "https://www.example.org/catalogue/page-7.html?sort=price"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Upgrade-Insecure-Requests", "1"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
)
"""Eleven fields; with Host they are the twelve a browser sends."""

ITEM = {"number": 42, "detail": True, "name": "trilithon", "tags": ["stone", "lintel"]}


class Kind(Enum):
    """How a case is measured."""

    LOAD = "load"
    LOG = "log"
    MOUNT = "mount"
    IDLE = "idle"
    LATENCY = "latency"
    SOCKETS = "sockets"
    SOCKET_IDLE = "idle sockets"
    CHURN = "churn"
    CLAIM = "claim"
    HANDSHAKE = "handshake"
    BALANCE = "balance"
    REPLACING = "replacing"
    SCALING = "scaling"


SETTINGS: dict[Kind, tuple[str, ...]] = {
    Kind.LOAD: ("",),
    Kind.LOG: ("log off", "log on"),
    Kind.MOUNT: ("alone", "mounted"),
    Kind.IDLE: ("",),
    Kind.LATENCY: ("capacity", "half", "90%"),
    Kind.SOCKETS: ("",),
    Kind.SOCKET_IDLE: ("",),
    Kind.CHURN: ("",),
    Kind.CLAIM: ("16", "256", "1024"),
    Kind.HANDSHAKE: ("full", "resumed"),
    Kind.BALANCE: ("uneven", "burst"),
    Kind.REPLACING: ("reloads", "reloads, TLS", "upgrades"),
    Kind.SCALING: ("1", "2"),
}
"""The settings in which each server meets a case of a kind, in the order they are measured."""


@dataclass(frozen=True)
class Case:
    """One question.

    `body` says what a right answer holds, `ideal_rate` what cannot be exceeded, `is_tls` and `is_http2` what carries
    the requests, `streams` how many are under way at once on a connection of HTTP/2, and `requests` how many are made
    where it is not as many as time allows.
    """

    name: str
    title: str
    interface: str
    app: str
    kind: Kind = Kind.LOAD
    path: str = "/"
    fields: tuple[tuple[str, str], ...] = ()
    post_bytes: int = 0
    body: bytes = b"Hello, world!"
    is_json: bool = False
    connections: int = 64
    threads: int = 8
    ideal_rate: int | None = None
    is_tls: bool = False
    is_http2: bool = False
    streams: int = 1
    requests: int = 0
    servers: tuple[str, ...] = ()
    """Names of the only servers that meet this case; empty means all of the interface."""
    extras: tuple[str, ...] = ()
    """Servers outside the ordinary field that meet this case as well."""

    @property
    def body_bytes(self) -> int:
        """The length of a right answer."""
        return len(self.body)

    def url(self, address: str) -> str:
        """Return what is asked for, of the server at an address."""
        return f"{'https' if self.is_tls else 'http'}://{address}{self.path}"

    def is_right(self, status: int, body: bytes) -> bool:
        """Tell whether an answer is the one asked for."""
        if status != 200:
            return False
        return json.loads(body) == json.loads(self.body) if self.is_json else body == self.body

    def request(self, host: str) -> bytes:
        """Return the bytes of one request."""
        lines = [f"{'POST' if self.post_bytes else 'GET'} {self.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        if self.post_bytes:
            lines += ["Content-Type: application/octet-stream", f"Content-Length: {self.post_bytes}"]
        return "\r\n".join([*lines, "", ""]).encode() + b"x" * self.post_bytes


def pair(name: str, title: str, attribute: str, **more: object) -> list[Case]:
    """Return the same question put to the ASGI and to the WSGI form of an application."""
    forms = (("asgi", "ASGI"), ("wsgi", "WSGI"))
    extras = {"asgi": ("floor", "trilithon-asyncio"), "wsgi": ("floor", "trilithon-1")}
    return [
        Case(
            name=f"{name}-{interface}",
            title=f"{title}, {label}",
            interface=interface,
            app=f"plain_{interface}:{attribute}",
            **{"extras": extras[interface] if name == "constant" else (), **more},
        )
        for interface, label in forms
    ]


CASES: tuple[Case, ...] = (
    *pair("constant", "Constant answer of 13 bytes", "constant"),
    *pair("10k", "10 KiB answer", "kib_10", body=b"x" * 10240),
    *pair("headers", "Constant answer, 12 request fields as a browser sends", "constant", fields=BROWSER_FIELDS),
    *pair("echo", "16 KiB POST echoed", "echo", post_bytes=16384, body=b"x" * 16384),
    *pair("stream", "1 MiB of unannounced length in 16 parts", "stream", body=b"x" * 1048576),
    Case(
        name="fastapi",
        title="FastAPI JSON",
        interface="asgi",
        app="web_fastapi:app",
        path="/items/42?detail=1",
        body=json.dumps(ITEM).encode(),
        is_json=True,
        extras=("trilithon-asyncio",),
    ),
    Case(
        name="flask",
        title="Flask JSON",
        interface="wsgi",
        app="web_flask:app",
        path="/items/42?detail=1",
        body=json.dumps(ITEM).encode(),
        is_json=True,
        extras=("trilithon-1",),
    ),
    Case(
        name="sleep-wsgi",
        title="WSGI that sleeps 10 ms, 64 threads, 64 clients",
        interface="wsgi",
        app="plain_wsgi:sleep",
        threads=64,
        ideal_rate=6400,
    ),
    Case(
        name="sleep-asgi",
        title="ASGI that sleeps 10 ms, 512 clients",
        interface="asgi",
        app="plain_asgi:sleep",
        connections=512,
        ideal_rate=51200,
        extras=("trilithon-asyncio",),
    ),
    *pair("idle", "2,000 idle keep-alive connections", "constant", kind=Kind.IDLE, connections=2000),
    *pair(
        "log",
        "Constant answer, access log off and on",
        "constant",
        kind=Kind.LOG,
        servers=("trilithon", "uvicorn", "granian-asgi", "granian-wsgi", "gunicorn-asgi", "gunicorn-gthread"),
    ),
    Case(
        name="mount",
        title="Constant WSGI answer, alone and mounted beside an ASGI application",
        interface="wsgi",
        app="plain_wsgi:constant",
        kind=Kind.MOUNT,
        servers=("trilithon",),
    ),
    *pair(
        "latency",
        "Latency at the same offered rate, constant answer",
        "constant",
        kind=Kind.LATENCY,
        servers=("trilithon", "uvicorn", "granian-asgi", "granian-wsgi", "bjoern", "fastpysgi-wsgi"),
    ),
    Case(
        name="latency-fastapi",
        title="Latency at the same offered rate, FastAPI JSON",
        interface="asgi",
        app="web_fastapi:app",
        kind=Kind.LATENCY,
        path="/items/42?detail=1",
        body=json.dumps(ITEM).encode(),
        is_json=True,
        servers=("trilithon", "uvicorn", "granian-asgi"),
    ),
    Case(
        name="latency-flask",
        title="Latency at the same offered rate, Flask JSON",
        interface="wsgi",
        app="web_flask:app",
        kind=Kind.LATENCY,
        path="/items/42?detail=1",
        body=json.dumps(ITEM).encode(),
        is_json=True,
        servers=("trilithon", "granian-wsgi", "bjoern"),
    ),
)
