"""Streams as applications see them: each has its own call, what it is told, and no other's troubles."""

import asyncio
import json
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from tests.wire.h2_memory import GET, POST, Pairs, data, headers, reset, settings, update
from trilithon.wire.h2_codes import CANCEL, DATA, HEADERS, INTERNAL_ERROR, NO_ERROR, RST_STREAM, WINDOW_UPDATE
from trilithon.wire.h2_session import MAX_LINGERING

from .applications import Held, Message, Reader, Receive, Send, StartResponse, Writer, lifespan
from .h2_peer import DEADLINE_S, Peer, alive, ponged
from .h2_site import SITES, serve_as

pytestmark = pytest.mark.real

KINDS = pytest.mark.parametrize("kind", SITES)
MIB = 2**20


def to(path: bytes, pairs: Pairs = GET) -> Pairs:
    """Return a request for another path."""
    return [(name, path if name == b":path" else value) for name, value in pairs]


async def show_scope(scope: Message, receive: Receive, send: Send) -> None:
    """Answer with the scope."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    wanted = ("type", "http_version", "method", "scheme", "path", "server")
    shown = {name: scope[name] for name in wanted}
    shown["headers"] = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    body = json.dumps(shown).encode()
    connected = [(b"connection", b"close"), (b"Keep-Alive", b"5"), (b"X-Upper", b"Case"), (b"upgrade", b"x")]
    await send({"type": "http.response.start", "status": 200, "headers": connected})
    await send({"type": "http.response.body", "body": body})
    return None


def show_environ(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the environ."""
    body = json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()
    start_response("200 OK", [("X-Upper", "Case")])
    return [body]


FIELDS = [(b"cookie", b"a=1"), (b"x-more", b"1"), (b"cookie", b"b=2"), (b"host", b"a.test"), (b"x-more", b"2")]


@pytest.mark.parametrize("kind", ["asgi", "asgi-mixed"])
@pytest.mark.spec("A-SCOPE-16", "A-SCOPE-18", "H2-HDR-13", "H2-HDR-10", "H2-HDR-17")
def test_the_scope_of_a_stream(kind: str) -> None:
    with serve_as(kind, show_scope, show_environ) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, [*to(b"/a%20b?c=d"), *FIELDS]))
        status, body = peer.response(1)
        shown = json.loads(body)
        assert status == 200
        assert shown["headers"] == [["host", "a.test"], ["cookie", "a=1; b=2"], ["x-more", "1"], ["x-more", "2"]]
        assert (shown["http_version"], shown["scheme"], shown["path"]) == ("2", "http", "/a b")
        fields = peer.until(lambda sent: sent.kind == HEADERS).fields
        names = [name for name, _ in fields]
        assert names[0] == b":status"
        assert b"x-upper" in names
        assert not {b"connection", b"keep-alive", b"upgrade", b"X-Upper"} & set(names)


@pytest.mark.parametrize("kind", ["wsgi", "wsgi-mixed"])
@pytest.mark.spec("W-ENV-26", "W-CALL-06", "H2-HDR-13", "H2-HDR-17")
def test_the_environ_of_a_stream(kind: str) -> None:
    with serve_as(kind, show_scope, show_environ) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, [*to(b"/a%20b?c=d"), *FIELDS]))
        status, body = peer.response(1)
        environ = json.loads(body)
        assert status == 200
        assert (environ["HTTP_HOST"], environ["HTTP_COOKIE"], environ["HTTP_X_MORE"]) == ("a.test", "a=1; b=2", "1,2")
        assert (environ["SERVER_PROTOCOL"], environ["REQUEST_METHOD"]) == ("HTTP/2", "GET")
        assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a b", "c=d")
        assert environ["wsgi.url_scheme"] == "http"
        assert not [name for name in environ if ":" in name or "AUTHORITY" in name]
        assert (b"x-upper", b"Case") in peer.until(lambda sent: sent.kind == HEADERS).fields


@KINDS
@pytest.mark.spec("A-SCOPE-23", "W-CALL-06")
def test_streams_are_served_at_once_and_answered_as_they_end(kind: str) -> None:
    held = Held(kind)
    with serve_as(kind, held.asgi, held.wsgi, threads=4) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, to(b"/held/1")), headers(3, to(b"/held/3")), headers(5, to(b"/5")))
        assert peer.response(5) == (200, b"done /5")
        held.wait_started(3)
        assert not [sent for sent in peer.seen if sent.stream_id in (1, 3)]
        held.release.set()
        assert peer.response(3) == (200, b"done /held/3")
        assert peer.response(1) == (200, b"done /held/1")


@pytest.mark.parametrize("kind", ["wsgi", "wsgi-mixed"])
@pytest.mark.spec("W-CALL-06")
def test_streams_run_on_so_many_threads(kind: str) -> None:
    held = Held(kind)
    with serve_as(kind, held.asgi, held.wsgi, threads=3) as site, Peer((site.host, site.port)) as peer:
        peer.send(*[headers(1 + 2 * at, to(b"/held")) for at in range(20)])
        held.wait_started(3)
        ponged(peer)
        held.release.set()
        assert {peer.response(1 + 2 * at) for at in range(20)} == {(200, b"done /held")}
    assert held.most == 3


@KINDS
@pytest.mark.spec("A-RESP-25", "H2-FLOW-03", "H2-FLOW-07")
def test_a_blocked_stream_blocks_no_other(kind: str) -> None:
    writer = Writer(kind, blocks=8, size=65536)
    with serve_as(kind, writer.asgi, writer.wsgi) as site, Peer((site.host, site.port)) as peer:
        whole = writer.blocks * len(writer.block)
        peer.send(settings((4, 0)), update(0, 2**30), headers(1, GET))
        peer.until(lambda sent: sent.kind == HEADERS and sent.stream_id == 1)
        peer.send(headers(3, GET), update(3, whole))
        assert peer.response(3) == (200, writer.block * writer.blocks)
        assert not [sent for sent in peer.seen if sent.stream_id == 1 and sent.kind == DATA]
        peer.send(update(1, whole))
        assert peer.response(1) == (200, writer.block * writer.blocks)


class Watcher:
    """Tells what it hears while it waits, and how sending went after that; WSGI can only write until it fails."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.ended = threading.Event()
        self.started = threading.Event()

    async def asgi(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        if scope["path"] != "/watched":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"other"})
            return None
        await receive()
        self.started.set()
        self.heard.append((await receive())["type"])
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"late"})
        except OSError:
            self.heard.append("OSError")
        self.ended.set()
        return None

    def wsgi(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] != "/watched":
            return [b"other"]
        self.started.set()
        try:
            for _ in range(100_000):
                write(b"x" * 1000)
        except OSError:
            self.heard += ["http.disconnect", "OSError"]
        self.ended.set()
        return []


@KINDS
@pytest.mark.spec("A-DISC-10", "H2-STR-09")
def test_a_reset_is_heard_by_its_call_alone(kind: str) -> None:
    watcher = Watcher()
    with serve_as(kind, watcher.asgi, watcher.wsgi) as site, Peer((site.host, site.port)) as peer:
        peer.send(update(0, 2**30), headers(1, to(b"/watched")), headers(3, to(b"/x", POST), end=False))
        assert watcher.started.wait(DEADLINE_S)
        peer.send(reset(1))
        assert watcher.ended.wait(DEADLINE_S)
        assert watcher.heard == ["http.disconnect", "OSError"]
        peer.send(data(3, b"x", end=True))
        assert peer.response(3) == (200, b"other")
        assert not [sent for sent in peer.seen if sent.kind == RST_STREAM]
        alive(peer)


class Early:
    """Answers before it has read what it is sent; or fails."""

    async def asgi(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        if scope["path"] == "/fail":
            raise RuntimeError("before the head")
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})
        if scope["path"] == "/more":
            await asyncio.sleep(0)
        return None

    def wsgi(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/fail":
            raise RuntimeError("before the head")
        start_response("403 Forbidden", [])
        return [b"no"]


@KINDS
@pytest.mark.spec("H2-STR-13", "H2-STR-14", "H2-STR-04")
def test_an_early_answer_stops_the_upload_and_nothing_else(kind: str) -> None:
    early = Early()
    with serve_as(kind, early.asgi, early.wsgi) as site, Peer((site.host, site.port)) as peer:
        sent_bytes = 0
        for at in range(0, 400, 2):
            # More than the window of the connection in all, which is given back whatever becomes of the streams.
            peer.send(headers(1 + at, [*to(b"/up", POST), (b"content-length", b"9000000")], end=False))
            peer.send(data(1 + at, bytes(16384)), data(1 + at, bytes(16384)), data(1 + at, bytes(16384)))
            peer.send(data(1 + at, bytes(16384)))
            sent_bytes += 4 * 16384
            assert peer.response(1 + at) == (403, b"no")
            if at >= 2 * MAX_LINGERING:
                stop = peer.until(lambda sent, at=at: sent.kind == RST_STREAM and sent.stream_id == 1 + at)
                assert stop.code == NO_ERROR
            peer.send(data(1 + at, bytes(16384)))
            sent_bytes += 16384
        ponged(peer)
        credit = sum(
            int.from_bytes(sent.payload, "big")
            for sent in peer.seen
            if sent.kind == WINDOW_UPDATE and not sent.stream_id
        )
        assert sent_bytes > 10 * MIB
        assert credit >= sent_bytes - MIB
        # The first ones have time to read their answers before they are told to stop.
        for at in range(0, 2 * MAX_LINGERING, 2):
            stop = peer.until(lambda sent, at=at: sent.kind == RST_STREAM and sent.stream_id == 1 + at)
            assert stop.code == NO_ERROR
        peer.send(headers(9001, GET))
        assert peer.response(9001) == (403, b"no")


@KINDS
@pytest.mark.spec("H2-STR-17", "H2-STR-15")
def test_a_call_that_fails_is_answered_500_and_others_go_on(kind: str) -> None:
    early = Early()
    with serve_as(kind, early.asgi, early.wsgi) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, to(b"/fail")), headers(3, GET))
        assert peer.response(1)[0] == 500
        assert peer.response(3) == (403, b"no")
        assert not [sent for sent in peer.seen if sent.kind == RST_STREAM and sent.code in (INTERNAL_ERROR, CANCEL)]


@KINDS
@pytest.mark.spec("H2-FLOW-06", "H2-STR-14")
def test_a_body_that_nobody_reads_holds_up_no_other(kind: str) -> None:
    held, reader = Held(kind), Reader(kind)

    async def asgi(scope: Message, receive: Receive, send: Send) -> None:
        await (held if scope.get("path") == "/held" else reader).asgi(scope, receive, send)

    def wsgi(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return (held if environ["PATH_INFO"] == "/held" else reader).wsgi(environ, start_response)

    limits = {"h2_stream_window_bytes": 131072, "h2_connection_window_bytes": 262144, "threads": 8}
    with serve_as(kind, asgi, wsgi, **limits) as site, Peer((site.host, site.port)) as peer:
        stalled = range(1, 9, 2)
        for stream_id in stalled:
            peer.send(headers(stream_id, to(b"/held", POST), end=False))
            peer.send(*[data(stream_id, bytes(16384))] * 8)
            ponged(peer)
        peer.send(headers(11, POST, end=False))
        for at in range(64):
            # As a client that keeps to its windows: it goes on when it is let.
            wait_for_credit(peer, 11, 16384 * (at + 1))
            peer.send(data(11, bytes(16384), end=at == 63))
        assert peer.response(11) == (200, b"%d" % MIB)
        held.release.set()
        for stream_id in stalled:
            peer.until(lambda sent, stream_id=stream_id: sent.stream_id == stream_id and sent.ended)


@KINDS
@pytest.mark.spec("H2-FLOW-06")
@pytest.mark.parametrize(
    "limits",
    [
        {"h2_stream_window_bytes": 65535},
        {"request_buffer_bytes": 400_000},
        {"h2_stream_window_bytes": 65535, "request_buffer_bytes": 400_000},
    ],
)
def test_a_body_larger_than_the_window_and_smaller_than_the_buffer_is_taken(kind: str, limits: dict[str, int]) -> None:
    reader = Reader(kind)
    window = limits.get("h2_stream_window_bytes", 131072)
    with serve_as(kind, reader.asgi, reader.wsgi, **limits) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, POST, end=False))
        for at in range(300):
            wait_for_credit(peer, 1, 1000 * (at + 1), window)
            peer.send(data(1, bytes(1000), end=at == 299))
        assert peer.response(1) == (200, b"300000")


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@pytest.mark.spec("H-SEM-06")
def test_a_burst_that_has_room_is_not_refused(interface: str) -> None:
    held = Held(interface)
    limits = {"max_requests": 20, "max_queued_requests": 5, "threads": 32}
    with serve_as(interface, held.asgi, held.wsgi, **limits) as site, Peer((site.host, site.port)) as peer:
        peer.send(b"".join(headers(stream_id, to(b"/held")) for stream_id in range(1, 51, 2)))
        held.wait_started(20)
        held.release.set()
        for stream_id in range(1, 51, 2):
            assert peer.response(stream_id) == (200, b"done /held")
        assert held.most == 20


def wait_for_credit(peer: Peer, stream_id: int, sent_bytes: int, window_bytes: int = 131072) -> None:
    """Wait until the server lets a stream send so much in all."""

    def allowed() -> int:
        updates = [sent for sent in peer.seen if sent.kind == WINDOW_UPDATE and sent.stream_id == stream_id]
        return window_bytes + sum(int.from_bytes(sent.payload, "big") for sent in updates)

    while allowed() < sent_bytes:
        assert peer.take() is not None, peer.told()


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@pytest.mark.spec("H-LIM-09")
@pytest.mark.parametrize(
    ("options", "good", "bad", "status"),
    [
        ({"max_request_line_bytes": 100}, to(b"/" + b"a" * 85), to(b"/" + b"a" * 88), 414),
        ({"max_fields": 10}, [*GET, *[(b"x", b"y")] * 10], [*GET, *[(b"x", b"y")] * 11], 431),
        ({"max_field_bytes": 100}, [*GET, (b"x", b"y" * 90)], [*GET, (b"x", b"y" * 101)], 431),
        ({"max_head_bytes": 1000}, [*GET, (b"x", b"y" * 600)], [*GET, *[(b"x", b"y" * 300)] * 3], 431),
    ],
)
def test_limits_of_heads(interface: str, options: dict[str, int], good: Pairs, bad: Pairs, status: int) -> None:
    held = Held(interface)
    with serve_as(interface, held.asgi, held.wsgi, **options) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, good), headers(3, bad))
        assert peer.response(1)[0] == 200
        assert peer.response(3)[0] == status
        alive(peer)


@KINDS
@pytest.mark.spec("H-LIM-09", "H2-STR-05")
def test_limits_of_bodies_and_streams(kind: str) -> None:
    held, reader = Held(kind), Reader(kind)
    with serve_as(kind, reader.asgi, reader.wsgi, max_body_bytes=1000) as site, Peer((site.host, site.port)) as peer:
        for stream_id, size, status in ((1, 1000, 200), (3, 1001, 413)):
            peer.send(headers(stream_id, POST, end=False), data(stream_id, bytes(size), end=True))
            assert peer.response(stream_id)[0] == status
        peer.send(headers(5, [*POST, (b"content-length", b"1001")], end=False))
        assert peer.response(5)[0] == 413
        alive(peer)
    with serve_as(kind, held.asgi, held.wsgi, h2_max_streams=2) as site, Peer((site.host, site.port)) as peer:
        peer.send(headers(1, to(b"/held")), headers(3, to(b"/held")), headers(5, GET))
        assert peer.until(lambda sent: sent.kind == RST_STREAM).stream_id == 5
        held.release.set()
        assert peer.response(3)[0] == peer.response(1)[0] == 200
