"""The ways back from an upgrade: by a signal, by a command, and by itself when the new program dies."""

import json
import os
import signal
import socket

import pytest
from load import Load
from service import children, until
from upgrading import Gate, ask_unix, ctl, end, upgrade, wait_gone

from benchmarks.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.once]


def moving(launch, write, tmp_path):
    """Start a service whose bind address, in its file of options, is then changed; return it and the new address."""
    old, new = free_port(), free_port()
    text = 'bind = ["127.0.0.1:{}"]\nworkers = 1\ncontrol_socket = "control"\n'
    write({"options.toml": text.format(old)})
    service = launch("pids:app", "--config", "options.toml", free_port=False).started()
    write({"options.toml": text.format(new)})
    assert ctl(tmp_path, "reload")[0] == 0
    service.wait_for("bind has changed")
    assert ctl(tmp_path, "upgrade")[0] == 0
    assert addresses(tmp_path) == [f"127.0.0.1:{new}"]
    return service, old, new


def addresses(directory):
    """Return where is listened, as the control socket tells."""
    return json.loads(ctl(directory, "status", "--json")[1])["supervisor"]["addresses"]


def test_the_way_back_leads_to_the_old_address_behind_a_reload(launch, write, tmp_path):
    service, old, _ = moving(launch, write, tmp_path)
    assert ctl(tmp_path, "rollback") == (0, "rolled back\n", "")
    assert addresses(tmp_path) == [f"127.0.0.1:{old}"]
    assert service.get()[0] == 200
    assert service.stop() == 0


def test_an_address_that_is_taken_meanwhile_is_no_way_back(launch, write, tmp_path):
    service, old, new = moving(launch, write, tmp_path)
    with socket.create_server(("127.0.0.1", old)):
        code, _, err = ctl(tmp_path, "rollback")
        assert code == 6 and f"127.0.0.1:{old}" in err
        service.port = new
        assert service.get()[0] == 200
    assert ctl(tmp_path, "rollback") == (0, "rolled back\n", "")
    service.port = old
    assert service.get()[0] == 200
    assert service.stop() == 0


@pytest.fixture(params=["pids:app", "pids:wsgi"])
def target(request):
    """The application, over both interfaces."""
    return request.param


def test_there_and_back_by_a_signal_loses_nothing(launch, target):
    service = launch(target, "--workers", "2", "--idle-grace", "1").started()
    with Load(service.port) as load:
        for number in (1, 2):
            pid = upgrade(service, number)
            load.wait_for_more(50)
            service.send(signal.SIGHUP)
            service.wait_for("INFO rolled back", number)
            load.wait_for_more(50)
            wait_gone(pid)
    assert not load.lost
    assert service.stop() == 0
    assert "ERROR" not in service.log


def test_there_and_back_by_commands(launch, tmp_path):
    path = tmp_path / "site.sock"
    service = launch(
        *("pids:app", "--workers", "1", "--control-socket", "control", "--pid-file", "pid"),
        *("-b", f"unix:{path}"),
    )
    service.wait_for("serves .* with 1 worker")
    inode = path.stat().st_ino
    assert ctl(tmp_path, "rollback")[0] == 6

    assert ctl(tmp_path, "upgrade")[0] == 0
    pid = int((tmp_path / "pid").read_text())
    assert pid != service.pid
    code, out, _ = ctl(tmp_path, "status")
    assert code == 0
    assert f"supervisor {pid}," in out and f"process {service.pid} stands by" in out

    assert ctl(tmp_path, "rollback") == (0, "rolled back\n", "")
    wait_gone(pid)
    assert (tmp_path / "pid").read_text() == f"{service.pid}\n"
    assert f"supervisor {service.pid}," in ctl(tmp_path, "status")[1]
    assert path.stat().st_ino == inode
    assert int(ask_unix(path)) in service.children()

    # And there again, for good.
    assert ctl(tmp_path, "upgrade")[0] == 0
    pid = int((tmp_path / "pid").read_text())
    assert ctl(tmp_path, "stop") == (0, "stopped\n", "")
    wait_gone(pid)
    assert service.end() == 0
    assert not path.exists() and not (tmp_path / "control").exists() and not (tmp_path / "pid").exists()


def test_a_failed_upgrade_is_told_to_who_asked_for_it(launch, write, tmp_path):
    service = launch("pids:app", "--workers", "1", "--control-socket", "control").started()
    write({"pids.py": "import nothing_of_that_name\n"})
    code, out, err = ctl(tmp_path, "upgrade")
    assert (code, out) == (6, "")
    assert "nothing_of_that_name" in err
    assert service.stop() == 0


def test_options_that_do_not_fit_any_more_are_named(launch, write, tmp_path):
    write({"options.toml": 'workers = 1\ncontrol_socket = "control"\n'})
    service = launch("pids:app", "--config", "options.toml").started()
    write({"options.toml": 'workers = 1\nunknown_to_everybody = 1\ncontrol_socket = "control"\n'})
    code, out, err = ctl(tmp_path, "--socket", "control", "upgrade")
    assert (code, out) == (6, "")
    assert "unknown_to_everybody" in err
    assert service.get()[0] == 200
    assert service.stop() == 0


def test_the_old_program_takes_over_when_the_new_one_dies(launch, tmp_path):
    service = launch("pids:app", "--workers", "2", "--pid-file", "pid", "--control-socket", "control").started()
    pid = upgrade(service)
    workers = children(pid)
    os.kill(pid, signal.SIGKILL)
    service.wait_for(rf"ERROR process {pid} ended by SIGKILL: this one serves again")
    # Workers that lost their supervisor answer what they have, and are gone soon; whoever comes waits.
    until(lambda: int(service.get()[1]) not in workers, "an answer of the old program's workers")
    service.wait_for("INFO rolled back")
    assert (tmp_path / "pid").read_text() == f"{service.pid}\n"
    assert f"supervisor {service.pid}," in ctl(tmp_path, "status")[1]
    wait_gone(*workers)
    # The way is open for another attempt.
    pid = upgrade(service, 2)
    os.kill(service.pid, signal.SIGTERM)
    assert service.process.wait() == 0
    end(service, pid)


def test_the_old_code_that_is_broken_by_now_leaves_the_new_program_alone(launch, write, tmp_path):
    service = launch("pids:app", "--workers", "2", "--control-socket", "control").started()
    pid = upgrade(service)
    until(lambda: service.children() == [pid], "the old workers' end")
    write({"pids.py": "import nothing_of_that_name\n"})
    code, _, err = ctl(tmp_path, "rollback")
    assert code == 6 and "nothing_of_that_name" in err
    until(lambda: service.children() == [pid], "the end of workers that could not start")
    assert int(service.get()[1]) in children(pid)
    write({"pids.py": "from pids2 import app\n", "pids2.py": APP})
    assert ctl(tmp_path, "rollback") == (0, "rolled back\n", "")
    assert service.get()[1] == "repaired"
    wait_gone(pid)
    assert service.stop() == 0


APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"repaired"})
"""


def test_the_new_program_that_dies_on_the_way_back_is_no_hindrance(launch, write, tmp_path):
    gate = Gate(tmp_path)
    service = launch("pids:app", "--workers", "1").started()
    pid = upgrade(service)
    until(lambda: service.children() == [pid], "the old worker's end")
    gate.put_up(write)
    service.send(signal.SIGHUP)
    shut = gate.wait_for_visitor()
    workers = children(pid)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    os.close(shut)
    service.wait_for("INFO rolled back")
    wait_gone(*workers)
    assert [int(service.get()[1])] == service.children()
    assert service.stop() == 0


def test_the_new_program_that_is_stopped_takes_the_old_one_along(launch, tmp_path):
    service = launch("pids:app", "--workers", "1", "--pid-file", "pid").started()
    pid = upgrade(service)
    os.kill(pid, signal.SIGTERM)
    assert service.end() == 0
    assert not (tmp_path / "pid").exists()
    assert "serves again" not in service.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_old_program_may_be_sent_away(launch, tmp_path, number):
    service = launch("pids:app", "--workers", "1", "--pid-file", "pid", "--control-socket", "control").started()
    pid = upgrade(service)
    os.kill(service.pid, number)
    assert service.process.wait() == (131 if number == signal.SIGQUIT else 0)
    assert (tmp_path / "pid").read_text() == f"{pid}\n"
    assert [int(service.get()[1])] == children(pid)
    code, _, err = ctl(tmp_path, "rollback")
    assert code == 6 and "no longer, stands by" in err
    end(service, pid)


def test_the_new_program_goes_on_when_the_old_one_is_killed(launch):
    service = launch("pids:app", "--workers", "1").started()
    workers = service.children()
    pid = upgrade(service)
    service.send(signal.SIGKILL)
    service.process.wait()
    wait_gone(*workers)  # one that leaves answers who has just connected
    assert [int(service.get()[1])] == children(pid)
    end(service, pid)


def test_signals_that_are_for_the_new_program_are_told_so(launch):
    service = launch("pids:app", "--workers", "1").started()
    pid = upgrade(service)
    for number in (signal.SIGUSR2, signal.SIGTTIN):
        service.send(number)
        service.wait_for(f"ERROR {number.name} is for process {pid}, which serves")
    end(service, pid)


def test_a_second_upgrade_has_the_first_as_its_way_back(launch):
    service = launch("pids:app", "--workers", "1").started()
    second = upgrade(service)
    third = upgrade(service, 2, by=second)
    assert service.process.wait() == 0
    os.kill(second, signal.SIGHUP)
    service.wait_for(rf"\[{second}\] INFO rolled back")
    wait_gone(third)
    assert [int(service.get()[1])] == children(second)
    end(service, second)


def test_a_request_that_lasts_is_finished_by_the_old_program(launch, write, tmp_path):
    gate = Gate(tmp_path)
    write({"lasting.py": LASTING})
    service = launch("lasting:wsgi", "--workers", "1", "--upgrade-standby", "0").started()
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n")
        shut = gate.wait_for_visitor()
        (worker,) = service.children()
        pid = upgrade(service)
        assert set(service.children()) == {worker, pid}
        os.close(shut)
        data = b""
        while more := client.recv(65536):
            data += more
    assert data.endswith(str(worker).encode())
    assert service.process.wait() == 0
    end(service, pid)


LASTING = """
import os

def wsgi(environ, start_response):
    open("gate").read()
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""
