"""What a serving worker writes on the scoreboard is what its clients saw."""

import random
import threading
import time
from typing import Any

import httpx
import pytest
from tests.gateway.raw_client import RawClient, fetch, request_bytes
from tests.wire.h2_bytes import PREFACE
from tests.worker.slotted import Site, Stage, slotted, until
from websockets.sync.client import connect

from trilithon.foundation.scoreboard import CREW, LOOP

pytestmark = pytest.mark.real

DEADLINE_S = 20.0


@pytest.fixture(params=["wsgi", "asgi"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return one interface after the other."""
    kind: str = request.param
    return kind


@pytest.fixture
def stage():
    """Return the applications."""
    return Stage()


def settled(site: Site, requests: int) -> Any:
    """Wait until so many requests have begun and all have ended; returns the snapshot."""
    until(lambda: site.slot.requests() == requests and not site.slot.in_flight(), f"{requests} requests")
    return site.slot.snapshot()


def test_requests_and_responses_are_counted(stage, kind):
    with slotted(stage, kind) as site:
        for status in (200, 200, 204, 301, 404, 404, 404, 500, 503):
            assert fetch(site, f"/{status}").status == status
        seen = settled(site, 9)
        assert seen.responses == (0, 0, 3, 1, 3, 2)
        assert seen.accepted == 9
        assert sum(seen.histogram) == 9
        assert 0 < seen.p50_us <= seen.p99_us < DEADLINE_S * 1e6
        assert seen.marks == ()
        until(lambda: not site.slot.connections(), "the connections' end")


def test_requests_on_one_connection_are_counted(stage, kind):
    with slotted(stage, kind) as site, RawClient(site) as client:
        for _ in range(20):
            client.send(request_bytes("/200"))
            assert client.answer().status == 200
        seen = settled(site, 20)
        assert seen.accepted == 1
        until(lambda: site.slot.connections() == 1, "the connection")


def test_pipelined_and_refused_requests_end_as_well(stage, kind):
    with slotted(stage, kind, allowed_hosts=["test.example"]) as site, RawClient(site) as client:
        client.send(request_bytes("/200") * 15 + request_bytes("/200", fields=[("Host", "elsewhere")]))
        assert [client.answer().status for _ in range(16)] == [200] * 15 + [421]
        assert settled(site, 16).responses == (0, 0, 15, 0, 1, 0)


def test_bytes_are_counted(stage, kind):
    body = bytes(300_000)
    with slotted(stage, kind) as site:
        assert fetch(site, "/bytes-200000").body == bytes(200_000)
        assert fetch(site, "/echo", "POST", body=body).body == body
        settled(site, 2)
        # Counted at the turns, so the last ones come with the next of them.
        until(lambda: site.slot.snapshot().bytes_in > 300_000, "what came in")
        until(lambda: site.slot.snapshot().bytes_out > 500_000, "what went out")
        seen = site.slot.snapshot()
        assert seen.bytes_in < 302_000
        assert seen.bytes_out < 502_000


def test_a_request_in_flight_is_marked(stage, kind):
    with slotted(stage, kind) as site, RawClient(site) as client:
        client.send(request_bytes("/hold?secret=1", "PUT", body=b""))
        stage.wait_entered()
        (mark,) = site.slot.marks()
        assert mark.request == b"PUT /hold"
        assert bool(mark.thread) == (kind == "wsgi")
        assert site.slot.in_flight() == 1
        assert site.slot.snapshot().p99_us == 0
        stage.release.set()
        assert client.answer().status == 200
        assert settled(site, 1).marks == ()


def test_a_client_that_leaves_is_no_longer_in_flight(stage):
    with slotted(stage, "asgi") as site:
        with RawClient(site) as client:
            client.send(request_bytes("/wait"))
            stage.wait_entered()
            client.reset()
        assert settled(site, 1).responses == (0, 0, 0, 0, 1, 0)


def test_requests_that_wait_for_a_thread_are_queued(stage):
    with slotted(stage, "wsgi", threads=2) as site:
        clients = [RawClient(site) for _ in range(5)]
        for client in clients:
            client.send(request_bytes("/hold"))
        stage.wait_entered(2)
        until(lambda: site.slot.snapshot().queued == 3, "three in the queue")
        assert site.slot.in_flight() == 5
        stage.release.set()
        for client in clients:
            assert client.answer().status == 200
            client.close()
        assert settled(site, 5).responses[2] == 5
        until(lambda: not site.slot.snapshot().queued, "an empty queue")


def test_connections_are_counted_by_their_protocol(stage):
    with slotted(stage, "asgi") as site, RawClient(site) as client:
        client.send(request_bytes("/200"))
        client.answer()
        url = f"http://127.0.0.1:{site.port}"
        with httpx.Client(http1=False, http2=True, timeout=DEADLINE_S) as h2, connect(f"ws{url[4:]}/") as socket:
            assert h2.get(f"{url}/200").http_version == "HTTP/2"
            seen = site.slot

            def kinds() -> tuple[int, int, int]:
                now = seen.snapshot()
                return now.http1, now.http2, now.websockets

            until(lambda: kinds() == (1, 1, 1), "one of each")
            assert site.slot.snapshot().in_flight == 1
            socket.close()
        client.close()
        until(lambda: kinds() == (0, 0, 0), "none of any")
        until(lambda: not seen.connections(), "the connections' end")
        assert settled(site, 3).responses == (0, 1, 2, 0, 0, 0)


def test_streams_are_counted_each(stage, kind):
    url = "http://127.0.0.1:{}/{}"
    with slotted(stage, kind) as site:
        with httpx.Client(http1=False, http2=True, timeout=DEADLINE_S) as client:
            for status in (200, 404, 200):
                assert client.get(url.format(site.port, status)).status_code == status
        seen = settled(site, 3)
        assert seen.responses == (0, 0, 2, 0, 1, 0)
        assert seen.accepted == 1


def test_two_interfaces_share_a_slot(stage):
    with slotted(stage, "both") as site:
        for path in ("/w/200", "/a/404", "/w/200", "/a/200"):
            fetch(site, path)
        assert settled(site, 4).responses == (0, 0, 3, 0, 1, 0)
        assert all(site.slot.snapshot().beats_us)


def test_an_idle_worker_shows_that_it_lives(stage, kind):
    engine = LOOP if kind == "asgi" else CREW
    with slotted(stage, kind) as site:
        for _ in range(2):
            before = site.slot.beat_us(engine)
            until(lambda before=before: site.slot.beat_us(engine) > before, "a beat")
        until(lambda: not site.slot.busy_since_us(), "its rest")


def test_a_busy_worker_shows_since_when(stage):
    with slotted(stage, "asgi") as site:
        thread = threading.Thread(target=fetch, args=[site, "/hold"])
        before = time.monotonic_ns() // 1000
        thread.start()
        stage.wait_entered()
        assert before <= site.slot.busy_since_us() <= time.monotonic_ns() // 1000
        stage.release.set()
        thread.join(DEADLINE_S)
        until(lambda: not site.slot.busy_since_us(), "its rest")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_late_loop_is_measured(stage, loop):
    with slotted(stage, "asgi", loop) as site:
        until(lambda: site.slot.beat_us(LOOP), "the first beat")
        assert site.slot.snapshot().lag_peak_us < 10_000_000
        thread = threading.Thread(target=fetch, args=[site, "/hold"])
        thread.start()
        stage.wait_entered()
        # It cannot tell itself how late it is, and is seen to be all the same.
        until(lambda: site.slot.snapshot().lag_us > 500_000, "the lag")
        assert site.slot.snapshot().lag_peak_us > 500_000
        stage.release.set()
        thread.join(DEADLINE_S)
        # The next timers are on time again.
        until(lambda: site.slot.snapshot().lag_us < 250_000, "the loop to be on time")
        until(lambda: site.slot.snapshot().lag_peak_us > 500_000, "the worst of it")


def misbehave(site: Site, chance: random.Random) -> None:
    """Do one thing that clients should not, or may, and leave."""
    with RawClient(site) as client:
        client.send(
            chance.choice(
                [
                    request_bytes("/200") * chance.randrange(1, 6),
                    request_bytes("/echo", "POST", fields=[("Content-Length", "100000")], body=b"some"),
                    request_bytes("/echo", "POST", fields=[("Transfer-Encoding", "chunked")], body=b"5\r\nhello\r\nZ"),
                    request_bytes("/200") + b"NONSENSE\r\n\r\n",
                    request_bytes("/bytes-3000000"),
                    request_bytes("/200", fields=[("Expect", "100-continue"), ("Content-Length", "4")]),
                    PREFACE + bytes.fromhex("000000040000000000") + chance.randbytes(40),
                ]
            )
        )
        if chance.random() < 0.5:
            client.exactly(chance.randrange(1, 20))
        chance.choice([client.reset, client.half_close, client.close])()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_stays_in_flight_behind_a_storm(stage, kind, seed):
    chance = random.Random(seed)
    with slotted(stage, kind, body_timeout_s=0.5) as site:
        threads = [
            threading.Thread(target=misbehave, args=[site, random.Random(chance.random())], daemon=True)
            for _ in range(60)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        until(lambda: not site.slot.connections(), "the connections' end")
        until(lambda: not site.slot.in_flight(), "the requests' end")
        assert site.slot.marks() == ()
        seen = site.slot.snapshot()
        assert sum(seen.responses) == seen.requests > 0
