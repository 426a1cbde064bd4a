"""Expect: 100-continue and bodies that nobody reads, played step by step (http.md 5, 9)."""

import time

import pytest

from tests.net.applications import Held, Reader
from tests.net.pacing import stays_silent
from trilithon.testing import serve

from .client import DEADLINE_S, Client
from .replies import read_replies

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CANARY = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"


def interim(client: Client) -> bytes:
    """Receive until a whole head is there and return what came."""
    deadline = time.monotonic() + DEADLINE_S
    while b"\r\n\r\n" not in client.received and not client.ended:
        client.receive(deadline)
    return bytes(client.received)


@pytest.mark.spec("H1-EXP-01")
@INTERFACES
@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Content-Length: 5", b"hello"), (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue"])
def test_100_comes_when_the_application_reads(interface: str, framing: bytes, body: bytes, value: bytes) -> None:
    with serve(Reader(interface).application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: %s\r\n%s\r\n\r\n" % (value, framing))
        assert interim(client) == CONTINUE
        client.send(body[:3], body[3:])
        (reply,) = client.replies(["POST"], count=1)
        assert (reply.status, reply.body) == (200, b"5")
        assert [early.status for early in reply.interim] == [100]
        client.send(CANARY)
        assert len(client.replies(["POST"], count=2)) == 2


@pytest.mark.spec("H1-EXP-01")
@INTERFACES
def test_100_comes_for_a_large_body(interface: str) -> None:
    with serve(Reader(interface).application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
        assert interim(client) == CONTINUE
        client.send(b"x" * 1_000_000)
        assert client.replies(["POST"], count=1)[0].body == b"1000000"


@pytest.mark.spec("H1-EXP-01", "H1-EXP-05", "H1-BODY-14", "HS-56")
@INTERFACES
def test_an_answer_without_reading_is_the_last(interface: str) -> None:
    held = Held(interface)
    with serve(held.application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(CANARY))
        if interface == "asgi":
            interim(client)
            assert not client.received.startswith(CONTINUE)
        client.send(CANARY, CANARY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        replies = client.replies(["POST"])
        assert replies[0].body == b"done /"
        if interface == "asgi":
            assert len(replies) == 1
            assert b"close" in replies[0].options
            assert held.paths == ["/"]
        else:
            # A small body may have been asked for before the call; then it was read, and what follows is a request.
            assert held.paths in (["/"], ["/", "/canary"])


@pytest.mark.spec("H1-EXP-05", "H1-EXP-01", "HS-56")
@INTERFACES
def test_a_large_body_that_is_not_wanted_is_not_asked_for(interface: str) -> None:
    held = Held(interface)
    with serve(held.application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
        interim(client)
        client.send(CANARY * 10)
        replies = client.replies(["POST"])
        assert [reply.body for reply in replies] == [b"done /"]
        assert not replies[0].interim
        assert b"close" in replies[0].options
        assert held.paths == ["/"]


@pytest.mark.spec("H1-EXP-04", "HS-57")
@INTERFACES
def test_an_unknown_expectation_is_answered_without_the_body(interface: str) -> None:
    reader = Reader(interface)
    with serve(reader.application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 5\r\n\r\n")
        (reply,) = client.replies(["POST"])
        assert reply.status == 417
        assert not reader.called.is_set()


@pytest.mark.spec("H1-EXP-02", "H1-RSP-14")
@INTERFACES
def test_no_100_for_http_1_0(interface: str) -> None:
    with serve(Reader(interface).application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert stays_silent(client, 0.3)
        client.send(b"hello")
        (reply,) = client.replies(["POST"])
        assert (reply.body, reply.interim) == (b"5", ())


@pytest.mark.spec("H1-EXP-03")
@INTERFACES
def test_no_100_behind_the_whole_body(interface: str) -> None:
    with serve(Reader(interface).application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        (reply,) = client.replies(["POST"], count=1)
        assert (reply.body, reply.interim) == (b"5", ())


@pytest.mark.spec("H1-BODY-14", "HS-60")
@INTERFACES
@pytest.mark.parametrize("size", [33, 60_000, 2_000_000])
def test_a_body_that_is_not_read_is_drained_or_ends_the_connection(interface: str, size: int) -> None:
    held = Held(interface)
    body = CANARY + b"x" * (size - len(CANARY))
    with serve(held.application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.send(body, b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        replies = client.replies(["POST"])
        assert [reply.status for reply in replies] in ([200], [200, 200])
        assert held.paths in (["/"], ["/", "/next"])
        assert len(held.paths) == len(replies)
        if len(replies) == 1:
            assert size > 33


@pytest.mark.spec("H1-BODY-14", "HS-60")
@INTERFACES
def test_an_unread_body_that_turns_out_broken_ends_the_connection(interface: str) -> None:
    held = Held(interface)
    with serve(held.application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        if interface == "asgi":
            client.replies(["POST"], count=1)
        client.send(b"loXX0\r\n\r\n", CANARY)
        raw = client.to_end()
        replies, rest = read_replies(raw, ["POST"], ended=True)
        assert not rest
        assert [reply.status for reply in replies] in ([200], [400])
        assert "/canary" not in held.paths
