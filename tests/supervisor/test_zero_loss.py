"""Reloading, scaling and stopping of single workers under load: every request that was sent is answered."""

import os
import signal

import pytest
from load import Load
from service import until

pytestmark = pytest.mark.real

RELOADS = 8


@pytest.fixture(params=["pids:app", "pids:wsgi"])
def target(request):
    """The application, over both interfaces."""
    return request.param


def test_reloads_lose_nothing(launch, target):
    service = launch(target, "--workers", "2").started()
    with Load(service.port) as load:
        for number in range(1, RELOADS + 1):
            service.send(signal.SIGHUP)
            service.wait_for("INFO reloaded", number)
            load.wait_for_more(50)
    assert not load.lost
    assert len(load.bodies) >= 2 + RELOADS
    assert service.stop() == 0


def test_scaling_loses_nothing(launch, target):
    service = launch(target, "--workers", "1").started()
    with Load(service.port) as load:
        for number, count in ((signal.SIGTTIN, 2), (signal.SIGTTIN, 3), (signal.SIGTTOU, 2), (signal.SIGTTOU, 1)):
            service.send(number)
            until(lambda count=count: len(service.children()) == count, f"{count} workers")
            load.wait_for_more(50)
    assert not load.lost
    assert service.stop() == 0


def test_a_worker_that_is_told_to_stop_loses_nothing(launch, target):
    service = launch(target, "--workers", "2").started()
    with Load(service.port) as load:
        for _ in range(3):
            worker = service.children()[0]
            os.kill(worker, signal.SIGTERM)
            until(
                lambda worker=worker: worker not in (found := service.children()) and len(found) == 2,
                "another worker",
            )
            load.wait_for_more(50)
    assert not load.lost
    assert service.stop() == 0


def test_a_killed_worker_loses_no_more_than_it_had(launch, target):
    service = launch(target, "--workers", "2").started()
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
