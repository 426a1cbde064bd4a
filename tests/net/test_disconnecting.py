"""Clients that leave: at which moment, with an end or a reset, and what the application gets to know (http.md 8)."""

import asyncio
import threading
from typing import Any

import pytest

from tests.wire.client import Client
from trilithon.testing import serve

from .applications import WAIT_S, Held, Reader, Receive, Send, Writer, lifespan, respond
from .pacing import reset

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])


class Waiting:
    """An ASGI application that waits for the client to leave."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()
        self.messages: list[str] = []
        self.cancelled = False
        self.sending = ""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        try:
            self.messages.append((await receive())["type"])
            self.started.set()
            self.messages.append((await receive())["type"])
            self.messages.append((await receive())["type"])
            try:
                await respond(send, b"late")
            except OSError:
                self.sending = "OSError"
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.ended.set()
        return None


@pytest.mark.spec("H1-CON-12")
def test_a_reset_is_noticed_while_the_application_runs() -> None:
    waiting = Waiting()
    with serve(waiting, interface="asgi") as site:
        client = Client(site.host, site.port)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert waiting.started.wait(WAIT_S)
        reset(client)
        assert waiting.ended.wait(WAIT_S)
        assert waiting.messages == ["http.request", "http.disconnect", "http.disconnect"]
        assert waiting.sending == "OSError"
        assert not waiting.cancelled


@pytest.mark.spec("H1-CON-12")
def test_a_reset_behind_an_end_is_noticed_too() -> None:
    waiting = Waiting()
    with serve(waiting, interface="asgi") as site:
        client = Client(site.host, site.port)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert waiting.started.wait(WAIT_S)
        client.finish()
        reset(client)
        assert waiting.ended.wait(WAIT_S)
        assert waiting.messages[1] == "http.disconnect"


@pytest.mark.spec("H1-CON-12")
@INTERFACES
def test_a_client_that_ends_its_side_is_served(interface: str) -> None:
    held = Held(interface)
    with serve(held.application) as site, Client(site.host, site.port) as client:
        client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        held.wait_started(1)
        client.finish()
        held.release.set()
        (reply,) = client.replies([])
        assert reply.body == b"done /held"


@pytest.mark.spec("H1-CON-12", "H1-CON-04")
@INTERFACES
def test_a_client_that_ends_its_side_behind_several_requests_is_served(interface: str) -> None:
    held = Held(interface)
    with serve(held.application) as site, Client(site.host, site.port) as client:
        client.send(b"".join(b"GET /held/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3)))
        client.finish()
        held.release.set()
        assert [reply.body for reply in client.replies([])] == [b"done /held/0", b"done /held/1", b"done /held/2"]


@pytest.mark.spec("H1-BODY-13", "H1-CON-12")
@INTERFACES
@pytest.mark.parametrize("leave", ["end", "reset"])
@pytest.mark.parametrize("size", [100, 1_000_000])
def test_a_body_that_breaks_off_is_never_whole(interface: str, leave: str, size: int) -> None:
    reader = Reader(interface)
    with serve(reader.application) as site:
        with Client(site.host, site.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size, b"x" * (size - 10))
            if interface == "asgi" or size > 500_000:
                assert reader.called.wait(WAIT_S)
            if leave == "end":
                client.finish()
                assert [reply.status for reply in client.replies(["POST"])] in ([], [400])
            else:
                reset(client)
        with Client(site.host, site.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            assert client.replies(["POST"], count=1)[0].body == b"2"
        assert [outcome for outcome in reader.outcomes if isinstance(outcome, int)] == [2]


@pytest.mark.spec("H1-CON-12")
@INTERFACES
def test_a_client_that_leaves_within_a_long_answer_stops_it(interface: str) -> None:
    writer = Writer(interface, blocks=5000, size=65536)
    with serve(writer.application) as site:
        client = Client(site.host, site.port)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while len(client.received) < 1_000_000:
            client.received += client.socket.recv(65536)
        reset(client)
        assert writer.ended.wait(WAIT_S)
        assert writer.is_oserror, writer.outcome
        assert writer.written < 5000


@pytest.mark.spec("H1-CON-12", "H1-CON-05")
@INTERFACES
def test_clients_that_leave_at_once_harm_nobody(interface: str) -> None:
    with serve(Held(interface).application) as site:
        for number in range(60):
            client = Client(site.host, site.port)
            if number % 3:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[: number % 29])
            reset(client) if number % 2 else client.socket.close()
        with Client(site.host, site.port) as client:
            client.send(b"GET /alive HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.replies([], count=1)[0].body == b"done /alive"


@pytest.mark.spec("H-LIM-08")
@INTERFACES
def test_a_client_that_does_not_read_holds_the_application_back(interface: str) -> None:
    writer = Writer(interface, blocks=2000, size=65536)
    with serve(writer.application) as site, Client(site.host, site.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not writer.ended.wait(1.0)
        # What the kernels of both ends hold, and the server's own 64 KiB.
        assert writer.written * 65536 < 20_000_000
        while len(client.received) < 40_000_000:
            client.received += client.socket.recv(262144)
        assert writer.written * 65536 >= 39_000_000
        reset(client)
        assert writer.ended.wait(WAIT_S)
