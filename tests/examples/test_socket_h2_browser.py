"""A browser that has a page over HTTP/2 opens its WebSockets on the same connection (RFC 8441)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from browser import Window

from trilithon.testing import Site, serve

pytestmark = pytest.mark.real

PAGE = b"<!doctype html><html lang=en><title>Sockets</title><link rel=icon href='data:,'><body>A page of sockets"
DEADLINE_S = 10.0

# Opens a socket, sends words, each when the answers to those before it have come, and gives what it saw in order.
TALK = """
const [path, words, protocols, done] = arguments;
const seen = [];
const socket = new WebSocket(`wss://${location.host}${path}`, protocols);
socket.binaryType = "arraybuffer";
const next = () => {
  const word = words.shift();
  if (word === "close") socket.close(4000, "mine");
  else if (word?.startsWith("binary ")) socket.send(new Uint8Array(Number(word.slice(7))).fill(7));
  else if (word !== undefined) socket.send(word.replace(/^long (\\d+)$/, (_, size) => "x".repeat(size)));
};
socket.onopen = () => { seen.push(["open", socket.protocol, socket.extensions.split(";")[0]]); next(); };
socket.onmessage = ({ data }) => {
  seen.push(typeof data === "string" ? ["text", data.slice(0, 20), data.length] : ["bytes", data.byteLength]);
  next();
};
socket.onclose = ({ code, reason, wasClean }) => { seen.push(["close", code, reason, wasClean]); done(seen); };
"""
# One after the other: browsers hold back who opens many at once.
MANY = """
const [count, done] = arguments;
const sockets = [];
let closed = 0;
const end = ({ code }) => { if (code !== 1000) done(`closed with ${code}`); else if (++closed === count) done("all"); };
const open = () => {
  const socket = new WebSocket(`wss://${location.host}/many/${sockets.length}`);
  sockets.push(socket);
  socket.onclose = end;
  socket.onopen = () => socket.send(socket.url);
  socket.onmessage = ({ data }) => {
    if (data !== socket.url) done(`${socket.url} got ${data}`);
    else if (sockets.length < count) open();
    else fetch("/plain").then(() => sockets.forEach((each) => each.close(1000)));
  };
};
open();
"""


class Exchanges:
    """An application whose sockets echo, or do what they are told, and that notes what it was asked over what."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.scopes: list[Any] = []
        self.ends: dict[str, Any] = {}

    def end_of(self, path: str) -> Any:
        """Wait until a socket has ended and return how."""
        with self.news:
            assert self.news.wait_for(lambda: path in self.ends, DEADLINE_S), f"{path} goes on"
            return self.ends[path]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await self.talk(scope, receive, send)
            return
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": PAGE})

    async def talk(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/refused":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
        while (event := await receive())["type"] == "websocket.receive":
            if event.get("text") == "end":
                await send({"type": "websocket.close", "code": 4001, "reason": "yours"})
            else:
                kind = "bytes" if event.get("text") is None else "text"
                await send({"type": "websocket.send", kind: event[kind]})
        with self.news:
            self.ends[scope["path"]] = (event["code"], event["reason"])
            self.news.notify_all()


@contextmanager
def serve_page(**options: Any) -> Iterator[tuple[Site, Exchanges]]:
    """Serve a page and its sockets over TLS; connections that the browser opened ahead must not delay the end."""
    app = Exchanges()
    with serve(app, self_signed=True, linger_timeout_s=0.2, **options) as site:
        yield site, app


def talk(window: Window, path: str, *words: str, protocols: tuple[str, ...] = ()) -> list[Any]:
    """Open a socket in the page, say words, and return what the page saw of it."""
    seen = window.go().execute_async_script(TALK, path, list(words), list(protocols))
    assert isinstance(seen, list), seen
    return seen


def protocol_of(window: Window) -> str:
    """Return what the browser says that the page came over."""
    return str(window.run("return performance.getEntriesByType('navigation')[0].nextHopProtocol"))


@pytest.mark.spec("WS-H2-05", "WS-H2-07", "WS-H2-08", "WS-H2-09", "WS-H2-12", "WS-HS-21")
def test_the_sockets_of_a_page_go_over_its_connection(open_window: Callable[[str], Window]) -> None:
    with serve_page() as (site, app):
        window = open_window(site.url)
        assert protocol_of(window) == "h2"
        words = ["hello", "binary 300000", "long 70000", "", "close"]
        assert talk(window, "/ours", *words, protocols=("one", "two")) == [
            ["open", "one", "permessage-deflate"],
            ["text", "hello", 5],
            ["bytes", 300_000],
            ["text", "x" * 20, 70_000],
            ["text", "", 0],
            ["close", 4000, "", True],
        ]
        assert app.end_of("/ours") == (4000, "mine")
        assert talk(window, "/theirs", "hello", "end")[1:] == [["text", "hello", 5], ["close", 4001, "yours", True]]
        assert app.end_of("/theirs")[0] == 4001
        scopes = [scope for scope in app.scopes if scope["type"] == "websocket"]
        assert [(scope["http_version"], scope["scheme"]) for scope in scopes] == [("2", "wss")] * 2
        assert [scope["headers"][0][0] for scope in scopes] == [b"host"] * 2
        # One connection for the page and everything in it.
        assert len({scope["client"] for scope in app.scopes}) == 1


@pytest.mark.spec("WS-H2-07", "WS-H2-14", "WS-HS-17")
def test_a_refusal_leaves_the_page_its_connection(open_window: Callable[[str], Window]) -> None:
    with serve_page() as (site, app):
        window = open_window(site.url)
        for _ in range(3):
            assert talk(window, "/refused") == [["close", 1006, "", False]]
        assert talk(window, "/after", "on", "close")[1:] == [["text", "on", 2], ["close", 4000, "", True]]
        assert len({scope["client"] for scope in app.scopes}) == 1
        window.go().get_log("browser")  # where the browser says what it was refused


@pytest.mark.spec("WS-H2-13")
def test_a_page_may_have_many_sockets_and_requests_at_once(open_window: Callable[[str], Window]) -> None:
    with serve_page() as (site, app):
        window = open_window(site.url)
        assert window.go().execute_async_script(MANY, 50) == "all"
        assert all(app.end_of(f"/many/{number}") == (1000, "") for number in range(50))
        assert {scope["http_version"] for scope in app.scopes} == {"2"}
        assert len({scope["client"] for scope in app.scopes}) == 1


@pytest.mark.spec("WS-H2-13", "WS-SHUT-01")
def test_a_window_that_is_closed_ends_its_socket(open_window: Callable[[str], Window]) -> None:
    with serve_page() as (site, app):
        window = open_window(site.url)
        window.run("window.socket = new WebSocket(`wss://${location.host}/left`)")
        window.until(lambda _: window.run("return window.socket.readyState") == 1, "an open socket")
        window.close()
        # Over HTTP/2 it says no more than the reset of the stream; 1001 is what it says over HTTP/1.1.
        assert app.end_of("/left")[0] in (1001, 1006)


@pytest.mark.spec("WS-HS-21")
def test_without_http2_the_sockets_go_over_http1(open_window: Callable[[str], Window]) -> None:
    with serve_page(http2=False) as (site, app):
        window = open_window(site.url)
        assert protocol_of(window) == "http/1.1"
        assert talk(window, "/ours", "hello", "close")[1:] == [["text", "hello", 5], ["close", 4000, "", True]]
        (scope,) = [scope for scope in app.scopes if scope["type"] == "websocket"]
        assert (scope["http_version"], scope["scheme"]) == ("1.1", "wss")
