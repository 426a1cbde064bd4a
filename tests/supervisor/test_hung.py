"""Workers that hang are reported with what holds them, then replaced; workers that are only slow are left alone."""

import contextlib
import os
import re
import signal
import socket

import pytest
from hangs import HANGS
from service import until

pytestmark = pytest.mark.real

REPLACED = r"worker \d+ \(pid {}\) is killed: it hangs, "


@pytest.fixture
def hanging(launch, write):
    """Return a function that starts the applications that hang."""
    write({"hanging.py": HANGS})

    def start(interface, *arguments, **variables):
        return launch(f"hanging:{interface}", "--hang-timeout", "1", "--threads", "2", *arguments, **variables)

    return start


@contextlib.contextmanager
def asked(service, *paths):
    """Send a request for each path, on connections that stay open."""
    with contextlib.ExitStack() as stack:
        for path in paths:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 20))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        yield


def serves_again(service, victim):
    """Wait until another worker answers."""
    until(lambda: (found := service.children()) and victim not in found, "another worker")
    status, pid = service.get()
    assert status == 200
    assert int(pid) in service.children()


def test_a_blocked_loop(hanging):
    service = hanging("app", "--workers", "1").started()
    (victim,) = service.children()
    with asked(service, "/block?secret=1"):
        service.after(
            rf"\[{victim}\] ERROR the event loop has been blocked for [\d.]+ s by GET /block from 127\.0\.0\.1"
        )
        service.after(r"GET /block from 127\.0\.0\.1, [\d.]+ s old \(holds the event loop\)")
        service.after(r"thread MainThread \(the event loop\):\n.*hanging\.py.* in app\n.*\n.*hanging\.py.* in hang")
        service.after(REPLACED.format(victim) + "the event loop has been blocked")
        serves_again(service, victim)
    assert service.stop() == 0
    assert "secret" not in service.log


def test_a_stuck_crew(hanging):
    service = hanging("wsgi", "--workers", "1").started()
    (victim,) = service.children()
    with asked(service, "/block?secret=1", "/block?secret=2", "/third"):
        service.after(rf"\[{victim}\] ERROR all 2 threads are stuck in calls of the application")
        service.after(r"requests in flight, 1 of them waiting for a thread:")
        report = service.after(r"(?s:.*?)stacks:\n")[0]
        assert len(re.findall(r"GET /block from 127\.0\.0\.1, [\d.]+ s old \(keeps trilithon-crew-\d\)", report)) == 2
        assert len(re.findall(r"GET /third from 127\.0\.0\.1, [\d.]+ s old\n", report)) == 1
        service.after(r"hanging\.py.* in wsgi\n.*\n.*hanging\.py.* in hang")
        service.after(REPLACED.format(victim) + "all 2 threads are stuck")
        serves_again(service, victim)
    assert service.stop() == 0
    assert "secret" not in service.log


@pytest.mark.parametrize("interface, way", [("app", "regex"), ("wsgi", "foreign")])
def test_an_interpreter_that_is_held(hanging, interface, way):
    service = hanging(interface, "--workers", "1").started()
    (victim,) = service.children()
    with asked(service, f"/{way}?secret=1"):
        service.after(rf"\[{service.pid}\] ERROR worker 1 \(pid {victim}\) hangs: its interpreter has stood still for ")
        where = r" \(in the application\)" if interface == "wsgi" else ""
        service.after(rf"requests in flight:\n +GET /{way}, [\d.]+ s old{where}\n")
        service.after(r"hanging\.py.*, line \d+ in hang")
        service.after(REPLACED.format(victim) + "its interpreter has stood still")
        serves_again(service, victim)
    assert service.stop() == 0
    assert "secret" not in service.log


def test_other_workers_serve_while_one_hangs(hanging):
    service = hanging("app", "--workers", "2").started()
    with asked(service, "/block"):
        victim = int(service.after(r"\[(\d+)\] ERROR the event loop has been blocked")[1])
        service.after(REPLACED.format(victim))
        serves_again(service, victim)
        assert len(until(lambda: len(service.children()) == 2 and service.children(), "two workers")) == 2
    assert service.stop() == 0
    assert service.log.count("is killed") == 1


def test_one_stuck_call_is_told_and_let_be(hanging):
    service = hanging("wsgi", "--workers", "1", "--graceful-timeout", "0.1").started()
    before = service.children()
    with asked(service, "/block?secret=1"):
        service.after(r"WARNING a call keeps its thread without sending: GET /block from 127\.0\.0\.1, .*; it is at")
        service.after(r"hanging\.py.* in hang")
        assert service.get()[0] == 200
    assert service.children() == before
    assert service.stop() == 0
    assert "ERROR" not in service.log
    assert "secret" not in service.log


@pytest.mark.parametrize("way", [[], ["--preload"], ["--start-method", "spawn"]], ids=["fork", "preload", "spawn"])
def test_a_slow_import_is_no_hang(hanging, way):
    service = hanging("app", "--workers", "1", *way, SLOW_IMPORT="2.5").started()
    assert service.get()[0] == 200
    assert service.stop() == 0
    assert "ERROR" not in service.log


def test_waiting_and_being_stopped_are_no_hangs(hanging):
    waiting = hanging("app", "--workers", "1", "--graceful-timeout", "0.1").started()
    before = waiting.children()
    stopped = hanging("app", "--workers", "1").started()
    (worker,) = stopped.children()
    with asked(waiting, *["/wait"] * 5):
        os.kill(worker, signal.SIGSTOP)
        # Another one hangs, the second time before it can say that it serves: there was time enough for these too.
        other = hanging("app", "--workers", "1").started()
        for _ in range(2):
            with asked(other, "/block"):
                other.after("is killed: it hangs")
        os.kill(worker, signal.SIGCONT)
        assert stopped.get() == (200, str(worker))
        assert waiting.get()[0] == 200
        assert waiting.children() == before
    for service in (other, stopped, waiting):
        assert service.stop() == 0
    assert "ERROR" not in stopped.log
    assert "hangs" not in waiting.log


UPLOAD = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000)


def test_slow_clients_are_no_hang(hanging):
    service = hanging("wsgi", "--workers", "1", "--graceful-timeout", "0.1").started()
    before = service.children()
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 20))
            client.sendall(UPLOAD)
        service.wait_for("takes an upload", 2)
        stack.enter_context(asked(service, "/third"))
        service.after(r"WARNING for 1 s all 2 threads have waited for slow clients, and 1 requests for a thread: ")
        assert service.children() == before
    assert service.stop() == 0
    assert "hangs" not in service.log and "stuck" not in service.log
