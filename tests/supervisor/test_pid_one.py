"""The first process of a container: reaps orphans, stops when told to, and needs no place to write to."""

import contextlib
import http.client
import json
import os
import signal
import sys

import pytest
from container import contained, first_process, name_spaces, offspring
from other_user import IS_ROOT, public_directory, reachable
from service import until

pytestmark = [pytest.mark.real, pytest.mark.once]

PROGRAM = [sys.executable, "-m", "trilithon"]

APP = """
import json, os, subprocess

PLACES = (".", "/", "/tmp", "/var/tmp", "/run", "/dev/shm")

def writable():
    found = []
    for place in PLACES:
        name = os.path.join(place, f"written-{os.getpid()}")
        try:
            open(name, "x").close()
        except OSError:
            continue
        os.unlink(name)
        found.append(place)
    return found

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/orphan":
        # The shell in between ends at once; what it has started waits for the gate.
        subprocess.run(["sh", "-c", "sh -c 'read line < gate' &"], check=True)
        answer = None
    elif path == "/child":
        answer = subprocess.run(["sh", "-c", "exit 7"]).returncode
    elif path == "/upload":
        answer = len(environ["wsgi.input"].read())
    else:
        answer = {"pid": os.getpid(), "parent": os.getppid(), "uid": os.getuid(), "writable": writable()}
    start_response("200 OK", [])
    return [json.dumps(answer).encode()]
"""


@pytest.fixture
def place():
    """A directory with the application and a gate, that everybody may read."""
    with public_directory() as directory:
        (directory / "inside.py").write_text(APP)
        os.mkfifo(directory / "gate")
        yield directory


@pytest.fixture
def start(launch, place):
    """Return a function that starts a service as the first process of a container."""

    def start_there(*arguments, command=None):
        command = contained(command or PROGRAM)
        return launch("inside:app", *arguments, command=command, directory=place, HOME="/nonexistent").started()

    return start_there


def told(service, path="/"):
    """Return what the application says."""
    status, body = service.get(path)
    assert status == 200
    return json.loads(body)


@pytest.mark.parametrize("how", [[], ["--preload"], ["--start-method", "spawn"]], ids=["fork", "preload", "spawn"])
def test_it_serves_with_nothing_to_write_to(start, place, how):
    service = start("--workers", "2", *how)
    answer = told(service)
    if name_spaces():
        assert os.readlink(f"/proc/{first_process(service)}/ns/pid") != os.readlink("/proc/self/ns/pid")
        assert answer["parent"] == 1 or how == ["--preload"]  # a worker of a template is the template's child
    if IS_ROOT and name_spaces():
        assert answer["writable"] == []
    os.kill(first_process(service), signal.SIGHUP)
    service.after("INFO reloaded")
    # A worker that was told to leave may still take a connection.
    until(lambda: told(service)["pid"] != answer["pid"], "an answer of a new worker")
    os.kill(first_process(service), signal.SIGTERM)
    assert service.end() == 0
    assert sorted(os.listdir(place)) == ["gate", "inside.py"]
    assert "ERROR" not in service.log and "Traceback" not in service.log


def test_a_large_body_needs_no_file(start):
    service = start("--workers", "1")
    body = b"x" * 3_000_000
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/upload", body)
        assert json.loads(connection.getresponse().read()) == len(body)
    os.kill(first_process(service), signal.SIGTERM)
    assert service.end() == 0


def test_a_user_without_a_name_or_a_home_will_do(start):
    drop = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    service = start("--workers", "1", command=reachable([*drop, *PROGRAM]) if IS_ROOT else PROGRAM)
    assert told(service)["uid"] == (54321 if IS_ROOT else 0 if name_spaces() else os.geteuid())
    os.kill(first_process(service), signal.SIGTERM)
    assert service.end() == 0
    assert "WARNING" not in service.log


def test_orphans_are_reaped_and_children_of_the_application_are_left_to_it(start, place):
    service = start("--workers", "1")
    first = first_process(service)
    workers = set(offspring(first))
    assert told(service, "/orphan") is None
    orphan = until(lambda: set(offspring(first)) - workers, "the orphan to come")
    # Both ends, so that this does not wait for the orphan to open its own.
    gate = os.open(place / "gate", os.O_RDWR)
    try:
        os.write(gate, b"\n")
        until(lambda: not orphan & set(offspring(first)), "the end of the orphan, reaped")
    finally:
        os.close(gate)
    assert set(offspring(first)) == workers
    assert told(service, "/child") == 7
    os.kill(first, signal.SIGTERM)
    assert service.end() == 0
    assert "ERROR" not in service.log


def test_a_worker_that_is_killed_is_replaced(start):
    service = start("--workers", "1")
    first = first_process(service)
    before = list(offspring(first))
    os.kill(before[0], signal.SIGKILL)
    service.wait_for("another one starts")
    until(lambda: len(offspring(first)) == 1 and list(offspring(first)) != before, "the next worker")
    assert told(service)["pid"]
    os.kill(first, signal.SIGTERM)
    assert service.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_signals_end_it_though_the_kernel_spares_process_one(start, workers, number):
    service = start("--workers", workers)
    os.kill(first_process(service), number)
    assert service.end() == (131 if number == signal.SIGQUIT else 0)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_it_can_be_stopped_while_the_application_is_imported(launch, place, workers):
    (place / "late.py").write_text("open('gate').read()\n")
    command = contained(PROGRAM)
    service = launch("late:app", "--workers", workers, command=command, directory=place)
    with open(place / "gate", "w"):  # somebody reads: the import has begun
        os.kill(first_process(service), signal.SIGTERM)
        assert service.end() in (0, 128 + signal.SIGTERM, -signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_it_can_be_stopped_while_it_imports_what_it_consists_of(launch, place, workers, number):
    # Found before the library's own, as the first thing of some size that is imported.
    (place / "asyncio.py").write_text("open('gate').read()\n")
    service = launch("inside:app", "--workers", workers, command=contained(PROGRAM), directory=place)
    with open(place / "gate", "w"):  # somebody reads: the import has begun
        os.kill(first_process(service), number)
    # Had it gone on, it would have met an empty module.
    assert service.end() == (128 + number if name_spaces() else -number)
