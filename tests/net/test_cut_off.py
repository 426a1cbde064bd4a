"""What the graceful time-out cuts off says so: by HTTP/2, by TLS, and by a reset where nothing else can."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.gateway.raw_client import request_bytes
from tests.wire.client import Client
from tests.wire.h2_memory import GET, Pairs, headers
from trilithon.wire.h2_codes import GOAWAY, HEADERS, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, RST_STREAM

from .applications import WAIT_S, Held, StartResponse
from .h2_peer import Peer, ponged
from .h2_site import serve_as
from .tls_client import Trust

pytestmark = pytest.mark.real

KINDS = pytest.mark.parametrize("kind", ["wsgi", "wsgi-mixed"])
SHORT_S = 0.3


class Stuck:
    """Streams its first piece and then does nothing until `release` is set; `/held` does not begin to answer."""

    def __init__(self) -> None:
        self.held = Held("wsgi")

    def wsgi(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/stream":
            return self.held.wsgi(environ, start_response)
        return self.stream(start_response)

    def stream(self, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        self.held.release.wait(WAIT_S)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of this file."""
    return Trust(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """Return an application whose calls end behind the test."""
    application = Stuck()
    yield application
    application.held.release.set()


def to(path: bytes, secure: bool) -> Pairs:
    """Return a request for a path."""
    changed = {b":path": path, b":scheme": b"https" if secure else b"http"}
    return [(name, changed.get(name, value)) for name, value in GET]


def site_of(kind: str, stuck: Stuck, **options: Any) -> Any:
    """Serve the application with a short graceful time-out."""
    return serve_as(kind, stuck.held.asgi, stuck.wsgi, graceful_timeout_s=SHORT_S, stream_grace_s=SHORT_S, **options)


@KINDS
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.spec("H2-CONN-09", "H2-STR-16", "H1-RSP-12")
def test_streams_are_reset_and_the_client_is_told_goodbye(kind: str, secure: bool, stuck: Stuck, trust: Trust) -> None:
    options = {**trust.options, "threads": 2} if secure else {"threads": 2}
    context = trust.context("h2") if secure else None
    with site_of(kind, stuck, **options) as site, Peer((site.host, site.port), tls=context) as peer:
        peer.send(headers(1, to(b"/stream", secure)))
        peer.until(lambda sent: sent.kind == HEADERS and sent.stream_id == 1)
        peer.send(headers(3, to(b"/held", secure)))
        stuck.held.wait_started(1)
        peer.send(headers(5, to(b"/held", secure)))  # waits for a thread
        ponged(peer)
        site.server.stop()
        frames = peer.to_end()
        resets = {sent.stream_id: sent.code for sent in frames if sent.kind == RST_STREAM}
        assert resets == {1: INTERNAL_ERROR, 3: INTERNAL_ERROR, 5: REFUSED_STREAM}
        assert frames[-1].kind == GOAWAY
        assert (int.from_bytes(frames[-1].payload[:4], "big"), frames[-1].code) == (5, NO_ERROR)
        stuck.held.release.set()


@KINDS
@pytest.mark.parametrize("path", ["/stream", "/held"])
@pytest.mark.spec("H1-RSP-12", "H1-RSP-16")
def test_tls_is_ended(kind: str, path: str, stuck: Stuck, trust: Trust) -> None:
    with site_of(kind, stuck, **trust.options) as site, trust.client(site) as client:
        client.send(request_bytes(path))
        if path == "/held":
            stuck.held.wait_started(1)
        else:
            while b"first" not in client.received:
                client.receive_some()
        site.server.stop()
        client.to_end()  # which raises without a close_notify
        assert b"\r\n0\r\n" not in client.received
        stuck.held.release.set()


@KINDS
@pytest.mark.spec("H1-RSP-16")
def test_a_body_that_the_close_would_end_is_reset(kind: str, stuck: Stuck) -> None:
    with site_of(kind, stuck) as site, Client(site.host, site.port) as client:
        client.send(request_bytes("/stream", version="1.0"))
        while b"first" not in client.received:
            client.receive_some()
        site.server.stop()
        with pytest.raises(ConnectionResetError):
            client.to_end()
        stuck.held.release.set()
