"""Signals to a supervisor: stop, reload, more and fewer workers; and what happens when a worker is killed."""

import contextlib
import os
import signal
import socket
import sys
import time

import pytest
from service import children, is_alive, until
from upgrading import Gate

pytestmark = pytest.mark.real


@pytest.fixture(params=["pids:app", "pids:wsgi"])
def target(request):
    """The application, over both interfaces."""
    return request.param


def pids_of(service, count):
    """Wait until a service has so many children and return their process ids."""
    return until(lambda: (found := service.children()) and len(found) == count and found, f"{count} workers")


def test_workers_serve_and_a_stop_ends_them_all(launch, target):
    service = launch(target, "--workers", "2").started()
    workers = pids_of(service, 2)
    assert {int(service.get()[1]) for _ in range(8)} <= set(workers)
    assert service.stop() == 0
    assert not [pid for pid in workers if is_alive(pid)]
    assert "ERROR" not in service.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_other_signals_stop_too(launch, number):
    service = launch("pids:app", "--workers", "2").started()
    assert service.stop(number) == (131 if number == signal.SIGQUIT else 0)
    assert "ERROR" not in service.log


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once_with_its_own_code(launch, write, number, code):
    write({"stuck.py": STUCK})
    service = launch("stuck:app", "--workers", "1", "--hang-timeout", "0").started()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n")
        service.wait_for("WARNING the call has begun")
        service.send(number)
        service.wait_for("INFO stopping")
        assert service.stop(number) == code


STUCK = """
import logging, threading

def app(environ, start_response):
    logging.getLogger("trilithon.error").warning("the call has begun")
    threading.Event().wait()
"""


def test_a_reload_replaces_every_worker_by_the_new_code(launch, write, target):
    service = launch(target, "--workers", "2").started()
    before = pids_of(service, 2)
    module = (write, target)[1].partition(":")[2]
    write({"pids.py": f"from pids2 import {module}\n"})
    write({"pids2.py": NEW})
    service.send(signal.SIGHUP)
    service.after("INFO reloaded")
    after = until(lambda: not set(service.children()) & set(before) and service.children(), "the old workers' end")
    assert len(after) == 2
    assert {service.get()[1] for _ in range(4)} == {"new"}
    assert service.stop() == 0


NEW = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"new"})


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"new"]
"""


def test_a_reload_of_broken_code_changes_nothing(launch, write):
    service = launch("pids:app", "--workers", "2").started()
    before = pids_of(service, 2)
    write({"pids.py": "import nothing_of_that_name\n"})
    service.send(signal.SIGHUP)
    service.after("not reloaded, the workers that were there go on: (?s:.*)nothing_of_that_name")
    assert service.children() == before
    assert service.get()[0] == 200
    assert service.stop() == 0


def test_more_and_fewer_workers(launch):
    service = launch("pids:app", "--workers", "1").started()
    first = pids_of(service, 1)
    service.send(signal.SIGTTIN)
    assert set(first) < set(pids_of(service, 2))
    service.send(signal.SIGTTIN)
    pids_of(service, 3)
    # Signals that wait are not counted by the kernel, so each one is seen to be taken before the next.
    for count in (2, 1, 1):
        service.send(signal.SIGTTOU)
        service.after(f" {count} workers? (is|are) wanted")
        pids_of(service, count)
    assert service.get()[0] == 200
    assert service.stop() == 0


@pytest.fixture
def reloading(launch, write, tmp_path):
    """A service of two workers in the middle of a reload: its last new worker imports until `let_go` is called."""
    gate = Gate(tmp_path)
    service = launch("pids:app", "--workers", "2").started()
    service.before = pids_of(service, 2)
    gate.put_up(write)
    service.send(signal.SIGHUP)
    os.close(gate.wait_for_visitor())
    until(lambda: service.before[0] not in service.children(), "the end of the first old worker")
    shut = gate.wait_for_visitor()

    def let_go():
        os.unlink(gate.path)
        write({"gate": ""})  # whoever comes now finds it open
        os.close(shut)
        service.after("INFO reloaded")

    service.let_go = let_go
    return service


def test_one_worker_fewer_while_a_reload_is_under_way(reloading):
    reloading.send(signal.SIGTTOU)
    reloading.after("1 worker is wanted")
    until(lambda: reloading.before[1] not in reloading.children(), "the end of the second old worker")
    reloading.let_go()
    (left,) = pids_of(reloading, 1)
    assert left not in reloading.before
    assert int(reloading.get()[1]) == left
    assert reloading.stop() == 0


def test_an_old_worker_that_dies_while_its_successor_starts(reloading):
    os.kill(reloading.before[1], signal.SIGKILL)
    delay_s = float(reloading.after("ended by SIGKILL; another one starts in (.*) s")[1])
    due = time.monotonic() + 2 * delay_s
    until(lambda: time.monotonic() > due, "the end of the back-off")
    reloading.let_go()
    assert not set(pids_of(reloading, 2)) & set(reloading.before)
    assert reloading.stop() == 0


def test_a_killed_worker_is_replaced(launch, target):
    service = launch(target, "--workers", "2").started()
    victim, other = pids_of(service, 2)
    os.kill(victim, signal.SIGKILL)
    service.after(rf"worker \d+ \(pid {victim}\) ended by SIGKILL")
    now = until(lambda: len(found := service.children()) == 2 and victim not in found and found, "another worker")
    assert other in now
    assert service.get()[0] == 200
    assert service.stop() == 0


def test_a_worker_that_is_told_to_stop_is_replaced(launch):
    service = launch("pids:app", "--workers", "1").started()
    (worker,) = pids_of(service, 1)
    os.kill(worker, signal.SIGTERM)
    until(lambda: (found := service.children()) and worker not in found, "another worker")
    assert service.get()[0] == 200
    assert service.stop() == 0


METHODS = {"fork": [], "preload": ["--preload"], "spawn": ["--start-method", "spawn"]}
WAYS = pytest.mark.parametrize("way", METHODS.values(), ids=METHODS)
# Handles one of them itself.
CHOOSY = """
import os
import signal

signal.signal(signal.SIGUSR2, lambda number, frame: open(f"told-{os.getpid()}", "w").close())


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""


# The kernel stops no process of a group that nobody would continue, as those of the other tests are.
JOB = ["bash", "-c", 'set -m; "$@" & echo "job $!" >&2; wait $!', "bash", sys.executable, "-m", "trilithon"]


@WAYS
def test_what_is_meant_for_the_supervisor_does_nothing_to_a_worker(launch, way):
    service = launch("pids:app", "--workers", "1", *way, command=JOB)
    supervisor = int(service.after(r"^job (\d+)$")[1])
    try:
        service.started()
        worker = int(service.get()[1])
        for number in (signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            os.kill(worker, number)
            # Signals are delivered before a process goes on: it has had this one when it answers.
            assert service.get(timeout=5.0) == (200, str(worker))
        os.kill(supervisor, signal.SIGTERM)
        assert service.end() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(supervisor, signal.SIGKILL)
    assert "ERROR" not in service.log and "WARNING" not in service.log


@WAYS
def test_an_application_may_have_a_signal_that_is_meant_for_the_supervisor(launch, write, tmp_path, way):
    write({"choosy.py": CHOOSY})
    service = launch("choosy:app", "--workers", "1", "--lifespan", "off", *way).started()
    worker = int(service.get()[1])
    os.kill(worker, signal.SIGUSR2)
    until((tmp_path / f"told-{worker}").exists, "the application's own handler")
    assert service.get() == (200, str(worker))
    assert service.stop() == 0


def test_workers_end_when_their_supervisor_is_killed(launch):
    service = launch("pids:app", "--workers", "2").started()
    workers = pids_of(service, 2)
    service.send(signal.SIGKILL)
    service.process.wait()
    until(lambda: not [pid for pid in workers if is_alive(pid)], "the workers' end")
    service.wait_for("the supervisor is gone: this worker ends")
    assert not children(service.pid)
