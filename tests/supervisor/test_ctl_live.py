"""The control socket of a real server: each command does to its workers what it says."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys

import pytest
from hangs import HANGS
from load import Load
from service import environment, until

pytestmark = [pytest.mark.real, pytest.mark.once]


@pytest.fixture
def ctl(tmp_path):
    """Return a function that runs `trilithon ctl` and returns its exit code, output and errors."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "trilithon", "ctl", "--socket", "control", *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=50,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def serve(launch):
    """Return a function that starts a server with a control socket."""
    return lambda *arguments: launch(*arguments, "--control-socket", "control").started()


def status(ctl):
    """Return the status of the server."""
    code, out, _ = ctl("status", "--json")
    assert code == 0
    return json.loads(out)


def test_nothing_is_opened_unless_asked_for(launch, tmp_path):
    service = launch("pids:app", "--workers", "1").started()
    assert [path for path in tmp_path.rglob("*") if stat.S_ISSOCK(path.stat().st_mode)] == []
    with open("/proc/net/unix", encoding="ascii") as file:
        assert str(tmp_path) not in file.read()
    assert service.stop() == 0


def test_the_socket_alone_brings_a_supervisor(serve, ctl, tmp_path):
    service = serve("pids:app")
    assert stat.S_IMODE((tmp_path / "control").stat().st_mode) == 0o600
    found = status(ctl)
    assert found["supervisor"]["pid"] == service.pid
    assert [worker["pid"] for worker in found["workers"]] == service.children()
    assert service.stop() == 0
    assert not (tmp_path / "control").exists()


def test_a_second_server_does_not_take_the_socket(serve, launch, ctl, tmp_path):
    service = serve("pids:app")
    second = launch("pids:app", "--control-socket", "control")
    assert second.end() == 4
    assert "a running server listens there" in second.log
    assert status(ctl)["supervisor"]["pid"] == service.pid
    # One that was killed leaves a socket that is replaced.
    service.stop(signal.SIGKILL)
    assert (tmp_path / "control").exists()
    third = serve("pids:app")
    assert status(ctl)["supervisor"]["pid"] == third.pid
    assert third.stop() == 0


@pytest.mark.parametrize("target", ["pids:app", "pids:wsgi"])
def test_status_tells_what_workers_do(serve, ctl, target):
    service = serve(target, "--workers", "2")
    with Load(service.port, steady=4, slow=0, fresh=0, streams=2):
        found = until(
            lambda: (now := status(ctl)) and busy(now) and now, "both protocols and their figures in the status"
        )
        text = ctl("status")[1]
    assert found["supervisor"]["state"] == "serving"
    assert found["supervisor"]["wanted"] == 2
    assert found["supervisor"]["addresses"] == [f"127.0.0.1:{service.port}"]
    for worker in found["workers"]:
        assert worker["state"] == "ready" and worker["generation"] == 1
        assert 0 < worker["rss_bytes"] < 1 << 30
        assert worker["bytes_sent"] > worker["bytes_received"] > 0 or not worker["requests"]
        assert 0 <= worker["age_s"] <= found["supervisor"]["uptime_s"]
    rows = [line.split() for line in text.splitlines() if " ready " in line]
    assert [int(row[1]) for row in rows] == service.children()
    assert service.stop() == 0


def busy(found):
    """Tell whether a status shows what the load does, added up over the workers."""
    workers = found["workers"]
    kinds = {name: sum(worker["connections"][name] for worker in workers) for name in ("all", "http1", "http2")}
    return (
        kinds["http1"] >= 4
        and kinds["http2"] >= 2
        and kinds["all"] >= 6
        and all(worker["requests"] and worker["rss_bytes"] and worker["p99_s"] for worker in workers)
        and all(worker["p50_s"] <= worker["p99_s"] for worker in workers)
    )


def test_a_worker_that_died_is_in_the_status(serve, ctl):
    service = serve("pids:app", "--workers", "1")
    (victim,) = service.children()
    os.kill(victim, signal.SIGKILL)
    until(lambda: (found := service.children()) and victim not in found, "another worker")
    found = status(ctl)["supervisor"]
    assert found["restarts"] == 1
    assert f"(pid {victim}) ended by SIGKILL" in found["recent"][0]["what"]
    assert f"(pid {victim}) ended by SIGKILL" in ctl("status")[1]
    assert service.stop() == 0


@pytest.mark.parametrize("target", ["pids:app", "pids:wsgi"])
def test_a_stopped_worker_is_in_the_status_and_in_the_log(serve, ctl, target):
    service = serve(target, "--workers", "2", "--hang-timeout", "0")
    victim, other = service.children()
    os.kill(victim, signal.SIGSTOP)
    until(lambda: states(ctl) == {victim: "stopped", other: "ready"}, "a stopped worker in the status")
    assert re.search(rf" {victim} +stopped ", ctl("status")[1])
    service.wait_for(rf"WARNING worker \d \(pid {victim}\) is stopped, by SIGSTOP or a debugger")
    os.kill(victim, signal.SIGCONT)
    service.wait_for(rf"WARNING worker \d \(pid {victim}\) goes on after it was stopped")
    assert states(ctl) == {victim: "ready", other: "ready"}
    assert service.stop() == 0
    assert service.log.count(f"(pid {victim})") == 2


def states(ctl):
    """Return the state of each worker by its process id."""
    return {worker["pid"]: worker["state"] for worker in status(ctl)["workers"]}


@pytest.mark.parametrize("target", ["hanging:app", "hanging:wsgi"])
def test_a_worker_that_does_not_respond_is_in_the_status(serve, ctl, write, target):
    write({"hanging.py": HANGS})
    service = serve(target, "--workers", "1", "--hang-timeout", "0")
    (victim,) = service.children()
    with socket.create_connection(("127.0.0.1", service.port), 20) as client:
        client.sendall(b"GET /foreign HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: states(ctl) == {victim: "unresponsive"}, "a worker that does not respond")
        (worker,) = status(ctl)["workers"]
        assert worker["loop_lag_s"] >= 5
    assert service.stop(signal.SIGQUIT) == 131


def test_reload_comes_back_when_all_workers_are_new(serve, ctl):
    service = serve("pids:app", "--workers", "2")
    before = service.children()
    assert ctl("reload") == (0, "reloaded\n", "")
    found = status(ctl)
    ready = [worker["pid"] for worker in found["workers"] if worker["state"] == "ready"]
    assert len(ready) == 2 and not set(ready) & set(before)
    assert {worker["generation"] for worker in found["workers"] if worker["state"] == "ready"} == {2}
    assert service.stop() == 0


def test_a_failed_reload_has_the_traceback_of_the_new_code(serve, ctl, write):
    service = serve("pids:app", "--workers", "2")
    before = service.children()
    write({"pids.py": "def broken():\n    raise ZeroDivisionError('on purpose')\n\n\nbroken()\n"})
    code, out, err = ctl("reload")
    assert (code, out) == (6, "")
    assert "ZeroDivisionError: on purpose" in err and "pids.py" in err and "line 2" in err
    assert service.children() == before
    assert service.stop() == 0


def test_scale(serve, ctl):
    service = serve("pids:app", "--workers", "1")
    for arguments, count in (("3", 3), ("+1", 4), ("-2", 2)):
        assert ctl("scale", arguments)[0] == 0
        until(lambda count=count: len(service.children()) == count, f"{count} workers")
    for arguments in ("0", "-2"):
        code, _, err = ctl("scale", arguments)
        assert code == 6 and "at least one worker" in err
    code, _, err = ctl("scale", "129")
    assert code == 6 and "128 workers are the most" in err
    assert len(service.children()) == 2
    assert service.stop() == 0


def test_reopen(serve, ctl, tmp_path):
    service = serve("pids:app", "--workers", "1", "--access-log", "common", "--access-log-file", "access.log")
    service.get("/one")
    until(lambda: "/one" in (tmp_path / "access.log").read_text(), "the first line")
    os.rename(tmp_path / "access.log", tmp_path / "access.log.1")
    assert ctl("reopen") == (0, "log files are open anew\n", "")
    until((tmp_path / "access.log").exists, "the new file")
    service.get("/two")
    until(lambda: "/two" in (tmp_path / "access.log").read_text(), "the second line")
    assert "/two" not in (tmp_path / "access.log.1").read_text()
    assert service.stop() == 0


@pytest.mark.parametrize("arguments", [["stop"], ["stop", "--quick"]])
def test_stop_comes_back_when_the_server_is_gone(serve, ctl, tmp_path, arguments):
    service = serve("pids:app", "--workers", "2")
    workers = service.children()
    assert ctl(*arguments) == (0, "stopped\n", "")
    assert service.process.poll() == 0
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]
    assert not (tmp_path / "control").exists()
    assert ctl("status")[0] == 6


def test_a_server_that_is_stopped_does_not_hold_the_command_for_ever(serve, tmp_path):
    service = serve("pids:app", "--workers", "1")
    code = (
        "from trilithon.cli import control, main\n"
        "control.ANSWER_TIMEOUT_S = 0.5\n"
        "raise SystemExit(main.main(['ctl', '--socket', 'control', 'status']))"
    )
    service.send(signal.SIGSTOP)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
    )
    service.send(signal.SIGCONT)
    assert done.returncode == 6
    assert "the server does not answer; is it stopped or stuck?" in done.stderr
    assert service.stop() == 0
