"""The upgrade: a new program takes over the sockets, or fails and changes nothing."""

import os
import signal
import stat
import sys

import pytest
from load import Load
from service import SOURCE, children, until
from upgrading import Gate, ask_unix, ctl, end, is_gone, upgrade, upgraded, wait_gone

pytestmark = pytest.mark.real


@pytest.fixture(params=["pids:app", "pids:wsgi"])
def target(request):
    """The application, over both interfaces."""
    return request.param


def test_upgrades_lose_nothing(launch, target):
    service = launch(target, "--workers", "2", "--upgrade-standby", "0").started()
    pid = service.pid
    with Load(service.port) as load:
        for number in range(1, 4):
            before = pid
            pid = upgrade(service, number, by=before)
            load.wait_for_more(50)
            wait_gone(before)
            load.wait_for_more(50)
    assert not load.lost
    assert len(load.bodies) >= 4
    assert service.process.wait() == 0
    end(service, pid)
    assert "ERROR" not in service.log


def test_the_old_program_stands_by_without_workers_and_leaves(launch):
    service = launch("pids:app", "--workers", "2", "--upgrade-standby", "1").started()
    before = service.children()
    pid = upgrade(service)
    assert pid not in before
    until(lambda: service.children() == [pid], "the old workers' end")
    assert int(service.get()[1]) in children(pid)
    service.wait_for(rf"INFO process {pid} goes on alone")
    assert service.process.wait() == 0
    assert int(service.get()[1]) in children(pid)
    end(service, pid)


def test_the_new_program_has_the_new_code_and_options(launch, write):
    write({"trilithon.toml": "workers = 1\n", "pids.py": "x = 1\n" + ANSWERING.format("old")})
    service = launch("pids:wsgi").started()
    assert service.get()[1] == "old"
    write({"trilithon.toml": "workers = 2\n", "pids.py": "x = 22\n" + ANSWERING.format("new")})
    pid = upgrade(service)
    until(lambda: service.children() == [pid], "the old workers' end")
    assert len(children(pid)) == 2
    assert service.get()[1] == "new"
    os.kill(service.pid, signal.SIGTERM)
    assert service.process.wait() == 0
    end(service, pid)


ANSWERING = """
def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"{}"]
"""


def test_a_new_program_without_the_option_has_a_supervisor_all_the_same(launch, write):
    write({"trilithon.toml": "workers = 2\n"})
    service = launch("pids:wsgi", "--upgrade-standby", "0").started()
    write({"trilithon.toml": ""})
    pid = upgrade(service)
    assert service.process.wait() == 0
    assert [int(service.get()[1])] == children(pid)
    end(service, pid)


def test_nobody_else_sees_what_was_handed_over(launch, write):
    write({"pids.py": "import os\n" + ANSWERING.replace('b"{}"', "repr(sorted(os.environ)).encode()")})
    service = launch("pids:wsgi", "--workers", "1", "--upgrade-standby", "0").started()
    before = service.get()[1]
    pid = upgrade(service)
    assert service.process.wait() == 0
    assert "UPGRADE" not in before and "PATH" in before
    assert service.get()[1] == before
    end(service, pid)


def test_a_link_may_lead_to_a_newer_place(launch, write, tmp_path):
    write({"one/pids.py": ANSWERING.format("one"), "two/pids.py": ANSWERING.format("two")})
    link = tmp_path / "current"
    link.symlink_to("one")
    service = launch("pids:wsgi", "--workers", "1", "--upgrade-standby", "0", directory=link, PWD=str(link)).started()
    assert service.get()[1] == "one"
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", link)
    pid = upgrade(service)
    assert service.process.wait() == 0
    assert service.get()[1] == "two"
    end(service, pid)


def test_the_mask_of_file_modes_is_that_of_the_start(launch, write):
    write({"pids.py": "import os\n" + ANSWERING.replace('b"{}"', "repr(os.umask(0o077)).encode()")})
    write({"trilithon.toml": 'umask = "027"\n'})
    mask = os.umask(0o022)
    try:
        service = launch("pids:wsgi", "--workers", "1", "--upgrade-standby", "0").started()
    finally:
        os.umask(mask)
    assert service.get()[1] == str(0o027)
    write({"trilithon.toml": ""})
    pid = upgrade(service)
    assert service.process.wait() == 0
    assert service.get()[1] == str(0o022)
    end(service, pid)


def script(interpreter, text=""):
    """Return a console script as installers make them."""
    return f"#!{interpreter}\nimport sys\n{text}\nfrom trilithon.cli.main import main\nsys.exit(main())\n"


def test_a_script_is_run_anew_with_the_python_that_it_names_by_then(launch, tmp_path):
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    path = tmp_path / "serve"
    path.write_text(script(sys.executable))
    path.chmod(0o755)
    service = launch("pids:wsgi", "--workers", "1", "--upgrade-standby", "0", command=[str(path)]).started()
    path.write_text(script(python, f"sys.path[:0] = {[str(SOURCE), *filter(None, sys.path)]!r}"))
    pid = upgrade(service)
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        assert file.read().split(b"\0")[:2] == [os.fsencode(python), os.fsencode(path)]
    assert service.process.wait() == 0
    end(service, pid)


@pytest.mark.parametrize("fault", ["application", "options", "command", "control"])
def test_a_new_program_that_cannot_start_changes_nothing(launch, write, tmp_path, fault):
    path = tmp_path / "serve"
    path.write_text(script(sys.executable))
    path.chmod(0o755)
    service = launch("pids:app", "--workers", "2", command=[str(path)]).started()
    before = service.children()
    if fault == "application":
        write({"pids.py": "import nothing_of_that_name\n"})
    elif fault == "options":
        write({"trilithon.toml": "nonsense = 1\n"})
    elif fault == "control":
        write({"trilithon.toml": f'control_socket = "{"x" * 200}"\n'})
    else:
        path.unlink()
    service.send(signal.SIGUSR2)
    reason = {
        "application": "(?s:.*)nothing_of_that_name",
        "options": "trilithon.toml: nonsense = 1: no such option",
        "command": ".*serve: No such file",
        "control": ".*too long",
    }[fault]
    service.wait_for(f"ERROR not upgraded.*: {reason}")
    until(lambda: service.children() == before, "the end of the new program")
    assert int(service.get()[1]) in before
    assert service.stop() == 0


def test_one_upgrade_at_a_time(launch, write, tmp_path):
    gate = Gate(tmp_path)
    service = launch("pids:app", "--workers", "1", "--upgrade-standby", "0").started()
    (worker,) = service.children()
    gate.put_up(write)
    service.send(signal.SIGUSR2)
    shut = gate.wait_for_visitor()
    service.send(signal.SIGUSR2)
    service.wait_for("ERROR not upgraded: an upgrade is under way already")
    service.send(signal.SIGHUP)
    service.wait_for("ERROR not reloaded: an upgrade is under way")
    assert int(service.get()[1]) == worker
    os.close(shut)
    pid = upgraded(service)
    assert service.process.wait() == 0
    end(service, pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_stop_ends_the_program_that_is_starting_too(launch, write, tmp_path, number):
    gate = Gate(tmp_path)
    service = launch("pids:app", "--workers", "1").started()
    gate.put_up(write)
    service.send(signal.SIGUSR2)
    shut = gate.wait_for_visitor()
    assert service.stop(number) == (131 if number == signal.SIGQUIT else 0)
    os.close(shut)


def test_a_stop_by_command_ends_the_program_that_is_starting_too(launch, write, tmp_path):
    gate = Gate(tmp_path)
    service = launch("pids:app", "--workers", "1", "--control-socket", "control").started()
    workers = service.children()
    gate.put_up(write)
    service.send(signal.SIGUSR2)
    shut = gate.wait_for_visitor()
    (pid,) = set(service.children()) - set(workers)
    assert ctl(tmp_path, "stop") == (0, "stopped\n", "")
    assert is_gone(pid)
    assert service.end() == 0
    os.close(shut)


def test_a_new_program_has_as_many_workers_as_were_asked_for_last(launch):
    service = launch("pids:app", "--workers", "1").started()
    service.send(signal.SIGTTIN)
    service.after("2 workers are wanted")
    until(lambda: len(service.children()) == 2, "two workers")
    pid = upgrade(service)
    assert len(children(pid)) == 2
    end(service, pid)


def test_a_new_program_goes_on_when_the_old_one_is_killed_meanwhile(launch, write, tmp_path):
    gate = Gate(tmp_path)
    service = launch("pids:app", "--workers", "1", "--pid-file", "pid").started()
    workers = service.children()
    gate.put_up(write)
    service.send(signal.SIGUSR2)
    shut = gate.wait_for_visitor()
    (pid,) = set(service.children()) - set(workers)
    service.send(signal.SIGKILL)
    service.process.wait()
    os.close(shut)
    until(lambda: (tmp_path / "pid").read_text().split() == [str(pid)], "the new program in charge")
    wait_gone(*workers)
    assert int(service.get()[1]) in children(pid)
    end(service, pid)


def test_unix_sockets_and_the_files_move_on(launch, tmp_path):
    path = tmp_path / "site.sock"
    service = launch(
        *("pids:wsgi", "--workers", "1", "--upgrade-standby", "0", "-b", f"unix:{path}"),
        *("--pid-file", "pid", "--control-socket", "control"),
    )
    service.wait_for("serves .* with 1 worker")
    inode = path.stat().st_ino
    pid = service.pid
    for number in (1, 2):
        before = pid
        assert (tmp_path / "pid").read_text() == f"{pid}\n"
        pid = upgrade(service, number, by=before)
        wait_gone(before)
        assert int(ask_unix(path)) in children(pid)
        assert path.stat().st_ino == inode
        assert stat.S_ISSOCK((tmp_path / "control").stat().st_mode)
        assert (tmp_path / "pid").read_text() == f"{pid}\n"
    end(service, pid)
    assert not path.exists() and not (tmp_path / "control").exists() and not (tmp_path / "pid").exists()


def test_a_unix_socket_is_where_the_directory_is_by_then(launch, write, tmp_path):
    write({"one/pids.py": ANSWERING.format("one"), "two/pids.py": ANSWERING.format("two")})
    link = tmp_path / "current"
    link.symlink_to("one")
    service = launch(
        *("pids:wsgi", "--workers", "1", "--upgrade-standby", "0", "-b", "unix:site.sock"),
        directory=link,
        PWD=str(link),
    )
    service.wait_for("serves .* with 1 worker")
    assert ask_unix(link / "site.sock") == "one"
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", link)
    pid = upgrade(service)
    assert service.process.wait() == 0
    assert ask_unix(link / "site.sock") == "two"
    assert not (tmp_path / "one" / "site.sock").exists()
    end(service, pid)
    assert not (tmp_path / "two" / "site.sock").exists()


def test_a_unix_socket_whose_file_is_lost_is_bound_anew(launch, tmp_path):
    path = tmp_path / "site.sock"
    service = launch("pids:wsgi", "--workers", "1", "--upgrade-standby", "0", "-b", f"unix:{path}")
    service.wait_for("serves .* with 1 worker")
    path.unlink()
    pid = upgrade(service)
    assert service.process.wait() == 0
    assert int(ask_unix(path)) in children(pid)
    end(service, pid)
    assert not path.exists()


def test_a_changed_list_of_addresses(launch, write, tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    write({"trilithon.toml": f'bind = ["unix:{first}", "unix:{second}"]\n'})
    service = launch("pids:wsgi", "--workers", "1", free_port=False)
    service.wait_for("serves .* with 1 worker")
    write({"trilithon.toml": f'bind = ["unix:{third}", "unix:{second}"]\n'})
    pid = upgrade(service)
    # The worker before may answer what came to it while it left.
    until(lambda: ask_unix(third) == ask_unix(second), "the new worker's answers on both")
    until(lambda: not first.exists(), "the end of the address that is gone")
    service.send(signal.SIGHUP)
    service.wait_for("INFO rolled back")
    wait_gone(pid)
    until(lambda: ask_unix(first) == ask_unix(second), "the old program's answers on both")
    assert not third.exists()
    assert service.stop() == 0
    assert not first.exists() and not second.exists()


@pytest.mark.parametrize("means", [["--preload"], ["--start-method", "spawn"]])
def test_workers_of_every_origin_are_upgraded(launch, means):
    service = launch("pids:app", "--workers", "2", *means).started()
    pid = upgrade(service)
    until(lambda: pid in service.children() and service.get()[1] not in map(str, service.children()), "new workers")
    service.send(signal.SIGHUP)
    service.wait_for("INFO rolled back")
    wait_gone(pid)
    assert service.get()[0] == 200
    pid = upgrade(service, 2)
    os.kill(service.pid, signal.SIGTERM)
    assert service.process.wait() == 0
    assert service.get()[0] == 200
    end(service, pid)
    assert "ERROR" not in service.log
