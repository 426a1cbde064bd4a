"""Exceptions of WSGI applications: what the client sees, what the log says, and that the server lives on."""

import sys
from typing import Any

import pytest
from raw_client import RawClient, fetch, request_bytes
from wsgi_apps import PLAIN, Blocks, hello

from trilithon.testing import serve

pytestmark = pytest.mark.real


class Trouble(Exception):
    """The application's own error."""


def traceback_of(caplog: pytest.LogCaptureFixture) -> list[BaseException]:
    """Return the exceptions that were logged as errors with their traceback."""
    return [
        record.exc_info[1]
        for record in caplog.records
        if record.name == "trilithon.error" and record.levelno >= 40 and record.exc_info and record.exc_info[1]
    ]


def failing(stage: str, error: BaseException) -> Any:
    """Make an application that raises `error` at `stage` of a request to /fail and answers others."""

    def fail() -> bytes:
        raise error

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/fail":
            return hello(environ, start_response)
        if stage == "call":
            raise error
        start_response("200 OK", list(PLAIN))
        if stage == "started":
            raise error
        return Blocks(
            [fail] if stage == "first block" else [b"sent", fail] if stage == "later block" else [b"sent"],
            _raiser(stage, error),
        )

    return application


def _raiser(stage: str, error: BaseException) -> Any:
    def close() -> None:
        if stage == "close":
            raise error

    return close


@pytest.mark.spec("W-EXC-01")
@pytest.mark.parametrize("stage", ["call", "started", "first block"])
def test_before_the_head_it_is_a_500(stage: str, caplog: pytest.LogCaptureFixture) -> None:
    error = Trouble("the secret of the application")
    with serve(failing(stage, error)) as site:
        answer = fetch(site, "/fail")
        assert (answer.status, answer.complete) == (500, True)
        assert b"secret" not in answer.body and b"Traceback" not in answer.body and b"Trouble" not in answer.body
        assert fetch(site).body == b"hello"
    assert traceback_of(caplog) == [error]


@pytest.mark.spec("W-EXC-02")
def test_after_the_head_the_answer_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    error = Trouble("the secret of the application")
    with serve(failing("later block", error)) as site, RawClient(site) as client:
        client.send(request_bytes("/fail"), request_bytes("/pipelined"))
        answer = client.answer()
        assert (answer.status, answer.complete, answer.body) == (200, False, b"sent")
        assert client.at_end()
        assert fetch(site).body == b"hello"
    assert traceback_of(caplog) == [error]


@pytest.mark.spec("W-EXC-02", "W-CL-02")
def test_after_the_head_with_a_length_the_connection_ends_short() -> None:
    def body() -> Any:
        yield b"sent"
        raise Trouble

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
        return body()

    with serve(application) as site, RawClient(site) as client:
        answer = client.ask()
        assert (answer.complete, answer.body) == (False, b"sent")


@pytest.mark.spec("W-EXC-01", "W-SR-05")
def test_an_error_page_made_with_exc_info_is_the_answer() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            start_response("200 OK", [("Content-Type", "text/html")])
            raise Trouble
        except Trouble:
            start_response("500 Own Page", list(PLAIN), sys.exc_info())
            return [b"own page"]

    with serve(application) as site:
        answer = fetch(site)
    assert (answer.status, answer.reason, answer.body) == (500, "Own Page", b"own page")


@pytest.mark.spec("W-EXC-04")
@pytest.mark.parametrize("stage", ["call", "started", "first block", "later block", "close"])
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize("threads", [1, 2])
def test_leaving_exceptions_do_not_end_the_process(
    error: BaseException, stage: str, threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(failing(stage, error), threads=threads) as site:
        for _ in range(threads + 1):
            answer = fetch(site, "/fail")
            assert answer.status == (200 if stage in ("later block", "close") else 500)
            assert answer.complete == (stage != "later block")
        assert fetch(site).body == b"hello"
    assert traceback_of(caplog) == [error] * (threads + 1)


@pytest.mark.spec("W-EXC-05", "W-REF-03")
def test_a_client_that_is_gone_is_no_error_of_the_application(caplog: pytest.LogCaptureFixture) -> None:
    caught: list[OSError] = []
    finished = Blocks([])

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", list(PLAIN))
        try:
            for _ in range(10_000):
                write(b"x" * 10_000)
        except OSError as error:
            caught.append(error)
            raise
        finally:
            finished.close()
        return []

    with serve(application) as site:
        with RawClient(site) as client:
            client.send(request_bytes("/"))
            client.head()
        assert finished.closed.wait(10)
    assert len(caught) == 1
    assert [record for record in caplog.records if record.levelno >= 40] == []


@pytest.mark.spec("W-EXC-01")
@pytest.mark.parametrize("size", [10, 200_000])
def test_an_error_before_the_body_was_read_keeps_the_connection_in_step(size: int) -> None:
    with serve(failing("call", Trouble())) as site, RawClient(site) as client:
        client.send(request_bytes("/fail", "POST", body=b"x" * size))
        assert client.answer().status == 500
        if not client.ended and size == 10:
            client.send(request_bytes("/"))
            assert client.at_end() or client.answer().body == b"hello"


@pytest.mark.spec("W-EXC-04")
def test_a_recursion_error_is_a_500() -> None:
    def endless(depth: int) -> int:
        return endless(depth + 1) + 1

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/fail":
            endless(0)
        return hello(environ, start_response)

    with serve(application) as site:
        assert fetch(site, "/fail").status == 500
        assert fetch(site).body == b"hello"
