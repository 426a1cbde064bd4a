"""Starlette's WebSockets through the real `websockets` client: endpoints, iterators, denials, closes, broadcasts."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_socket

from trilithon.testing import serve

pytestmark = pytest.mark.real

DEADLINE_S = 10.0
MIB = 1 << 20


class Room:
    """Everybody in the room, and what its members noted; one for each served site."""

    def __init__(self) -> None:
        self.members: list[WebSocket] = []
        self.notes: list[Any] = []
        self.changed = threading.Condition()

    def note(self, *what: Any) -> None:
        """Write down what a test waits for."""
        with self.changed:
            self.notes.append(what)
            self.changed.notify_all()

    def wait_for(self, *what: Any) -> None:
        """Wait until this was noted, and take it off."""
        with self.changed:
            assert self.changed.wait_for(lambda: what in self.notes, DEADLINE_S), f"{what} is not in {self.notes}"
            self.notes.remove(what)


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Give every connection the room of the application."""
    yield {"room": application.state.room}


async def echo(websocket: WebSocket) -> None:
    """Send back what comes, as it comes."""
    await websocket.accept()
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            break
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])
    websocket.state.room.note("left", message["code"], message["reason"])


async def shout(websocket: WebSocket) -> None:
    """Answer in JSON, in an iteration that ends by itself."""
    await websocket.accept()
    async for value in websocket.iter_json():
        await websocket.send_json({key: str(each).upper() for key, each in value.items()})
    websocket.state.room.note("iterated")


async def room(websocket: WebSocket) -> None:
    """Hand every message to everybody, the sender as well."""
    members = websocket.state.room.members
    await websocket.accept()
    members.append(websocket)
    await websocket.send_text(f"{len(members)} here")
    try:
        while True:
            text = await websocket.receive_text()
            for member in list(members):
                await member.send_text(text)
    except WebSocketDisconnect as gone:
        members.remove(websocket)
        websocket.state.room.note("room", gone.code)


async def describe(websocket: WebSocket) -> None:
    """Choose the first known subprotocol and tell how Starlette sees the address."""
    offered = websocket.scope["subprotocols"]
    chosen = next((each for each in offered if each in ("v2.chat", "v1.chat")), None)
    await websocket.accept(subprotocol=chosen, headers=[(b"x-room", b"the hall"), (b"set-cookie", b"a=1")])
    await websocket.send_json(
        {
            "url": str(websocket.url),
            "path": websocket.url.path,
            "root": websocket.scope["root_path"],
            "query": dict(websocket.query_params),
            "cookies": websocket.cookies,
            "user-agent": websocket.headers["user-agent"],
            "offered": offered,
        }
    )
    await websocket.close(4321, "described: é")


async def both_ways(websocket: WebSocket) -> None:
    """Send and receive at once in a task group, as games do, until the client says stop."""
    await websocket.accept()
    async with anyio.create_task_group() as group:

        async def tick() -> None:
            for number in range(10_000):
                await websocket.send_text(f"tick {number}")
                await anyio.sleep(0.001)

        group.start_soon(tick)
        while await websocket.receive_text() != "stop":
            await websocket.send_text("heard")
        group.cancel_scope.cancel()
    await websocket.send_text("stopped")
    await websocket.close()


async def refuse(websocket: WebSocket) -> None:
    """Refuse in the way that the path names."""
    way = websocket.path_params["way"]
    if way == "close":
        await websocket.close(4000, "never seen")
    elif way == "json":
        await websocket.send_denial_response(JSONResponse({"why": "no"}, 401, {"www-authenticate": "Basic"}))
    elif way == "stream":
        blocks = (bytes([number]) * 1000 for number in range(256))
        await websocket.send_denial_response(StreamingResponse(blocks, 418))
    elif way == "exception":
        raise HTTPException(402, "pay first")
    elif way == "error":
        raise RuntimeError("the secret reason")


async def fail(websocket: WebSocket) -> None:
    """Accept and fail."""
    await websocket.accept()
    await websocket.receive_text()
    raise RuntimeError("the secret reason")


class Endpoint(WebSocketEndpoint):
    """The class-based form, which decodes JSON itself and closes with 1003 for bytes."""

    encoding = "json"

    async def on_connect(self, websocket: WebSocket) -> None:
        await websocket.accept()

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_json(sorted(data))

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        websocket.state.room.note("endpoint", close_code)


routes = [
    WebSocketRoute("/echo", echo),
    WebSocketRoute("/shout", shout),
    WebSocketRoute("/room", room),
    WebSocketRoute("/both-ways", both_ways),
    WebSocketRoute("/refuse/{way}", refuse),
    WebSocketRoute("/fail", fail),
    WebSocketRoute("/endpoint", Endpoint),
    Mount("/inner", routes=[WebSocketRoute("/describe/{rest:path}", describe)]),
]
app = Starlette(routes=routes, lifespan=lifespan)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def site(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Serve the site once for all tests on each loop."""
    app.state.room = Room()
    with serve(app, loop=request.param) as served:
        yield served


def connect(site: Any, path: str, **options: Any) -> ClientConnection:
    """Open a WebSocket, with compression as clients offer it."""
    options.setdefault("open_timeout", DEADLINE_S)
    options.setdefault("close_timeout", DEADLINE_S)
    return connect_socket(site.url.replace("http:", "ws:") + path, proxy=None, **options)


def seen(connection: ClientConnection) -> Any:
    """Receive, within the deadline."""
    return connection.recv(DEADLINE_S)


@pytest.mark.spec("A-WSM-01", "A-WSM-04", "A-WSC-02")
@pytest.mark.parametrize("compression", ["deflate", None])
def test_every_kind_of_message_comes_back(site: Any, compression: str | None) -> None:
    messages: list[str | bytes] = ["", b"", "a", "é€🌍\x00", b"\x00\xff" * 100, "x" * 125, "y" * 126, b"z" * 65536]
    messages += ["long " * (MIB // 5), bytes(range(256)) * 4096]
    with connect(site, "/echo", compression=compression, max_size=4 * MIB) as connection:
        assert len(connection.protocol.extensions) == (compression == "deflate")
        for message in messages:
            connection.send(message)
            assert seen(connection) == message
        connection.close(3456, "good bye")
    app.state.room.wait_for("left", 3456, "good bye")


def test_a_message_in_fragments_arrives_whole(site: Any) -> None:
    with connect(site, "/echo") as connection:
        connection.send(iter(["one ", "", "two ", "é"]))
        assert seen(connection) == "one two é"
        connection.send(iter([b"a" * 70_000, b"b" * 70_000]))
        assert seen(connection) == b"a" * 70_000 + b"b" * 70_000
        assert connection.ping().wait(DEADLINE_S)


@pytest.mark.spec("A-WSC-01", "A-WSC-02")
def test_an_iteration_ends_with_the_socket(site: Any) -> None:
    with connect(site, "/shout") as connection:
        connection.send('{"say": "hello", "n": 3}')
        assert seen(connection) == '{"say":"HELLO","n":"3"}'
    app.state.room.wait_for("iterated")


@pytest.mark.spec("A-WSC-03")
def test_a_client_that_is_lost_is_1006(site: Any) -> None:
    with connect(site, "/echo") as connection:
        connection.send("first")
        assert seen(connection) == "first"
        connection.socket.shutdown(socket.SHUT_RDWR)
    app.state.room.wait_for("left", 1006, "")


def test_a_room_of_many(site: Any) -> None:
    with ExitStack() as stack:
        members = []
        for number in range(20):
            members.append(stack.enter_context(connect(site, "/room")))
            assert seen(members[-1]) == f"{number + 1} here"
        for number, member in enumerate(members):
            member.send(f"hello from {number}")
        for member in members:
            heard = {seen(member) for _ in members}
            assert heard == {f"hello from {number}" for number in range(20)}
    for _ in members:
        app.state.room.wait_for("room", 1000)


@pytest.mark.spec("A-WSS-06", "A-WSH-03", "A-WSH-04", "A-WSC-05")
def test_subprotocol_headers_address_and_close_code(site: Any) -> None:
    protocols = ["v9.chat", "v1.chat", "v2.chat"]
    fields = {"Cookie": "b=2; c=3", "User-Agent": "a test"}
    path = "/inner/describe/a/b?x=%20y&z"
    with connect(site, path, subprotocols=protocols, additional_headers=fields) as connection:
        assert connection.subprotocol == "v1.chat"
        assert connection.response is not None
        assert connection.response.headers["x-room"] == "the hall"
        assert connection.response.headers["set-cookie"] == "a=1"
        answer = seen(connection)
        with pytest.raises(ConnectionClosedError) as closed:
            seen(connection)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "described: é")
    assert '"path":"/inner/describe/a/b"' in answer
    assert f'"url":"ws://{site.host}:{site.port}/inner/describe/a/b?x=%20y&z"' in answer
    assert '"root":"/inner"' in answer
    assert '"query":{"x":" y","z":""}' in answer
    assert '"cookies":{"b":"2","c":"3"}' in answer
    assert '"offered":["v9.chat","v1.chat","v2.chat"]' in answer


@pytest.mark.spec("A-WSH-06")
def test_no_known_subprotocol_chooses_none(site: Any) -> None:
    with connect(site, "/inner/describe/", subprotocols=["other"]) as connection:
        assert connection.subprotocol is None


@pytest.mark.spec("A-CORE-19", "A-CORE-20")
def test_sending_and_receiving_at_once_in_a_task_group(site: Any) -> None:
    with connect(site, "/both-ways") as connection:
        for _ in range(50):
            connection.send("say something")
        heard = ticks = 0
        while heard < 50 or ticks < 20:
            message = seen(connection)
            if message == "heard":
                heard += 1
            else:
                assert message == f"tick {ticks}"
                ticks += 1
        connection.send("stop")
        while (message := seen(connection)) != "stopped":
            assert message.startswith("tick ")
        with pytest.raises(ConnectionClosedOK):
            seen(connection)


@pytest.mark.spec("A-WSH-07", "A-WSH-10", "A-XDENY-02", "A-XDENY-03")
@pytest.mark.parametrize(
    ("way", "status", "body"),
    [
        ("close", 403, None),
        ("json", 401, b'{"why":"no"}'),
        ("stream", 418, b"".join(bytes([number]) * 1000 for number in range(256))),
        ("exception", 402, b"pay first"),
        ("error", 500, None),
    ],
)
def test_every_way_to_refuse(site: Any, way: str, status: int, body: bytes | None) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(site, f"/refuse/{way}"):
        raise AssertionError("the socket opened")
    response = refused.value.response
    assert response.status_code == status
    if body is not None:
        assert response.body == body
    assert b"secret" not in (response.body or b"")
    if way == "json":
        assert response.headers["www-authenticate"] == "Basic"


def test_an_unknown_path_is_refused_and_the_site_lives_on(site: Any) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(site, "/unknown"):
        raise AssertionError("the socket opened")
    assert refused.value.response.status_code in (403, 404)
    with connect(site, "/echo") as connection:
        connection.send("still here")
        assert seen(connection) == "still here"


@pytest.mark.spec("A-WSC-11")
def test_an_error_after_the_accept_is_1011(site: Any) -> None:
    with connect(site, "/fail") as connection:
        connection.send("go")
        with pytest.raises(ConnectionClosed) as closed:
            seen(connection)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    assert "secret" not in closed.value.rcvd.reason


def test_a_class_based_endpoint(site: Any) -> None:
    with connect(site, "/endpoint") as connection:
        connection.send("[3, 1, 2]")
        assert seen(connection) == "[1,2,3]"
        connection.send("no json")
        with pytest.raises(ConnectionClosed) as closed:
            seen(connection)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1003
    app.state.room.wait_for("endpoint", 1011)  # what Starlette gives for the error that the bad message raises


@pytest.mark.spec("A-WSC-04", "A-WSC-12", "WS-SHUT-01")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_stop_closes_with_1012_and_tells_the_application(loop: str) -> None:
    app.state.room = Room()
    with serve(app, loop=loop, stream_grace_s=0.0) as site, ExitStack() as stack:
        connections = [stack.enter_context(connect(site, "/echo")) for _ in range(10)]
        for connection in connections:
            connection.send("here")
            assert seen(connection) == "here"
        site.server.stop()
        for connection in connections:
            with pytest.raises(ConnectionClosed) as closed:
                seen(connection)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
    for _ in connections:
        app.state.room.wait_for("left", 1012, "")


def test_many_clients_of_one_loop(site: Any) -> None:
    from websockets.asyncio.client import connect as connect_async

    async def talk(number: int) -> None:
        uri = site.url.replace("http:", "ws:") + "/echo"
        async with connect_async(uri, proxy=None, open_timeout=DEADLINE_S) as connection:
            for turn in range(20):
                text = f"{number} in turn {turn} " * 20
                await connection.send(text)
                assert await asyncio.wait_for(connection.recv(), DEADLINE_S) == text

    async def everybody() -> None:
        await asyncio.gather(*[talk(number) for number in range(50)])

    asyncio.run(everybody())
