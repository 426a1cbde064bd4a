"""The watchdog on a clock of the test's: real servers that hang, or only seem to."""

import contextlib
import logging
import threading
import time
from typing import Any

import pytest
from tests.gateway.raw_client import RawClient, fetch, request_bytes
from tests.net.h2_peer import Peer
from tests.wire.h2_memory import POST, data, headers
from tests.worker.slotted import DEADLINE_S, Site, Stage, slotted, until

from trilithon.foundation.scoreboard import CREW, LOOP, WorkerState
from trilithon.worker.watchdog import TICK_S, Watchdog

pytestmark = pytest.mark.real

TIMEOUT_S = 10.0


class Watch:
    """A watchdog whose time the test lets pass, and what it says to the supervisor."""

    def __init__(self, site: Site) -> None:
        self.said: list[dict[str, Any]] = []
        self.dog = Watchdog(site.server, site.slot, self.said.append)
        self.now = time.monotonic()

    def let_pass(self, seconds: float) -> None:
        """Let time pass, tick by tick."""
        end = self.now + seconds
        while self.now < end:
            self.now += TICK_S
            self.dog.tick(self.now)

    def jump(self, seconds: float) -> None:
        """Let time pass in which the process does not run."""
        self.now += seconds
        self.dog.tick(self.now)


@pytest.fixture
def stage() -> Stage:
    """Return the applications."""
    return Stage()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return what is logged."""
    caplog.set_level(logging.INFO, "trilithon.error")
    return caplog


def started(site: Site, path: str) -> threading.Thread:
    """Begin a request in another thread."""
    thread = threading.Thread(target=fetch, args=[site, path], daemon=True)
    thread.start()
    return thread


def relieved(site: Site, count: int) -> None:
    """Wait until so many threads of the crew are in calls and another one leads, which takes real time."""
    crew = site.server.crew
    assert crew is not None
    until(lambda: crew.away == count, f"{count} threads in calls")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_blocked_loop_is_reported_with_what_blocks_it(stage, log, loop):
    with slotted(stage, "asgi", loop, hang_timeout_s=TIMEOUT_S) as site, RawClient(site) as client:
        watch = Watch(site)
        client.send(request_bytes("/wait?secret=1"))
        stage.wait_entered()
        started(site, "/hold?secret=2")
        stage.wait_entered()
        watch.let_pass(TIMEOUT_S - 2 * TICK_S)
        assert not watch.said
        watch.let_pass(3 * TICK_S)
        assert site.slot.state is WorkerState.HUNG
        ((_, level, report),) = log.record_tuples
        assert level == logging.ERROR
        assert "the event loop has been blocked for 10.0 s by GET /hold from 127.0.0.1, " in report
        assert "\n  GET /wait from 127.0.0.1, " in report
        assert "s old (holds the event loop)" in report
        assert "thread the-loop (the event loop):\n" in report
        assert "in hold\n" in report
        assert "Call.run" in report
        assert "secret" not in report
        assert watch.said == [{"say": "hung", "report": report.partition("\n")[0]}]
        # It is told once.
        watch.let_pass(5 * TIMEOUT_S)
        assert len(watch.said) == len(log.record_tuples) == 1


def test_a_callback_that_blocks_the_loop_is_seen_by_its_stack(stage, log):
    with slotted(stage, "asgi", hang_timeout_s=TIMEOUT_S) as site:
        watch = Watch(site)
        site.server.running_loop().call_soon_threadsafe(stage.hold)
        stage.wait_entered()
        watch.let_pass(TIMEOUT_S + 2 * TICK_S)
        (report,) = log.messages
        assert "blocked for 10.0 s by what is no request's call\nrequests in flight:\n  none\n" in report
        assert "in hold\n" in report


def test_a_loop_that_serves_is_not_blocked(stage, log):
    with slotted(stage, "asgi", hang_timeout_s=TIMEOUT_S) as site:
        watch = Watch(site)
        for _ in range(8):
            watch.let_pass(TIMEOUT_S / 2)
            fetch(site, "/200")
        assert not watch.said and not log.messages


def test_an_idle_loop_is_not_blocked(stage, log):
    with slotted(stage, "asgi", hang_timeout_s=TIMEOUT_S) as site:
        watch = Watch(site)
        for _ in range(4):
            watch.let_pass(TIMEOUT_S / 2)
            before = site.slot.beat_us(LOOP)
            until(lambda before=before: site.slot.beat_us(LOOP) != before, "a beat")
        assert not watch.said and not log.messages


def test_a_stuck_crew_is_reported_with_every_call(stage, log):
    with slotted(stage, "wsgi", hang_timeout_s=TIMEOUT_S, threads=2) as site:
        watch = Watch(site)
        clients = [started(site, f"/hold?secret={number}") for number in range(3)]
        stage.wait_entered(2)
        until(lambda: site.slot.in_flight() == 3, "the third one")
        relieved(site, 2)
        watch.let_pass(TIMEOUT_S)
        assert not watch.said
        watch.let_pass(2 * TICK_S)
        assert site.slot.state is WorkerState.HUNG
        ((_, level, report),) = log.record_tuples
        assert level == logging.ERROR
        assert report.startswith("all 2 threads are stuck in calls of the application, for 10 s or longer\n")
        assert "requests in flight, 1 of them waiting for a thread:\n" in report
        assert report.count("\n  GET /hold from 127.0.0.1, ") == 3
        assert report.count("s old (keeps trilithon-crew-") == 2
        assert "in hold\n" in report
        assert "secret" not in report
        assert watch.said == [{"say": "hung", "report": report.partition("\n")[0]}]
        stage.release.set()
        for client in clients:
            client.join(DEADLINE_S)


def test_one_stuck_call_among_idle_threads_is_told_once(stage, log):
    with slotted(stage, "wsgi", hang_timeout_s=TIMEOUT_S, threads=2) as site:
        watch = Watch(site)
        started(site, "/hold?secret")
        stage.wait_entered()
        relieved(site, 1)
        for _ in range(10):
            watch.let_pass(TIMEOUT_S / 2)
            assert fetch(site, "/200").status == 200
        assert site.slot.state is WorkerState.READY
        ((_, level, text),) = log.record_tuples
        assert level == logging.WARNING
        assert text.startswith("a call keeps its thread without sending: GET /hold from 127.0.0.1, ")
        assert "in hold\n" in text
        assert "secret" not in text
        # The other thread gets stuck as well: that one's time begins with its own call.
        started(site, "/hold")
        stage.wait_entered()
        relieved(site, 2)
        watch.let_pass(TIMEOUT_S)
        assert not watch.said
        watch.let_pass(2 * TICK_S)
        assert len(watch.said) == 1


def test_a_crew_whose_calls_come_and_go_is_not_stuck(stage, log):
    with slotted(stage, "wsgi", hang_timeout_s=TIMEOUT_S, threads=1) as site:
        watch = Watch(site)
        for _ in range(5):
            stage.release.clear()
            client = started(site, "/hold")
            stage.wait_entered()
            relieved(site, 1)
            watch.let_pass(TIMEOUT_S * 0.8)
            stage.release.set()
            client.join(DEADLINE_S)
        assert not watch.said and not log.messages


class Steps(Stage):
    """Sends or takes a piece of a body whenever it may."""

    def __init__(self) -> None:
        super().__init__()
        self.step = threading.Semaphore(0)
        self.taken = threading.Semaphore(0)

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Stream, up or down."""
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self.pieces() if environ["PATH_INFO"] == "/down" else self.swallow(environ["wsgi.input"])

    def pieces(self) -> Any:
        """Say so and yield a piece, for each step, until released."""
        while not self.release.is_set():
            self.taken.release()
            assert self.step.acquire(timeout=DEADLINE_S)
            yield b"piece"

    def swallow(self, body: Any) -> Any:
        """Take a piece and say so, until the end."""
        while body.read(1000):
            self.taken.release()
        yield b"done"


def test_a_stream_that_flows_is_not_stuck(log):
    steps = Steps()
    with slotted(steps, "wsgi", hang_timeout_s=TIMEOUT_S, threads=1) as site, RawClient(site) as client:
        watch = Watch(site)
        client.send(request_bytes("/down"))
        assert steps.taken.acquire(timeout=DEADLINE_S)
        for _ in range(8):
            steps.step.release()
            client.until(b"piece")
            # The client may have it before the thread is back in the application.
            assert steps.taken.acquire(timeout=DEADLINE_S)
            relieved(site, 1)
            watch.let_pass(TIMEOUT_S / 2)
        assert not watch.said and not log.messages
        watch.let_pass(TIMEOUT_S)
        assert len(watch.said) == 1
        steps.release.set()
        steps.step.release()


def test_an_upload_that_flows_is_not_stuck(log):
    steps = Steps()
    options = {"hang_timeout_s": TIMEOUT_S, "threads": 1, "request_buffer_bytes": 1000}
    with slotted(steps, "wsgi", **options) as site, RawClient(site) as client:
        watch = Watch(site)
        client.send(request_bytes("/up", "POST", fields=[("Content-Length", "8000")], body=b""))
        for _ in range(7):
            client.send(bytes(1000))
            assert steps.taken.acquire(timeout=DEADLINE_S)
            relieved(site, 1)
            watch.let_pass(TIMEOUT_S / 2)
        assert not watch.said and not log.messages
        client.send(bytes(1000))
        assert client.until(b"done").endswith(b"done")


# Threads that wait for their clients are in the server, not in the application.

UPLOAD = request_bytes("/up", "POST", fields=[("Content-Length", "3000")], body=bytes(1000))
SLOW = {"hang_timeout_s": TIMEOUT_S, "request_buffer_bytes": 1000}


class Clients(Steps):
    """Takes uploads as they come, and sends more than a client takes."""

    def pieces(self) -> Any:
        """Yield without end, then tell that the client is gone."""
        try:
            while not self.release.is_set():
                yield bytes(100_000)
        finally:
            self.taken.release()

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Stream, or hold what asks for it."""
        if environ["PATH_INFO"] == "/hold":
            return Stage.wsgi(self, environ, start_response)
        return super().wsgi(environ, start_response)


def waiting(site: Site, count: int) -> None:
    """Wait until so many threads wait for their clients."""
    crew = site.server.crew
    assert crew is not None
    until(lambda: sum(exchange.waits & 1 for exchange in list(crew.running)) == count, f"{count} waiting threads")
    relieved(site, count)


@pytest.mark.parametrize("way", ["up", "down"])
def test_threads_that_wait_for_slow_clients_are_not_stuck(log, way):
    clients = Clients()
    with slotted(clients, "wsgi", threads=2, **SLOW) as site, contextlib.ExitStack() as stack:
        watch = Watch(site)
        slow = [stack.enter_context(RawClient(site, receive_buffer_bytes=4096)) for _ in range(2)]
        for client in slow:
            client.send(UPLOAD if way == "up" else request_bytes("/down"))
        waiting(site, 2)
        watch.let_pass(5 * TIMEOUT_S)
        assert not watch.said and not log.messages
        # What the supervisor sees of a crew that is alive.
        for _ in range(2):
            before = site.slot.beat_us(CREW)
            until(lambda before=before: site.slot.beat_us(CREW) != before, "a beat")
        # A request that waits for a thread is worth a line, once.
        third = started(site, "/up")
        until(lambda: site.slot.in_flight() == 3, "the third one")
        watch.let_pass(5 * TIMEOUT_S)
        assert not watch.said and site.slot.state is WorkerState.READY
        ((_, level, text),) = log.record_tuples
        assert level == logging.WARNING
        assert text.startswith("for 10 s all 2 threads have waited for slow clients, and 1 requests for a thread: ")
        for client in slow:
            if way == "up":
                client.send(bytes(2000))
                assert client.until(b"done").endswith(b"done")
            else:
                client.reset()
                assert clients.taken.acquire(timeout=DEADLINE_S)
        third.join(DEADLINE_S)
        assert not third.is_alive()


@pytest.mark.parametrize("kind, path", [("wsgi", b"/up"), ("both", b"/w/up")])
def test_threads_that_wait_for_slow_streams_are_not_stuck(log, kind, path):
    clients = Clients()
    post = [(name, path if name == b":path" else value) for name, value in POST]
    with (
        slotted(clients, kind, threads=2, h2c="on", **SLOW) as site,
        Peer((site.host, site.port)) as peer,
    ):
        watch = Watch(site)
        for stream_id in (1, 3):
            peer.send(headers(stream_id, post, end=False) + data(stream_id, bytes(1000)))
        waiting(site, 2)
        seat = LOOP if kind == "both" else CREW
        for _ in range(4):
            watch.let_pass(TIMEOUT_S / 2)
            before = site.slot.beat_us(seat)
            until(lambda before=before: site.slot.beat_us(seat) != before, "a beat")
        assert not watch.said and not log.messages
        for stream_id in (1, 3):
            peer.send(data(stream_id, bytes(1000), end=True))
            assert peer.response(stream_id)[1] == b"done"


def test_a_call_that_is_stuck_behind_its_upload_is_found(log):
    clients = Clients()
    with slotted(clients, "wsgi", threads=1, **SLOW) as site, RawClient(site) as client:
        watch = Watch(site)
        client.send(UPLOAD)
        waiting(site, 1)
        watch.let_pass(5 * TIMEOUT_S)
        client.send(bytes(2000))
        assert client.until(b"done").endswith(b"done")
        started(site, "/hold")
        clients.wait_entered()
        relieved(site, 1)
        watch.let_pass(TIMEOUT_S - TICK_S)
        assert not watch.said
        watch.let_pass(3 * TICK_S)
        assert len(watch.said) == 1


def test_one_stuck_call_beside_a_waiting_one_is_told(log):
    clients = Clients()
    with slotted(clients, "wsgi", threads=2, **SLOW) as site, RawClient(site) as client:
        watch = Watch(site)
        client.send(UPLOAD)
        waiting(site, 1)
        started(site, "/hold")
        clients.wait_entered()
        relieved(site, 2)
        watch.let_pass(5 * TIMEOUT_S)
        assert not watch.said
        (text,) = log.messages
        assert text.startswith("a call keeps its thread without sending: GET /hold ")
        client.send(bytes(2000))
        assert client.until(b"done").endswith(b"done")


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_time_in_which_the_process_was_stopped_does_not_count(stage, log, kind):
    with slotted(stage, kind, hang_timeout_s=TIMEOUT_S, threads=1) as site:
        watch = Watch(site)
        started(site, "/hold")
        stage.wait_entered()
        if kind == "wsgi":
            relieved(site, 1)
        watch.let_pass(TIMEOUT_S / 2)
        for _ in range(5):
            watch.jump(100 * TIMEOUT_S)
        watch.let_pass(TIMEOUT_S - 2 * TICK_S)
        assert not watch.said and not log.messages
        watch.let_pass(4 * TICK_S)
        assert len(watch.said) == 1


def test_a_late_tick_counts_for_little_more_than_one(stage, log):
    with slotted(stage, "asgi", hang_timeout_s=TIMEOUT_S) as site:
        watch = Watch(site)
        started(site, "/hold")
        stage.wait_entered()
        watch.let_pass(TICK_S)
        for _ in range(6):
            watch.jump(3 * TICK_S)
        assert not watch.said
        watch.jump(3 * TICK_S)
        assert len(watch.said) == 1


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.RETIRING, WorkerState.STOPPING])
def test_a_worker_that_does_not_serve_is_left_alone(stage, log, state):
    with slotted(stage, "asgi", hang_timeout_s=TIMEOUT_S) as site:
        watch = Watch(site)
        started(site, "/hold")
        stage.wait_entered()
        site.slot.state = state
        watch.let_pass(5 * TIMEOUT_S)
        assert not watch.said and not log.messages
        assert site.slot.state is state


def test_without_a_time_out_nothing_hangs(stage, log):
    with slotted(stage, "wsgi", hang_timeout_s=0.0, threads=1) as site:
        watch = Watch(site)
        started(site, "/hold")
        stage.wait_entered()
        watch.let_pass(1000)
        assert not watch.said and not log.messages


def test_in_development_nothing_hangs(stage, log):
    with slotted(stage, "asgi", hang_timeout_s=TIMEOUT_S, reload=True) as site:
        watch = Watch(site)
        started(site, "/hold")
        stage.wait_entered()
        watch.let_pass(10 * TIMEOUT_S)
        assert not watch.said and not log.messages


# In its own time, as workers run it.


def test_the_watchdog_shows_that_it_lives_and_what_the_process_needs(stage):
    with slotted(stage, "wsgi", hang_timeout_s=0.2) as site:
        watch = Watch(site)
        watch.dog.start()
        for _ in range(2):
            before = site.slot.watched_us()
            until(lambda before=before: site.slot.watched_us() != before, "its beat")
        seen = site.slot.snapshot()
        assert 1 << 20 < seen.rss_bytes < 1 << 34
        assert 0 < seen.cpu_us <= time.process_time() * 1e6
        watch.dog.stop()
        until(lambda: "trilithon-watchdog" not in {thread.name for thread in threading.enumerate()}, "its end")


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_hang_is_seen_in_time(stage, log, kind):
    with slotted(stage, kind, hang_timeout_s=1.0, threads=1) as site:
        watch = Watch(site)
        watch.dog.start()
        started(site, "/hold")
        stage.wait_entered()
        until(lambda: watch.said, "the report")
        assert site.slot.state is WorkerState.HUNG
        assert "/hold" in log.text
        watch.dog.stop()
