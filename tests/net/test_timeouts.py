"""Time-outs of a connection: for the head, for idling, for a slow body and for a client that does not read."""

import select
import socket
import time
from typing import Any

import pytest

from tests.wire.client import Client
from trilithon.testing import serve

from .applications import Held, Reader, Writer
from .pacing import KERNEL_BYTES, drip, seconds_to_end, send_until_full, stays_silent

pytestmark = pytest.mark.real

SHORT_S = 0.3
# How late a coarse deadline may be met on a busy machine.
SLACK_S = 3.0

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])


def in_time(seconds: float, timeout_s: float) -> bool:
    """Tell whether a time-out struck when it should: not before it, and not long after."""
    return timeout_s * 0.9 <= seconds <= timeout_s + SLACK_S


def served(application: Any, **options: Any) -> Any:
    """Serve with long time-outs, except those in `options`."""
    defaults = {"header_timeout_s": 30.0, "keep_alive_timeout_s": 30.0, "body_timeout_s": 30.0, "write_timeout_s": 30.0}
    return serve(application, **{**defaults, **options})


@pytest.mark.spec("H1-CON-05", "H-LIM-05")
@INTERFACES
def test_a_fresh_connection_that_sends_nothing_is_closed_in_silence(interface: str) -> None:
    with served(Held(interface).application, header_timeout_s=SHORT_S) as site, Client(site.host, site.port) as client:
        assert in_time(seconds_to_end(client), SHORT_S)
        assert bytes(client.received) == b""


@pytest.mark.spec("H1-CON-06", "H-LIM-05")
@pytest.mark.parametrize(
    "part", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: y", b"GET / HTTP/1.1\r\nHost: a\r\n\r"]
)
@INTERFACES
def test_a_partial_head_gets_408(interface: str, part: bytes) -> None:
    held = Held(interface)
    with served(held.application, header_timeout_s=SHORT_S) as site, Client(site.host, site.port) as client:
        client.send(part)
        assert in_time(seconds_to_end(client), SHORT_S)
        (reply,) = client.replies([])
        assert reply.status == 408
        assert b"close" in reply.options
        assert not held.started


@pytest.mark.spec("H1-CON-06")
@INTERFACES
def test_the_head_timeout_is_not_put_off_by_more_bytes(interface: str) -> None:
    held = Held(interface)
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 500
    with served(held.application, header_timeout_s=SHORT_S) as site, Client(site.host, site.port) as client:
        assert in_time(drip(client, head, every_s=0.02), SHORT_S)
        (reply,) = client.replies([])
        assert reply.status == 408
        assert not held.started


@pytest.mark.spec("H1-CON-06")
@INTERFACES
def test_a_partial_head_behind_an_answer_gets_408(interface: str) -> None:
    with served(Held(interface).application, header_timeout_s=SHORT_S) as site, Client(site.host, site.port) as client:
        client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT")
        start = time.monotonic()
        replies = client.replies([])
        assert in_time(time.monotonic() - start, SHORT_S)
        assert [reply.status for reply in replies] == [200, 408]


@pytest.mark.spec("H1-CON-05", "H-LIM-06")
@INTERFACES
def test_an_idle_connection_is_closed_in_silence(interface: str) -> None:
    with (
        served(Held(interface).application, keep_alive_timeout_s=SHORT_S) as site,
        Client(site.host, site.port) as client,
    ):
        client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.replies([], count=1)
        assert in_time(seconds_to_end(client), SHORT_S)
        assert len(client.replies([])) == 1


@pytest.mark.spec("H1-CON-05")
@INTERFACES
def test_each_request_begins_the_idle_time_anew(interface: str) -> None:
    with served(Held(interface).application, keep_alive_timeout_s=0.5) as site, Client(site.host, site.port) as client:
        for number in range(1, 5):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert len(client.replies([], count=number)) == number
            assert stays_silent(client, 0.2)
        assert not client.ended


@pytest.mark.spec("H1-CON-05", "H1-CON-06")
@INTERFACES
def test_no_timeout_of_the_head_strikes_while_the_application_runs(interface: str) -> None:
    held = Held(interface)
    with (
        served(held.application, header_timeout_s=0.2, keep_alive_timeout_s=0.2) as site,
        Client(site.host, site.port) as client,
    ):
        client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        held.wait_started(1)
        assert stays_silent(client, 0.7)
        held.release.set()
        assert [reply.status for reply in client.replies([])] == [200]


@pytest.mark.spec("H1-CON-07")
@INTERFACES
@pytest.mark.parametrize(
    ("framing", "data"),
    [
        (b"Content-Length: 100000", b"x" * 1000),
        (b"Transfer-Encoding: chunked", b"1\r\nx\r\n" * 200),
    ],
    ids=["length", "chunked"],
)
def test_a_body_that_drips_is_given_up(interface: str, framing: bytes, data: bytes) -> None:
    reader = Reader(interface)
    with (
        served(reader.application, body_timeout_s=SHORT_S, min_body_rate=5000) as site,
        Client(site.host, site.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % framing)
        assert in_time(drip(client, data, every_s=0.02), SHORT_S)
        assert [reply.status for reply in client.replies(["POST"])] in ([408], [])
        assert not reader.called.is_set() or reader.ended.wait(SLACK_S)
        assert not [outcome for outcome in reader.outcomes if isinstance(outcome, int)]


@pytest.mark.spec("H1-CON-07")
@INTERFACES
def test_a_body_that_stops_is_given_up(interface: str) -> None:
    reader = Reader(interface)
    with (
        served(reader.application, body_timeout_s=SHORT_S, min_body_rate=1000) as site,
        Client(site.host, site.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        assert in_time(seconds_to_end(client), SHORT_S)
        assert [reply.status for reply in client.replies(["POST"])] in ([408], [])
        assert not reader.called.is_set() or reader.ended.wait(SLACK_S)
        assert not [outcome for outcome in reader.outcomes if isinstance(outcome, int)]


@pytest.mark.spec("H1-CON-07")
@INTERFACES
def test_a_large_body_that_stops_is_given_up(interface: str) -> None:
    reader = Reader(interface)
    with (
        served(reader.application, body_timeout_s=SHORT_S, min_body_rate=1000) as site,
        Client(site.host, site.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x" * 200000)
        assert reader.called.wait(SLACK_S)
        client.to_end()
        assert [reply.status for reply in client.replies(["POST"])] in ([408], [])
        assert reader.ended.wait(SLACK_S)
        assert len(reader.outcomes) == 1
        assert not isinstance(reader.outcomes[0], int)


@pytest.mark.spec("H1-CON-07")
@INTERFACES
def test_a_body_that_is_slow_but_fast_enough_is_read(interface: str) -> None:
    reader = Reader(interface)
    with (
        served(reader.application, body_timeout_s=SHORT_S, min_body_rate=1000) as site,
        Client(site.host, site.port) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")
        assert drip(client, b"x" * 10000, every_s=0.02, block=200) > 2 * SHORT_S
        assert [reply.body for reply in client.replies(["POST"], count=1)] == [b"10000"]


@pytest.mark.spec("H1-CON-07")
@INTERFACES
def test_a_body_the_application_does_not_read_is_no_slow_body(interface: str) -> None:
    held = Held(interface)
    with (
        served(held.application, body_timeout_s=SHORT_S, min_body_rate=100000) as site,
        Client(site.host, site.port) as client,
    ):
        client.send(b"POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 500000000\r\n\r\n")
        assert send_until_full(client.socket, b"x" * 100_000) < KERNEL_BYTES
        held.wait_started(1)
        assert stays_silent(client, 3 * SHORT_S)
        held.release.set()
        (reply,) = client.replies(["POST"], count=1)
        assert reply.status == 200


@pytest.mark.spec("H1-CON-08")
@INTERFACES
def test_a_client_that_does_not_read_is_given_up(interface: str) -> None:
    writer = Writer(interface, blocks=2000, size=65536)
    with served(writer.application, write_timeout_s=SHORT_S) as site, Client(site.host, site.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert writer.ended.wait(SHORT_S + SLACK_S + 2)
        assert writer.is_oserror, writer.outcome
        assert 0 < writer.written < 1900


@pytest.mark.spec("H1-CON-08")
@INTERFACES
def test_a_client_that_reads_slowly_is_served(interface: str) -> None:
    writer = Writer(interface, blocks=60, size=65536)
    with served(writer.application, write_timeout_s=0.5) as site, Client(site.host, site.port) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        start = time.monotonic()
        while not client.ended and time.monotonic() - start < 1.2:
            client.receive(start + SLACK_S)
            select.select([], [], [], 0.02)
        (reply,) = client.replies([])
        assert len(reply.body) == 60 * 65536
        assert writer.outcome == "whole"
