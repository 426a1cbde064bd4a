"""Stopping a crew: running calls finish inside the graceful time, what is cut off is named, nothing is left over."""

import logging
import os
import re
import socket
import threading
import time
from typing import Any

import pytest
from tests.gateway.raw_client import RawClient, request_bytes
from tests.net.h2_peer import Peer
from tests.wire.h2_memory import GET, headers

from trilithon.testing import serve

pytestmark = pytest.mark.real

DEADLINE_S = 10.0


class Held:
    """Application whose calls wait until they are let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.release = threading.Event()
        self.finished = threading.Semaphore(0)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] != "/quick":
            self.entered.release()
            assert self.release.wait(DEADLINE_S)
            self.finished.release()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"done"]


async def no_application(scope: Any, receive: Any, send: Any) -> None:
    """Be there, so that there is an event loop's engine."""
    raise NotImplementedError


class Stopping:
    """Serves an application until `leave()` and keeps what leaving raised; leaving runs on a thread of its own."""

    def __init__(self, application: Any, **options: Any) -> None:
        self.context = serve(application, **options)
        self.site = self.context.__enter__()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._leave)

    def _leave(self) -> None:
        try:
            self.context.__exit__(None, None, None)
        except BaseException as error:
            self.error = error

    def leave(self) -> None:
        """Begin to stop and wait until no new connection is taken."""
        self.thread.start()
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection((self.site.host, self.site.port), DEADLINE_S).close()
            except ConnectionError:
                return
            time.sleep(0.005)
        raise AssertionError("new connections are still taken")

    def join(self) -> None:
        """Wait until the server is gone."""
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()


def test_running_calls_finish_and_are_the_last_on_their_connection() -> None:
    application = Held()
    stopping = Stopping(application, threads=3)
    with RawClient(stopping.site) as first, RawClient(stopping.site) as second, RawClient(stopping.site) as idle:
        assert idle.ask("/quick").body == b"done"
        first.send(request_bytes("/first"))
        second.send(request_bytes("/second"))
        for _ in range(2):
            assert application.entered.acquire(timeout=DEADLINE_S)
        stopping.leave()
        assert idle.at_end()
        application.release.set()
        for client in (first, second):
            answer = client.answer()
            assert (answer.status, answer.body, answer.complete) == (200, b"done", True)
            assert client.at_end()
    stopping.join()
    assert stopping.error is None


@pytest.mark.parametrize("mixed", [False, True])
def test_a_call_whose_client_is_gone_finishes_before_the_server(mixed: bool) -> None:
    application = Held()
    mounts = {"/": application, "/loop": no_application} if mixed else {"/": application}
    stopping = Stopping(None, threads=2, h2c="on", mounts=mounts)
    server = stopping.site.server
    with Peer((stopping.site.host, stopping.site.port)) as client:
        client.send(headers(1, GET))
        assert application.entered.acquire(timeout=DEADLINE_S)
    deadline = time.monotonic() + DEADLINE_S
    while any(engine.connections for engine in server.engines()):
        assert time.monotonic() < deadline, "the connection is still there"
        time.sleep(0.005)
    stopping.leave()
    stopping.thread.join(0.3)  # it would end at once
    assert stopping.thread.is_alive()
    begin = time.monotonic()
    application.release.set()
    stopping.join()
    assert application.finished.acquire(blocking=False)
    assert time.monotonic() - begin < 2.0
    assert stopping.error is None


def test_what_outlasts_the_graceful_time_is_cut_off_and_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    application = Held()
    stopping = Stopping(application, threads=2, graceful_timeout_s=0.3)
    with RawClient(stopping.site) as client:
        client.send(request_bytes("/stuck/here?token=secret", "POST", body=b"x"))
        assert application.entered.acquire(timeout=DEADLINE_S)
        begin = time.monotonic()
        stopping.leave()
        assert client.rest() == b""
        assert time.monotonic() - begin < 3.0
        application.release.set()
        assert application.finished.acquire(timeout=DEADLINE_S)
    stopping.join()
    messages = [record.getMessage() for record in caplog.records if "/stuck/here" in record.getMessage()]
    assert len(messages) == 1
    assert "POST" in messages[0] and re.search(r"\d+(\.\d+)? ?s", messages[0])


def test_a_reader_that_is_being_served_gets_the_rest() -> None:
    large = b"x" * 5_000_000

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(large)))])
        return [large]

    stopping = Stopping(application, threads=2)
    with RawClient(stopping.site, receive_buffer_bytes=65536) as client:
        client.send(request_bytes("/"))
        assert client.head().status == 200
        stopping.leave()
        assert client.exactly(len(large)) == large
        assert client.at_end()
    stopping.join()
    assert stopping.error is None


def test_a_stream_that_began_before_the_stop_is_the_last_on_its_connection() -> None:
    more = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"first"
        assert more.wait(DEADLINE_S)
        yield b"second"

    stopping = Stopping(application, threads=2)
    with RawClient(stopping.site) as client:
        client.send(request_bytes("/"))
        assert client.head().status == 200
        assert client.chunk() == b"first"
        stopping.leave()
        more.set()
        assert [client.chunk(), client.chunk()] == [b"second", b""]
        begin = time.monotonic()
        assert client.at_end()
        assert time.monotonic() - begin < 2.0
    stopping.join()
    assert stopping.error is None


def open_descriptors() -> set[str]:
    """Return what the descriptors of this process point to."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(number + " " + os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("threads", [1, 8])
def test_nothing_is_left_over(threads: int) -> None:
    application = Held()
    application.release.set()
    before_threads, before_descriptors = set(threading.enumerate()), len(open_descriptors())
    for _ in range(3):
        with serve(application, threads=threads) as site, RawClient(site) as client:
            for _ in range(3):
                assert client.ask("/").body == b"done"
    # A thread that was told to end needs a moment for it.
    deadline = time.monotonic() + DEADLINE_S
    while not set(threading.enumerate()) <= before_threads:
        assert time.monotonic() < deadline, set(threading.enumerate()) - before_threads
        time.sleep(0.005)
    assert len(open_descriptors()) <= before_descriptors
