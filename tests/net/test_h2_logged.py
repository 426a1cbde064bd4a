"""What the log says of HTTP/2 clients that the server parts with, or that part with it."""

import logging

import pytest

from tests.wire.h2_bytes import number, raw
from tests.wire.h2_memory import GET, headers, update
from trilithon.wire.h2_codes import ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING, RST_STREAM

from .h2_peer import Peer, alive
from .h2_site import open_site

pytestmark = pytest.mark.real

KINDS = pytest.mark.parametrize("kind", ["asgi", "wsgi"])


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says of HTTP/2, without whom it says it of."""
    lines = [record.getMessage() for record in caplog.records if record.name == "trilithon.error"]
    return [line.partition("): ")[2] for line in lines if line.startswith("HTTP/2 with ('127.0.0.1', ")]


@KINDS
@pytest.mark.spec("H2-CONN-07")
@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (raw(PING, 0, 1, bytes(8)), "the connection is ended (PROTOCOL_ERROR): PING on a stream"),
        (raw(HEADERS, 5, 1, b"\xff" * 6), "the connection is ended (COMPRESSION_ERROR): integer too long"),
    ],
)
def test_why_a_connection_is_ended(kind: str, frame: bytes, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trilithon.error")
    with open_site(kind) as site, Peer((site.host, site.port)) as peer:
        peer.send(frame)
        peer.to_end()
    assert told(caplog) == [reason]


@KINDS
@pytest.mark.spec("H2-STR-15")
def test_why_a_stream_is_reset(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trilithon.error")
    with open_site(kind) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, GET), update(1, 0))
        peer.until(lambda sent: sent.kind == RST_STREAM and sent.stream_id == 1)
        alive(peer)
    assert told(caplog) == ["stream 1 is reset (PROTOCOL_ERROR): window update by nothing"]


@KINDS
@pytest.mark.spec("H2-CONN-08", "H1-TGT-11")
def test_why_a_client_leaves(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trilithon.error")
    with open_site(kind) as site, Peer((site.host, site.port)) as peer:
        alive(peer)
        peer.send(raw(GOAWAY, 0, 0, number(0) + number(ENHANCE_YOUR_CALM) + b"enough\n\x1b" + bytes(1000)))
        peer.to_end()
    (line,) = told(caplog)
    assert line.startswith("the client leaves (ENHANCE_YOUR_CALM): b'enough\\n\\x1b")
    assert len(line) < 1000
