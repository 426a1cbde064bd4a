"""What requests leave in the access log: nothing of theirs can end a line or steer a terminal (http.md 2, 10)."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.client import Client
from tests.wire.h2_memory import GET, headers, reset
from trilithon.testing import serve
from trilithon.wire.h2_codes import DATA

from .applications import Held, Writer
from .h2_peer import Peer, ponged
from .h2_site import SITES, serve_as

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])


class Kept(logging.Handler):
    """A handler that keeps the messages."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def access() -> Iterator[Kept]:
    """Handlers on the access logger for one test."""
    logger = logging.getLogger("trilithon.access")
    kept = Kept()
    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    yield kept
    logger.removeHandler(kept)
    logger.setLevel(level)


def logged(interface: str, kept: Kept, request: bytes, **options: Any) -> list[str]:
    """Serve, send `request`, and return the lines once the server has ended."""
    with serve(Held(interface).application, **options) as site, Client(site.host, site.port) as client:
        client.send(request)
        client.replies([])
    return kept.lines


@pytest.mark.spec("H1-TGT-11", "H-SEM-10")
@INTERFACES
@pytest.mark.parametrize(
    "target", [b"/a%0d%0aX", b'/a"b', b"/%00", b"/a%1b[31m", b"/\\", b"/a%22 200 5"[:8], b"/%e2%80%a8"]
)
def test_a_target_cannot_end_the_line_or_its_quotes(interface: str, access: Kept, target: bytes) -> None:
    request = b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target
    (line,) = logged(interface, access, request, access_log="common")
    assert line.isprintable()
    assert line.isascii()
    assert re.search(r'\] "(?:[^"\\]|\\.)*" (?:200|400) [0-9]+ [0-9]+$', line), line


@pytest.mark.spec("H-SEM-10")
@INTERFACES
def test_a_json_line_is_one_object(interface: str, access: Kept) -> None:
    request = b'GET /a"\\%0ab HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
    (line,) = logged(interface, access, request, access_log="json")
    assert line.isprintable()
    entry = json.loads(line)
    assert 'GET /a"\\%0ab HTTP/1.1' in entry.values() or entry["status"] == 400


@pytest.mark.spec("H-SEM-10")
@INTERFACES
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /\x1b[31m\x07 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n\r\n",
        b"GET /\xe2\x80\xa8 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\n\x1b[2J\r\n\r\n",
    ],
)
def test_a_refused_request_leaves_no_control_characters(
    interface: str, access: Kept, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines = logged(interface, access, request_bytes, access_log="common")
    for line in [*lines, *caplog.messages]:
        assert line.isprintable(), line


@pytest.mark.spec("H-SEM-10")
@INTERFACES
def test_a_line_tells_what_was_answered(interface: str, access: Kept) -> None:
    request = b"GET /x?y=z HTTP/1.1\r\nHost: a\r\n\r\nHEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with serve(Held(interface).application, access_log="common") as site, Client(site.host, site.port) as client:
        client.send(request)
        client.replies(["GET", "HEAD"])
    first, second = access.lines
    assert '"GET /x?y=z HTTP/1.1" 200 7' in first
    assert '"HEAD /x HTTP/1.1" 200 0' in second
    assert first.startswith("127.0.0.1 ")


@pytest.mark.spec("H2-STR-09")
@pytest.mark.parametrize("kind", SITES)
@pytest.mark.parametrize("blocks", [1, 20])
def test_what_a_reset_stream_did_not_get_is_not_counted(kind: str, blocks: int, access: Kept) -> None:
    writer = Writer(kind, blocks=blocks, size=100_000)
    with serve_as(kind, writer.asgi, writer.wsgi, access_log="common") as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, GET))
        while sum(len(sent.payload) for sent in peer.seen if sent.kind == DATA) < 65535:  # as far as the windows go
            assert peer.take() is not None, peer.told()
        peer.send(reset(1))
        ponged(peer)
    (line,) = access.lines
    assert '"GET / HTTP/2" 200 65535 ' in line
