"""The lifespan at the edge of a process: exit codes, signals during start-up, applications that leave the program."""

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgi_apps import wait_until
from wire_client import DEADLINE_S, Wire

import trilithon

pytestmark = pytest.mark.real

STARTUP_FAILED = 5
APPLICATION = """
import asyncio, sys

def say(text):
    print(text, flush=True)

async def answer(scope, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

async def failing(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is away"})

async def raising(scope, receive, send):
    assert scope["type"] == "lifespan"
    raise LookupError("no lifespan for you")

async def hanging(scope, receive, send):
    await receive()
    say("starting")
    await asyncio.get_running_loop().create_future()

async def blocking(scope, receive, send):
    import time
    await receive()
    say("starting")
    time.sleep(60)

async def stubborn(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    say("begun")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            say("no")

async def leaving(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        say("started")
        await receive()
        say("stopped")
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/exit":
        raise SystemExit(3)
    elif scope["path"] == "/interrupt":
        await asyncio.sleep(0)
        raise KeyboardInterrupt
    else:
        await answer(scope, send)
"""


@contextmanager
def process(tmp_path: pathlib.Path, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run Python beside the application file, with the package under test; ended at the latest on leaving."""
    (tmp_path / "edge_app.py").write_text(APPLICATION)
    source = str(pathlib.Path(trilithon.__file__).parent.parent)
    paths = [str(tmp_path), source, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    running = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with running:
        try:
            yield running
        finally:
            running.kill()


def command(app: str, tmp_path: pathlib.Path, *flags: str) -> list[str]:
    return ["-m", "trilithon", f"edge_app:{app}", "--bind", f"unix:{tmp_path}/socket", *flags]


def in_python(app: str, tmp_path: pathlib.Path, **options: Any) -> list[str]:
    options["bind"] = [f"unix:{tmp_path}/socket"]
    return ["-c", f"import trilithon, sys; sys.exit(trilithon.run('edge_app:{app}', **{options!r}))"]


@pytest.mark.spec("A-LIFE-04", "A-LIFE-17")
@pytest.mark.parametrize("way", ["command", "run"])
def test_startup_failed_is_an_exit_code_of_its_own(way: str, tmp_path: pathlib.Path) -> None:
    arguments = (command if way == "command" else in_python)("failing", tmp_path)
    with process(tmp_path, arguments) as running:
        _, errors = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == STARTUP_FAILED
    assert "the database is away" in errors


@pytest.mark.spec("A-LIFE-06", "A-LIFE-17")
def test_an_exception_with_lifespan_on_is_the_same_exit_code(tmp_path: pathlib.Path) -> None:
    with process(tmp_path, command("raising", tmp_path, "--lifespan", "on")) as running:
        _, errors = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == STARTUP_FAILED
    assert "no lifespan for you" in errors


@pytest.mark.spec("A-LIFE-04")
def test_a_startup_that_takes_too_long_is_the_same_exit_code(tmp_path: pathlib.Path) -> None:
    with process(tmp_path, command("hanging", tmp_path, "--lifespan-timeout", "0.2")) as running:
        _, errors = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == STARTUP_FAILED
    assert errors


@pytest.mark.spec("A-LIFE-16")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_hanging_startup_ends_the_process(
    number: signal.Signals, loop: str, tmp_path: pathlib.Path
) -> None:
    with process(tmp_path, command("hanging", tmp_path, "--loop", loop)) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "starting\n"
        running.send_signal(number)
        running.communicate(timeout=DEADLINE_S)
    assert running.returncode != -signal.SIGKILL


@pytest.mark.spec("A-CORE-24")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("path", ["/exit", "/interrupt"])
def test_an_application_that_leaves_the_program_stops_the_server_gracefully(
    path: str, loop: str, tmp_path: pathlib.Path
) -> None:
    place = str(tmp_path / "socket")

    def is_up() -> bool:
        assert running.poll() is None, running.communicate()
        try:
            with Wire(place) as wire:
                return wire.ask().body == b"ok"
        except OSError:
            return False

    arguments = command("leaving", tmp_path, "--loop", loop, "--linger-timeout", "0.1")
    with process(tmp_path, arguments) as running:
        wait_until(is_up, "the server")
        with Wire(place) as wire:
            wire.get(path)
            wire.rest()
            output, errors = running.communicate(timeout=DEADLINE_S)
    assert output.split() == ["started", "stopped"], errors
    assert running.returncode != -signal.SIGKILL


@pytest.mark.spec("A-DISC-12")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_application_that_refuses_its_cancellation_does_not_keep_the_process(
    loop: str, tmp_path: pathlib.Path
) -> None:
    place = str(tmp_path / "socket")

    def connect() -> bool:
        assert running.poll() is None, running.communicate()
        try:
            wires.append(Wire(place))
        except OSError:
            return False
        return True

    wires: list[Wire] = []
    arguments = command("stubborn", tmp_path, "--loop", loop, "--graceful-timeout", "0.1")
    with process(tmp_path, arguments) as running:
        wait_until(connect, "the server")
        with wires[0] as wire:
            wire.get("/stubborn")
            assert running.stdout is not None
            assert running.stdout.readline() == "begun\n"
            running.send_signal(signal.SIGTERM)
            output, errors = running.communicate(timeout=DEADLINE_S)
    assert "no" in output
    assert "/stubborn" in errors
    assert running.returncode == 0
