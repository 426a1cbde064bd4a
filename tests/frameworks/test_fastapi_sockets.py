"""FastAPI's WebSockets through the real `websockets` client: parameters, dependencies, refusals, a room."""

import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    Cookie,
    Depends,
    FastAPI,
    Header,
    Query,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    status,
)
from pydantic import BaseModel
from websockets import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_socket

from trilithon.testing import serve

pytestmark = pytest.mark.real

DEADLINE_S = 10.0


class Events:
    """What the site noted, for tests to wait for."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.changed = threading.Condition()

    def add(self, *what: Any) -> None:
        """Write down; any thread."""
        with self.changed:
            self.found.append(what)
            self.changed.notify_all()

    def wait_for(self, *what: Any) -> None:
        """Wait until this was noted, and take it off."""
        with self.changed:
            assert self.changed.wait_for(lambda: what in self.found, DEADLINE_S), f"{what} is not in {self.found}"
            self.found.remove(what)


events = Events()


class Manager:
    """The connection manager that FastAPI's documentation shows."""

    def __init__(self) -> None:
        self.active: list[WebSocket] = []

    async def connect(self, websocket: WebSocket) -> None:
        """Let a member in."""
        await websocket.accept()
        self.active.append(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        """Let a member go."""
        self.active.remove(websocket)

    async def broadcast(self, message: str) -> None:
        """Tell everybody."""
        for connection in self.active:
            await connection.send_text(message)


manager = Manager()
app = FastAPI()
router = APIRouter(prefix="/v1")


@router.websocket("/room/{client_id}")
async def room(websocket: WebSocket, client_id: int) -> None:
    """Hand every message to everybody."""
    await manager.connect(websocket)
    await manager.broadcast(f"#{client_id} came")
    try:
        while True:
            await manager.broadcast(f"#{client_id} says: {await websocket.receive_text()}")
    except WebSocketDisconnect as gone:
        manager.disconnect(websocket)
        events.add("left", client_id, gone.code)


async def resource(item_id: int) -> AsyncIterator[str]:
    """Give a resource and note that it was given back."""
    events.add("opened", item_id)
    try:
        yield "resource"
    finally:
        events.add("closed", item_id)


async def who(session: Annotated[str | None, Cookie()] = None, token: Annotated[str | None, Query()] = None) -> str:
    """Refuse strangers, as FastAPI's documentation does."""
    if session is None and token is None:
        raise WebSocketException(code=status.WS_1008_POLICY_VIOLATION)
    return session or token or ""


@app.websocket("/items/{item_id}")
async def items(
    websocket: WebSocket,
    item_id: int,
    name: Annotated[str, Depends(who)],
    given: Annotated[str, Depends(resource)],
    q: int = 0,
    x_kind: Annotated[str, Header()] = "none",
) -> None:
    """Tell what the handshake brought, then answer until the end."""
    await websocket.accept()
    await websocket.send_json({"item": item_id, "who": name, "given": given, "q": q, "kind": x_kind})
    async for text in websocket.iter_text():
        await websocket.send_text(f"{name}: {text}")


class Order(BaseModel):
    """A message with rules."""

    name: str
    count: int


@app.websocket("/orders")
async def orders(websocket: WebSocket) -> None:
    """Take orders as JSON until one breaks the rules."""
    await websocket.accept()
    while True:
        value = await websocket.receive_json()
        if not isinstance(value, dict) or value.get("count", 0) < 1:
            raise WebSocketException(code=4422, reason="no such order")
        await websocket.send_json(Order(**value).model_dump())


@app.websocket("/binary")
async def binary(websocket: WebSocket) -> None:
    """Send binary messages back in JSON's binary mode and as they are."""
    await websocket.accept()
    async for data in websocket.iter_bytes():
        await websocket.send_bytes(data[::-1])


app.include_router(router)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def site(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Serve the site once for all tests on each loop."""
    with serve(app, loop=request.param) as served:
        yield served


def connect(site: Any, path: str, **options: Any) -> ClientConnection:
    """Open a WebSocket, as a context manager."""
    return connect_socket(site.url.replace("http:", "ws:") + path, proxy=None, open_timeout=DEADLINE_S, **options)


def seen(connection: ClientConnection) -> Any:
    """Receive, within the deadline."""
    return connection.recv(DEADLINE_S)


@pytest.mark.spec("A-WSM-08", "A-WSC-02", "A-CORE-19")
def test_the_room_of_the_documentation(site: Any) -> None:
    with ExitStack() as stack:
        members: list[ClientConnection] = []
        for number in range(15):
            members.append(stack.enter_context(connect(site, f"/v1/room/{number}")))
            for member in members:
                assert seen(member) == f"#{number} came"
        members[3].send("hello é")
        assert {seen(member) for member in members} == {"#3 says: hello é"}
        members[14].close(1001)
        events.wait_for("left", 14, 1001)
        members[0].send("still here")
        assert {seen(member) for member in members[:14]} == {"#0 says: still here"}
    for number in range(14):
        events.wait_for("left", number, 1000)


@pytest.mark.spec("A-WSS-04", "A-WSS-05")
def test_parameters_and_dependencies(site: Any) -> None:
    fields = {"Cookie": "session=ada", "X-Kind": "a stone"}
    with connect(site, "/items/7?q=3", additional_headers=fields) as connection:
        assert json.loads(seen(connection)) == {
            "item": 7,
            "who": "ada",
            "given": "resource",
            "q": 3,
            "kind": "a stone",
        }
        events.wait_for("opened", 7)
        connection.send("hello")
        assert seen(connection) == "ada: hello"
        assert ("closed", 7) not in events.found
    events.wait_for("closed", 7)


@pytest.mark.spec("A-WSH-07")
@pytest.mark.parametrize("path", ["/items/8", "/items/eight?token=t", "/items/8?token=t&q=none"])
def test_what_fails_its_validation_is_refused(site: Any, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(site, path):
        raise AssertionError("the socket opened")
    assert refused.value.response.status_code == 403


@pytest.mark.spec("A-WSC-05", "A-WSC-11")
@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [('{"name": "stone", "count": 0}', 4422, "no such order"), ('{"count": 1}', 1011, None), ("no json", 1011, None)],
)
def test_an_exception_of_a_route_closes_with_its_code(site: Any, message: str, code: int, reason: str | None) -> None:
    with connect(site, "/orders") as connection:
        connection.send('{"name": "stone", "count": 2}')
        assert json.loads(seen(connection)) == {"name": "stone", "count": 2}
        connection.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            seen(connection)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    if reason is not None:
        assert closed.value.rcvd.reason == reason


@pytest.mark.spec("A-WSM-01", "A-WSM-04")
@pytest.mark.parametrize("compression", ["deflate", None])
def test_binary_messages(site: Any, compression: str | None) -> None:
    with connect(site, "/binary", compression=compression) as connection:
        for data in (b"", b"\0", bytes(range(256)) * 3000):
            connection.send(data)
            assert seen(connection) == data[::-1]


@pytest.mark.spec("A-WSC-03")
def test_a_lost_client_gives_its_dependencies_back(site: Any) -> None:
    with connect(site, "/items/1?token=t") as connection:
        seen(connection)
        events.wait_for("opened", 1)
        connection.socket.shutdown(socket.SHUT_RDWR)
        events.wait_for("closed", 1)


@pytest.mark.spec("WS-SHUT-01", "A-WSC-04")
def test_a_stop_reaches_the_rooms_members() -> None:
    with ExitStack() as stack:
        with serve(app, stream_grace_s=0.0) as site:
            members = [stack.enter_context(connect(site, f"/v1/room/{number}")) for number in range(10)]
            members[0].send("all in")
            for member in members:
                while seen(member) != "#0 says: all in":
                    continue
            site.server.stop()
            for member in members:
                with pytest.raises(ConnectionClosed) as closed:
                    seen(member)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1012
        for number in range(10):
            events.wait_for("left", number, 1012)
