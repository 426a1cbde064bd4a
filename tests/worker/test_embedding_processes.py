"""trilithon.run in a process of its own: what signals do, what comes out, and the pytest plugin in another project."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.gateway.raw_client import RawClient, request_bytes

pytestmark = pytest.mark.real

DEADLINE_S = 15.0

PRELUDE = """
import asyncio, os, sys, threading, time
import trilithon

FD = int(sys.argv[1])

def say(text):
    os.write(1, text.encode() + b"\\n")

def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        say("entered")
        sys.stdin.readline()
    if environ["PATH_INFO"] == "/stuck":
        say("entered")
        time.sleep(60)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"done"]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        say("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("ended")
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/hold":
        say("entered")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    if scope["path"] == "/stuck":
        say("entered")
        await asyncio.sleep(60)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})
"""


class Program:
    """A process that runs a script with a listening socket as its first argument."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.site = SimpleNamespace(host="127.0.0.1", port=port)

    def line(self) -> str:
        """Return the next line that the program says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self) -> None:
        """Let one held request go."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return the exit code and what else was said on standard output and error."""
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, out, err


@contextmanager
def program(script: str) -> Iterator[Program]:
    """Start a script and see to it that it is gone afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(descriptor)],
            pass_fds=[descriptor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        port = listener.getsockname()[1]
    try:
        yield Program(process, port)
    finally:
        process.kill()
        process.communicate()


def running(kind: str, **options: Any) -> str:
    """Write a script that runs the application of `kind` and exits with what `run` returned."""
    more = "".join(f", {name}={value!r}" for name, value in options.items())
    return f'sys.exit(trilithon.run({kind}, bind=[f"fd:{{FD}}"]{more}))\n'


KINDS = ["wsgi", "asgi"]
SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_ends_an_idle_server_with_0(kind: str, number: signal.Signals) -> None:
    with program(running(kind)) as running_program, RawClient(running_program.site) as client:
        assert client.ask("/").body == b"done"
        running_program.process.send_signal(number)
        assert client.at_end()
        code, out, err = running_program.end()
    assert code == 0
    assert "Traceback" not in err
    assert out.split() == (["started", "ended"] if kind == "asgi" else [])


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_lets_what_runs_finish(kind: str, number: signal.Signals) -> None:
    with program(running(kind)) as running_program:
        with RawClient(running_program.site) as client:
            client.send(request_bytes("/hold"))
            while running_program.line() != "entered":
                assert running_program.process.poll() is None
            running_program.process.send_signal(number)
            running_program.tell()
            answer = client.answer()
            assert (answer.body, answer.complete) == (b"done", True)
            assert client.at_end()
        code, out, err = running_program.end()
    assert code == 0
    assert "Traceback" not in err
    assert ("ended" in out) == (kind == "asgi")


@pytest.mark.parametrize("numbers", [SIGNALS, [signal.SIGINT, signal.SIGINT]], ids=["term-int", "int-int"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_signal_ends_at_once(kind: str, numbers: list[signal.Signals]) -> None:
    with program(running(kind, graceful_timeout_s=50)) as running_program, RawClient(running_program.site) as client:
        client.send(request_bytes("/stuck"))
        while running_program.line() != "entered":
            assert running_program.process.poll() is None
        with RawClient(running_program.site) as idle:
            assert idle.ask("/").body == b"done"
            running_program.process.send_signal(numbers[0])
            # The idle connection is closed by the first signal, so the second one is really a second one.
            assert idle.at_end()
        running_program.process.send_signal(numbers[1])
        code, _, err = running_program.end()
    assert code != 0
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", KINDS)
def test_the_graceful_time_bounds_the_stop_and_names_what_was_cut_off(kind: str) -> None:
    script = running(kind, graceful_timeout_s=0.4)
    with program(script) as running_program, RawClient(running_program.site) as client:
        client.send(request_bytes("/stuck"))
        while running_program.line() != "entered":
            assert running_program.process.poll() is None
        running_program.process.send_signal(signal.SIGTERM)
        # An ASGI application that is cancelled before it answered may still be answered for.
        assert b" 200 " not in client.rest()
        code, _, err = running_program.end()
    assert code == 0
    (line,) = [line for line in err.splitlines() if "/stuck" in line]
    assert "GET" in line
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", KINDS)
def test_run_leaves_the_program_that_called_it_to_itself(kind: str) -> None:
    script = f"""
    waiting = threading.Event()
    threading.Thread(target=waiting.wait).start()
    code = trilithon.run({kind}, bind=[f"fd:{{FD}}"], graceful_timeout_s=0.2)
    say(f"returned {{code}}")
    sys.stdin.readline()
    waiting.set()
    sys.exit(7)
    """
    with program(script) as running_program, RawClient(running_program.site) as client:
        client.send(request_bytes("/stuck"))
        while running_program.line() != "entered":
            assert running_program.process.poll() is None
        running_program.process.send_signal(signal.SIGTERM)
        # Requests were cut off, and a thread is there that would keep the command waiting.
        while (line := running_program.line()) != "returned 0":
            assert line
        running_program.tell()
        assert running_program.end()[0] == 7


def test_a_failed_lifespan_is_exit_code_5() -> None:
    script = """
    async def broken(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database today"})
    sys.exit(trilithon.run(broken, bind=[f"fd:{FD}"], lifespan="on"))
    """
    with program(script) as running_program:
        code, _, err = running_program.end()
    assert code == 5
    assert "no database today" in err and "Traceback" not in err


def test_an_address_in_use_is_exit_code_4() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with program(f"sys.exit(trilithon.run(wsgi, bind=['127.0.0.1:{port}']))") as running_program:
            code, _, err = running_program.end()
    assert code == 4
    assert str(port) in err and "Traceback" not in err


def test_run_takes_a_target_by_name(tmp_path: Path) -> None:
    (tmp_path / "named_site.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '5')])\n"
        "    return [b'named']\n"
    )
    script = f'sys.exit(trilithon.run("named_site:app", app_dir={str(tmp_path)!r}, bind=[f"fd:{{FD}}"]))'
    with program(script) as running_program, RawClient(running_program.site) as client:
        assert client.ask("/").body == b"named"
        running_program.process.send_signal(signal.SIGTERM)
        assert running_program.end()[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_run_on_a_thread_that_is_not_the_main_one(kind: str) -> None:
    script = f"""
    threading.Thread(target=trilithon.run, args=({kind},), kwargs=dict(bind=[f"fd:{{FD}}"]), daemon=True).start()
    sys.stdin.readline()
    os._exit(7)
    """
    with program(script) as running_program, RawClient(running_program.site) as client:
        for _ in range(3):
            assert client.ask("/").body == b"done"
        running_program.tell()
        code, _, err = running_program.end()
    assert code == 7
    assert "Traceback" not in err


def test_the_plugin_works_in_another_project(tmp_path: Path) -> None:
    (tmp_path / "test_site.py").write_text(
        textwrap.dedent(
            """
            import urllib.request

            import pytest

            sites = []

            def app(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"from the fixture"]

            def test_first(trilithon_serve):
                sites.append(trilithon_serve(app, threads=2))
                assert urllib.request.urlopen(sites[0].url).read() == b"from the fixture"

            def test_it_was_closed():
                with pytest.raises(OSError):
                    urllib.request.urlopen(sites[0].url)
            """
        )
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "trilithon.pytest_plugin",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    # Installed or not, the plugin is loaded once: by name, not by its entry point.
    environment = {**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_PROXY": "*"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
