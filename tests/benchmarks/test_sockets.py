"""The WebSocket load: what it counts, what it refuses to count, and the answer it insists on beforehand."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.environment import ROOT, build
from benchmarks.load import LoadError
from benchmarks.ports import free_port
from benchmarks.process import running
from benchmarks.socket_cases import SOCKET_CASES, Mode, SocketCase
from benchmarks.socket_check import ask_sockets
from benchmarks.socket_load import SocketDriver
from benchmarks.trial import wait_until

from .plain_echo import echoing

pytestmark = [pytest.mark.real, pytest.mark.once]

BY_NAME = {case.name: case for case in SOCKET_CASES}
ECHOES = [dataclasses.replace(case, connections=3) for case in SOCKET_CASES if case.mode is Mode.ECHO]
SMALL = dataclasses.replace(BY_NAME["ws-echo-64"], connections=3)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the client once."""
    return build(ROOT / "benchmarks" / "sockets.c", tmp_path_factory.mktemp("programs") / "sockets")


@pytest.fixture
def driver(program: Path, tmp_path: Path) -> SocketDriver:
    """Return a driver that may run on any core."""
    return SocketDriver(program, None, tmp_path)


@pytest.fixture
def port() -> Iterator[int]:
    """Run the honest echo."""
    with echoing() as port:
        yield port


@pytest.mark.parametrize("case", ECHOES, ids=lambda case: case.name)
def test_echoes_are_counted(case: SocketCase, driver: SocketDriver, port: int) -> None:
    with driver.opened(case, port, 0.2) as sockets:
        figures = sockets.load(0.2)
    assert figures["messages"] >= case.connections
    assert figures["open"] == case.connections
    assert figures["seconds"] >= 0.2
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["p999_ms"] <= figures["max_ms"]


@pytest.mark.parametrize("case", ECHOES, ids=lambda case: case.name)
def test_a_right_answer_is_taken_before_measuring(case: SocketCase, port: int) -> None:
    ask_sockets(case, port, 5.0)


@pytest.mark.parametrize("case", ECHOES, ids=lambda case: case.name)
def test_a_wrong_answer_is_not(case: SocketCase) -> None:
    with echoing(lambda said: said[:-1] + b"?") as port, pytest.raises(LoadError, match="wrong answer"):
        ask_sockets(case, port, 5.0)


@pytest.mark.parametrize("wrong", [b"", b"x", b"x" * 63, b"x" * 65, b"y" * 64])
def test_a_load_that_is_answered_wrongly_is_no_measurement(wrong: bytes, driver: SocketDriver) -> None:
    with (
        echoing(lambda said: wrong) as port,
        driver.opened(SMALL, port, 0.2) as sockets,
        pytest.raises(LoadError, match="wrong"),
    ):
        sockets.load(0.2)


def test_an_answer_that_never_comes_is_no_measurement(driver: SocketDriver) -> None:
    def leave(said: bytes) -> bytes:
        raise ConnectionError

    with (
        echoing(leave) as port,
        driver.opened(SMALL, port, 0.2) as sockets,
        pytest.raises(LoadError, match="failed"),
    ):
        sockets.load(0.2)


def test_idle_sockets_are_echoed_once_and_kept(driver: SocketDriver, port: int) -> None:
    case = dataclasses.replace(BY_NAME["ws-idle"], connections=7)
    with driver.opened(case, port, 0) as sockets:
        assert sockets.load(0)["open"] == 7


def test_cycles_are_counted_when_the_closing_handshake_is_done(driver: SocketDriver, port: int) -> None:
    case = dataclasses.replace(BY_NAME["ws-churn"], connections=3, cycles=10)
    with driver.opened(case, port, 0) as sockets:
        assert sockets.load(0)["messages"] == 10


@pytest.mark.parametrize(
    "case", [case for case in ECHOES if "socket-floor" in case.servers], ids=lambda case: case.name
)
def test_the_floor_echoes_as_it_should(case: SocketCase, driver: SocketDriver, tmp_path: Path) -> None:
    floor, port = build(ROOT / "benchmarks" / "socket_floor.c", tmp_path / "socket_floor"), free_port()
    command, output = [str(floor), str(port)], tmp_path / "output"
    with running(command, core=None, environment=dict(os.environ), output=output, directory=tmp_path) as process:
        wait_until(process, lambda: ask_sockets(case, port, 5.0), output)
        with driver.opened(case, port, 0.2) as sockets:
            assert sockets.load(0.2)["messages"] >= case.connections


def test_nobody_listening_is_no_measurement(driver: SocketDriver) -> None:
    with echoing() as port:
        pass
    with pytest.raises(LoadError, match="refused"), driver.opened(SMALL, port, 0.2):
        pass
