"""The scope of a WebSocket: every key, from exact bytes on the wire."""

import contextvars
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgi_apps import Notes, both_loops, respond
from socket_apps import accepted, sockets_only
from upgrade import KEY, LINES, check_opened, upgrade
from wire_client import Wire, ask, request

from trilithon.testing import Site, serve

pytestmark = pytest.mark.real


class Watched:
    """A served application that notes the scope of every WebSocket and refuses it."""

    def __init__(self, site: Site, notes: Notes) -> None:
        self.site = site
        self.notes = notes

    def scope(self, target: str = "/", *lines: str) -> Any:
        """Open a WebSocket at `target` with further field lines and return its scope."""
        return self.scope_of(upgrade(target, *lines))

    def scope_of(self, data: bytes, place: Any = None) -> Any:
        """Send a handshake as bytes and return the scope that came of it."""
        with Wire(place or self.site) as wire:
            wire.send(data)
            assert wire.answer().status == 403
        return self.notes.next()


@contextmanager
def watching(**options: Any) -> Iterator[Watched]:
    """Serve while the block runs; keywords are options."""
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope)
        await send({"type": "websocket.close"})

    with serve(app, **options) as site:
        yield Watched(site, notes)


@both_loops
@pytest.mark.spec("A-WSS-01", "A-WSS-02", "A-WSS-03", "A-WSS-07", "A-WSS-08", "A-CORE-03", "A-CORE-06", "A-XDENY-01")
def test_the_plain_keys(loop: str) -> None:
    with watching(loop=loop) as watched:
        scope = watched.scope("/chat")
        assert type(scope) is dict
        assert all(type(key) is str for key in scope)
        assert scope["type"] == "websocket"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
        assert scope["http_version"] == "1.1"
        assert scope["scheme"] == "ws"
        assert "method" not in scope
        assert scope["extensions"] == {"websocket.http.response": {}}
        assert scope["root_path"] == ""
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/chat", b"/chat", b"")
        assert scope["subprotocols"] == []
        assert list(scope["server"]) == [watched.site.host, watched.site.port]
        assert scope["client"][0] == "127.0.0.1"
        assert scope["state"] == {}


@both_loops
@pytest.mark.spec("A-XDENY-01", "A-CORE-18")
def test_a_plain_request_is_offered_no_denial(loop: str) -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        notes.add(scope)
        await respond(send)

    with serve(app, loop=loop) as site:
        assert ask(site).status == 200
        scope = notes.next()
        assert scope["type"] == "http"
        assert "websocket.http.response" not in scope["extensions"]
        assert "subprotocols" not in scope


@both_loops
@pytest.mark.spec("A-WSS-04", "A-SCOPE-04", "A-SCOPE-07", "A-SCOPE-08")
@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/caf%C3%A9", "/café", b"/caf%C3%A9", b""),
        ("/a%2Fb?x=%20+y&z", "/a/b", b"/a%2Fb", b"x=%20+y&z"),
        ("/%2541", "/%41", b"/%2541", b""),
        ("/a/../b//C;d", "/a/../b//C;d", b"/a/../b//C;d", b""),
        ("/%ff", "/\ufffd", b"/%ff", b""),
        ("/a?b?c", "/a", b"/a", b"b?c"),
        ("/?", "/", b"/", b""),
    ],
)
def test_paths_and_queries(target: str, path: str, raw_path: bytes, query: bytes, loop: str) -> None:
    with watching(loop=loop) as watched:
        scope = watched.scope(target)
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)
        assert [type(scope[key]) for key in ("path", "raw_path", "query_string")] == [str, bytes, bytes]


@pytest.mark.spec("A-WSS-04", "A-SCOPE-11", "A-SCOPE-12")
def test_a_root_path_is_kept_or_put_before() -> None:
    with watching(root_path="/api") as watched:
        for target, path in {"/api/x": "/api/x", "/x": "/api/x", "/api": "/api", "/apix": "/api/apix"}.items():
            scope = watched.scope(target)
            assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", path, target.encode())


@both_loops
@pytest.mark.spec("A-WSS-04", "A-SCOPE-11")
@pytest.mark.parametrize("root", ["asgi", "wsgi", "none"])
def test_a_mounted_application_gets_its_sockets(root: str, loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add((scope["root_path"], scope["path"], scope["raw_path"]))
        await accepted(receive, send)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        raise NotImplementedError

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"plain"]

    roots = {"asgi": (asgi, 403), "wsgi": (wsgi, 200), "none": (None, 404)}
    with serve(roots[root][0], loop=loop, mounts={"/live": app}) as site:
        for target in ("/live", "/live/a%20b?c"):
            with Wire(site) as wire:
                wire.send(upgrade(target))
                check_opened(wire.head())
                raw_path = target.partition("?")[0]
                assert notes.next() == ("/live", raw_path.replace("%20", " "), raw_path.encode())
        with Wire(site) as wire:
            wire.send(upgrade("/liver"))
            assert wire.answer().status == roots[root][1]
    assert notes.rest() == []


@both_loops
@pytest.mark.spec("A-WSS-05", "A-SCOPE-13", "A-SCOPE-14", "A-SCOPE-15", "WS-HS-14")
def test_all_headers_come_as_received_and_in_order(loop: str) -> None:
    lines = [
        "X-First:  1 ",
        "Upgrade: foo, WebSocket",
        "Cookie: a=1",
        "Sec-WebSocket-Version: 13",
        "SEC-WEBSOCKET-PROTOCOL: one, two",
        "cookie: b=2",
        "Host: test",
        "Connection: keep-alive, UPGRADE",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        f"Sec-WebSocket-Key:   {KEY} ",
        "Origin: http://else.example",
        "sec-websocket-protocol: three",
        "X-Bytes: \x80\xff",
        "X-Empty:",
    ]
    with watching(loop=loop) as watched:
        headers = watched.scope_of(request("/", *lines))["headers"]
    assert [tuple(each) for each in headers] == [
        (b"x-first", b"1"),
        (b"upgrade", b"foo, WebSocket"),
        (b"cookie", b"a=1"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-protocol", b"one, two"),
        (b"cookie", b"b=2"),
        (b"host", b"test"),
        (b"connection", b"keep-alive, UPGRADE"),
        (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
        (b"sec-websocket-key", KEY.encode()),
        (b"origin", b"http://else.example"),
        (b"sec-websocket-protocol", b"three"),
        (b"x-bytes", b"\x80\xff"),
        (b"x-empty", b""),
    ]
    assert all(type(part) is bytes for each in headers for part in each)


@both_loops
@pytest.mark.spec("A-WSS-06", "WS-HS-12")
@pytest.mark.parametrize(
    ("values", "subprotocols"),
    [
        ([], []),
        (["chat"], ["chat"]),
        (["b, a"], ["b", "a"]),
        (["  one ,\ttwo  ", "three"], ["one", "two", "three"]),
        (["z", "y,x", "w"], ["z", "y", "x", "w"]),
        (["a%20b, Chat, chat"], ["a%20b", "Chat", "chat"]),
        (["v1.api.example, !#$&'*+-.^_`|~"], ["v1.api.example", "!#$&'*+-.^_`|~"]),
    ],
)
def test_subprotocols_come_from_all_lines_in_order(values: list[str], subprotocols: list[str], loop: str) -> None:
    with watching(loop=loop) as watched:
        scope = watched.scope("/", *[f"Sec-WebSocket-Protocol: {value}" for value in values])
        assert scope["subprotocols"] == subprotocols
        assert type(scope["subprotocols"]) is list
        assert all(type(each) is str for each in scope["subprotocols"])


@pytest.mark.spec("WS-HS-12")
@pytest.mark.parametrize("value", ["", ",", "a,,b", "a b", "a, a", '"a"', "a/b", "é", "(a)"])
def test_odd_subprotocols_are_refused_or_left_out(value: str) -> None:
    with watching() as watched:
        with Wire(watched.site) as wire:
            wire.send(upgrade("/", f"Sec-WebSocket-Protocol: {value}"))
            status = wire.answer().status
        assert status in (400, 403)
        if status == 403:
            offered = watched.notes.next()["subprotocols"]
            assert set(offered) <= {each.strip() for each in value.split(",") if each.strip()}
        assert watched.notes.rest() == []
        assert watched.scope()["subprotocols"] == []


@pytest.mark.spec("A-WSS-04", "A-SCOPE-19", "A-SCOPE-20")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_client_and_server_are_a_host_and_a_port(host: str) -> None:
    with (
        watching(bind=[f"[{host}]:0" if ":" in host else f"{host}:0"]) as watched,
        Wire(tuple(watched.site.server.addresses[0])) as wire,
    ):
        wire.send(upgrade())
        assert wire.answer().status == 403
        scope = watched.notes.next()
        assert tuple(scope["client"]) == wire.socket.getsockname()[:2]
        assert tuple(scope["server"]) == wire.socket.getpeername()[:2]
        assert [type(part) for part in (*scope["client"], *scope["server"])] == [str, int, str, int]


@pytest.mark.spec("A-WSS-04", "A-SCOPE-19", "A-SCOPE-20")
def test_a_unix_peer_has_no_client_and_its_server_no_port(tmp_path: pathlib.Path) -> None:
    place = str(tmp_path / "socket")
    with watching(bind=[f"unix:{place}"]) as watched:
        scope = watched.scope_of(upgrade(), place)
        assert scope["client"] is None
        assert list(scope["server"]) == [place, None]


@pytest.mark.spec("A-WSS-03", "A-SCOPE-24")
def test_an_untrusted_peer_does_not_change_client_or_scheme() -> None:
    with watching() as watched:
        lines = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: wss", "Forwarded: for=203.0.113.9;proto=https")
        scope = watched.scope("/", *lines)
        assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "ws")


@both_loops
@pytest.mark.spec("A-CORE-04", "A-CORE-18")
def test_every_mutable_part_is_fresh_for_every_socket(loop: str) -> None:
    with watching(loop=loop) as watched:
        first = watched.scope("/", "Sec-WebSocket-Protocol: a, b")
        keys = [key for key in first if isinstance(first[key], dict | list)]
        assert {"asgi", "extensions", "headers", "state", "subprotocols"} <= set(keys)
        kept = {key: list(first[key]) for key in keys}
        for key in keys:
            first[key].clear()
        first["extensions"]["mine"] = {}
        second = watched.scope("/", "Sec-WebSocket-Protocol: a, b")
        assert {key: list(second[key]) for key in keys if key != "client"} == {
            key: kept[key] for key in keys if key != "client"
        }
        second["extensions"]["websocket.http.response"]["mine"] = 1
        assert watched.scope()["extensions"] == {"websocket.http.response": {}}


@both_loops
@pytest.mark.spec("A-WSS-04", "A-SCOPE-21", "A-LIFE-12")
def test_state_is_a_shallow_copy_of_the_lifespans(loop: str) -> None:
    shared: list[Any] = []
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"].update(shared=shared, number=1)
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            notes.add(scope["state"])
            await send({"type": "lifespan.shutdown.complete"})
            return
        notes.add(dict(scope["state"]))
        scope["state"].update(number=2, mine=True)
        scope["state"]["shared"].append(scope["path"])
        await send({"type": "websocket.close"})

    with serve(app, loop=loop) as site:
        for target in ("/a", "/b"):
            with Wire(site) as wire:
                wire.send(upgrade(target))
                assert wire.answer().status == 403
            assert notes.next() == {"shared": shared, "number": 1}
    assert notes.next() == {"shared": ["/a", "/b"], "number": 1}


COLOUR = contextvars.ContextVar("colour", default="none")


@both_loops
@pytest.mark.spec("A-CORE-22")
def test_each_socket_runs_in_a_context_of_its_own(loop: str) -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(COLOUR.get())
        COLOUR.set(scope["type"])
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await send({"type": "websocket.close"})

    with serve(app, loop=loop) as site:
        for _ in range(2):
            with Wire(site) as wire:
                wire.send(upgrade())
                assert wire.answer().status == 403
    assert notes.rest() == ["none"] * 3


@pytest.mark.spec("WS-HS-19", "A-WSS-07")
def test_an_application_of_wsgi_gets_the_request_as_any_other() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        return [environ["REQUEST_METHOD"].encode() + b" " + environ["HTTP_SEC_WEBSOCKET_VERSION"][:1].encode()]

    with serve(app) as site, Wire(site) as wire:
        for _ in range(2):
            wire.get("/", *LINES)
            answer = wire.answer()
            assert (answer.status, answer.body) == (200, b"GET 1")
