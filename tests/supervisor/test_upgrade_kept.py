"""Upgrades where the old program is watched: as the first process of a container, and under a service manager."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from service import children, environment, until
from upgrading import end, upgrade, wait_gone

pytestmark = [pytest.mark.real, pytest.mark.once]

CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")


class Container:
    """A service in a process namespace: `first` is its supervisor, the first process or the child of `under`."""

    def __init__(self, launch, *arguments, under=()):
        self.service = launch(
            *("pids:app", "--workers", "1", "--upgrade-standby", "0", *arguments),
            command=[*CONTAINER, *under, sys.executable, "-m", "trilithon"],
        ).started()
        (self.first,) = self.service.children()
        if under:
            (self.first,) = children(self.first)
        self.upgrades = 0

    def outside(self, inside):
        """Return the process id by which the test knows a process of the container."""
        return until(lambda: find(self.first, inside), f"process {inside}")

    def upgrade(self, by):
        """Send a process the signal to upgrade, and return the new program's process id."""
        self.upgrades += 1
        os.kill(by, signal.SIGUSR2)
        inside = self.service.wait_for(r"INFO upgraded: process (\d+) serves", self.upgrades)[1]
        self.service.wait_for(rf"\[{inside}\] INFO trilithon .* serves .* with \d+ worker")
        self.service.wait_for(rf"INFO process {inside} goes on alone")
        return self.outside(inside)

    def stop(self, number=signal.SIGTERM):
        """Send the first process a signal, as who stops a container does, and return the exit code."""
        os.kill(self.first, number)
        return self.service.end()


def find(pid, inside):
    """Return the descendant of a process that its own namespace knows by another process id."""
    for child in children(pid):
        try:
            with open(f"/proc/{child}/status", encoding="ascii") as file:
                numbers = next(line for line in file if line.startswith("NSpid:")).split()
        except OSError:
            continue
        if numbers[-1] == inside:
            return child
        if found := find(child, inside):
            return found
    return 0


def test_the_first_process_stays_and_passes_signals_on(launch):
    container = Container(launch)
    service = container.service
    pid = container.upgrade(container.first)
    until(lambda: service.children() == [container.first] and children(container.first) == [pid], "one program")
    os.kill(container.first, signal.SIGTTIN)
    service.wait_for("INFO 2 workers are wanted")
    os.kill(container.first, signal.SIGHUP)
    service.wait_for("INFO reloaded")
    assert container.stop() == 0
    assert "ERROR" not in service.log


def test_the_first_process_follows_several_upgrades(launch):
    container = Container(launch)
    service = container.service
    second = container.upgrade(container.first)
    # The first process passes the signal on to the program that serves.
    third = container.upgrade(container.first)
    wait_gone(second)
    assert service.get()[0] == 200
    os.kill(container.first, signal.SIGTTIN)
    service.wait_for("INFO 2 workers are wanted")
    until(lambda: len(children(third)) == 2, "two workers of the third program")
    fourth = container.upgrade(third)
    wait_gone(third)
    assert service.get()[0] == 200
    assert container.stop() == 0
    wait_gone(fourth)


def test_the_container_ends_with_its_program(launch):
    container = Container(launch)
    second = container.upgrade(container.first)
    pid = container.upgrade(second)
    wait_gone(second)
    os.kill(pid, signal.SIGKILL)
    assert container.service.end() == 128 + signal.SIGKILL


def test_a_container_is_stopped_while_the_old_program_stands_by(launch):
    container = Container(launch, "--upgrade-standby", "60")
    service = container.service
    os.kill(container.first, signal.SIGUSR2)
    inside = service.wait_for(r"INFO upgraded: process (\d+) serves")[1]
    service.wait_for(rf"\[{inside}\] INFO trilithon .* serves")
    assert container.stop() == 0
    assert service.log.count("INFO stopping") == 1


def test_a_container_whose_new_program_dies_goes_back(launch):
    container = Container(launch, "--upgrade-standby", "60")
    service = container.service
    os.kill(container.first, signal.SIGUSR2)
    inside = service.wait_for(r"INFO upgraded: process (\d+) serves")[1]
    service.wait_for(rf"\[{inside}\] INFO trilithon .* serves")
    os.kill(container.outside(inside), signal.SIGKILL)
    service.wait_for(r"\[1\] INFO rolled back")
    assert service.get()[0] == 200
    assert container.stop() == 0


# What docker run --init or the script of an entry point put before the program: it waits for its child and ends.
ENTRY = ("sh", "-c", '"$@"; exit $?', "entry")


def test_the_child_of_the_first_process_stays_too(launch):
    container = Container(launch, under=ENTRY)
    service = container.service
    second = container.upgrade(container.first)
    third = container.upgrade(container.first)
    wait_gone(second)
    assert service.get()[0] == 200
    os.kill(container.first, signal.SIGTTIN)
    service.wait_for("INFO 2 workers are wanted")
    until(lambda: len(children(third)) == 2, "two workers of the third program")
    assert container.stop() == 0


def test_the_child_of_the_first_process_ends_as_its_program_does(launch):
    container = Container(launch, under=ENTRY)
    second = container.upgrade(container.first)
    pid = container.upgrade(second)
    wait_gone(second)
    os.kill(pid, signal.SIGKILL)
    assert container.service.end() == 128 + signal.SIGKILL


@pytest.mark.parametrize(("name", "stays"), [("supervisord", True), ("runsv", True), ("bash", False)])
def test_who_watches_is_known_by_name(tmp_path, name, stays):
    # A program is called as its file is; this one waits for its child as such programs do.
    watcher = tmp_path / name
    watcher.symlink_to("/bin/sh")
    question = "from trilithon.supervisor.watcher import must_stay; print(must_stay())"
    done = subprocess.run(
        [str(watcher), "-c", '"$@"; exit $?', "entry", sys.executable, "-c", question],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.stdout, done.returncode) == (f"{stays}\n", 0), done.stderr


class Manager:
    """The end of a service manager: what it was told, by whom."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.settimeout(40)
        self.sock.bind(path)
        self.told = []

    def wait_for(self, pid, line):
        """Wait until a process has told a line."""
        while (pid, line) not in self.told:
            data, ancillary, _, _ = self.sock.recvmsg(4096, 1024)
            sender = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            self.told += [(sender, each) for each in data.decode().split("\n") if not each.startswith("STATUS=")]


def test_a_service_manager_hears_who_the_service_is(launch, tmp_path):
    path = str(tmp_path / "notify")
    manager = Manager(path)
    with manager.sock:
        service = launch("pids:app", "--workers", "1", NOTIFY_SOCKET=path).started()
        manager.wait_for(service.pid, "READY=1")

        pid = upgrade(service)
        manager.wait_for(service.pid, f"MAINPID={pid}")
        manager.wait_for(pid, "READY=1")

        service.send(signal.SIGHUP)
        manager.wait_for(pid, f"MAINPID={service.pid}")
        service.wait_for("INFO rolled back")
        wait_gone(pid)

        pid = upgrade(service, 2)
        os.kill(service.pid, signal.SIGTERM)
        assert service.process.wait() == 0
        os.kill(pid, signal.SIGHUP)
        manager.wait_for(pid, "RELOADING=1")
        service.wait_for("INFO reloaded")
        end(service, pid)
        manager.wait_for(pid, "STOPPING=1")
    # The one that is not the service any more says nothing: its end is not that of the service.
    assert (service.pid, "STOPPING=1") not in manager.told


def test_sockets_of_systemd_are_handed_on(launch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = (
            "import os, sys\n"
            f"os.dup2({listener.fileno()}, 3)\n"
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
            "os.execv(sys.executable, [sys.executable, '-m', 'trilithon', *sys.argv[1:]])\n"
        )
        service = launch(
            *("pids:app", "--workers", "1", "--upgrade-standby", "0"),
            free_port=False,
            command=[sys.executable, "-c", start],
            pass_fds=[listener.fileno()],
        ).started()
        port = listener.getsockname()[1]
    assert service.port == port
    pid = upgrade(service)
    assert service.process.wait() == 0
    assert [int(service.get()[1])] == children(pid)
    end(service, pid)
