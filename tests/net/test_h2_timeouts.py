"""Time-outs over HTTP/2: each ends the stream that is late and leaves the others alone."""

import threading
import time
from typing import Any

import pytest

from tests.wire.h2_memory import GET, POST, Pairs, data, headers, settings, update
from trilithon.wire.h2_codes import CANCEL, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, NO_ERROR, RST_STREAM

from .applications import Held, Reader, Writer
from .h2_peer import Peer, alive, ponged, refused
from .h2_site import SITES, serve_as

pytestmark = pytest.mark.real

KINDS = pytest.mark.parametrize("kind", SITES)
SHORT_S = 0.3
LONG_S = 30.0
SLACK_S = 4.0


def to(path: bytes, pairs: Pairs = GET) -> Pairs:
    """Return a request for another path."""
    return [(name, path if name == b":path" else value) for name, value in pairs]


def site_of(kind: str, application: Any, **options: Any) -> Any:
    """Serve an application of both interfaces with long time-outs, except those in `options`."""
    defaults = dict.fromkeys(
        ("header_timeout_s", "keep_alive_timeout_s", "body_timeout_s", "write_timeout_s", "linger_timeout_s"), LONG_S
    )
    return serve_as(kind, application.asgi, application.wsgi, **{**defaults, **options})


def in_time(began: float) -> bool:
    """Tell whether a short time-out struck when it should."""
    return SHORT_S * 0.9 <= time.monotonic() - began <= SHORT_S + SLACK_S


@KINDS
@pytest.mark.spec("H2-DOS-11")
def test_an_idle_connection_ends_politely(kind: str) -> None:
    with site_of(kind, Held(kind), keep_alive_timeout_s=SHORT_S) as site, Peer((site.host, site.port)) as peer:
        began = time.monotonic()
        alive(peer)
        refused(NO_ERROR)(peer)
        assert in_time(began)


@KINDS
@pytest.mark.spec("H2-DOS-11")
def test_a_connection_with_an_open_stream_is_not_idle(kind: str) -> None:
    held = Held(kind)
    with site_of(kind, held, keep_alive_timeout_s=SHORT_S) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, to(b"/held")))
        held.wait_started(1)
        timer = threading.Timer(3 * SHORT_S, held.release.set)
        timer.start()
        assert peer.response(1) == (200, b"done /held")
        began = time.monotonic()
        refused(NO_ERROR)(peer)
        assert in_time(began)
        timer.join()


@KINDS
@pytest.mark.spec("H2-DOS-09", "H-LIM-05")
def test_half_a_head_is_waited_for_no_longer_than_a_head(kind: str) -> None:
    held = Held(kind)
    with site_of(kind, held, header_timeout_s=SHORT_S) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, to(b"/held")))
        held.wait_started(1)
        ponged(peer)
        began = time.monotonic()
        peer.send(headers(3, GET)[:-1])
        assert peer.until(lambda sent: sent.kind == GOAWAY).code == ENHANCE_YOUR_CALM
        assert in_time(began)
        held.release.set()


@KINDS
@pytest.mark.spec("H-LIM-05")
def test_an_application_that_does_not_answer_in_time_is_answered_for(kind: str) -> None:
    held = Held(kind)
    with site_of(kind, held, request_timeout_s=SHORT_S) as site, Peer((site.host, site.port)) as peer:
        began = time.monotonic()
        peer.send(headers(1, to(b"/held")), headers(3, GET))
        assert peer.response(3) == (200, b"done /")
        assert peer.response(1)[0] == 503
        assert in_time(began)
        alive(peer)
        held.release.set()


@KINDS
@pytest.mark.spec("H-LIM-05", "H2-STR-15")
@pytest.mark.parametrize("length", [None, b"100", b"1000000"])
def test_a_body_that_stops_is_given_up(kind: str, length: bytes | None) -> None:
    pairs = [*POST, (b"content-length", length)] if length else POST
    with site_of(kind, Reader(kind), body_timeout_s=SHORT_S) as site, Peer((site.host, site.port)) as peer:
        began = time.monotonic()
        peer.send(headers(1, pairs, end=False), data(1, b"x" * 10))
        peer.send(headers(3, POST, end=False), data(3, b"whole", end=True))
        assert peer.response(3) == (200, b"5")
        assert peer.response(1)[0] == 408
        assert in_time(began)
        alive(peer)


@KINDS
@pytest.mark.spec("H2-FLOW-07", "H2-DOS-08", "A-RESP-25")
def test_a_window_that_stays_closed_ends_its_stream_alone(kind: str) -> None:
    writer = Writer(kind, blocks=100, size=16384)
    with site_of(kind, writer, write_timeout_s=SHORT_S) as site, Peer((site.host, site.port)) as peer:
        began = time.monotonic()
        peer.send(update(0, 2**30), headers(1, GET))
        cut = peer.until(lambda sent: sent.kind == RST_STREAM and sent.stream_id == 1)
        assert cut.code == CANCEL
        assert in_time(began)
        assert writer.ended.wait(SLACK_S)
        assert writer.is_oserror
        assert writer.written < writer.blocks
        # The same with room for all of it.
        writer.ended.clear()
        peer.send(settings((4, 2**30)), headers(3, GET))
        assert peer.response(3) == (200, writer.block * writer.blocks)
        assert writer.outcome == "whole"


@KINDS
@pytest.mark.spec("H2-DOS-08")
def test_a_client_that_does_not_read_is_cut_off(kind: str) -> None:
    writer = Writer(kind, blocks=2000, size=65536)
    with (
        site_of(kind, writer, write_timeout_s=SHORT_S) as site,
        Peer((site.host, site.port), receive=4096) as peer,
    ):
        began = time.monotonic()
        peer.send(settings((4, 2**31 - 1)), update(0, 2**30), headers(1, GET))
        assert writer.ended.wait(SHORT_S + SLACK_S)
        assert writer.is_oserror
        assert writer.written < writer.blocks
        assert time.monotonic() - began >= SHORT_S * 0.9


@KINDS
@pytest.mark.spec("H2-CONN-07")
def test_an_answer_that_has_begun_is_cut_off_by_a_reset(kind: str) -> None:
    held = Held(kind)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await held.asgi(scope, receive, send)
        if scope["path"] == "/":
            return await held.asgi(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("the application breaks here")

    def wsgi(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return held.wsgi(environ, start_response)
        start_response("200 OK", [])(b"half")
        raise RuntimeError("the application breaks here")

    with serve_as(kind, asgi, wsgi) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, to(b"/breaks")))
        peer.until(lambda sent: sent.stream_id == 1 and sent.kind == HEADERS)
        peer.until(lambda sent: sent.stream_id == 1 and sent.kind == RST_STREAM)
        alive(peer)
        ponged(peer)
        assert not [sent for sent in peer.seen if sent.kind == GOAWAY]
