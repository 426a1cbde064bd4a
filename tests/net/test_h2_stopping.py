"""HTTP/2 connections come to an end: the server stops, a connection has served enough, a client leaves."""

import socket
import time

import pytest

from tests.wire.h2_bytes import PREFACE, number, raw
from tests.wire.h2_memory import GET, POST, SETTINGS_ACK, Pairs, block, data, headers, ping
from tests.wire.hpack_blocks import incremental, indexed
from trilithon.testing import serve
from trilithon.wire.h2_codes import ACK, GOAWAY, HEADERS, NO_ERROR, PING, RST_STREAM

from .applications import Held, Reader
from .h2_peer import DEADLINE_S, Peer, alive, ponged
from .h2_site import SITES, serve_as

pytestmark = pytest.mark.real

KINDS = pytest.mark.parametrize("kind", SITES)
LAST_ID = 2**31 - 1
LONG_S = 30.0
SHORT_S = 0.3


def to(path: bytes, pairs: Pairs = GET) -> Pairs:
    """Return a request for another path."""
    return [(name, path if name == b":path" else value) for name, value in pairs]


HELD = to(b"/held")


def goodbyes(peer: Peer) -> list[tuple[int, int]]:
    """Return last stream and code of every GOAWAY that came."""
    return [(int.from_bytes(sent.payload[:4], "big"), sent.code) for sent in peer.seen if sent.kind == GOAWAY]


def next_goodbye(peer: Peer) -> tuple[int, int]:
    """Wait for one GOAWAY more."""
    before = len(goodbyes(peer))
    while len(goodbyes(peer)) == before:
        assert peer.take() is not None, peer.told()
    return goodbyes(peer)[-1]


def await_refusal(host: str, port: int) -> None:
    """Wait until nobody is let in any more."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), DEADLINE_S).close()
        except ConnectionError:
            return
    raise AssertionError("the server still takes connections")


@KINDS
@pytest.mark.spec("H2-CONN-09")
def test_the_server_stops_in_two_steps_and_completes_what_is_open(kind: str) -> None:
    held = Held(kind)
    with (
        serve_as(kind, held.asgi, held.wsgi, graceful_timeout_s=LONG_S, linger_timeout_s=LONG_S) as site,
        Peer((site.host, site.port), acknowledges=False) as peer,
    ):
        peer.send(SETTINGS_ACK, headers(1, HELD), headers(3, to(b"/upload", POST), end=False), data(3, b"half"))
        held.wait_started(1)
        ponged(peer)
        site.server.stop()
        assert next_goodbye(peer) == (LAST_ID, NO_ERROR)
        question = peer.until(lambda sent: sent.kind == PING and not sent.flags & ACK)
        # What the client sends before it has seen that is still served.
        peer.send(headers(5, HELD))
        peer.send(ping(question.payload, ack=True))
        assert next_goodbye(peer) == (5, NO_ERROR)
        # What comes now is ignored, but its field block counts for the table.
        peer.send(raw(HEADERS, 0x4, 7, block(to(b"/ignored", POST)) + incremental(b"x-kept", b"1")))
        peer.send(data(7, b"ignored", end=True), data(3, b"other half"), raw(HEADERS, 0x5, 3, indexed(62)))
        held.release.set()
        assert peer.response(1) == (200, b"done /held")
        assert peer.response(3) == (200, b"done /upload")
        assert peer.response(5) == (200, b"done /held")
        frames = peer.to_end()
        assert not [sent for sent in frames if sent.stream_id == 7]
        assert not [sent for sent in frames if sent.kind == RST_STREAM and sent.code != NO_ERROR]
        assert goodbyes(peer) == [(LAST_ID, NO_ERROR), (5, NO_ERROR)]
    assert "/ignored" not in held.paths


@KINDS
@pytest.mark.spec("H2-CONN-09")
def test_a_client_that_does_not_answer_keeps_nobody_waiting(kind: str) -> None:
    held = Held(kind)
    with (
        serve_as(kind, held.asgi, held.wsgi, graceful_timeout_s=LONG_S, linger_timeout_s=SHORT_S) as site,
        Peer((site.host, site.port), acknowledges=False) as peer,
    ):
        peer.send(SETTINGS_ACK, headers(1, GET))
        peer.response(1)
        began = time.monotonic()
        site.server.stop()
        peer.to_end()
        assert SHORT_S * 0.9 <= time.monotonic() - began < DEADLINE_S
        assert goodbyes(peer) == [(LAST_ID, NO_ERROR), (1, NO_ERROR)]


@KINDS
@pytest.mark.spec("H2-CONN-09")
def test_a_server_that_others_replace_goes_in_two_steps_behind_an_answer(kind: str) -> None:
    held = Held(kind)
    with (
        serve_as(kind, held.asgi, held.wsgi, idle_grace_s=LONG_S, linger_timeout_s=LONG_S) as site,
        Peer((site.host, site.port), acknowledges=False) as peer,
    ):
        peer.send(SETTINGS_ACK, headers(1, GET))
        assert peer.response(1) == (200, b"done /")
        site.server.retire()
        await_refusal(site.host, site.port)
        peer.send(headers(3, HELD))
        held.wait_started(2)
        assert goodbyes(peer) == []
        held.release.set()
        assert peer.response(3) == (200, b"done /held")
        assert next_goodbye(peer) == (LAST_ID, NO_ERROR)
        question = peer.until(lambda sent: sent.kind == PING and not sent.flags & ACK)
        # On its way since before the client could know.
        peer.send(headers(5, GET))
        assert peer.response(5) == (200, b"done /")
        peer.send(ping(question.payload, ack=True))
        peer.to_end()
        assert goodbyes(peer) == [(LAST_ID, NO_ERROR), (5, NO_ERROR)]


@KINDS
@pytest.mark.spec("H2-CONN-09")
def test_an_idle_client_is_let_go_at_once(kind: str) -> None:
    held = Held(kind)
    with (
        serve_as(kind, held.asgi, held.wsgi, graceful_timeout_s=LONG_S, linger_timeout_s=LONG_S) as site,
        Peer((site.host, site.port)) as peer,
    ):
        alive(peer)
        site.server.stop()
        peer.to_end()
        assert [code for _, code in goodbyes(peer)] == [NO_ERROR, NO_ERROR]


@KINDS
@pytest.mark.spec("H2-CONN-09")
def test_a_connection_that_was_opened_ahead_is_let_go_at_once(kind: str) -> None:
    held = Held(kind)
    with (
        serve_as(kind, held.asgi, held.wsgi, graceful_timeout_s=LONG_S, linger_timeout_s=LONG_S) as site,
        Peer((site.host, site.port), greeting=PREFACE, acknowledges=False) as peer,
    ):
        peer.take()
        site.server.stop()
        peer.to_end()
        assert goodbyes(peer) == [(0, NO_ERROR)]


@KINDS
@pytest.mark.spec("H2-DOS-14")
def test_a_connection_that_has_served_enough_is_left_without_losing_a_request(kind: str) -> None:
    held = Held(kind)
    with (
        serve_as(kind, held.asgi, held.wsgi, max_keep_alive_requests=4, linger_timeout_s=LONG_S) as site,
        Peer((site.host, site.port), acknowledges=False) as peer,
    ):
        peer.send(SETTINGS_ACK, headers(1, GET), headers(3, GET))
        assert peer.response(3) == (200, b"done /")
        assert goodbyes(peer) == []
        peer.send(headers(5, GET))
        assert peer.response(5) == (200, b"done /")
        assert goodbyes(peer) == [(LAST_ID, NO_ERROR)]
        peer.send(headers(7, GET))
        assert peer.until(lambda sent: sent.stream_id == 7 and sent.ended)
        question = peer.until(lambda sent: sent.kind == PING and not sent.flags & ACK)
        peer.send(ping(question.payload, ack=True), headers(9, GET))
        frames = peer.to_end()
        assert not [sent for sent in frames if sent.stream_id == 9]
        assert goodbyes(peer) == [(LAST_ID, NO_ERROR), (7, NO_ERROR)]
    assert len(held.paths) == 4


@KINDS
@pytest.mark.spec("H2-DOS-14", "H2-CONN-09")
@pytest.mark.parametrize("most", [1, 3, 8])
def test_a_connection_serves_so_many_requests_and_ignores_the_rest(kind: str, most: int) -> None:
    held = Held(kind)
    with (
        serve_as(kind, held.asgi, held.wsgi, max_keep_alive_requests=most, linger_timeout_s=0) as site,
        Peer((site.host, site.port), acknowledges=False) as peer,
    ):
        peer.send(SETTINGS_ACK, *[headers(1 + 2 * at, GET) for at in range(20)])
        frames = peer.to_end()
        assert {sent.stream_id for sent in frames if sent.kind == HEADERS} == {1 + 2 * at for at in range(most)}
        assert goodbyes(peer)[-1] == (2 * most - 1, NO_ERROR)
        assert not [sent for sent in frames if sent.kind == RST_STREAM]
    assert len(held.paths) == most


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@pytest.mark.spec("H2-CONN-08")
def test_a_client_that_leaves_has_its_streams_completed(interface: str) -> None:
    reader = Reader(interface)
    with serve(reader.application) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, POST, end=False), data(1, b"some"))
        ponged(peer)
        peer.send(raw(GOAWAY, 0, 0, number(0) + number(NO_ERROR)), data(1, b" more", end=True))
        assert peer.until(lambda sent: sent.stream_id == 1 and sent.ended)
        peer.to_end()
        assert b"".join(sent.payload for sent in peer.seen if sent.stream_id == 1 and sent.kind == 0) == b"9"
    assert reader.outcomes == [9]
