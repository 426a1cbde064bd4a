"""sse-starlette through httpx: events at once, pings, clients that leave, reconnection, and a stop."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from trilithon.testing import serve

pytestmark = pytest.mark.real

DEADLINE_S = 10.0


class Board:
    """Where publishers leave items for the streams of one served site, and streams note how they ended."""

    def __init__(self) -> None:
        self.queues: list[asyncio.Queue[Any]] = []
        self.notes: list[str] = []
        self.changed = threading.Condition()

    def note(self, what: str) -> None:
        """Write down what a test waits for."""
        with self.changed:
            self.notes.append(what)
            self.changed.notify_all()

    def wait_for(self, what: str, count: int = 1) -> None:
        """Wait until this was noted so often."""
        with self.changed:
            reached = self.changed.wait_for(lambda: self.notes.count(what) >= count, DEADLINE_S)
            assert reached, f"{what} was noted {self.notes.count(what)} times"


async def stream(request: Request) -> Response:
    """Send what is published, from the item behind the client's last one on, until the client leaves."""
    board: Board = request.app.state.board
    queue: asyncio.Queue[Any] = asyncio.Queue()
    board.queues.append(queue)

    async def events() -> AsyncIterator[ServerSentEvent | dict[str, Any]]:
        try:
            yield {"event": "hello", "data": request.headers.get("last-event-id", "none"), "retry": 1500}
            number = 0
            while (item := await queue.get()) is not None:
                number += 1
                yield ServerSentEvent(data=item, event="item", id=str(number))
        finally:
            board.queues.remove(queue)
            board.note("generator closed")

    async def left(message: Any) -> None:
        board.note(f"client left: {message['type']}")

    ping = float(request.query_params.get("ping", "15"))
    return EventSourceResponse(events(), ping=ping, client_close_handler_callable=left)


async def polled(request: Request) -> Response:
    """A stream that asks by itself whether the client is still there."""
    board: Board = request.app.state.board

    async def events() -> AsyncIterator[dict[str, Any]]:
        for number in range(100_000):
            if await request.is_disconnected():
                board.note("asked and gone")
                break
            yield {"data": number}
            await asyncio.sleep(0.005)

    return EventSourceResponse(events())


async def publish(request: Request) -> Response:
    """Give the body to every stream; an empty one ends them."""
    board: Board = request.app.state.board
    item = (await request.body()).decode() or None
    for queue in board.queues:
        queue.put_nowait(item)
    return PlainTextResponse(str(len(board.queues)))


app = Starlette(
    routes=[Route("/stream", stream), Route("/polled", polled), Route("/publish", publish, methods=["POST"])],
    middleware=[Middleware(GZipMiddleware)],
)


@pytest.fixture(params=["asyncio", "uvloop"])
def site(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Serve the site on each loop."""
    app.state.board = Board()
    with serve(app, loop=request.param) as served:
        yield served


def session(site: Any) -> httpx.Client:
    """Return a client of the site."""
    return httpx.Client(base_url=site.url, trust_env=False, timeout=DEADLINE_S)


def next_event(lines: Iterator[str]) -> dict[str, str]:
    """Read one event; a comment is one of its own."""
    event: dict[str, str] = {}
    for line in lines:
        if not line:
            return event
        name, _, value = line.partition(": ")
        event[name or "comment"] = value
    raise AssertionError(f"the stream ended behind {event}")


@pytest.mark.spec("A-RESP-10")
def test_events_come_at_once_and_the_stream_ends_in_order(site: Any) -> None:
    with session(site) as client, client.stream("GET", "/stream") as response, session(site) as publisher:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in response.headers
        lines = response.iter_lines()
        assert next_event(lines) == {"event": "hello", "data": "none", "retry": "1500"}
        for number in range(1, 6):
            begun = time.monotonic()
            assert publisher.post("/publish", content=f"item é {number}").text == "1"
            assert next_event(lines) == {"id": str(number), "event": "item", "data": f"item é {number}"}
            assert time.monotonic() - begun < 1.0
        publisher.post("/publish")
        assert list(lines) == []
    app.state.board.wait_for("generator closed")


@pytest.mark.spec("A-DISC-03")
def test_many_streams_and_clients_that_leave(site: Any) -> None:
    with session(site) as client, session(site) as publisher, ExitStack() as stack:
        streams = []
        for _ in range(50):
            response = stack.enter_context(client.stream("GET", "/stream"))
            lines = response.iter_lines()
            next_event(lines)
            streams.append((response, lines))
        assert publisher.post("/publish", content="for all").text == "50"
        for _, lines in streams:
            assert next_event(lines)["data"] == "for all"
        left = time.monotonic()
        for response, _ in streams[:25]:
            response.close()
        app.state.board.wait_for("client left: http.disconnect", 25)
        app.state.board.wait_for("generator closed", 25)
        assert time.monotonic() - left < 2.0
        assert publisher.post("/publish", content="for the rest").text == "25"
        for _, lines in streams[25:]:
            assert next_event(lines)["data"] == "for the rest"
    app.state.board.wait_for("generator closed", 50)


@pytest.mark.spec("A-RESP-10")
def test_pings_keep_a_silent_stream_warm(site: Any) -> None:
    with session(site) as client, client.stream("GET", "/stream?ping=0.1") as response:
        lines = response.iter_lines()
        next_event(lines)
        for _ in range(3):
            assert "ping" in next_event(lines)["comment"]


@pytest.mark.spec("A-SCOPE-13")
def test_a_client_that_comes_back_says_where_it_was(site: Any) -> None:
    with (
        session(site) as client,
        client.stream("GET", "/stream", headers={"Last-Event-ID": "41"}) as response,
    ):
        assert next_event(response.iter_lines())["data"] == "41"


@pytest.mark.spec("A-DISC-03")
def test_a_stream_may_ask_whether_its_client_is_gone(site: Any) -> None:
    with session(site) as client, client.stream("GET", "/polled") as response:
        lines = response.iter_lines()
        assert [next_event(lines)["data"] for _ in range(5)] == ["0", "1", "2", "3", "4"]
    # Whichever notices first, the library's task or the generator's question, no further event is made.
    with session(site) as client:
        assert client.post("/publish", content="x").text == "0"


@pytest.mark.spec("WS-SHUT-01", "A-DISC-03")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_stop_ends_every_stream(loop: str) -> None:
    app.state.board = Board()
    with ExitStack() as stack:
        with serve(app, loop=loop, stream_grace_s=0.2, graceful_timeout_s=20.0) as site:
            streams = []
            client = stack.enter_context(session(site))
            for _ in range(20):
                lines = stack.enter_context(client.stream("GET", "/stream")).iter_lines()
                next_event(lines)
                streams.append(lines)
            site.server.stop()
            stopped = time.monotonic()
            app.state.board.wait_for("generator closed", 20)
            for lines in streams:
                with pytest.raises(httpx.RemoteProtocolError):
                    list(lines)
        assert 0.1 < time.monotonic() - stopped < 5.0
