"""The instruments of even load: what they count is right, and every server is told of its workers once."""

import itertools
from pathlib import Path

import pytest

from benchmarks import balance_load
from benchmarks.balance_cases import BALANCE_CASES, WORKERS
from benchmarks.balance_servers import WORKER_SERVERS
from benchmarks.catalogue import ALL_SERVERS
from benchmarks.servers import Plan
from trilithon.testing import serve

pytestmark = [pytest.mark.real, pytest.mark.once]


answers = itertools.count()


def whose(environ, start_response):
    """Answer as each of two workers in turn."""
    body = b"%d" % (next(answers) % 2)
    start_response("200 OK", [("Content-Length", "1")])
    return [body]


def alone(environ, start_response):
    """Answer as the only worker that ever answers."""
    start_response("200 OK", [("Content-Length", "1")])
    return [b"7"]


@pytest.mark.parametrize("mode", ["uneven", "burst"])
def test_one_worker_that_gets_everything_has_the_share_of_all(mode):
    with serve(alone) as site:
        figures = balance_load.main(mode, site.port, 8, 0.5, 200, 4)
    assert figures["busiest"] == 4.0
    assert figures["failed"] == 0
    assert figures["requests"] >= 8
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]


def test_shares_are_counted_by_worker():
    with serve(whose) as site:
        figures = balance_load.main("burst", site.port, 16, 0.3, 0, 2)
    assert figures["busiest"] == 1.0


def test_the_first_connection_asks_most_often():
    with serve(alone) as site:
        figures = balance_load.main("uneven", site.port, 4, 1.0, 100, 1)
    assert figures["requests"] <= 110


@pytest.mark.parametrize("server", WORKER_SERVERS, ids=lambda server: server.name)
def test_every_server_is_told_its_workers_once(server):
    plan = Plan("whose:asgi", 8000, 8, Path("bin"), Path("floor"))
    words = server.command(plan)
    told = [after for word, after in itertools.pairwise(words) if word in ("-w", "--workers")]
    assert told == [str(WORKERS)]
    assert "whose:asgi" in words


def test_every_server_of_a_case_is_known():
    known = {server.name for server in ALL_SERVERS}
    assert all(set(case.servers) <= known for case in BALANCE_CASES)
