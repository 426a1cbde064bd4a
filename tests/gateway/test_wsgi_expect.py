"""Expect: 100-continue in front of WSGI: the go-ahead comes with the application's first read, and only then."""

import select
import threading
from typing import Any

import pytest
from raw_client import DEADLINE_S, RawClient, chunked, request_bytes
from wsgi_apps import PLAIN, hello, wait_for

from trilithon.testing import serve

pytestmark = pytest.mark.real

EXPECT = ("Expect", "100-continue")


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with the body."""
    start_response("200 OK", list(PLAIN))
    return [environ["wsgi.input"].read()]


@pytest.mark.spec("W-EXP-01")
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [5, 300_000])
def test_the_first_read_sends_the_go_ahead_and_waits(framing: str, size: int) -> None:
    body = b"x" * size
    length = ("Content-Length", str(size)) if framing == "length" else ("Transfer-Encoding", "chunked")
    with serve(echo) as site, RawClient(site) as client:
        for _ in range(2):
            client.send(request_bytes("/", "POST", fields=[EXPECT, length]))
            assert client.head().status == 100
            client.send(body if framing == "length" else chunked(body))
            answer = client.answer()
            assert (answer.status, answer.body, answer.interim) == (200, body, [])


@pytest.mark.spec("W-EXP-01")
def test_the_go_ahead_is_not_sent_before_the_read() -> None:
    entered, release = threading.Event(), threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        entered.set()
        wait_for(release)
        return echo(environ, start_response)

    with serve(application) as site, RawClient(site) as client:
        client.send(request_bytes("/", "POST", fields=[EXPECT, ("Content-Length", "2")]))
        assert entered.wait(DEADLINE_S)
        # The application runs and has not read, so nothing may be on its way.
        assert select.select([client.socket], [], [], 0.05)[0] == []
        release.set()
        assert client.head().status == 100
        client.send(b"ok")
        assert client.answer().body == b"ok"


@pytest.mark.spec("W-EXP-01")
@pytest.mark.parametrize("sends_anyway", [False, True])
def test_an_application_that_does_not_read_sends_no_go_ahead(sends_anyway: bool) -> None:
    with serve(hello) as site, RawClient(site) as client:
        client.send(request_bytes("/", "POST", fields=[EXPECT, ("Content-Length", "5")]))
        answer = client.answer()
        assert (answer.status, answer.interim, answer.body) == (200, [], b"hello")
        # Whether the body still comes is unknown: either the server closes, or it takes exactly that body first.
        if (answer.one("Connection") or "").lower() != "close" and sends_anyway:
            client.send(b"12345", request_bytes("/second"))
            assert client.at_end() or client.answer().body == b"hello"


@pytest.mark.spec("W-EXP-01")
def test_a_body_that_is_already_there_needs_no_go_ahead() -> None:
    with serve(echo) as site, RawClient(site) as client:
        client.send(request_bytes("/", "POST", fields=[EXPECT], body=b"there"))
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"there")
        assert answer.interim in ([], [100])
        assert client.ask("/", "POST", body=b"next").body == b"next"


@pytest.mark.spec("W-EXP-01")
def test_http_1_0_gets_no_go_ahead() -> None:
    with serve(echo) as site, RawClient(site) as client:
        client.send(request_bytes("/", "POST", fields=[EXPECT, ("Content-Length", "5")], version="1.0"))
        client.send(b"12345")
        answer = client.answer()
        assert (answer.status, answer.body, answer.interim) == (200, b"12345", [])


@pytest.mark.spec("W-EXP-01")
@pytest.mark.parametrize("fields", [[("Content-Length", "0")], []], ids=["empty", "none"])
def test_no_body_needs_no_go_ahead(fields: list[tuple[str, str]]) -> None:
    with serve(echo) as site, RawClient(site) as client:
        answer = client.ask("/", "POST", fields=[EXPECT, *fields])
        assert (answer.status, answer.body) == (200, b"")
        assert client.ask("/", "POST", body=b"next").body == b"next"


@pytest.mark.spec("W-EXP-01", "W-INPUT-09")
def test_a_client_that_leaves_instead_of_sending_raises_in_the_read() -> None:
    caught = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError:
            caught.set()
            raise
        return hello(environ, start_response)

    with serve(application) as site:
        with RawClient(site) as client:
            client.send(request_bytes("/", "POST", fields=[EXPECT, ("Content-Length", "5")]))
            assert client.head().status == 100
        assert caught.wait(DEADLINE_S)
