"""wsgi.early_hints: 103 in front of a WSGI answer, checked like every other head."""

import threading
from typing import Any

import pytest
from raw_client import RawClient, fetch, request_bytes
from wsgi_apps import PLAIN, hello, wait_for

from trilithon.testing import serve

pytestmark = [pytest.mark.real, pytest.mark.spec("W-WSGI-08")]

LINK = ("Link", "</style.css>; rel=preload")


def test_hints_go_out_at_once() -> None:
    received = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([LINK, ("Link", "</script.js>; rel=preload")])
        wait_for(received)
        environ["wsgi.early_hints"]([LINK])
        return hello(environ, start_response)

    with serve(application) as site, RawClient(site) as client:
        for _ in range(2):
            received.clear()
            client.send(request_bytes("/"))
            hints = client.head()
            assert (hints.status, hints.all("Link")) == (103, [LINK[1], "</script.js>; rel=preload"])
            received.set()
            answer = client.answer()
            assert (answer.status, answer.interim, answer.body) == (200, [103], b"hello")


def test_hints_after_start_response_still_go_before_the_head() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", list(PLAIN))
        environ["wsgi.early_hints"]([LINK])
        return [b"x"]

    with serve(application) as site:
        answer = fetch(site)
    assert (answer.status, answer.interim, answer.body, answer.all("Link")) == (200, [103], b"x", [])


@pytest.mark.spec("H-EH-01")
def test_hints_may_hold_what_the_answer_will() -> None:
    fields = [LINK, ("Content-Security-Policy", "style-src 'self'"), ("Content-Type", "text/html")]

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"](fields)
        return hello(environ, start_response)

    with serve(application) as site, RawClient(site) as client:
        client.send(request_bytes("/"))
        assert client.head().fields == fields
        assert client.answer().body == b"hello"


def test_http_1_0_and_a_sent_head_get_none() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["SERVER_PROTOCOL"] == "HTTP/1.0":
            environ["wsgi.early_hints"]([LINK])
        start_response("200 OK", list(PLAIN))(b"sent ")
        environ["wsgi.early_hints"]([LINK])
        return [b"body"]

    with serve(application) as site:
        for version in ("1.0", "1.1"):
            answer = fetch(site, version=version)
            assert (answer.status, answer.interim, answer.body) == (200, [], b"sent body")


def test_hints_kept_beyond_the_call_do_not_reach_the_next_answer() -> None:
    kept: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for early_hints in kept:
            early_hints([LINK])
        kept.append(environ["wsgi.early_hints"])
        return hello(environ, start_response)

    with serve(application) as site, RawClient(site) as client:
        for _ in range(3):
            assert client.ask().interim == []


BAD = [
    [("Link", "a\r\nInjected: 1")],
    [("Link\r\nInjected", "1")],
    [("Link", "\u20ac")],
    [("Transfer-Encoding", "chunked")],
    [LINK, ("Content-Length", "5")],
    [LINK, ("Connection", "close")],
    [("Keep-Alive", "timeout=5")],
    [("Upgrade", "h2c")],
    [("Trailer", "x")],
    [("Host", "elsewhere.test")],
    [("Expect", "100-continue")],
    (LINK,),
    [b"Link: 1"],
]


@pytest.mark.spec("H-EH-01")
@pytest.mark.parametrize("fields", BAD, ids=repr)
def test_bad_hints_raise_and_send_nothing(fields: Any) -> None:
    errors: list[Exception] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.early_hints"](fields)
        except Exception as error:
            errors.append(error)
        return hello(environ, start_response)

    with serve(application) as site:
        answer = fetch(site)
    assert (answer.status, answer.interim, answer.body) == (200, [], b"hello")
    assert len(errors) == 1
