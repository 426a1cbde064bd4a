"""When the crew changes leaders: for calls that wait or compute outside the GIL, not for hiccups and not for ever."""

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest
from tests.gateway.raw_client import RawClient, request_bytes

from trilithon.foundation.leaf import Pulse
from trilithon.testing import serve

pytestmark = pytest.mark.real

TICK_S = 0.001
QUIET_TICKS = 50


def application(handlers: dict[str, Callable[[], None]], calls: list[tuple[str, int]]) -> Any:
    """Make an application that runs the handler of a path and notes which thread has run it."""

    def call(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        handlers[path]()
        calls.append((path, threading.get_ident()))
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"done"]

    return call


def compute(duration_s: float) -> None:
    """Use so much processor time, holding the GIL."""
    begin = time.thread_time()
    while time.thread_time() - begin < duration_s:
        pass


def changes(calls: list[tuple[str, int]]) -> int:
    """Count how often the next call was run by another thread."""
    return sum(before != after for (_, before), (_, after) in pairwise(calls))


def hash_outside_the_gil(rounds: int) -> None:
    """Use processor time without holding the GIL."""
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", rounds)


def test_calls_that_compute_for_a_moment_stay_with_their_leader() -> None:
    calls: list[tuple[str, int]] = []
    site_application = application({"/compute": lambda: compute(0.012)}, calls)
    with serve(site_application, threads=8) as site, RawClient(site) as client:
        for _ in range(40):
            assert client.ask("/compute").body == b"done"
    assert changes(calls) < 20


def test_a_call_that_computes_for_long_lets_others_pass() -> None:
    calls: list[tuple[str, int]] = []
    handlers = {"/compute": lambda: compute(0.5), "/quick": lambda: None}
    with serve(application(handlers, calls), threads=2) as site, RawClient(site) as slow, RawClient(site) as quick:
        slow.send(request_bytes("/compute"))
        for _ in range(5):
            assert quick.ask("/quick").body == b"done"
        assert slow.answer().body == b"done"
    assert [path for path, _ in calls].index("/compute") >= 4


def test_a_call_that_computes_without_the_gil_lets_others_pass() -> None:
    calls: list[tuple[str, int]] = []
    handlers = {
        "/hash": lambda: hash_outside_the_gil(1_000_000),
        "/quick": lambda: None,
    }
    with serve(application(handlers, calls), threads=2) as site, RawClient(site) as slow, RawClient(site) as quick:
        slow.send(request_bytes("/hash"))
        for _ in range(20):
            assert quick.ask("/quick").body == b"done"
        assert slow.answer().body == b"done"
    assert [path for path, _ in calls].index("/hash") >= 19


def test_short_calls_go_back_to_one_thread_behind_a_long_one() -> None:
    calls: list[tuple[str, int]] = []
    handlers = {"/sleep": lambda: time.sleep(0.05), "/quick": lambda: compute(0.001)}
    with ExitStack() as stack:
        site = stack.enter_context(serve(application(handlers, calls), threads=8))
        slow = stack.enter_context(RawClient(site))
        many = [stack.enter_context(RawClient(site)) for _ in range(16)]
        slow.send(request_bytes("/sleep"))
        for client in many:
            client.send(*[request_bytes("/quick")] * 24)
        for client in many:
            assert [client.answer().body for _ in range(24)] == [b"done"] * 24
        assert slow.answer().body == b"done"
    behind = calls[[path for path, _ in calls].index("/sleep") + 1 :]
    assert len(behind) > 100
    assert changes(behind) < len(behind) / 16


def wait_for(over: threading.Event) -> None:
    """Wait until the watch is over."""
    assert over.wait(10.0)


def watch(work: Callable[[threading.Event], None]) -> tuple[float, Pulse]:
    """Watch the pulse of a thread that does `work` inside; returns what the watch returned, and the pulse."""
    pulse = Pulse()
    inside, over = threading.Event(), threading.Event()

    def beat() -> None:
        pulse.thread = threading.get_native_id()
        pulse.beats += 1
        inside.set()
        work(over)

    thread = threading.Thread(target=beat)
    thread.start()
    assert inside.wait(10.0)
    try:
        return pulse.watch(TICK_S, QUIET_TICKS), pulse
    finally:
        over.set()
        thread.join()


def test_a_pulse_tells_who_waits() -> None:
    late_s, pulse = watch(wait_for)
    assert late_s >= 0
    assert (pulse.stood_at, pulse.asleep) == (1, True)
    assert pulse.ran_s < TICK_S / 2


def test_a_pulse_tells_who_computes() -> None:
    late_s, pulse = watch(lambda over: hash_outside_the_gil(400_000))
    assert late_s >= 0
    assert (pulse.stood_at, pulse.asleep) == (1, False)
    assert pulse.ran_s >= 0


def test_a_pulse_outside_goes_quiet() -> None:
    pulse = Pulse()
    pulse.beats = 2
    assert pulse.watch(TICK_S, QUIET_TICKS) == -1.0
    assert pulse.ticks > QUIET_TICKS


def test_a_pulse_of_a_thread_that_is_gone_counts_as_asleep() -> None:
    pulse = Pulse()
    thread = threading.Thread(target=lambda: setattr(pulse, "thread", threading.get_native_id()))
    thread.start()
    thread.join()
    pulse.beats = 3
    assert pulse.watch(TICK_S, QUIET_TICKS) >= 0
    assert (pulse.stood_at, pulse.asleep, pulse.ran_s) == (3, True, 0.0)
