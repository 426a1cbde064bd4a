"""A Django Channels site through the real `websockets` client and httpx."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import channels_site
import httpx
import pytest
from channels_site import notes
from django.contrib.sessions.backends.signed_cookies import SessionStore
from websockets import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_socket

from trilithon.testing import serve

pytestmark = pytest.mark.real

DEADLINE_S = 10.0


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def site(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Serve the site once for all tests on each loop."""
    channels_site.renew_layer()
    with serve(channels_site.application, loop=request.param, lifespan="off") as served:
        yield served


def connect(site: Any, path: str, **options: Any) -> ClientConnection:
    """Open a WebSocket from an origin that may, as a context manager."""
    options.setdefault("origin", "http://good.example")
    return connect_socket(site.url.replace("http:", "ws:") + path, proxy=None, open_timeout=DEADLINE_S, **options)


def seen(connection: ClientConnection) -> Any:
    """Receive, within the deadline."""
    return connection.recv(DEADLINE_S)


def closed_with(connection: ClientConnection) -> tuple[int, str]:
    """Wait for the server's close and return its code and reason."""
    with pytest.raises(ConnectionClosed) as closed:
        seen(connection)
    assert closed.value.rcvd is not None, "the connection ended without a close frame"
    return closed.value.rcvd.code, closed.value.rcvd.reason


@pytest.mark.spec("A-WSM-01", "A-WSM-04", "A-CORE-19")
@pytest.mark.parametrize("compression", ["deflate", None])
def test_an_asynchronous_consumer(site: Any, compression: str | None) -> None:
    messages: list[str | bytes] = ["", b"", "a", "é€🌍", bytes(range(256)), "long " * 50_000, b"\0" * 200_000]
    with connect(site, "/echo", compression=compression) as connection:
        for message in messages:
            connection.send(message)
            assert seen(connection) == message
        for message in messages[2:5] * 20:
            connection.send(message)
        assert [seen(connection) for _ in range(60)] == messages[2:5] * 20
        connection.close(4321, "bye")
    notes.wait_for("echo", 4321)


def test_a_consumer_on_threads(site: Any) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(site, "/threaded")) for _ in range(10)]
        for number, connection in enumerate(connections):
            connection.send(f"message {number}")
        for number, connection in enumerate(connections):
            assert seen(connection) == f"message {number} off the loop"
    for _ in connections:
        notes.wait_for("threaded", 1000)


@pytest.mark.spec("A-CORE-19", "A-CORE-20")
def test_a_room_over_the_channel_layer(site: Any) -> None:
    with ExitStack() as stack:
        members = [stack.enter_context(connect(site, "/rooms/stones")) for _ in range(10)]
        other = stack.enter_context(connect(site, "/rooms/other"))
        for number, member in enumerate(members):
            member.send(json.dumps({"say": f"hello from {number}"}))
            for each in members:
                assert json.loads(seen(each)) == {"said": f"hello from {number}"}
        other.send('{"say": "alone"}')
        assert json.loads(seen(other)) == {"said": "alone"}
    for _ in range(11):
        notes.wait_for("room", 1000)


@pytest.mark.spec("A-WSS-05", "A-WSS-06", "A-WSH-06", "A-WSC-05", "A-WSC-06")
def test_sessions_cookies_subprotocols_and_an_own_close(site: Any) -> None:
    session = SessionStore()
    session["visits"] = 7
    session.save()
    fields = {"Cookie": f"sessionid={session.session_key}; other=1"}
    with connect(site, "/session?a=b%20c", subprotocols=["x", "chat"], additional_headers=fields) as connection:
        assert connection.subprotocol == "chat"
        assert json.loads(seen(connection)) == {
            "visits": 7,
            "cookies": ["other", "sessionid"],
            "offered": ["x", "chat"],
            "client": "127.0.0.1",
            "query": "a=b%20c",
        }
        assert closed_with(connection) == (4001, "seen enough")
    notes.wait_for("session", 4001)


@pytest.mark.spec("A-WSH-07", "A-WSH-10")
@pytest.mark.parametrize(("way", "status"), [("close", 403), ("deny", 403), ("error", 500)])
def test_refusals(site: Any, way: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(site, f"/refuse/{way}"):
        raise AssertionError("the socket opened")
    assert refused.value.response.status_code == status


@pytest.mark.parametrize("origin", ["http://evil.example", "https://good.example", None])
def test_the_origin_validator(site: Any, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(site, "/echo", origin=origin):
        raise AssertionError("the socket opened")
    assert refused.value.response.status_code == 403
    with connect(site, "/echo", origin="http://also.example:8080") as connection:
        connection.send("in")
        assert seen(connection) == "in"


@pytest.mark.spec("A-WSC-11")
def test_a_consumer_that_fails_is_1011(site: Any) -> None:
    with connect(site, "/fail") as connection:
        connection.send("go")
        assert closed_with(connection)[0] == 1011
    with pytest.raises(InvalidStatus) as refused, connect(site, "/unknown"):
        raise AssertionError("the socket opened")
    assert refused.value.response.status_code == 500  # Channels has no route and raises


@pytest.fixture
def client(site: Any) -> Iterator[httpx.Client]:
    """Give an httpx client of the site."""
    with httpx.Client(base_url=site.url, trust_env=False, timeout=DEADLINE_S) as made:
        yield made


@pytest.mark.spec("A-RESP-10", "A-DISC-03")
def test_events_of_the_layer_reach_a_stream_at_once(site: Any, client: httpx.Client) -> None:
    with client.stream("GET", "/stream") as response:
        assert response.headers["content-type"] == "text/event-stream"
        lines = response.iter_lines()
        assert [next(lines), next(lines)] == ["data: begun", ""]
        for number in range(5):
            assert client.post("/publish", content=f"item {number}").text == "published"
            assert [next(lines), next(lines)] == [f"data: item {number}", ""]
    notes.wait_for("stream left")


@pytest.mark.spec("A-REQ-07", "A-DISC-02", "A-DISC-03")
def test_a_long_poll_is_answered_by_the_layer_and_one_that_leaves_is_noticed(site: Any, client: httpx.Client) -> None:
    with httpx.Client(base_url=site.url, trust_env=False, timeout=0.3) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            impatient.get("/poll")
        notes.wait_for("polling")
        notes.wait_for("poll over")
    with (
        httpx.Client(base_url=site.url, trust_env=False, timeout=DEADLINE_S) as poller,
        ThreadPoolExecutor(1) as pool,
    ):
        for number in range(3):
            answer = pool.submit(poller.get, "/poll")
            notes.wait_for("polling")
            client.post("/publish", content=f"news {number}")
            assert answer.result(DEADLINE_S).text == f"news {number}"
            notes.wait_for("poll over")


def test_the_rest_of_the_site_is_django(site: Any, client: httpx.Client) -> None:
    assert client.get("/async/").json() == {"async": True, "path": "/async/"}
    assert client.get("/missing/").status_code == 404


@pytest.mark.spec("WS-SHUT-01", "A-WSC-04", "A-DISC-03")
def test_a_stop_tells_every_consumer() -> None:
    channels_site.renew_layer()
    with ExitStack() as stack:
        with serve(channels_site.application, lifespan="off", stream_grace_s=0.0) as site:
            connections = [
                stack.enter_context(connect(site, path))
                for path in ("/echo", "/threaded", "/rooms/a")
                for _ in range(5)
            ]
            client = stack.enter_context(httpx.Client(base_url=site.url, trust_env=False, timeout=DEADLINE_S))
            stream = stack.enter_context(client.stream("GET", "/stream"))
            lines = stream.iter_lines()
            assert next(lines) == "data: begun"
            site.server.stop()
            for connection in connections:
                assert closed_with(connection)[0] == 1012
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
        for name in ("echo", "threaded", "room"):
            for _ in range(5):
                notes.wait_for(name, 1012)
        notes.wait_for("stream left")
