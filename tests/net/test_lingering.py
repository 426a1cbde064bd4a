"""Closing so that the client gets the last answer, and no longer than that takes (RFC 9112 9.6)."""

import socket
import time

import pytest

from tests.wire.client import Client
from trilithon.testing import serve

from .applications import Held, Reader

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
SLACK_S = 3.0
LARGE = 4_000_000


@pytest.mark.spec("H1-RSP-11", "H1-BODY-15")
@INTERFACES
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_client_that_sends_too_large_a_body_reads_the_413(interface: str, framing: str) -> None:
    reader = Reader(interface)
    with serve(reader.application, max_body_bytes=1000) as site, Client(site.host, site.port) as client:
        if framing == "length":
            head, body = b"Content-Length: %d" % LARGE, b"x" * LARGE
        else:
            head, body = b"Transfer-Encoding: chunked", b"8000\r\n%b\r\n" % (b"x" * 0x8000) * (LARGE // 0x8000)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % head, body)
        (reply,) = client.replies(["POST"])
        assert reply.status == 413
        assert b"close" in reply.options
        assert not [outcome for outcome in reader.outcomes if isinstance(outcome, int)]
        if framing == "length":
            assert not reader.called.is_set()


@pytest.mark.spec("H1-RSP-11")
@INTERFACES
def test_a_client_that_sends_a_bad_head_and_much_behind_it_reads_the_400(interface: str) -> None:
    with serve(Held(interface).application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost : a\r\nContent-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        (reply,) = client.replies(["POST"])
        assert reply.status == 400


@pytest.mark.spec("H1-RSP-11", "H1-EXP-05", "H1-BODY-14")
@INTERFACES
def test_a_client_whose_large_body_nobody_reads_gets_the_answer(interface: str) -> None:
    with serve(Held(interface).application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        replies = client.replies(["POST"], count=1)
        assert replies[0].body == b"done /"


@pytest.mark.spec("H1-RSP-11")
@INTERFACES
def test_lingering_ends_though_the_client_goes_on(interface: str) -> None:
    with serve(Held(interface).application, linger_timeout_s=0.3) as site, Client(site.host, site.port) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.replies([])[0].status == 400
        start = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() - start < 0.3 + SLACK_S:
                client.socket.sendall(b"x")
                client.socket.recv(1)
        assert time.monotonic() - start < 0.3 + SLACK_S


@pytest.mark.spec("H1-RSP-11", "H1-CON-03")
@INTERFACES
def test_a_connection_closed_by_both_ends_is_gone_at_once(interface: str) -> None:
    with serve(Held(interface).application, linger_timeout_s=30.0, max_connections=1) as site:
        for _ in range(5):
            with Client(site.host, site.port) as client:
                client.send(b"GET / HTTP/1.1\r\n\r\n")
                assert client.replies([])[0].status == 400


@pytest.mark.spec("H1-RSP-11")
@INTERFACES
def test_a_client_that_never_closes_does_not_keep_its_place(interface: str) -> None:
    options = {"linger_timeout_s": 0.3, "keep_alive_timeout_s": 0.3, "max_connections": 1}
    with serve(Held(interface).application, **options) as site, Client(site.host, site.port) as silent:
        silent.send(b"GET / HTTP/1.1\r\n\r\n")
        assert silent.replies([])[0].status == 400
        silent.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        with Client(site.host, site.port) as client:
            client.send(b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.replies([])[0].body == b"done /next"
