"""The opening handshake as bytes, and a connection that judges what answers it as HTTP."""

from typing import Any

from wire_client import Answer, Head, Wire, request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
LINES = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")


def upgrade(target: str = "/", *lines: str) -> bytes:
    """Write the request that opens a WebSocket; `lines` are further field lines."""
    return request(target, "Host: test", *LINES, *lines)


def knock(place: Any, target: str = "/", *lines: str) -> Wire:
    """Open a connection and send the handshake; the answer is not waited for."""
    wire = Wire(place)
    wire.send(upgrade(target, *lines))
    return wire


def check_opened(head: Head) -> None:
    """Check that `head` opens a WebSocket and frames no body (RFC 6455 4.2.2, RFC 9110 15.2.2)."""
    assert head.status == 101, head.raw
    assert head.version == b"1.1"
    assert (head.field(b"upgrade") or b"").lower() == b"websocket"
    assert (head.field(b"connection") or b"").lower() == b"upgrade"
    assert head.field(b"sec-websocket-accept") == ACCEPT
    assert head.field(b"content-length") is None
    assert head.field(b"transfer-encoding") is None


def refusal(wire: Wire) -> Answer:
    """Read the answer of a refused handshake: plain HTTP, framed, and the connection ends behind it (WS-HS-17)."""
    answer = wire.answer()
    assert answer.framing in ("length", "chunked"), answer
    assert b"close" in answer.head.all(b"connection")
    assert answer.field(b"sec-websocket-accept") is None
    assert wire.has_ended(), "something came behind the answer"
    return answer
