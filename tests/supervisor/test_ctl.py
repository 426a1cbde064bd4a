"""The command `trilithon ctl`: where it finds the server, what it prints, how it ends."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from control_stage import staged

from trilithon.cli.control import Conversation
from trilithon.cli.status import moment, size, span, table
from trilithon.foundation import errors

pytestmark = [pytest.mark.real, pytest.mark.once]

SOURCE = Path(errors.__file__).resolve().parents[2]
WORKER = {
    "worker": 2,
    "slot": 0,
    "pid": 4711,
    "state": "ready",
    "generation": 3,
    "age_s": 3725.0,
    "requests": 1234567,
    "in_flight": 4,
    "queued": 0,
    "connections": {"all": 13, "http1": 10, "http2": 2, "websocket": 0},
    "bytes_received": 6000,
    "bytes_sent": 3 << 40,
    "rss_bytes": 52428800,
    "loop_lag_s": 0.00042,
    "p50_s": 0.0021,
    "p99_s": 0.25,
    "reason": "reload",
}
STATUS = {
    "supervisor": {
        "pid": 99,
        "version": "1.2",
        "uptime_s": 200000.0,
        "state": "reloading",
        "wanted": 2,
        "restarts": 1,
        "addresses": ["127.0.0.1:8000"],
        "recent": [{"ago_s": 65.2, "what": "worker 1 (pid 8) ended by SIGKILL"}],
        "upgrade": "",
    },
    "workers": [WORKER],
}


@pytest.fixture
def stage(tmp_path):
    """Serve a control socket."""
    with staged(tmp_path / "control") as stage:
        yield stage


def begin(directory, *arguments, **variables):
    """Start `trilithon ctl` in a directory."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRILITHON_")}
    return subprocess.Popen(
        [sys.executable, "-m", "trilithon", "ctl", *arguments],
        cwd=directory,
        env={**inherited, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ctl(directory, *arguments, **variables):
    """Run `trilithon ctl` and return its exit code, output and errors."""
    with begin(directory, *arguments, **variables) as process:
        try:
            out, err = process.communicate(timeout=50)
        finally:
            process.kill()
    return process.returncode, out, err


def test_status_is_a_table(stage, tmp_path):
    stage.commands.answer = STATUS

    code, out, err = ctl(tmp_path, "--socket", stage.path, "status")

    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "trilithon 1.2, supervisor 99, up 2d7h, reloading, workers: 1 of 2, replaced: 1"
    assert lines[1] == "listening: 127.0.0.1:8000"
    assert " ".join(lines[3].split()) == (
        "worker pid state gen age requests active queued connections in out memory lag p50 p99"
    )
    assert (
        " ".join(lines[4].split())
        == "2 4711 ready 3 1h2m 1234567 4 0 13 http1:10 http2:2 6K 3.0T 50M 420us 2.1ms 250ms"
    )
    assert lines[6:] == ["worker 2 leaves: reload", "1m5s ago: worker 1 (pid 8) ended by SIGKILL"]


def test_status_may_be_json(stage, tmp_path):
    stage.commands.answer = STATUS

    code, out, _ = ctl(tmp_path, "--socket", stage.path, "status", "--json")

    assert (code, json.loads(out)) == (0, STATUS)


def test_a_table_of_little(tmp_path):
    assert table({}) == "trilithon -, supervisor -, up -, -, workers: 0 of 0, replaced: 0"
    assert table({"workers": [{}]}).splitlines()[-1].split() == ["-"] * 8 + ["0"] + ["-"] * 6


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (span(0.4), "0s"),
        (span(61), "1m1s"),
        (span(86400), "1d0h"),
        (moment(0.0000004), "0us"),
        (moment(0.0015), "1.5ms"),
        (moment(0.0123), "12ms"),
        (moment(1.25), "1.2s"),
        (moment(61.0), "61s"),
        (size(1023), "1023B"),
        (size(2048), "2K"),
        (size(5 << 30), "5.0G"),
        (size(3 << 40), "3.0T"),
    ],
)
def test_quantities_have_units(written, text):
    assert written == text


@pytest.mark.parametrize("source", ["flag", "variable", "toml", "pyproject", "config"])
def test_the_socket_is_found_in_every_source(stage, tmp_path, source):
    arguments, variables = [], {}
    if source == "flag":
        arguments = ["--socket", stage.path]
    elif source == "variable":
        variables = {"TRILITHON_CONTROL_SOCKET": stage.path}
    elif source == "toml":
        (tmp_path / "trilithon.toml").write_text('control_socket = "control"\n')
    elif source == "pyproject":
        (tmp_path / "pyproject.toml").write_text('[tool.trilithon]\ncontrol_socket = "control"\n')
    else:
        (tmp_path / "other.toml").write_text('control_socket = "control"\n')
        arguments = ["--config", "other.toml"]

    assert ctl(tmp_path, *arguments, "scale", "3", **variables) == (0, "3 workers are wanted now\n", "")


def test_a_flag_goes_first(stage, tmp_path):
    code, _, err = ctl(tmp_path, "--socket", "nowhere", "status", TRILITHON_CONTROL_SOCKET=stage.path)

    assert code == 6
    assert "nowhere: nothing is there" in err


def test_no_socket_is_a_fault_of_the_command_line(tmp_path):
    code, out, err = ctl(tmp_path, "status")

    assert (code, out) == (2, "")
    assert "--control-socket PATH" in err and "TRILITHON_CONTROL_SOCKET" in err and "Traceback" not in err


def test_what_is_no_socket(tmp_path):
    (tmp_path / "control").write_text("")
    assert ctl(tmp_path, "--socket", "control", "reload") == (6, "", "trilithon: control: this is no socket\n")


def test_the_socket_of_a_dead_server(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control"))

    code, out, err = ctl(tmp_path, "--socket", "control", "reload")

    assert (code, out) == (6, "")
    assert err == "trilithon: control: the server that made it is gone; start it again\n"


@pytest.mark.parametrize("change", ["+1", "-1"])
def test_scale_takes_a_change(stage, tmp_path, change):
    code, out, _ = ctl(tmp_path, "--socket", stage.path, "scale", change)

    assert (code, out) == (0, f"{4 + int(change)} workers are wanted now\n")
    assert stage.commands.calls == [("scale", int(change), False)]


def test_scale_takes_no_words(stage, tmp_path):
    code, _, err = ctl(tmp_path, "--socket", stage.path, "scale", "many")

    assert code == 2
    assert "write 4, +1 or -1" in err


def test_reload_waits(stage, tmp_path):
    with begin(tmp_path, "--socket", stage.path, "reload") as process:
        stage.commands.wait_for("reload")
        stage.call(lambda: stage.commands.pending[0](""))
        assert process.communicate(timeout=50) == ("reloaded\n", "")
    assert process.returncode == 0


def test_a_failed_reload_prints_the_reason(stage, tmp_path):
    with begin(tmp_path, "--socket", stage.path, "reload") as process:
        stage.commands.wait_for("reload")
        stage.call(lambda: stage.commands.pending[0]("the new code cannot be loaded\nTraceback\n  ImportError: no"))
        out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (6, "")
    assert err == "trilithon: reload: the new code cannot be loaded\nTraceback\n  ImportError: no\n"


def test_reload_need_not_wait(stage, tmp_path):
    assert ctl(tmp_path, "--socket", stage.path, "reload", "--no-wait") == (0, "reload has begun\n", "")
    stage.call(lambda: stage.commands.pending[0](""))


def test_a_server_that_ends_before_it_answers(stage, tmp_path):
    with begin(tmp_path, "--socket", stage.path, "reload") as process:
        stage.commands.wait_for("reload")
        stage.call(lambda: stage.control.close())
        _, err = process.communicate(timeout=50)
    assert process.returncode == 6
    assert "ended before it answered" in err


def test_stop_waits_for_the_end(stage, tmp_path):
    with begin(tmp_path, "--socket", stage.path, "stop") as process:
        stage.commands.wait_for("stop", False)
        assert process.poll() is None
        stage.call(lambda: stage.control.close())
        assert process.communicate(timeout=50) == ("stopped\n", "")
    assert process.returncode == 0


def test_stop_may_be_quick_and_need_not_wait(stage, tmp_path):
    assert ctl(tmp_path, "--socket", stage.path, "stop", "--quick", "--no-wait") == (0, "stop has begun\n", "")
    assert stage.commands.calls == [("stop", True)]


def test_a_refused_upgrade(stage, tmp_path):
    code, _, err = ctl(tmp_path, "--socket", stage.path, "upgrade")

    assert (code, err) == (6, "trilithon: upgrade: an upgrade is under way\n")


def test_rollback(stage, tmp_path):
    assert ctl(tmp_path, "--socket", stage.path, "rollback") == (0, "rolled back\n", "")


def test_what_is_no_server_of_ours(tmp_path):
    path = str(tmp_path / "control")

    def serve(listener):
        sock, _ = listener.accept()
        with sock:
            sock.sendall(b"220 mail.example ESMTP\r\n")
            sock.recv(4096)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        code, _, err = ctl(tmp_path, "--socket", path, "status")
        thread.join()

    assert code == 6
    assert "no control socket of trilithon" in err


def test_a_server_of_somebody_else_is_not_told_anything(stage, monkeypatch):
    from trilithon.cli import control

    monkeypatch.setattr(control, "peer_uid", lambda sock: 12345)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(control.ControlFault, match="belongs to user 12345"), Conversation(stage.path):
        pass
    assert stage.commands.calls == []


def test_help_of_every_command(tmp_path):
    code, out, err = ctl(tmp_path, "--help")

    assert (code, err) == (0, "")
    for command in ("status", "reload", "stop", "scale", "reopen", "upgrade", "rollback"):
        assert f"  {command} " in out
        assert ctl(tmp_path, command, "--help")[0] == 0
