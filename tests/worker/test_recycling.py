"""Recycling: a worker asks to be replaced, at limits that differ from worker to worker."""

from typing import Any

import pytest

import trilithon
from trilithon.foundation.scoreboard import Scoreboard
from trilithon.worker.recycling import AGAIN_S, Recycler, lower, resident_bytes

pytestmark = pytest.mark.real


@pytest.fixture
def slot():
    """Return the slot of a worker."""
    board = Scoreboard.create()
    yield board.slot(0)
    board.close()


def recycler(slot: Any, **options: Any) -> tuple[Recycler, list[dict[str, Any]]]:
    """Return a recycler and what it says."""
    said: list[dict[str, Any]] = []
    return Recycler(trilithon.Options(**options), slot, said.append), said


def test_without_limits_a_worker_stays(slot):
    one, said = recycler(slot)
    for _ in range(10_000):
        slot.begin(b"GET / HTTP/1.1", 1.0)
    one.look(1.0)
    assert not said


def test_a_worker_leaves_behind_so_many_requests(slot):
    one, said = recycler(slot, recycle_requests=100, recycle_jitter=0)
    for _ in range(99):
        slot.begin(b"GET / HTTP/1.1", 1.0)
    one.look(1.0)
    assert not said
    slot.begin(b"GET / HTTP/1.1", 1.0)
    for _ in range(3):
        one.look(1.0)
    assert said == [{"say": "recycle", "reason": "it has taken 100 requests"}]


def test_a_worker_leaves_at_an_age(slot):
    one, said = recycler(slot, recycle_age_s=3600.0, recycle_jitter=0)
    one.look(one.born_at + 3599)
    assert not said
    one.look(one.born_at + 3600.4)
    assert said == [{"say": "recycle", "reason": "it is 3600 s old"}]


def test_a_worker_that_is_still_there_asks_again(slot):
    one, said = recycler(slot, recycle_age_s=10.0)
    # A whole number, so that what is added to it and taken away again is exact.
    one.born_at = 1000.0
    for second in range(10, 10 + int(2.5 * AGAIN_S)):
        one.look(one.born_at + second)
    assert [message["reason"] for message in said] == ["it is 10 s old", "it is 70 s old", "it is 130 s old"]


def test_a_worker_leaves_when_it_has_grown(slot):
    before = resident_bytes()
    one, said = recycler(slot, recycle_rss_bytes=before + (32 << 20), recycle_jitter=0)
    one.look(1.0)
    assert not said
    grown = b"x" * (64 << 20)
    one.look(1.0)
    ((what, reason),) = [(message["say"], message["reason"]) for message in said]
    assert what == "recycle"
    assert reason.startswith("it holds ") and reason.endswith(" MiB of memory")
    assert int(reason.split()[2]) >= (before >> 20) + 32
    assert len(grown) == 64 << 20


def test_limits_differ_from_worker_to_worker(slot):
    options = trilithon.Options(recycle_requests=1000, recycle_age_s=1000.0, recycle_rss_bytes=1000, recycle_jitter=20)
    workers = [Recycler(options, slot, print) for _ in range(200)]
    for name in ("max_requests", "max_age_s", "max_rss_bytes"):
        limits = [getattr(worker, name) for worker in workers]
        assert 800 <= min(limits) < 850
        assert 950 < max(limits) <= 1000
        assert len(set(limits)) > 150


def test_no_limit_stays_none_and_no_jitter_changes_nothing():
    assert lower(0, 100) == 0
    assert lower(500, 0) == 500
