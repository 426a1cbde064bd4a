"""`--reload` with real processes: new code answers, nothing is refused meanwhile, faults are shown until mended."""

import fcntl
import http.client
import os
import pty
import re
import signal
import ssl
import subprocess
import sys
import termios
import threading
from contextlib import closing
from pathlib import Path

import pytest
from service import SOURCE, children, environment, until

pytestmark = [pytest.mark.real, pytest.mark.once]

DEADLINE_S = 40
HTML = {"Accept": "text/html"}


def source(says, before="", startup=""):
    """Return an application that answers with a word; `before` runs at its import, `startup` in its lifespan."""
    return f'''
{before}
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        {startup or "pass"}
        while (event := (await receive())["type"]) != "lifespan.shutdown":
            await send({{"type": f"{{event}}.complete"}})
        return await send({{"type": "lifespan.shutdown.complete"}})
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    if scope["path"] == "/stream":
        while True:
            await send({{"type": "http.response.body", "body": b"{says}", "more_body": True}})
            if (await receive())["type"] == "http.disconnect" and not os.path.exists("deaf"):
                return
    await send({{"type": "http.response.body", "body": b"{says}"}})
'''


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a file as an editor does, at one stroke."""

    def save_file(name, text):
        draft = tmp_path / f".#{name}"
        draft.write_text(text)
        draft.replace(tmp_path / name)

    return save_file


@pytest.fixture
def develop(launch, save):
    """Return a function that starts `trilithon --reload` on an application that says "one", once it watches."""

    def begin(*arguments, text=None, **variables):
        save("app.py", source("one") if text is None else text)
        service = launch("app:app", "--reload", *arguments, **variables)
        service.wait_for("watching")
        service.started()
        return service

    return begin


def ask(service, path="/", method="GET", headers=None):
    """Send a request of its own connection; returns the answer and its text."""
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=DEADLINE_S)) as connection:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read().decode()


@pytest.fixture(params=["watchfiles", "polling"])
def variables(request, tmp_path_factory):
    """Return the variables with which watchfiles is there, or not."""
    if request.param == "watchfiles":
        return {}
    blocked = tmp_path_factory.mktemp("blocked")
    (blocked / "watchfiles.py").write_text("raise ImportError('not installed')\n")
    return {"PYTHONPATH": f"{blocked}{os.pathsep}{SOURCE}"}


def test_new_code_answers(develop, save, variables, request):
    service = develop(**variables)
    service.wait_for(rf"watching 2 files in \. \({request.node.callspec.params['variables']}")
    assert service.get() == (200, "one")
    save("app.py", source("two"))
    service.wait_for(r"app\.py changed: starting anew")
    service.wait_for(r"started anew in \d+\.\d\d s")
    assert service.get() == (200, "two")
    save("more.py", "")
    service.wait_for(r"more\.py changed: starting anew")
    service.wait_for("started anew in", 2)
    assert service.stop(signal.SIGINT) == 0
    assert "Traceback" not in service.log
    assert "WARNING" not in service.log
    assert "ERROR" not in service.log


@pytest.fixture
def gate(tmp_path):
    """Make a named pipe that `GATE` waits at, and return a function that lets all through from then on."""
    os.mkfifo(tmp_path / "gate")

    def open_gate():
        # Opening waits for whoever reads.
        with open(tmp_path / "gate", "w"):
            pass

    return open_gate


GATE = "open('gate').read()"


def test_requests_wait_during_a_restart_and_none_is_refused(develop, save, gate):
    service = develop()
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=DEADLINE_S)) as kept:
        kept.request("GET", "/")
        assert kept.getresponse().read() == b"one"
        save("app.py", source("two", before=GATE))
        service.wait_for("starting anew")
        # An idle connection is let go at once, in a way that a client sees before it sends again.
        assert kept.sock.recv(1) == b""
    waiting = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=DEADLINE_S) for _ in range(20)]
    for connection in waiting:
        connection.request("GET", "/")
    assert "started anew" not in service.log
    gate()
    for connection in waiting:
        with closing(connection):
            assert connection.getresponse().read() == b"two"


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "new"])
def test_no_request_is_lost_between_two_processes(develop, save, keep):
    service = develop()
    answers, faults = [], []
    ended = threading.Event()

    def go_on():
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=DEADLINE_S)
        with closing(connection):
            while not ended.is_set() and not faults:
                try:
                    connection.request("GET", "/")
                    answers.append(connection.getresponse().read())
                except (OSError, http.client.HTTPException) as fault:
                    faults.append(fault)
                if not keep:
                    connection.close()

    clients = [threading.Thread(target=go_on) for _ in range(2)]
    for client in clients:
        client.start()
    for number, word in enumerate(("two", "three", "four"), 1):
        save("app.py", source(word))
        service.wait_for("started anew", number)
    until(lambda: b"four" in answers or faults, "the newest code")
    ended.set()
    for client in clients:
        client.join()
    assert not faults
    assert list(dict.fromkeys(answers))[:1] == [b"one"]


def test_a_syntax_error_is_shown_until_it_is_mended(develop, save):
    service = develop("--workers", "2")
    save("app.py", "def app(scope:\n    return <nothing>\n")
    service.wait_for("SyntaxError")
    service.wait_for("browsers are shown why")
    answer, text = ask(service, "/any")
    assert (answer.status, answer.headers.get_content_type()) == (500, "text/plain")
    assert "SyntaxError" in text
    assert text.strip() in service.log
    answer, text = ask(service, "/any", headers=HTML)
    assert (answer.status, answer.headers.get_content_type()) == (500, "text/html")
    assert "return &lt;nothing&gt;" in text or "def app(scope:" in text
    save("app.py", source("two"))
    service.wait_for("started anew")
    answer, text = ask(service)
    assert (answer.status, text, answer.headers["Trilithon-Fault"]) == (200, "two", None)


def test_the_first_start_waits_for_the_mending_too(develop, save):
    service = develop(text="import not_there_at_all\n")
    service.wait_for("serves / a fault of the application")
    answer, text = ask(service)
    assert answer.status == 500
    assert "No module named 'not_there_at_all'" in text
    save("app.py", source("two"))
    service.wait_for("started anew")
    assert service.get() == (200, "two")
    assert service.stop() == 0


@pytest.mark.parametrize(
    "text, said",
    [
        (source("x", startup="raise SystemExit('no database')"), "SystemExit('no database')"),
        (
            source("x", startup="return await send({'type': 'lifespan.startup.failed', 'message': 'no database'})"),
            "the application's start-up failed: no database",
        ),
        (source("x", before="import os; os._exit(7)"), "the process ended with exit code 7"),
        (source("x", before="import os; os.kill(os.getpid(), 9)"), "the process ended by SIGKILL"),
        ("application = 7\n", "has no 'app'"),
    ],
    ids=["exit", "lifespan", "process", "signal", "name"],
)
def test_every_fault_of_a_start_is_shown(develop, save, text, said):
    service = develop()
    save("app.py", text)
    service.wait_for("browsers are")
    assert said in ask(service)[1]
    assert ask(service, headers=HTML)[0].status == 500
    save("app.py", source("two"))
    service.wait_for("started anew")
    assert service.get() == (200, "two")


def test_nothing_is_shown_without_reload(launch, save):
    save("app.py", "import not_there_at_all\n")
    service = launch("app:app", "--workers", "1")
    assert service.end() == 3
    assert "not_there_at_all" in service.log


def test_excluded_and_other_files_start_nothing(develop, save, tmp_path):
    service = develop("--reload-exclude", "test_*.py", "--reload-include", "*.py", "--reload-include", "*.toml")
    save("test_app.py", "x = 1\n")
    save("notes.txt", "x\n")
    (tmp_path / ".git").mkdir()
    save("settings.toml", "x = 1\n")
    service.wait_for("settings.toml changed")
    service.wait_for("started anew")
    assert service.log.count(" changed") == 1
    assert "more" not in service.wait_for("settings.toml.*").group()


def test_a_certificate_that_was_accepted_stays(develop, save):
    service = develop("--self-signed")
    first = ssl.get_server_certificate(("127.0.0.1", service.port))
    save("app.py", "import not_there_at_all\n")
    service.wait_for("browsers are shown why")
    assert ssl.get_server_certificate(("127.0.0.1", service.port)) == first
    save("app.py", source("two"))
    service.wait_for("started anew")
    assert ssl.get_server_certificate(("127.0.0.1", service.port)) == first
    assert service.log.count("Serving with a self-signed certificate") == 1


def test_a_directory_that_is_not_there_ends_the_start(launch, save):
    save("app.py", source("one"))
    service = launch("app:app", "--reload", "--reload-dir", "nowhere")
    assert service.end() == 2
    assert re.search(r"reload.dir.* 'nowhere': is not a directory", service.log)


def test_open_streams_do_not_hold_a_restart_up(develop, save):
    service = develop()
    connections = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=DEADLINE_S) for _ in range(3)]
    streams = []
    for connection in connections:
        connection.request("GET", "/stream")
        streams.append(connection.getresponse())
        assert streams[-1].read(3) == b"one"
    save("app.py", source("two"))
    took_s = float(service.wait_for(r"started anew in ([\d.]+) s")[1])
    assert took_s < 15, "the graceful time-out is 30 s"
    for stream in streams:
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            stream.read()
    assert "cut off" not in service.log
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("kind", ["stream", "thread"])
def test_requests_that_do_not_end_are_cut_off_soon(develop, save, gate, tmp_path, kind):
    (tmp_path / "deaf").touch()
    if kind == "thread":
        text = f"def app(environ, start_response):\n    start_response('200 OK', [])\n    yield b'one'\n    {GATE}\n"
    else:
        text = source("one")
    service = develop(text=text)
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=DEADLINE_S)) as connection:
        connection.request("GET", "/stream")
        answer = connection.getresponse()
        assert answer.read(3) == b"one"
        save("app.py", source("two"))
        took_s = float(service.wait_for(r"started anew in ([\d.]+) s")[1])
        assert took_s < 15, "the graceful time-out is 30 s"
    assert service.get() == (200, "two")


def test_interrupting_during_a_restart_ends_at_once(develop, save, gate):
    service = develop()
    save("app.py", source("two", before=GATE))
    service.wait_for("starting anew")
    first = children(service.pid)
    # Another change while the import stands still: it is not waited for.
    save("app.py", source("three", before=GATE))
    service.wait_for("starting anew", 2)
    until(lambda: children(service.pid) != first, "the worker of the second change")
    assert service.stop(signal.SIGINT) == 0
    assert "Traceback" not in service.log
    assert "KeyboardInterrupt" not in service.log


def test_a_start_that_takes_no_signals_is_not_waited_for_long(develop, save, gate, tmp_path):
    service = develop()
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('deaf', 'w').close(); {GATE}"
    save("app.py", source("two", before=deaf))
    service.wait_for("starting anew")
    until(lambda: (tmp_path / "deaf").exists(), "the import to stand still")
    save("app.py", source("three"))
    service.wait_for("is killed: it did not end in time")
    took_s = float(service.wait_for(r"started anew in ([\d.]+) s")[1])
    assert took_s < 20, "a stop takes 65 s elsewhere"
    assert service.get() == (200, "three")


def test_a_worker_that_is_killed_is_replaced_as_ever(develop):
    service = develop()
    worker = int(re.search(r"\d+", str(ask_worker(service)))[0])
    os.kill(worker, signal.SIGKILL)
    service.wait_for("ended by SIGKILL; another one starts")
    until(lambda: set(children(service.pid)) - {worker} and worker not in children(service.pid), "another worker")
    assert service.get() == (200, "one")


def ask_worker(service):
    """Return the process id of the worker: the child that was forked, whose command line is the supervisor's."""
    own = Path("/proc", str(service.pid), "cmdline").read_bytes()
    return next(pid for pid in children(service.pid) if Path("/proc", str(pid), "cmdline").read_bytes() == own)


def test_hangup_starts_anew_with_the_options_of_now(develop, save, tmp_path):
    save("trilithon.toml", 'reload_include = ["*.py"]\n')
    service = develop()
    save("trilithon.toml", 'reload_include = ["*.py", "*.txt"]\n')
    service.send(signal.SIGHUP)
    service.wait_for("starting anew, as asked")
    service.wait_for("started anew")
    service.wait_for("watching", 2)
    save("words.txt", "x\n")
    service.wait_for("words.txt changed")
    service.wait_for("started anew", 2)
    assert service.get() == (200, "one")


def test_a_terminal_that_is_closed_ends_the_server(save, tmp_path):
    save("app.py", source("one"))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "trilithon", "app:app", "--reload", "--bind", "127.0.0.1:0"],
        cwd=tmp_path,
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        said = b""
        while b"watching" not in said or b"serves" not in said:
            said += os.read(ours, 65536)
        family = children(process.pid)
        os.close(ours)
        assert process.wait(DEADLINE_S) == 0
        until(lambda: not [pid for pid in family if Path("/proc", str(pid), "exe").exists()], "the end of all")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_saving_twice_in_one_second_gives_the_second(develop, save, tmp_path):
    service = develop(PYTHONDONTWRITEBYTECODE="")
    for number, word in enumerate(("two", "six", "ten"), 1):
        draft = tmp_path / ".#app.py"
        draft.write_text(source(word))
        os.utime(draft, ns=(10**18 + number, 10**18 + number))
        draft.replace(tmp_path / "app.py")
        service.wait_for("started anew", number)
        assert service.get() == (200, word)
    assert (tmp_path / "__pycache__").is_dir()


def test_nothing_is_left_when_the_supervisor_is_killed(develop):
    service = develop()
    family = children(service.pid)
    assert len(family) == 2, "a worker and the watcher"
    service.process.kill()
    until(lambda: not [pid for pid in family if Path("/proc", str(pid), "exe").exists()], "the end of both")
    assert service.end() == -signal.SIGKILL


def test_a_program_that_calls_run_gets_new_modules(save, tmp_path):
    save("words.py", "WORD = b'one'\n")
    start = "if __name__ == '__main__':\n    run('main:app', reload=True, bind=['127.0.0.1:0'])\n"
    save("main.py", "import words\nfrom trilithon import run\n" + source("x").replace('b"x"', "words.WORD") + start)
    command = [sys.executable, "main.py"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        log = ""
        while not ("watching" in log and "serves" in log):
            log += process.stderr.readline()
        port = int(re.search(r"127\.0\.0\.1:(\d+)", log)[1])
        assert fetch(port) == "one"
        save("words.py", "WORD = b'two'\n")
        while "started anew" not in log:
            log += process.stderr.readline()
        assert fetch(port) == "two"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def fetch(port):
    """Return the text of an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


def test_spawned_workers_start_anew_too(develop, save):
    service = develop("--start-method", "spawn")
    save("app.py", source("two", before="import os; os._exit(7)"))
    service.wait_for("browsers are told so")
    assert "exit code 7" in ask(service)[1]
    save("app.py", source("two"))
    service.wait_for("started anew")
    assert service.get() == (200, "two")
