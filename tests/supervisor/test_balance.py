"""Even load over real workers: bursts, unequal traffic, stuck and stopped workers, and what a move keeps."""

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from service import DEADLINE_S, until

pytestmark = pytest.mark.real

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

SITE = """
import os
import time


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        open("inside", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    body = f"{os.getpid()} {environ['REMOTE_ADDR']}:{environ['REMOTE_PORT']}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return
    if scope["path"] == "/wait":
        open("inside", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)  # holds the event loop up
    host, port = scope["client"]
    body = f"{os.getpid()} {host}:{port}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


class Caller:
    """One keep-alive connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self.name = "{}:{}".format(*self.socket.getsockname())
        self.received = b""
        self.worker = 0
        self.head = b""
        self.body = b""

    def ask(self, request=REQUEST):
        """Send a request and return the process id of the worker that answered."""
        self.socket.sendall(request)
        return self.answer()

    def answer(self):
        """Receive one answer and return the process id that it begins with."""
        while b"\r\n\r\n" not in self.received:
            self.receive()
        self.head, _, rest = self.received.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in self.head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        while len(rest) < length:
            self.receive()
            rest = self.received.partition(b"\r\n\r\n")[2]
        self.body, self.received = rest[:length], rest[length:]
        assert self.head.startswith(b"HTTP/1.1 200 "), self.head
        self.worker = int(self.body.split()[0])
        return self.worker

    def receive(self):
        """Receive once."""
        data = self.socket.recv(65536)
        assert data, f"the connection was closed behind {self.received!r}"
        self.received += data

    def close(self):
        """Hang up."""
        self.socket.close()


@pytest.fixture
def call():
    """Return a function that opens so many connections to a service; all are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda service, count: [
            stack.enter_context(contextlib.closing(Caller(service.port))) for _ in range(count)
        ]


@pytest.fixture(params=["even:asgi", "even:wsgi"])
def target(request, write):
    """The application, over both interfaces."""
    write({"even.py": SITE})
    return request.param


def spread(callers):
    """Return how many connections each worker has, by their last answers."""
    return Counter(caller.worker for caller in callers)


def ask_all(callers):
    """Have every caller ask once, all at the same time."""
    for caller in callers:
        caller.socket.sendall(REQUEST)
    for caller in callers:
        caller.answer()


def is_stopped(pid):
    """Tell whether every thread of a process has been stopped."""
    tasks = Path("/proc", str(pid), "task").iterdir()
    return all((task / "stat").read_text().rpartition(") ")[2][0] == "T" for task in tasks)


def test_a_burst_is_spread_evenly(launch, target, call):
    service = launch(target, "--workers", "4").started()
    callers = call(service, 64)

    def is_even():
        ask_all(callers)
        counts = spread(callers)
        return len(counts) == 4 and max(counts.values()) <= 18

    until(is_even, "an even number of connections")


def test_connections_that_come_and_go_are_spread_evenly(launch, target, call):
    service = launch(target, "--workers", "2").started()
    counts = Counter()

    def is_even():
        # On a crowded machine a worker that has to wait for a processor gets nothing for a second.
        counts.clear()
        for _ in range(40):
            (caller,) = call(service, 1)
            counts[caller.ask()] += 1
            caller.close()
        return len(counts) == 2 and max(counts.values()) <= 25

    until(is_even, "an even share of the connections")


def test_busy_connections_move_apart(launch, target, call):
    service = launch(target, "--workers", "2").started()
    callers = call(service, 16)
    ask_all(callers)
    busiest = spread(callers).most_common(1)[0][0]
    # All that are busy are with one worker: the other one has had its share once half of what comes is its.
    busy = [caller for caller in callers if caller.worker == busiest][:6]
    counts = Counter()

    def is_even():
        counts.clear()
        for _ in range(30):
            ask_all(busy)
            counts.update(caller.worker for caller in busy)
        return len(counts) == 2 and max(counts.values()) <= 1.25 * sum(counts.values()) / 2

    until(is_even, "an even share of the traffic")


def test_a_move_keeps_who_the_client_is(launch, target, call):
    service = launch(
        target,
        "--workers",
        "2",
        "--proxy-protocol",
        "v1",
        "--trusted-proxy",
        "127.0.0.1",
        "--max-keep-alive-requests",
        "0",
    ).started()
    callers = call(service, 8)
    for number, caller in enumerate(callers):
        caller.ask(b"PROXY TCP4 203.0.113.%d 192.0.2.1 4%03d 80\r\n" % (number, number) + REQUEST)
    first = {caller: caller.worker for caller in callers}
    busiest = spread(callers).most_common(1)[0][0]
    busy = [caller for caller in callers if caller.worker == busiest]

    def has_moved():
        for _ in range(20):
            ask_all(busy)
        return any(caller.worker != first[caller] for caller in busy)

    until(has_moved, "a connection that moved")
    for number, caller in enumerate(callers):
        caller.ask()
        assert caller.body.split()[1] == b"203.0.113.%d:4%03d" % (number, number)


def test_a_worker_that_is_held_up_gets_no_new_connections(launch, target, call, tmp_path):
    service = launch(target, "--workers", "2", "--threads", "1").started()
    (held,) = call(service, 1)
    stuck = held.ask()
    held.socket.sendall(REQUEST.replace(b"GET / ", b"GET /wait "))
    until((tmp_path / "inside").exists, "a call that does not return")
    callers = call(service, 12)
    ask_all(callers)
    assert spread(callers)[stuck] == 0
    (tmp_path / "go").touch()
    assert held.answer() == stuck


def test_a_worker_that_is_held_up_takes_nothing_back_from_one_that_is_only_late(launch, write, call, tmp_path):
    write({"even.py": SITE})
    service = launch("even:wsgi", "--workers", "2", "--threads", "1", "--hang-timeout", "0").started()
    (held,) = call(service, 1)
    stuck = held.ask()
    (late,) = set(service.children()) - {stuck}
    held.socket.sendall(REQUEST.replace(b"GET / ", b"GET /wait "))
    until((tmp_path / "inside").exists, "a call that does not return")
    os.kill(late, signal.SIGSTOP)
    try:
        until(lambda: is_stopped(late), "all threads of a worker to stand still")
        callers = call(service, 6)
        for caller in callers:
            caller.socket.sendall(REQUEST)
        # Longer than a worker with time to spare would wait for it.
        threading.Event().wait(0.6)
    finally:
        os.kill(late, signal.SIGCONT)
    assert {caller.answer() for caller in callers} == {late}
    (tmp_path / "go").touch()
    assert held.answer() == stuck


def test_connections_move_on_either_side_of_a_mixed_site(launch, write, call):
    write({"even.py": SITE})
    service = launch("--mount", "/threads=even:wsgi", "--mount", "/=even:asgi", "--workers", "2").started()
    callers = call(service, 12)
    ask_all(callers)
    busiest = spread(callers).most_common(1)[0][0]
    busy = [caller for caller in callers if caller.worker == busiest][:6]
    before = {caller: caller.worker for caller in busy}
    threads = REQUEST.replace(b"GET / ", b"GET /threads ")
    moved = set()

    def have_moved():
        for number in range(30):
            for caller in busy:
                caller.ask(threads if number % 10 else REQUEST)
                assert caller.body.split()[1] == caller.name.encode()
        moved.update(caller for caller in busy if caller.worker != before[caller])
        return moved

    until(have_moved, "a connection that moved")


def test_connections_of_tls_stay_where_they_are(launch, target):
    service = launch(target, "--workers", "2", "--self-signed").started()
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    with contextlib.ExitStack() as stack:
        callers = []
        for _ in range(6):
            caller = stack.enter_context(contextlib.closing(Caller(service.port)))
            caller.socket = trusting.wrap_socket(caller.socket)
            callers.append(caller)
        ask_all(callers)
        before = {caller: caller.worker for caller in callers}
        assert len(set(before.values())) == 2
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            ask_all([caller for caller in callers if caller.worker == callers[0].worker])
        ask_all(callers)
        assert {caller: caller.worker for caller in callers} == before


def test_what_a_stopped_worker_was_given_is_taken_back(launch, target, call):
    service = launch(target, "--workers", "2", "--hang-timeout", "0").started()
    callers = call(service, 8)
    ask_all(callers)
    victim = callers[0].worker
    os.kill(victim, signal.SIGSTOP)
    try:
        until(lambda: is_stopped(victim), "all threads of a worker to stand still")
        late = call(service, 12)
        ask_all(late)
        assert spread(late)[victim] == 0
    finally:
        os.kill(victim, signal.SIGCONT)
    ask_all(callers)


def test_a_stopped_worker_keeps_no_client_waiting(launch, target, call):
    service = launch(target, "--workers", "2", "--hang-timeout", "0").started()
    victim, other = service.children()
    os.kill(victim, signal.SIGSTOP)
    try:
        until(lambda: is_stopped(victim), "all threads of a worker to stand still")
        # So far apart that the other worker sleeps in between, and sleeps again having given one to the stopped worker.
        pace = threading.Event()
        for _ in range(25):
            pace.wait(0.2)
            (caller,) = call(service, 1)
            caller.socket.settimeout(5)
            assert caller.ask() == other
            caller.close()
    finally:
        os.kill(victim, signal.SIGCONT)


def test_a_reload_keeps_idle_connections(launch, target, call):
    service = launch(target, "--workers", "2").started()
    callers = call(service, 12)
    ask_all(callers)
    before = set(service.children())
    service.send(signal.SIGHUP)
    service.wait_for("INFO reloaded")
    until(lambda: not before & set(service.children()), "the end of the old workers")
    ask_all(callers)
    assert not before & set(spread(callers))
    assert not any(b"connection: close" in caller.head.lower() for caller in callers)


def test_the_count_of_a_connection_goes_with_it(launch, target, call):
    service = launch(target, "--workers", "1", "--max-keep-alive-requests", "5").started()
    (caller,) = call(service, 1)
    for _ in range(3):
        caller.ask()
    first = caller.worker
    service.send(signal.SIGHUP)
    service.wait_for("INFO reloaded")
    until(lambda: first not in service.children(), "the end of the old worker")
    assert caller.ask() != first
    assert b"connection: close" not in caller.head.lower()
    caller.ask()
    assert b"connection: close" in caller.head.lower()


def test_shared_hands_nothing_over(launch, target, call):
    service = launch(target, "--workers", "2", "--balance", "shared").started()
    callers = call(service, 8)
    ask_all(callers)
    before = {caller: caller.worker for caller in callers}
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        ask_all(callers[:1])
    ask_all(callers)
    assert {caller: caller.worker for caller in callers} == before
