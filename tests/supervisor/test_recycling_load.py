"""Recycling under load: by requests, age and memory; one worker at a time, new before old, nothing lost."""

import re

import pytest
from load import Load

pytestmark = pytest.mark.real

ROUNDS = 3


@pytest.fixture(params=["pids:app", "pids:wsgi"])
def target(request):
    """The application, over both interfaces."""
    return request.param


def check_turns(log):
    """See in a log of all that happened that a new worker served before an old one left, one at a time."""
    starting = None
    replaced = []
    for line in log.splitlines():
        if begins := re.search(r"DEBUG worker (\d+) \(pid \d+\) starts in the place of worker (\d+) ", line):
            assert starting is None, f"worker {begins[1]} starts beside another successor:\n{log}"
            starting = begins[1]
            replaced.append(begins[2])
        elif (serves := re.search(r"DEBUG worker (\d+) \(pid \d+\) serves", line)) and serves[1] == starting:
            starting = None
    assert len(set(replaced)) == len(replaced), f"somebody was replaced twice:\n{log}"
    return replaced


def test_workers_that_have_served_enough_are_replaced(launch, target):
    limits = ["--recycle-requests", "200", "--recycle-jitter", "50"]
    service = launch(target, "--workers", "2", "--log-level", "debug", *limits).started()
    with Load(service.port) as load:
        match = service.wait_for(r"is replaced: it has taken (\d+) requests", ROUNDS)
        service.wait_for(" starts in the place of ", ROUNDS)
        load.wait_for_more(50)
    assert not load.lost
    assert int(match[1]) >= 100
    assert service.stop() == 0
    assert len(check_turns(service.log)) >= ROUNDS
    assert "ERROR" not in service.log


def test_workers_of_an_age_are_replaced(launch):
    service = launch("pids:app", "--workers", "2", "--log-level", "debug", "--recycle-age", "2").started()
    with Load(service.port) as load:
        match = service.wait_for(r"is replaced: it is (\d+) s old", ROUNDS)
        service.wait_for(" starts in the place of ", ROUNDS)
        load.wait_for_more(50)
    assert not load.lost
    assert int(match[1]) >= 2
    assert service.stop() == 0
    assert len(check_turns(service.log)) >= ROUNDS
    assert "ERROR" not in service.log


LEAKING = """
kept = []


def wsgi(environ, start_response):
    if len(kept) < 300:
        kept.append(bytes(range(256)) * 2048)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""


def test_workers_that_have_grown_are_replaced(launch, write):
    write({"leaking.py": LEAKING})
    limits = ["--recycle-rss-bytes", str(150 << 20), "--hang-timeout", "0"]
    service = launch("leaking:wsgi", "--workers", "2", "--log-level", "debug", *limits).started()
    with Load(service.port, steady=2, slow=0, fresh=1, streams=1) as load:
        match = service.wait_for(r"is replaced: it holds (\d+) MiB of memory", ROUNDS)
        service.wait_for(" starts in the place of ", ROUNDS)
        load.wait_for_more(20)
    assert not load.lost
    assert int(match[1]) >= 130
    assert service.stop() == 0
    assert len(check_turns(service.log)) >= ROUNDS
    assert "ERROR" not in service.log
