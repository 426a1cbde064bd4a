"""Workers whose supervisor was killed: those that can hear of it finish what they do, all others end as well."""

import contextlib
import http.client
import signal
import sys
import time

import pytest
from service import is_alive, until

from trilithon.worker.lifeline import SIGNAL

pytestmark = [
    pytest.mark.real,
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends workers that cannot hear"),
]

METHODS = {"fork": [], "preload": ["--preload"], "spawn": ["--start-method", "spawn"]}
DEAF = """
import asyncio
import ctypes
import os
import time


def say(text):
    os.write(2, f"{text} {os.getpid()}\\n".encode())


def hold_the_interpreter():
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)


def spin():
    while True:
        pass


WAYS = {"/hold": hold_the_interpreter, "/spin": spin, "/block": lambda: time.sleep(1000)}

if os.environ.get("SLOW_IMPORT"):
    say("imported by")
    time.sleep(1000)


def wsgi(environ, start_response):
    say("inside")
    WAYS[environ["PATH_INFO"]]()
    return []


async def app(scope, receive, send):
    say("inside")
    if scope["path"] == "/wait":
        while not os.path.exists("go"):
            await asyncio.sleep(0.1)
    else:
        WAYS[scope["path"]]()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})
"""


@pytest.fixture
def orphan(launch, write):
    """Return a function that has a worker begin with something, then kills its supervisor.

    It returns the service, the worker's process id and the client that waits for an answer, none for an import.
    """
    write({"deaf.py": DEAF})
    with contextlib.ExitStack() as stack:

        def start(target, path, *arguments):
            arguments = [f"deaf:{target}", "--workers", "1", "--hang-timeout", "0", "--lifespan", "off", *arguments]
            client = None
            if path == "import":
                service = launch(*arguments, SLOW_IMPORT="1")
            else:
                service = launch(*arguments).started()
                client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=3 * SIGNAL)
                stack.enter_context(contextlib.closing(client))
                client.request("GET", path)
            worker = int(service.after(r"^(?:inside|imported by) (\d+)$")[1])
            service.send(signal.SIGKILL)
            service.process.wait()
            return service, worker, client

        yield start


ALARMED = """
import asyncio
import os
import signal

rang = asyncio.Event()
if os.environ["WHEN"] == "import":
    signal.signal(signal.SIGALRM, lambda number, frame: rang.set())


async def app(scope, receive, send):
    if os.environ["WHEN"] == "request":
        asyncio.get_running_loop().add_signal_handler(signal.SIGALRM, rang.set)
    if scope["path"] == "/wait":
        signal.setitimer(signal.ITIMER_REAL, 4)
        os.write(2, f"inside {os.getpid()}\\n".encode())
        while not rang.is_set():
            await asyncio.sleep(0.1)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"rang"})
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("when", ["import", "request"])
def test_an_alarm_of_the_application_is_its_own(launch, write, method, when):
    write({"alarmed.py": ALARMED})
    words = ["alarmed:app", "--workers", "1", "--lifespan", "off", "--loop", "asyncio"]
    service = launch(*words, *METHODS[method], WHEN=when).started()
    service.get("/")
    began = time.monotonic()
    # Somebody looks at the application once a second.
    until(lambda: time.monotonic() > began + 1.5, "a look at the application")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)) as client:
        client.request("GET", "/wait")
        service.wait_for("^inside")
        service.send(signal.SIGKILL)
        service.process.wait()
        assert client.getresponse().read() == b"rang"
    service.end()


@pytest.mark.timeout(150)
def test_workers_end_that_cannot_hear_that_their_supervisor_is_gone(orphan, tmp_path):
    # One that hears has its own time, which is longer here.
    patient, worker, client = orphan("app", "/wait", "--graceful-timeout", "100")
    patient.wait_for("the supervisor is gone: this worker ends")
    hanging = [orphan("app", "/hold", *METHODS[method]) for method in METHODS]
    hanging += [orphan("app", "import", *METHODS[method]) for method in ("fork", "spawn")]
    hanging += [orphan("wsgi", "/hold"), orphan("app", "/block"), orphan("app", "/spin")]
    assert all(is_alive(pid) for _, pid, _ in hanging)
    until(lambda: not [pid for _, pid, _ in hanging if is_alive(pid)], "the workers' end", SIGNAL + 20)
    assert not [service.log for service, _, _ in hanging if "the supervisor is gone" in service.log]
    assert is_alive(worker)
    (tmp_path / "go").touch()
    response = client.getresponse()
    assert (response.status, response.read()) == (200, b"done")
    until(lambda: not is_alive(worker), "the end of the worker that heard")
