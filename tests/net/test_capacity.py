"""What a server takes on at once: connections, requests, requests of one connection, descriptors."""

import socket
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack

import pytest

from tests.wire.client import Client
from trilithon.testing import serve

from .applications import Held
from .pacing import reset, stays_silent

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
HELD = b"GET /held/%d HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.spec("H1-CON-11")
@INTERFACES
def test_connections_beyond_the_limit_wait_until_one_ends(interface: str) -> None:
    with serve(Held(interface).application, max_connections=3) as site:
        first = [Client(site.host, site.port) for _ in range(3)]
        for client in first:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.replies([], count=1)[0].status == 200
        with Client(site.host, site.port) as late:
            late.send(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
            if stays_silent(late, 0.4):
                first[0].socket.close()
                assert late.replies([], count=1)[0].body == b"done /late"
            else:
                (reply,) = late.replies([])
                assert reply.status == 503
                assert reply.one("retry-after")
        for client in first:
            client.socket.close()


@pytest.mark.spec("H1-CON-11")
@INTERFACES
def test_a_connection_that_ended_makes_room(interface: str) -> None:
    with serve(Held(interface).application, max_connections=2) as site:
        for _ in range(20):
            with Client(site.host, site.port) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.replies([])[0].status == 200


@pytest.mark.spec("H-SEM-06")
@INTERFACES
def test_requests_beyond_the_queue_get_503(interface: str) -> None:
    held = Held(interface)
    with serve(held.application, max_requests=2, max_queued_requests=2, retry_after_s=7, threads=6) as site:
        clients = [Client(site.host, site.port) for _ in range(6)]
        for number, client in enumerate(clients):
            client.send(HELD % number)
            if number < 2:
                held.wait_started(number + 1)
            elif number < 4:
                # The queue has no outside: that the server took the request shows in its having read it.
                wait_until_read(client)
        for client in clients[4:]:
            (reply,) = client.replies([], count=1)
            assert reply.status == 503
            assert reply.one("retry-after") == b"7"
            assert reply.framing == "length"
        assert held.started == 2
        held.release.set()
        for number, client in enumerate(clients[:4]):
            (reply,) = client.replies([], count=1)
            assert reply.body == b"done /held/%d" % number
        assert held.most == 2
        assert held.paths[2:] == ["/held/2", "/held/3"]
        for client in clients:
            client.socket.close()


def wait_until_read(client: Client) -> None:
    """Wait until the peer's kernel has acknowledged everything and the server has had time to take it up."""
    assert stays_silent(client, 0.15)


@pytest.mark.spec("H-SEM-06")
@INTERFACES
def test_a_waiting_request_whose_client_left_gives_its_place_back(interface: str) -> None:
    held = Held(interface)
    with (
        serve(held.application, max_requests=1, max_queued_requests=1, threads=4) as site,
        Client(site.host, site.port) as running,
        Client(site.host, site.port) as last,
    ):
        running.send(HELD % 1)
        held.wait_started(1)
        with Client(site.host, site.port) as leaving:
            leaving.send(HELD % 2)
            wait_until_read(leaving)
            reset(leaving)
        wait_until_read(running)
        last.send(HELD % 3)
        wait_until_read(last)
        held.release.set()
        assert last.replies([], count=1)[0].body == b"done /held/3"
        assert held.most == 1


@pytest.mark.spec("H1-CON-09")
@INTERFACES
def test_the_last_request_of_a_connection_says_so(interface: str) -> None:
    held = Held(interface)
    with serve(held.application, max_keep_alive_requests=3) as site, Client(site.host, site.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
        replies = client.replies([])
        assert [reply.status for reply in replies] == [200, 200, 200]
        assert [b"close" in reply.options for reply in replies] == [False, False, True]
        assert held.started == 3


EMFILE_SERVER = """
    import os, resource, sys
    import trilithon

    def wsgi(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    async def asgi(scope, receive, send):
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    soft = len(os.listdir("/proc/self/fd")) + 22
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
    sys.exit(trilithon.run({"asgi": asgi, "wsgi": wsgi}[sys.argv[1]], bind=["fd:" + sys.argv[2]], access_log="off"))
"""


@pytest.mark.spec("H1-CON-13")
@INTERFACES
def test_running_out_of_descriptors_neither_spins_nor_ends_the_server(interface: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(EMFILE_SERVER), interface, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
        )
        try:
            with ExitStack() as closing:
                exhaust(process.pid, [closing.enter_context(Client(host, port)) for _ in range(40)])
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=10)
        assert process.returncode == 0, errors.decode()
        assert errors.count(b"\n") < 60, errors.decode()[:3000]


def exhaust(pid: int, clients: list[Client]) -> None:
    """Check that a server with too many connections stays calm, serves those it has, and takes the rest later."""
    ask = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    clients[0].send(ask)
    assert clients[0].replies([], count=1)[0].status == 200
    before = cpu_seconds(pid)
    assert stays_silent(clients[0], 1.0)
    assert cpu_seconds(pid) - before < 0.5
    clients[0].send(ask)
    assert len(clients[0].replies([], count=2)) == 2
    for client in clients[:-1]:
        client.socket.close()
    clients[-1].send(ask)
    assert clients[-1].replies([], count=1)[0].status == 200


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.spec("H1-CON-12")
@INTERFACES
def test_a_half_open_connection_costs_nothing(interface: str) -> None:
    held = Held(interface)
    with serve(held.application) as site, Client(site.host, site.port) as client:
        client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        held.wait_started(1)
        client.finish()
        before = time.process_time()
        assert stays_silent(client, 0.5)
        assert time.process_time() - before < 0.2
        held.release.set()
        assert client.replies([])[0].status == 200
