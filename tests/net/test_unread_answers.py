"""Clients that send and send and never read: neither what they sent nor what is answered piles up (http.md 8, 11)."""

import threading
from collections.abc import Iterable
from typing import Any

import pytest

from tests.wire.client import Client
from trilithon.testing import serve

from .applications import Receive, Send, StartResponse, lifespan
from .pacing import KERNEL_BYTES, send_until_full

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
SIZES = pytest.mark.parametrize("size", [10, 1000, 100_000])
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Answering:
    """Answers each request with `size` bytes and counts."""

    def __init__(self, size: int) -> None:
        self.body = b"w" * size
        self.fields = str(size)
        self.calls = 0
        self.lock = threading.Lock()

    def count(self) -> None:
        with self.lock:
            self.calls += 1

    async def asgi(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        self.count()
        headers = [(b"content-length", self.fields.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
        return None

    def wsgi(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self.count()
        start_response("200 OK", [("Content-Length", self.fields)])
        return [self.body]


@pytest.mark.spec("H1-CON-04", "H-LIM-08")
@INTERFACES
@SIZES
def test_requests_wait_until_earlier_answers_are_read(interface: str, size: int) -> None:
    application = Answering(size)
    with serve(getattr(application, interface), threads=4) as site, Client(site.host, site.port) as client:
        sent = send_until_full(client.socket, GET * 500)
        assert sent < KERNEL_BYTES
        assert application.calls * size < KERNEL_BYTES
        before = application.calls
        # Once the client reads, everything is answered, up to a request that was cut.
        whole = sent // len(GET)
        expected = before + min(whole - before, 2000)
        head = 0
        while application.calls < expected or head < expected:
            client.received.clear()
            client.receive_some()
            head += client.received.count(b"HTTP/1.1 200 OK\r\n")
        assert application.calls <= whole


@pytest.mark.spec("H1-CON-04", "H-LIM-08")
@INTERFACES
def test_one_request_at_a_time_waits_for_the_client_too(interface: str) -> None:
    application = Answering(100_000)
    with serve(getattr(application, interface), threads=4) as site, Client(site.host, site.port) as client:
        client.socket.setblocking(False)
        for _ in range(3000):
            try:
                client.socket.send(GET)
            except BlockingIOError:
                break
        assert send_until_full(client.socket, GET) < KERNEL_BYTES
        assert application.calls * 100_000 < KERNEL_BYTES
