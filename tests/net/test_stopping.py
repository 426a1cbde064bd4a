"""Stopping: what is idle ends at once, what runs may finish, what is cut off is named (http.md 8)."""

import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.client import Client
from trilithon.testing import serve

from .applications import Held, Reader, Writer
from .pacing import seconds_to_end, stays_silent

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
WITHIN_S = 5.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HELD = b"GET /held/it HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.spec("H1-CON-10")
@INTERFACES
def test_an_idle_connection_ends_at_once_and_a_running_request_finishes(interface: str) -> None:
    held = Held(interface)
    with (
        serve(held.application, graceful_timeout_s=30.0) as site,
        Client(site.host, site.port) as fresh,
        Client(site.host, site.port) as idle,
        Client(site.host, site.port) as active,
    ):
        idle.send(GET)
        assert idle.replies([], count=1)[0].status == 200
        active.send(HELD)
        held.wait_started(2)
        site.server.stop()
        assert seconds_to_end(idle) < WITHIN_S
        assert seconds_to_end(fresh) < WITHIN_S
        assert len(idle.replies([])) == 1
        assert stays_silent(active, 0.3)
        assert refuses(site.host, site.port)
        held.release.set()
        (reply,) = active.replies([])
        assert reply.body == b"done /held/it"
        assert b"close" in reply.options


@pytest.mark.spec("H1-CON-10")
@INTERFACES
def test_a_client_that_has_just_connected_is_answered(interface: str) -> None:
    held = Held(interface)
    with (
        serve(held.application, graceful_timeout_s=30.0) as site,
        Client(site.host, site.port) as newcomer,
        Client(site.host, site.port) as other,
    ):
        other.send(GET)
        assert other.replies([], count=1)[0].status == 200  # so those before it are accepted too
        site.server.stop()
        assert seconds_to_end(other) < WITHIN_S
        newcomer.send(GET)
        (reply,) = newcomer.replies([])
        assert (reply.status, reply.body) == (200, b"done /")
        assert b"close" in reply.options


def refuses(host: str, port: int) -> bool:
    """Tell whether nobody takes connections any more."""
    try:
        with socket.create_connection((host, port), timeout=1.0) as connection:
            connection.sendall(GET)
            return not connection.recv(1000)
    except OSError:
        return True


@pytest.mark.spec("H1-CON-10", "H1-CON-03")
@INTERFACES
def test_a_request_behind_the_running_one_is_not_begun(interface: str) -> None:
    held = Held(interface)
    with serve(held.application, graceful_timeout_s=30.0) as site, Client(site.host, site.port) as active:
        active.send(HELD + GET + GET)
        held.wait_started(1)
        site.server.stop()
        assert stays_silent(active, 0.2)
        held.release.set()
        (reply,) = active.replies([])
        assert b"close" in reply.options
        assert held.started == 1


@pytest.mark.spec("H1-CON-10")
@INTERFACES
def test_an_upload_that_runs_may_finish(interface: str) -> None:
    reader = Reader(interface)
    with serve(reader.application, graceful_timeout_s=30.0) as site, Client(site.host, site.port) as active:
        active.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n", b"x" * 200000)
        assert reader.called.wait(WITHIN_S)
        site.server.stop()
        assert stays_silent(active, 0.2)
        active.send(b"x" * 100000)
        (reply,) = active.replies(["POST"])
        assert reply.body == b"300000"
        assert b"close" in reply.options


@pytest.mark.spec("H1-CON-10")
@INTERFACES
def test_stopping_with_nothing_to_do_is_quick(interface: str) -> None:
    start = time.monotonic()
    with serve(Held(interface).application, graceful_timeout_s=30.0) as site:
        clients = [Client(site.host, site.port) for _ in range(10)]
        clients[0].send(GET)
        clients[0].replies([], count=1)
    assert time.monotonic() - start < WITHIN_S
    for client in clients:
        client.to_end()
        client.socket.close()


SERVER = """
    import asyncio, sys, threading, time
    import trilithon

    def wsgi(environ, start_response):
        if environ["PATH_INFO"].startswith("/held"):
            print("started", flush=True)
            time.sleep(60)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    async def asgi(scope, receive, send):
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            print("shutdown", flush=True)
            return await send({"type": "lifespan.shutdown.complete"})
        if scope["path"].startswith("/held"):
            print("started", flush=True)
            await asyncio.sleep(60)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    application = {"asgi": asgi, "wsgi": wsgi}[sys.argv[1]]
    options = {"bind": ["fd:" + sys.argv[2]], "graceful_timeout_s": float(sys.argv[3]), "access_log": "off"}
    sys.exit(trilithon.run(application, **options))
"""


class Server:
    """A server in a process of its own; `output` holds its standard output, `log` its standard error."""

    def __init__(self, interface: str, graceful_timeout_s: float) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.host, self.port = listener.getsockname()
            arguments = [interface, str(listener.fileno()), str(graceful_timeout_s)]
            self.process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(SERVER), *arguments],
                pass_fds=[listener.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        self.output = ""
        self.log = ""

    def client(self) -> Client:
        """Return a connection that was served once, so that the server is known to run."""
        client = Client(self.host, self.port)
        client.send(GET)
        assert client.replies([], count=1)[0].body == b"ok"
        return client

    def wait_started(self) -> None:
        """Wait until the held request runs."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == "started\n", line

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = WITHIN_S) -> float:
        """Wait for the end and return the seconds it took."""
        start = time.monotonic()
        self.output, self.log = self.process.communicate(timeout=timeout_s)
        return time.monotonic() - start


@pytest.fixture
def start() -> Iterator[Any]:
    """Start servers that end with the test."""
    servers = []

    def starter(interface: str, graceful_timeout_s: float) -> Server:
        servers.append(Server(interface, graceful_timeout_s))
        return servers[-1]

    yield starter
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


@pytest.mark.spec("H1-CON-10")
@INTERFACES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_server(start: Any, interface: str, number: int) -> None:
    server = start(interface, 30.0)
    client = server.client()
    server.signal(number)
    assert server.wait() < WITHIN_S
    assert server.process.returncode == 0, server.log
    client.to_end()
    client.socket.close()
    if interface == "asgi":
        assert server.output == "shutdown\n"


@pytest.mark.spec("H1-CON-10")
@INTERFACES
def test_what_is_cut_off_is_named(start: Any, interface: str) -> None:
    server = start(interface, 0.5)
    with server.client() as client:
        client.send(HELD)
        server.wait_started()
        server.signal(signal.SIGTERM)
        assert 0.4 < server.wait() < WITHIN_S
        assert client.ended or not stays_silent(client, 0.5)
    (line,) = [line for line in server.log.splitlines() if "/held/it" in line]
    assert "GET" in line
    assert re.search(r"\b[0-9]+(\.[0-9]+)? ?s", line), line
    assert server.process.returncode == 0, server.log


@pytest.mark.spec("H1-CON-10")
@INTERFACES
def test_a_second_signal_ends_at_once(start: Any, interface: str) -> None:
    server = start(interface, 30.0)
    with server.client() as client:
        client.send(HELD)
        server.wait_started()
        server.signal(signal.SIGTERM)
        assert stays_silent(client, 0.4)
        assert server.process.poll() is None
        server.signal(signal.SIGTERM)
        assert server.wait() < WITHIN_S


@pytest.mark.spec("H1-CON-10")
@INTERFACES
def test_what_finishes_in_time_is_not_named(interface: str, caplog: pytest.LogCaptureFixture) -> None:
    held = Held(interface)
    with serve(held.application, graceful_timeout_s=20.0) as site, Client(site.host, site.port) as client:
        client.send(HELD)
        held.wait_started(1)
        threading.Timer(0.2, held.release.set).start()
        site.server.stop()
        assert client.replies([])[0].body == b"done /held/it"
    assert "/held/it" not in caplog.text


@pytest.mark.spec("H1-CON-10")
@INTERFACES
def test_a_stream_that_began_before_the_stop_ends_its_connection(interface: str) -> None:
    writer = Writer(interface, blocks=200, size=65536)
    with serve(writer.application, graceful_timeout_s=30.0) as site, Client(site.host, site.port) as client:
        client.send(GET)
        while len(client.received) < 100_000:
            client.received += client.socket.recv(65536)
        site.server.stop()
        (reply,) = client.replies([])
        assert len(reply.body) == 200 * 65536
        assert writer.outcome == "whole"
