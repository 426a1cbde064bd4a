"""The control socket: who may connect, what is bounded, and what each command answers."""

import os
import socket
import stat

import pytest
from control_stage import answer, ask, staged

from trilithon.foundation.errors import BindError
from trilithon.supervisor import control
from trilithon.supervisor.control import CLIENTS_MAX, REQUEST_MAX_BYTES, open_listener, peer_uid

pytestmark = [pytest.mark.real, pytest.mark.once]


@pytest.fixture
def path(tmp_path):
    """Name a socket in a directory of the test."""
    return str(tmp_path / "control")


@pytest.fixture
def stage(path):
    """Serve a control socket."""
    with staged(path) as stage:
        yield stage


def test_only_the_owner_may_connect(stage):
    mode = os.stat(stage.path).st_mode

    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    with stage.connect() as client:
        assert peer_uid(client) == os.geteuid()


def test_the_umask_is_the_same_afterwards(path):
    before = os.umask(0o022)
    try:
        open_listener(path).close()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_another_user_is_refused(stage, monkeypatch):
    monkeypatch.setattr(control, "peer_uid", lambda sock: os.geteuid() + 1)

    with stage.connect() as client:
        assert answer(client) == {"ok": False, "reason": "only the user of the server may do that, and root"}


def test_a_user_that_the_system_does_not_tell_is_refused(stage, monkeypatch):
    monkeypatch.setattr(control, "peer_uid", lambda sock: -1)

    with stage.connect() as client:
        assert answer(client)["ok"] is False


def test_the_socket_of_a_dead_server_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)

    with staged(path) as stage, stage.connect() as client:
        assert ask(client, {"command": "status"})["ok"]


def test_the_socket_of_a_living_server_refuses_the_start(stage):
    with pytest.raises(BindError, match="a running server listens there"):
        open_listener(stage.path)
    with stage.connect() as client:
        assert ask(client, {"command": "status"})["ok"]


def test_a_file_that_is_no_socket_stays(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("mine")

    with pytest.raises(BindError, match="no socket"):
        open_listener(path)
    with open(path, encoding="utf-8") as file:
        assert file.read() == "mine"


def test_a_directory_that_everybody_may_write_to_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)

    with pytest.raises(BindError, match="everybody may write"):
        open_listener(str(shared / "control"))


def test_a_path_that_is_too_long_is_told(tmp_path):
    with pytest.raises(BindError, match="too long"):
        open_listener(str(tmp_path / ("x" * 200)))


def test_a_listener_goes_on_under_another_program(path):
    listener = open_listener(path)
    copy = socket.socket(fileno=os.dup(listener.fileno()))
    with staged(path, listener) as first, first.connect() as client:
        assert ask(client, {"command": "status"})["ok"]
        first.call(first.control.pause)
    with staged(path, copy) as second, second.connect() as client:
        assert ask(client, {"command": "status"})["ok"]


def test_status_is_one_line(stage):
    with stage.connect() as client:
        assert ask(client, {"command": "status"}) == {"ok": True, "status": stage.commands.answer}
        assert answer(client) is None


def test_a_long_status_reaches_a_slow_reader(stage):
    stage.commands.answer = {"workers": ["x" * 1000] * 3000}

    with stage.connect() as client:
        client.sendall(b'{"command": "status"}\n')
        # Others are served while this one has not read.
        with stage.connect() as other:
            assert ask(other, {"command": "rollback"})["ok"]
        assert answer(client)["status"] == stage.commands.answer


def test_reload_is_answered_when_it_is_done(stage):
    with stage.connect() as client, stage.connect() as other:
        client.sendall(b'{"command": "reload"}\n')
        stage.commands.wait_for("reload")
        assert ask(other, {"command": "status"})["ok"]
        stage.call(lambda: stage.commands.pending[0](""))
        assert answer(client) == {"ok": True}


def test_a_failed_reload_says_why(stage):
    with stage.connect() as client:
        client.sendall(b'{"command": "reload"}\n')
        stage.commands.wait_for("reload")
        stage.call(lambda: stage.commands.pending[0]("Traceback\n  line\nImportError: no"))
        assert answer(client) == {"ok": False, "reason": "Traceback\n  line\nImportError: no"}


def test_reload_need_not_be_waited_for(stage):
    with stage.connect() as client:
        assert ask(client, {"command": "reload", "wait": False}) == {"ok": True}
    stage.call(lambda: stage.commands.pending[0]("the end is nobody's"))


def test_whoever_left_does_not_hold_a_place(stage):
    for count in range(1, CLIENTS_MAX + 3):
        with stage.connect() as client:
            client.sendall(b'{"command": "reload"}\n')
            with stage.commands.called:
                assert stage.commands.called.wait_for(lambda at=count: len(stage.commands.pending) == at, 20)

    with stage.connect() as client:
        assert ask(client, {"command": "status"})["ok"]
    stage.call(lambda: [done("") for done in stage.commands.pending])


def test_whoever_ended_only_the_asking_side_is_answered(stage):
    with stage.connect() as client:
        client.sendall(b'{"command": "reload"}\n')
        client.shutdown(socket.SHUT_WR)
        stage.commands.wait_for("reload")
        with stage.connect() as other:
            assert ask(other, {"command": "status"})["ok"]
        stage.call(lambda: stage.commands.pending[0](""))
        assert answer(client) == {"ok": True}


def test_stop_is_answered_and_lasts_until_the_end(stage):
    with stage.connect() as client:
        assert ask(client, {"command": "stop", "quick": True}) == {"ok": True}
        stage.commands.wait_for("stop", True)
        with stage.connect() as other:
            assert ask(other, {"command": "status"})["ok"]
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        client.settimeout(20)
        stage.call(lambda: stage.control.close())
        assert client.recv(1) == b""


def test_scale_takes_a_number_or_a_change(stage):
    for request, wanted in (({"workers": 3}, 3), ({"workers": -1, "relative": True}, 3), ({"workers": 0}, 0)):
        with stage.connect() as client:
            assert ask(client, {"command": "scale", **request}) == {"ok": True, "workers": wanted}
    assert ("scale", -1, False) in stage.commands.calls


def test_a_refused_command_says_why(stage):
    with stage.connect() as client:
        assert ask(client, {"command": "upgrade"}) == {"ok": False, "reason": "an upgrade is under way"}


def test_a_fault_inside_changes_nothing_for_others(stage, caplog):
    with stage.connect() as client:
        assert ask(client, {"command": "reopen"})["ok"] is False
    with stage.connect() as client:
        assert ask(client, {"command": "status"})["ok"]
    assert "a fault on purpose" in caplog.text


@pytest.mark.parametrize(
    ("request_line", "reason"),
    [
        (b"\n", "not JSON"),
        (b"GET / HTTP/1.1\r\n", "not JSON"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[" * 4000 + b"\n", "not JSON"),
        (b"[]\n", "a JSON object"),
        (b"{}\n", "a JSON object"),
        (b'{"command": 1}\n', "a JSON object"),
        (b'{"command": "explode"}\n', "no command 'explode'"),
        (b'{"command": "reload", "wait": "no"}\n', '"wait" must be'),
        (b'{"command": "stop", "quick": 1}\n', '"quick" must be'),
        (b'{"command": "scale"}\n', '"workers" must be'),
        (b'{"command": "scale", "workers": true}\n', '"workers" must be'),
        (b'{"command": "scale", "workers": 1e9}\n', '"workers" must be'),
        (b'{"command": "scale", "workers": 1001}\n', '"workers" must be'),
        (b'{"command": "status"}\n{"command": "status"}\n', "one request at a time"),
        (b"x" * (REQUEST_MAX_BYTES + 1), "longer than"),
    ],
)
def test_what_is_no_request_is_refused(stage, request_line, reason):
    with stage.connect() as client:
        told = ask(client, request_line)

    assert told["ok"] is False and reason in told["reason"]
    assert not [call for call in stage.commands.calls if call[0] in ("stop", "scale", "reload")]


def test_a_client_that_says_nothing_is_let_go(stage, monkeypatch):
    monkeypatch.setattr(control, "REQUEST_TIMEOUT_S", 0.05)

    with stage.connect() as client:
        assert answer(client) == {"ok": False, "reason": "the request did not come in time"}


def test_a_client_that_reads_nothing_is_let_go(stage, monkeypatch):
    monkeypatch.setattr(control, "ANSWER_TIMEOUT_S", 0.1)
    stage.commands.answer = {"workers": ["x" * 1000] * 3000}

    with stage.connect() as client:
        client.sendall(b'{"command": "status"}\n')
        stage.commands.wait_for("status")
        stage.call(lambda: None)
        while stage.call(lambda: len(stage.control.clients)):
            pass
        data = b""
        while more := client.recv(65536):
            data += more
    assert not data.endswith(b"\n")


def test_clients_are_counted(stage):
    silent = [stage.connect() for _ in range(CLIENTS_MAX)]
    try:
        with stage.connect() as client:
            assert answer(client) == {"ok": False, "reason": "too many clients of the control socket at once"}
        silent.pop().close()
        assert asked_until_heard(stage)
    finally:
        for client in silent:
            client.close()


def asked_until_heard(stage):
    """Ask for the status until a place is free; a client that leaves frees its own a moment later."""
    while True:
        with stage.connect() as client:
            client.sendall(b'{"command": "status"}\n')
            told = answer(client)
            if told is not None and told["ok"]:
                return True
