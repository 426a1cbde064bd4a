"""Workers are reloaded, scaled, recycled, stopped and killed under load: every request that was sent is answered."""

import os
import signal

import pytest
from load import Load
from service import until

from benchmarks.environment import ROOT

pytestmark = pytest.mark.real

RELOADS = 3
APPS = ROOT / "benchmarks" / "apps"
ASGI = ("traffic_asgi:app",)
WSGI = ("traffic_wsgi:app",)
# What is large goes to the event loop and all else to threads: connections go to and fro.
MIXED = ("--mount", "/=traffic_wsgi:app", "--mount", "/large=traffic_asgi:app")
MANY = {"post": 2, "halves": 2, "ahead": 2, "download": 1}


@pytest.fixture(params=[ASGI, WSGI, MIXED], ids=["asgi", "wsgi", "mixed"])
def site(request):
    """The words that name the application, over each interface and both."""
    return request.param


@pytest.fixture
def start(launch):
    """Return a function that starts a service with so many workers and gives it once it serves."""

    def started(*words, workers=2):
        return launch(*words, "--app-dir", str(APPS), "--workers", str(workers)).started()

    return started


def end(service, load):
    """Stop a service whose load has ended, and see that nothing went wrong."""
    assert not load.lost
    assert service.stop() == 0
    assert "ERROR" not in service.log and "Traceback" not in service.log


def reload(service, load, times=RELOADS):
    """Reload again and again."""
    for number in range(1, times + 1):
        service.send(signal.SIGHUP)
        service.wait_for("INFO reloaded", number)
        load.wait_for_more(30)


def test_reloads_lose_nothing(start, site):
    service = start(*site)
    with Load(service.port, **MANY) as load:
        reload(service, load)
    assert len(load.bodies) >= 2 + RELOADS
    end(service, load)


def test_reloads_over_tls_lose_nothing(start):
    service = start(*ASGI, "--self-signed")
    with Load(service.port, is_tls=True, steady=2, post=1, halves=1, download=1) as load:
        reload(service, load, 2)
    assert load.answered["streams"] and load.answered["fresh"]
    end(service, load)


def test_reloads_of_preloaded_workers_lose_nothing(start):
    service = start(*WSGI, "--preload")
    with Load(service.port, **MANY) as load:
        reload(service, load, 2)
    end(service, load)


def test_reloads_that_overtake_each_other_lose_nothing(start):
    service = start(*ASGI)
    with Load(service.port, **MANY) as load:
        for number in range(1, 5):
            service.send(signal.SIGHUP)
            service.wait_for("INFO reloading", number)
        service.wait_for("INFO reloaded", 4)
        load.wait_for_more(100)
    end(service, load)


def test_what_stays_open_is_told_to_end(start):
    service = start(*ASGI, "--stream-grace", "0.2")
    with Load(service.port, socket=3, events=3) as load:
        reload(service, load, 2)
        until(lambda: sum(load.ends.values()) >= 6, "the ends of all that was open")
    assert set(load.ends) == {"socket: closed with 1012", "events: ended"}
    end(service, load)


def test_scaling_loses_nothing(start):
    service = start(*MIXED, workers=1)
    with Load(service.port, **MANY) as load:
        for number, count in ((signal.SIGTTIN, 2), (signal.SIGTTIN, 3), (signal.SIGTTOU, 2), (signal.SIGTTOU, 1)):
            service.send(number)
            service.after(f" {count} workers? (is|are) wanted")
            load.wait_for_more(100)
    end(service, load)


def test_recycling_loses_nothing(start):
    service = start(*ASGI, "--recycle-requests", "300", "--recycle-jitter", "50")
    with Load(service.port, **MANY) as load:
        service.wait_for("is replaced: ", 4)
        load.wait_for_more(100)
    end(service, load)


def test_a_worker_that_is_told_to_stop_loses_nothing(start):
    service = start(*WSGI)
    with Load(service.port, **MANY) as load:
        for _ in range(2):
            worker = service.children()[0]
            os.kill(worker, signal.SIGTERM)
            until(lambda worker=worker: is_replaced(service, worker, load), "another worker")
    end(service, load)


def is_replaced(service, worker, load):
    """Tell whether two workers that are not this one have answered."""
    now = [pid for pid in service.children() if b"%d" % pid in load.bodies]
    return worker not in service.children() and len(now) == 2


@pytest.mark.parametrize("words", [ASGI, WSGI], ids=["asgi", "wsgi"])
def test_a_killed_worker_loses_no_more_than_it_had(start, words):
    service = start(*words)
    with Load(service.port) as load:
        os.kill(service.children()[0], signal.SIGKILL)
        service.after("ended by SIGKILL")
        until(lambda: len(service.children()) == 2, "another worker")
        load.wait_for_more(100)
        lost_by_now = len(load.lost)
        load.wait_for_more(100)
    # What was open on the dead worker is gone, one request a client at most (four a connection of HTTP/2), and then
    # all is well.
    assert len(load.lost) == lost_by_now <= 4 + 4 + 2 + 4
    assert not [each for each in load.lost if "refused" in each]
    assert service.stop() == 0


def test_idle_connections_outlive_the_workers_they_were_made_with(start):
    service = start(*WSGI, "--idle-grace", "0.3")
    with Load(service.port, steady=0, slow=0, fresh=1, streams=0, rare=12) as load:
        before = set(service.children())
        service.send(signal.SIGHUP)
        service.wait_for("INFO reloaded")
        until(lambda: not before & set(service.children()), "the old workers' end")
        load.wait_for_more(100)
    end(service, load)
