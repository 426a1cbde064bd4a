"""Limits and time-outs as a WSGI application meets them: its reads and writes raise, and its thread is free again."""

import threading
import time
from typing import Any

import pytest
from raw_client import DEADLINE_S, RawClient, chunked, fetch, request_bytes
from wsgi_apps import PLAIN, Blocks, answering, hello, wait_for

from trilithon.testing import serve

pytestmark = pytest.mark.real

BUFFER = 4096


class Reading:
    """Application that reads its whole body and keeps what came of it."""

    def __init__(self) -> None:
        self.outcomes: list[bytes | OSError] = []
        self.done = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            self.outcomes.append(environ["wsgi.input"].read())
        except OSError as error:
            self.outcomes.append(error)
            raise
        finally:
            self.done.set()
        return hello(environ, start_response)


@pytest.mark.spec("W-INPUT-02", "W-INPUT-08", "W-INPUT-11")
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [BUFFER - 1, BUFFER, BUFFER + 1, 2 * BUFFER, 65535, 65536, 65537, 200_000])
def test_sizes_around_the_streaming_threshold(size: int, framing: str) -> None:
    application = Reading()
    body = bytes(number % 251 for number in range(size))
    with serve(application, request_buffer_bytes=BUFFER, threads=2) as site, RawClient(site) as client:
        for pieces in (1, 3):
            fields = [("Transfer-Encoding", "chunked")] if framing == "chunked" else []
            data = chunked(body) if framing == "chunked" else body
            request = request_bytes("/", "POST", fields=fields or [("Content-Length", str(size))])
            client.send(request)
            step = len(data) // pieces + 1
            for start in range(0, len(data), step):
                client.send(data[start : start + step])
            assert client.answer().body == b"hello"
    assert application.outcomes == [body, body]


@pytest.mark.spec("W-INPUT-09")
@pytest.mark.parametrize("size", [200, 60_000])
def test_a_body_over_its_limit_is_413(size: int) -> None:
    application = Reading()
    with serve(application, max_body_bytes=size - 1, request_buffer_bytes=BUFFER) as site:
        with RawClient(site) as client:
            client.send(request_bytes("/", "POST", fields=[("Content-Length", str(size))]))
            assert client.answer().status == 413
        assert application.outcomes == []
        # A chunked one is only known to be too large when it is: then the read fails.
        with RawClient(site) as client:
            client.send(
                request_bytes("/", "POST", fields=[("Transfer-Encoding", "chunked")], body=chunked(b"x" * size))
            )
            assert client.answer().status == 413
        assert all(isinstance(outcome, OSError) for outcome in application.outcomes)
        assert fetch(site, "/", "POST", body=b"x" * 100).status == 200


@pytest.mark.spec("W-INPUT-09")
@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_body_that_stops_coming_does_not_hold_its_thread(size: int) -> None:
    application = Reading()
    with serve(application, body_timeout_s=0.3, request_buffer_bytes=BUFFER, threads=1) as site:
        with RawClient(site) as client:
            client.send(request_bytes("/", "POST", fields=[("Content-Length", str(size))]), b"x" * (size // 2))
            assert b" 200 " not in client.rest()
        assert fetch(site, "/", "POST", body=b"next").status == 200
    assert application.outcomes[-1] == b"next"
    assert all(isinstance(outcome, OSError) for outcome in application.outcomes[:-1])
    assert len(application.outcomes) == (1 if size < BUFFER else 2)


@pytest.mark.spec("W-ITER-12", "W-ITER-13")
@pytest.mark.parametrize("way", ["iterable", "write"])
def test_a_reader_that_stops_reading_is_given_up(way: str, caplog: pytest.LogCaptureFixture) -> None:
    blocks = Blocks(b"x" * 50_000 for _ in range(10_000))

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", list(PLAIN))
        if way == "iterable":
            return blocks
        try:
            for block in blocks:
                write(block)
        finally:
            blocks.close()
        return []

    with (
        serve(application, write_timeout_s=0.3, threads=1) as site,
        RawClient(site, receive_buffer_bytes=65536) as client,
    ):
        client.send(request_bytes("/"))
        assert client.head().status == 200
        assert blocks.closed.wait(DEADLINE_S)
    assert blocks.closes == 1
    assert [record for record in caplog.records if record.levelno >= 40] == []


@pytest.mark.spec("W-CALL-05")
def test_more_than_may_wait_is_told_to_come_back() -> None:
    entered, release = threading.Semaphore(0), threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        entered.release()
        wait_for(release)
        return hello(environ, start_response)

    with serve(application, threads=1, max_queued_requests=3, retry_after_s=7) as site:
        clients = [RawClient(site) for _ in range(8)]
        clients[0].send(request_bytes("/"))
        assert entered.acquire(timeout=DEADLINE_S)
        for client in clients[1:]:
            client.send(request_bytes("/"))
        refused = clients[-1].answer()
        assert (refused.status, refused.one("Retry-After")) == (503, "7")
        release.set()
        statuses = [client.answer().status for client in clients[:-1]]
        for client in clients:
            client.close()
    assert sorted(statuses) == [200] * 4 + [503] * 3


@pytest.mark.spec("W-ITER-02")
def test_a_stream_is_not_ended_by_the_time_the_application_takes() -> None:
    def body() -> Any:
        for number in range(4):
            time.sleep(0.15)
            yield b"%d" % number

    with serve(answering(body), write_timeout_s=0.3, keep_alive_timeout_s=0.3, header_timeout_s=0.3) as site:
        answer = fetch(site)
    assert (answer.body, answer.complete) == (b"0123", True)
