"""Requests that come before the answer to an earlier one: order, one at a time, bounded (http.md 8)."""

import pytest

from tests.wire.client import Client
from trilithon.testing import serve

from .applications import Held
from .pacing import KERNEL_BYTES, send_until_full, stays_silent

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])


def get(path: str) -> bytes:
    """Write a request."""
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


@pytest.mark.spec("H1-CON-04")
@INTERFACES
def test_answers_come_in_order_and_one_request_runs_at_a_time(interface: str) -> None:
    held = Held(interface)
    with serve(held.application, threads=4) as site, Client(site.host, site.port) as client:
        client.send(get("/held/1") + b"".join(get(f"/{number}") for number in range(2, 9)))
        held.wait_started(1)
        assert stays_silent(client, 0.2)
        assert held.started == 1
        held.release.set()
        replies = client.replies([], count=8)
        assert [reply.body for reply in replies] == [b"done /held/1"] + [b"done /%d" % number for number in range(2, 9)]
        assert held.most == 1


@pytest.mark.spec("H1-CON-04", "H1-HDR-12")
@INTERFACES
def test_a_request_that_comes_while_another_runs_waits(interface: str) -> None:
    held = Held(interface)
    with serve(held.application, threads=4) as site, Client(site.host, site.port) as client:
        client.send(get("/held/1"))
        held.wait_started(1)
        client.send(get("/2")[:10])
        assert stays_silent(client, 0.1)
        client.send(get("/2")[10:])
        assert stays_silent(client, 0.1)
        assert held.started == 1
        held.release.set()
        assert [reply.body for reply in client.replies([], count=2)] == [b"done /held/1", b"done /2"]


@pytest.mark.spec("H1-CON-04", "H-LIM-08")
@INTERFACES
def test_what_is_read_ahead_is_bounded(interface: str) -> None:
    held = Held(interface)
    with serve(held.application, threads=4) as site, Client(site.host, site.port) as client:
        client.send(get("/held/1"))
        held.wait_started(1)
        assert send_until_full(client.socket, get("/next") * 1000) < KERNEL_BYTES
        held.release.set()
        assert client.replies([], count=1)[0].body == b"done /held/1"


@pytest.mark.spec("H-LIM-08")
@INTERFACES
def test_what_is_read_of_a_body_that_nobody_takes_is_bounded(interface: str) -> None:
    held = Held(interface)
    with serve(held.application, threads=4) as site, Client(site.host, site.port) as client:
        client.send(b"POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        assert send_until_full(client.socket, b"x" * 100_000) < KERNEL_BYTES
        held.wait_started(1)
        held.release.set()
        assert client.replies(["POST"], count=1)[0].body == b"done /held"


@pytest.mark.spec("H1-CON-04")
@INTERFACES
def test_many_connections_pipeline_at_once(interface: str) -> None:
    held = Held(interface)
    with serve(held.application, threads=4) as site:
        clients = [Client(site.host, site.port) for _ in range(20)]
        for number, client in enumerate(clients):
            client.send(b"".join(get(f"/{number}/{request}") for request in range(20)))
        for number, client in enumerate(clients):
            replies = client.replies([], count=20)
            assert [reply.body for reply in replies] == [b"done /%d/%d" % (number, request) for request in range(20)]
            client.socket.close()
