"""The PID file: made in one step, kept by a living server, taken from a dead one, removed by its owner only."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest
from service import environment

from trilithon.foundation.errors import ConfigError
from trilithon.supervisor.pid_file import PidFile

pytestmark = [pytest.mark.real, pytest.mark.once]

OWNER = """
import sys
from trilithon.supervisor.pid_file import PidFile

file = PidFile(sys.argv[1])
file.take_over() if sys.argv[2] == "take_over" else file.write()
print("written", flush=True)
if sys.argv[3] == "fork":
    import os
    if (child := os.fork()) != 0:
        print(child, flush=True)
sys.stdin.read()
if sys.argv[3] == "remove":
    file.remove()
"""


@pytest.fixture
def path(tmp_path):
    """The path of a PID file in a directory of its own."""
    return tmp_path / "site.pid"


@contextlib.contextmanager
def owner(path, how="write", end="remove"):
    """A process that owns the file until the context is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path), how, end],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "written\n", process.stderr.read()
            yield process
            process.stdin.close()
            assert process.wait(30) == (0 if end != "fork" else -signal.SIGKILL)
        finally:
            if process.poll() is None:
                process.kill()


def test_it_holds_the_process_id_while_the_server_lives(path):
    file = PidFile(str(path))
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == ["site.pid"]
    file.remove()
    assert os.listdir(path.parent) == []
    file.remove()


def test_a_mask_does_not_hide_it(path):
    before = os.umask(0o077)
    try:
        file = PidFile(str(path))
        file.write()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    file.remove()


def test_one_of_a_living_server_refuses_the_start(path):
    with owner(path) as other:
        with pytest.raises(ConfigError, match=f"process id {other.pid} runs already"):
            PidFile(str(path)).write()
        assert path.read_text() == f"{other.pid}\n"
        assert os.listdir(path.parent) == ["site.pid"]
    assert not path.exists()


def test_one_of_a_killed_server_is_replaced(path):
    with owner(path, end="keep") as other:
        pass
    assert path.read_text() == f"{other.pid}\n"
    file = PidFile(str(path))
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()


def test_one_whose_process_id_another_program_has_is_replaced(path):
    path.write_text("1\n")
    file = PidFile(str(path))
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert file.is_ours()
    file.remove()


def test_an_empty_one_is_replaced(path):
    path.write_text("")
    file = PidFile(str(path))
    file.write()
    assert file.is_ours()
    file.remove()


def test_a_worker_that_outlives_the_server_does_not_keep_it(path):
    with owner(path, end="fork") as other:
        worker = int(other.stdout.readline())
        other.kill()
        other.wait(30)
        os.kill(worker, 0)  # it lives, and has the descriptor
        file = PidFile(str(path))
        file.write()
        assert path.read_text() == f"{os.getpid()}\n"
        file.remove()


def test_many_starts_at_once_have_one_winner(path):
    path.write_text("999999\n")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OWNER, str(path), "write", "remove"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    first = [process.stdout.readline() for process in processes]
    assert first.count("written\n") == 1
    winner = processes[first.index("written\n")]
    assert path.read_text() == f"{winner.pid}\n"
    for process in processes:
        _, errors = process.communicate()
        assert process is winner or "runs already" in errors
    assert os.listdir(path.parent) == []


def test_an_upgrade_takes_it_over_and_the_old_server_leaves_it(path):
    old = PidFile(str(path))
    old.write()
    with owner(path, "take_over") as new:
        assert path.read_text() == f"{new.pid}\n"
        assert not old.is_ours()
        old.remove()
        assert path.read_text() == f"{new.pid}\n"
        with pytest.raises(ConfigError, match=f"process id {new.pid} runs already"):
            PidFile(str(path)).write()
    assert not path.exists()


def test_the_way_back_of_an_upgrade_takes_it_back(path):
    old = PidFile(str(path))
    old.write()
    with owner(path, "take_over"):
        old.take_over()
        assert path.read_text() == f"{os.getpid()}\n"
    assert path.read_text() == f"{os.getpid()}\n"  # the new server left what was not its own any more
    old.remove()
    assert not path.exists()


@pytest.mark.parametrize("text", ["root:x:0:0", "12 34", "99999999999"])
def test_a_file_that_is_none_is_not_touched(path, text):
    path.write_text(text)
    with pytest.raises(ConfigError, match="holds no process id"):
        PidFile(str(path)).write()
    assert path.read_text() == text
    assert os.listdir(path.parent) == ["site.pid"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/etc/passwd", path)])
def test_what_is_no_file_is_not_touched(path, make):
    make(path)
    with pytest.raises(ConfigError, match="choose another path"):
        PidFile(str(path)).write()
    assert os.listdir(path.parent) == ["site.pid"]


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"pid_file.*cannot be written: No such file"):
        PidFile(str(tmp_path / "none" / "site.pid")).write()


def test_the_working_directory_may_change(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    file = PidFile("site.pid")
    file.write()
    monkeypatch.chdir("/")
    file.remove()
    assert not path.exists()


class TestService:
    """The option of a running service."""

    def test_it_is_there_while_the_service_runs(self, launch, path):
        service = launch("pids:app", "--pid-file", str(path)).started()
        assert path.read_text() == f"{service.pid}\n"
        assert service.stop() == 0
        assert not path.exists()

    def test_a_second_start_is_refused_before_it_listens(self, launch, path):
        service = launch("pids:app", "--pid-file", str(path)).started()
        second = launch("pids:app", "--pid-file", str(path))
        assert second.end() == 2
        assert f"the server with process id {service.pid} runs already; stop it first" in second.log
        assert "serves" not in second.log
        assert service.get()[0] == 200
        assert path.read_text() == f"{service.pid}\n"

    def test_one_that_a_killed_service_left_is_replaced_though_its_worker_lives_on(self, launch, write, path):
        # The worker does not notice that its supervisor is gone: it is in a call.
        write({"stuck.py": STUCK})
        os.mkfifo(path.parent / "gate")
        service = launch("stuck:app", "--pid-file", str(path)).started()
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n")
            with open(path.parent / "gate", "w"):  # somebody reads: the call has begun
                service.send(signal.SIGKILL)
                service.process.wait(30)
                assert path.read_text() == f"{service.pid}\n"
                second = launch("pids:app", "--pid-file", str(path)).started()
                assert path.read_text() == f"{second.pid}\n"
        assert second.stop() == 0
        assert not path.exists()

    def test_a_start_that_fails_leaves_none(self, launch, path):
        service = launch("nothing_of_that_name:app", "--pid-file", str(path))
        assert service.end() == 3
        assert os.listdir(path.parent) == ["pids.py"]

    def test_a_directory_that_is_not_there_stops_the_start(self, launch, path):
        service = launch("pids:app", "--pid-file", str(path.parent / "none" / "site.pid"))
        assert service.end() == 2
        assert "cannot be written: No such file or directory" in service.log
        assert "Traceback" not in service.log and "serves" not in service.log


STUCK = """
def app(environ, start_response):
    open("gate").read()
    start_response("200 OK", [])
    return [b""]
"""
