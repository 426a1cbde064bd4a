"""The instruments: the paced load, the readings of /proc, and the ending of processes."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.environment import ROOT, build
from benchmarks.load import Driver, LoadError, ask_once, idle_connections, is_open
from benchmarks.measure import cpu_time, pss_kib
from benchmarks.ports import free_port
from benchmarks.process import end, family, read_stat, running
from benchmarks.trial import EarlyEnd, wait_until_right

pytestmark = [pytest.mark.real, pytest.mark.once]

CONSTANT = next(case for case in CASES if case.name == "constant-wsgi")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the C programs once."""
    place = tmp_path_factory.mktemp("programs")
    for name in ("floor", "pace"):
        build(ROOT / "benchmarks" / f"{name}.c", place / name)
    return place


@pytest.fixture
def floor(programs: Path, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Run the bare server; give its process id and port."""
    port = free_port()
    output = tmp_path / "output"
    command = [str(programs / "floor"), str(port)]
    with running(command, core=None, environment=dict(os.environ), output=output, directory=tmp_path) as process:
        wait_until_right(process, CONSTANT, port, output)
        yield process.pid, port


def test_the_pace_is_kept_and_counted(floor: tuple[int, int], programs: Path) -> None:
    driver = Driver("wrk", programs / "pace", None)
    case = dataclasses.replace(CONSTANT, connections=4)
    figures = driver.paced(case, floor[1], 500, 0.4)
    assert figures["wanted"] == 200
    assert abs(figures["requests"] - 200) <= 1
    assert figures["failed"] == figures["reconnected"] == 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["p999_ms"] <= figures["max_ms"]


def test_the_closed_loop_asks_as_fast_as_it_can(floor: tuple[int, int], programs: Path) -> None:
    figures = Driver("wrk", programs / "pace", None).paced(CONSTANT, floor[1], 0, 0.2)
    assert figures["requests"] == figures["wanted"] > 64


def test_only_answers_within_the_counted_time_count(floor: tuple[int, int], programs: Path) -> None:
    driver = Driver("wrk", programs / "pace", None)
    case = dataclasses.replace(CONSTANT, connections=4)
    figures = driver.settled(case, floor[1], 1.0, 0.5)
    assert figures["seconds"] == 1.0
    assert figures["requests"] == figures["wanted"] > 64
    assert figures["failed"] == figures["reconnected"] == 0


def test_a_load_that_cannot_connect_is_no_measurement(programs: Path) -> None:
    with pytest.raises(LoadError, match="refused"):
        Driver("wrk", programs / "pace", None).paced(CONSTANT, free_port(), 10, 0.1)


def test_a_wrong_answer_is_said(floor: tuple[int, int]) -> None:
    with pytest.raises(LoadError, match="status 200, 13 bytes where 3 are right"):
        ask_once(dataclasses.replace(CONSTANT, body=b"abc"), floor[1], 5.0)


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    output = tmp_path / "output"
    command = [sys.executable, "-c", "import sys; sys.exit('Error: address in use')"]
    with (
        running(command, core=None, environment=dict(os.environ), output=output, directory=tmp_path) as process,
        pytest.raises(EarlyEnd, match="ended with code 1: Error: address in use"),
    ):
        wait_until_right(process, CONSTANT, free_port(), output)


def test_idle_connections_are_seen_to_be_open_or_closed(floor: tuple[int, int]) -> None:
    with idle_connections(dataclasses.replace(CONSTANT, connections=3), floor[1]) as peers:
        assert list(map(is_open, peers)) == [True, True, True]
        os.kill(floor[0], 9)
        deadline_s = time.monotonic() + 5
        while any(map(is_open, peers)) and time.monotonic() < deadline_s:
            pass
        assert not any(map(is_open, peers))


def test_what_a_process_used_is_read() -> None:
    code = "import os, sys\nwhile os.times().user < 0.2: pass\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        used = cpu_time(process.pid, None)
        assert 0.18 <= used.user_s < 5
        assert used.core_s > 0
        assert 1_000 < pss_kib(process.pid) < 1_000_000
        end(process)


def test_a_stubborn_orphan_is_ended_too() -> None:
    orphan = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {orphan!r}]); sys.exit(0)"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        left = [stat for stat in family(process.pid) if stat.pid != process.pid]
        assert len(left) == 1
        end(process)
        after = read_stat(left[0].pid)
        assert after is None or not after.is_running or after.begun != left[0].begun
        assert process.returncode is not None
