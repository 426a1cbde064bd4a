"""The questions about WebSockets: what is sent over them, how many there are, and what is counted."""

import itertools
import json
import zlib
from dataclasses import dataclass
from enum import Enum

from benchmarks.cases import Case, Kind

WINDOW_BITS = 12
"""The compression window of the messages sent; a server that agrees on less cannot be asked."""

FIELD = ("trilithon", "trilithon-asyncio", "uvicorn-websockets", "uvicorn-wsproto", "granian-asgi", "gunicorn-asgi")
PLAIN_ECHO = ("socket-floor", *FIELD)
COMPRESSING = ("trilithon", "trilithon-asyncio", "uvicorn-websockets", "uvicorn-wsproto")
"""The servers that know permessage-deflate."""


class Mode(Enum):
    """What the sockets do, as the load client calls it."""

    ECHO = "echo"
    BROADCAST = "broadcast"
    IDLE = "idle"
    CHURN = "churn"


def readings(length: int) -> bytes:
    """Return `length` bytes of JSON lines such as an application sends: text that compresses, never the same line."""
    lines = (
        json.dumps({"station": f"ridge-{number % 17}", "celsius": number * 37 % 4001 / 100, "id": number}) + "\n"
        for number in itertools.count()
    )
    text = ""
    while len(text) < length:
        text += next(lines)
    return text[:length].encode()


@dataclass(frozen=True)
class SocketCase(Case):
    """One question about WebSockets: `connections` is how many there are, `cycles` how often one is opened in CHURN."""

    mode: Mode = Mode.ECHO
    message: bytes = b""
    is_text: bool = True
    is_deflated: bool = False
    cycles: int = 0

    @property
    def payload(self) -> bytes:
        """The message as it is sent, compressed without reference to anything before it when it is compressed."""
        if not self.is_deflated:
            return self.message
        squeeze = zlib.compressobj(6, zlib.DEFLATED, -WINDOW_BITS)
        return (squeeze.compress(self.message) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")

    @property
    def wording(self) -> str:
        """The kind of message, as the load client calls it."""
        return "deflate" if self.is_deflated else "text" if self.is_text else "binary"


def socket_case(name: str, title: str, kind: Kind = Kind.SOCKETS, **more: object) -> SocketCase:
    """Return a case of the WebSocket field."""
    settings = {"app": "socket_asgi:echo", "servers": FIELD, "message": readings(64), **more}
    return SocketCase(name=f"ws-{name}", title=title, interface="asgi", kind=kind, extras=PLAIN_ECHO, **settings)


SOCKET_CASES: tuple[SocketCase, ...] = (
    socket_case("echo-64", "WebSocket echo of 64 bytes of text", servers=PLAIN_ECHO),
    socket_case(
        "echo-64k", "WebSocket echo of 64 KiB, binary", servers=PLAIN_ECHO, message=readings(65536), is_text=False
    ),
    socket_case("echo-64k-text", "WebSocket echo of 64 KiB of text", servers=PLAIN_ECHO, message=readings(65536)),
    socket_case(
        "echo-64-deflate", "WebSocket echo of 64 bytes of text, compressed", is_deflated=True, servers=COMPRESSING
    ),
    socket_case(
        "echo-64k-deflate",
        "WebSocket echo of 64 KiB of text, compressed",
        message=readings(65536),
        is_deflated=True,
        servers=COMPRESSING,
    ),
    socket_case(
        "broadcast",
        "64 bytes of text told to 500 WebSockets",
        app="socket_asgi:broadcast",
        mode=Mode.BROADCAST,
        connections=500,
    ),
    socket_case(
        "broadcast-4k-deflate",
        "4 KiB of text told to 500 WebSockets, compressed",
        app="socket_asgi:broadcast",
        mode=Mode.BROADCAST,
        connections=500,
        message=readings(4096),
        is_deflated=True,
        servers=COMPRESSING,
    ),
    socket_case("idle", "5,000 idle WebSockets", Kind.SOCKET_IDLE, mode=Mode.IDLE, connections=5000),
    socket_case(
        "idle-deflate",
        "5,000 idle WebSockets, each echoed 1 KiB compressed",
        Kind.SOCKET_IDLE,
        mode=Mode.IDLE,
        connections=5000,
        message=readings(1024),
        is_deflated=True,
        servers=COMPRESSING,
    ),
    socket_case(
        "churn",
        "2,000 times a WebSocket opened, echoed and closed",
        Kind.CHURN,
        mode=Mode.CHURN,
        connections=16,
        cycles=2000,
    ),
)
