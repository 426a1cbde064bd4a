"""A service under systemd, played by the test: sockets by LISTEN_FDS, states by NOTIFY_SOCKET, the watchdog."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from load import Load
from service import SOURCE, until
from service_manager import Manager, activation

from trilithon.supervisor.systemd import Notifier, inherited_sockets, is_activated, is_notified

pytestmark = [pytest.mark.real, pytest.mark.once]

TELLING = """
import json, os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    fds = {fd for fd in os.listdir("/dev/fd") if os.path.exists(f"/dev/fd/{fd}") and os.get_inheritable(int(fd))}
    names = [name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))]
    return [json.dumps({"names": names, "inheritable": sorted(map(int, fds)), "pid": os.getpid()}).encode()]
"""


def get(address, path="/"):
    """GET a path from `(host, port)` or the path of a Unix socket; returns status and body."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(30)
        connection.connect(address)
        return ask(connection, path)


def ask(connection, path="/"):
    """GET a path on a connection; returns status and body."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode())
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    with answer:
        return answer.status, answer.read().decode()


@pytest.fixture
def held():
    """Return a function that makes sockets as systemd holds them: they stay when the service goes."""
    with contextlib.ExitStack() as stack:

        def make(path=None):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX if path else socket.AF_INET))
            sock.bind(path or ("127.0.0.1", 0))
            sock.listen(64)
            return sock

        yield make


@pytest.fixture
def activate(launch, write):
    """Return a function that starts a service on given sockets."""
    write({"telling.py": TELLING})

    def start(sockets, *arguments, app="telling:app", variables=None, **told):
        command, fds = activation(sockets, **told)
        try:
            options = {"pass_fds": fds, "command": command, "free_port": False, **(variables or {})}
            return launch(app, *arguments, **options)
        finally:
            for fd in fds:
                os.close(fd)

    return start


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A service manager that hears, at both kinds of address."""
    name = f"trilithon-{os.getpid()}-{time.monotonic_ns()}"
    manager = Manager(f"@{name}" if request.param == "abstract" else str(tmp_path / "notify"))
    yield manager
    manager.close()


class TestSockets:
    """Socket activation."""

    def test_the_sockets_of_systemd_take_the_place_of_bind(self, activate, held, tmp_path):
        tcp, unix = held(), held(str(tmp_path / "site.sock"))
        service = activate([tcp, unix], "--bind", "127.0.0.1:1", LISTEN_FDNAMES="web:local")
        service.wait_for("2 sockets of systemd take the place of bind")
        for address in (tcp.getsockname(), unix.getsockname()):
            status, body = get(address)
            assert status == 200
            told = json.loads(body)
            # Neither the application nor a program that it starts may take them for its own.
            assert (told["names"], told["inheritable"]) == ([], [0, 1, 2])
            assert told["pid"] != service.pid
        assert service.stop() == 0
        assert os.path.exists(unix.getsockname())  # it is not the service's to remove

    def test_clients_wait_while_the_service_is_started_anew(self, activate, held):
        sock = held()
        first = activate([sock])
        assert get(sock.getsockname())[0] == 200
        assert first.stop() == 0
        with socket.create_connection(sock.getsockname(), timeout=40) as waiting:
            activate([sock])
            assert ask(waiting)[0] == 200

    @pytest.mark.parametrize("app", ["pids:wsgi", "pids:app"])
    def test_no_client_that_connects_meanwhile_is_lost(self, activate, held, app):
        sock = held()
        service = activate([sock], "--workers", "2", app=app)
        with Load(sock.getsockname()[1], steady=0, slow=0, streams=0, fresh=6) as load:
            for _ in range(6):
                assert service.stop() == 0
                service = activate([sock], "--workers", "2", app=app)
                service.after("serves")
                load.wait_for_more(50)
        assert load.lost == []

    def test_a_reload_keeps_them(self, activate, held):
        sock = held()
        service = activate([sock], "--workers", "2")
        service.after("serves")
        before = service.children()
        service.send(signal.SIGHUP)
        service.after("INFO reloaded")
        # A worker that was told to leave may still take a connection.
        until(lambda: not set(before) & set(service.children()), "the end of the old workers")
        assert json.loads(get(sock.getsockname())[1])["pid"] not in before
        assert service.stop() == 0

    def test_what_is_meant_for_another_process_is_left_alone_with_a_word(self, activate, held):
        sock = held()
        service = activate([sock], "--bind", "127.0.0.1:0", LISTEN_PID="1")
        service.wait_for("LISTEN_FDS is not used: it is meant for process 1, and this is ")
        port = int(service.wait_for(r"http://127\.0\.0\.1:(\d+)")[1])
        assert port != sock.getsockname()[1]
        assert get(("127.0.0.1", port))[0] == 200

    @pytest.mark.parametrize(
        ("make", "fault"),
        [
            (
                lambda: socket.socket(type=socket.SOCK_DGRAM),
                "3 (web): is no stream socket; write ListenStream= in the socket",
            ),
            (socket.socket, "3 (web): does not listen; write Accept=no in the socket unit"),
            (Path(os.devnull).open, "3 (web): the descriptor is no socket"),
        ],
    )
    def test_what_is_no_listening_socket_stops_the_start_and_is_named(self, activate, make, fault):
        with make() as wrong:
            service = activate([wrong], LISTEN_FDNAMES="web")
        assert service.end() == 4
        assert fault in service.log.replace("'", "")
        assert "Traceback" not in service.log

    def test_fewer_descriptors_than_promised(self, activate, held):
        service = activate([held()], LISTEN_FDS="2")
        assert service.end() == 4
        assert "LISTEN_FDS = '4': the descriptor is no socket" in service.log

    @pytest.mark.parametrize("count", ["x", "-1", "4096"])
    def test_a_number_that_is_none(self, activate, held, count):
        service = activate([held()], LISTEN_FDS=count)
        assert service.end() == 4
        assert "must be the number of descriptors handed over" in service.log

    def test_variables_are_used_up(self):
        environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "LISTEN_PIDFDID": "5", "HOME": "/"}
        assert not is_activated(environ)
        assert is_activated({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
        assert inherited_sockets(environ) == []
        assert environ == {"HOME": "/"}


def test_the_tool_of_systemd_starts_it_where_there_is_one(launch, write, held):
    write({"telling.py": TELLING})
    sock = held()
    port = sock.getsockname()[1]
    sock.close()
    tool = shutil.which("systemd-socket-activate") or sys.executable
    program = [sys.executable, "-m", "trilithon"]
    command = [tool, "-l", f"127.0.0.1:{port}", f"--setenv=PYTHONPATH={SOURCE}", *program]
    if tool == sys.executable:
        command = [*program, "--bind", f"127.0.0.1:{port}"]  # what it would come to without
    service = launch("telling:app", command=command, free_port=False)
    service.wait_for("Listening on|serves")  # the tool starts the program with the first connection
    assert get(("127.0.0.1", port))[0] == 200
    assert service.stop() == 0


class TestStates:
    """What a service tells of itself."""

    def test_ready_reloading_and_stopping_are_told_by_the_main_process(self, launch, manager):
        service = launch("pids:app", "--workers", "2", NOTIFY_SOCKET=manager.address)
        told = manager.wait_for("READY")
        assert (told["READY"], told["pid"]) == ("1", service.pid)
        service.started()
        assert service.get()[0] == 200
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        service.send(signal.SIGHUP)
        told = manager.wait_for("RELOADING")
        assert told["RELOADING"] == "1"
        assert before <= int(told["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert manager.wait_for("READY")["READY"] == "1"
        service.send(signal.SIGTERM)
        assert manager.wait_for("STOPPING") == {"STOPPING": "1", "pid": service.pid}
        assert service.end() == 0
        assert {heard["pid"] for heard in manager.heard} == {service.pid}

    def test_it_is_not_ready_before_its_workers_are(self, launch, write, manager, tmp_path):
        os.mkfifo(tmp_path / "gate")
        write({"late.py": "open('gate').read()\nfrom pids import app\n"})
        service = launch("late:app", "--workers", "1", NOTIFY_SOCKET=manager.address)
        with open(tmp_path / "gate", "w"):  # somebody reads: the import has begun
            manager.sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                manager.sock.recv(4096)
        assert manager.wait_for("READY")["pid"] == service.pid

    def test_a_start_that_fails_is_never_ready(self, launch, write, manager):
        write({"broken.py": "import nothing_of_that_name\n"})
        service = launch("broken:app", NOTIFY_SOCKET=manager.address)
        assert service.end() == 3
        manager.sock.setblocking(False)
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(manager.sock.recv(4096))
        assert not [told for told in heard if b"READY" in told]

    def test_a_failed_reload_ends_with_ready_too(self, launch, write, manager):
        service = launch("pids:app", "--workers", "1", NOTIFY_SOCKET=manager.address)
        manager.wait_for("READY")
        write({"pids.py": "import nothing_of_that_name\n"})
        service.send(signal.SIGHUP)
        manager.wait_for("RELOADING")
        manager.wait_for("READY")
        service.wait_for("not reloaded")

    def test_an_upgrade_names_the_new_main_process(self, launch, manager):
        service = launch("pids:app", "--workers", "1", NOTIFY_SOCKET=manager.address)
        manager.wait_for("READY")
        service.send(signal.SIGUSR2)
        told = manager.wait_for("MAINPID")
        assert told["pid"] == service.pid
        new = int(told["MAINPID"])
        assert new != service.pid
        assert manager.wait_for("READY")["pid"] == new
        os.kill(new, signal.SIGTERM)
        assert manager.wait_for("STOPPING")["pid"] == new

    def test_a_manager_that_does_not_listen_is_no_error(self, launch, tmp_path):
        service = launch("pids:app", NOTIFY_SOCKET=str(tmp_path / "nobody")).started()
        assert service.get()[0] == 200
        assert service.stop() == 0
        assert not re.search("ERROR|WARNING|Traceback", service.log)

    def test_an_address_that_is_not_understood_is_named(self, launch):
        service = launch("pids:app", NOTIFY_SOCKET="vsock:2:1234").started()
        service.wait_for("NOTIFY_SOCKET is not used: 'vsock:2:1234'")
        assert service.get()[0] == 200

    def test_workers_do_not_inherit_the_variables(self, launch, write, manager):
        write({"telling.py": TELLING})
        told = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000"}
        service = launch("telling:app", **told).started()
        assert json.loads(service.get()[1])["names"] == []


class TestWatchdog:
    """Signs of life."""

    def test_they_come_and_they_come_from_the_supervisor(self, launch, manager):
        service = launch("pids:app", NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000")
        told = [manager.wait_for("WATCHDOG") for _ in range(4)]
        assert [each["pid"] for each in told] == [service.pid] * 4

    def test_none_come_for_another_process(self, launch, manager):
        service = launch("pids:app", NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="1000", WATCHDOG_PID="1").started()
        assert service.get()[0] == 200
        assert service.stop() == 0
        manager.wait_for("STOPPING")
        assert not [told for told in manager.heard if "WATCHDOG" in told]

    @pytest.mark.parametrize(
        ("environ", "interval_s"),
        [
            ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000"}, 15.0),
            ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
            ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
            ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, 0.0),
            ({"NOTIFY_SOCKET": "/x"}, 0.0),
            ({"WATCHDOG_USEC": "30000000"}, 0.0),
        ],
    )
    def test_the_interval_is_half_of_what_is_allowed(self, environ, interval_s):
        assert is_notified(environ) == ("NOTIFY_SOCKET" in environ)
        wanted = {name: value for name, value in environ.items() if name != "WATCHDOG_PID"}
        notifier = Notifier(environ)
        assert notifier.interval_s == interval_s
        assert environ == {}
        assert notifier.variables() == wanted  # what the next program of an upgrade gets

    def test_a_status_is_one_line(self, manager):
        notifier = Notifier({"NOTIFY_SOCKET": manager.address})
        notifier.status("two\nlines of\r\ntext")
        assert manager.wait_for("STATUS")["STATUS"] == "two lines of text"
        notifier.status("")
        notifier.ready("serves")
        assert manager.wait_for("READY") == {"READY": "1", "STATUS": "serves", "pid": os.getpid()}
