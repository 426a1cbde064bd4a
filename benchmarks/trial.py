"""One measurement: start one server for one case, check its answer, warm it, load it, read what it used, end it."""

import contextlib
import dataclasses
import http.client
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case, Kind
from benchmarks.environment import ROOT, Environment, last_line
from benchmarks.file_cases import VARIABLE, FileCase, write_file
from benchmarks.h2load import H2load
from benchmarks.load import Driver, LoadError, ask_once, idle_connections, is_open
from benchmarks.measure import cpu_time, pss_kib
from benchmarks.ports import free_port
from benchmarks.process import running
from benchmarks.servers import MANY_CONNECTIONS, MOUNTED_AT, Plan, Server
from benchmarks.socket_load import SocketDriver

START_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 8.0
WARM_S = 0.4
IDLE_WATCH_S = 1.0
APPS = ROOT / "benchmarks" / "apps"
EXAMPLES = ROOT / "examples"

Figures = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """What all measurements of a run share."""

    environment: Environment
    driver: Driver
    sockets: SocketDriver
    h2load: H2load
    core: int | None
    seconds: int
    scratch: Path


@dataclass(frozen=True)
class Trial:
    """One server in one setting of one case; `rate` is the offered rate where the setting is one."""

    case: Case
    server: Server
    setting: str
    rate: float = 0.0


class StartFault(Exception):
    """A server that does not come to serve the case; the message is the reason in one line."""


class EarlyEnd(StartFault):
    """A server that ended before it served anything."""


def wait_until_right(process: subprocess.Popen[bytes], case: Case, port: int, output: Path) -> None:
    """Ask until the server gives the right answer."""
    return wait_until(process, lambda: ask_once(case, port, ANSWER_TIMEOUT_S), output)


def wait_until(process: subprocess.Popen[bytes], ask: Callable[[], None], output: Path) -> None:
    """Ask until connections are not refused any more; LoadError or a time-out of `ask` mean a wrong answer."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            return ask()
        except LoadError as fault:
            raise StartFault(str(fault)) from None
        except TimeoutError:
            raise StartFault(f"no whole answer in {ANSWER_TIMEOUT_S:.0f} s") from None
        except (OSError, http.client.HTTPException) as fault:
            reason = f"no answer in {START_TIMEOUT_S:.0f} s ({type(fault).__name__})"
        if process.poll() is not None:
            said = last_line(output.read_text(errors="replace"))
            raise EarlyEnd(f"ended with code {process.returncode}: {said}")
        if time.monotonic() > deadline_s:
            raise StartFault(reason)
        time.sleep(0.02)


def surroundings(bench: Bench, is_peer: bool) -> dict[str, str]:
    """Return the environment variables of a server: the applications can be imported, the rest is this process's."""
    path = [str(APPS), str(EXAMPLES)]
    if bench.environment.own_path and not is_peer:
        path.insert(0, str(bench.environment.own_path))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": ""}


@contextlib.contextmanager
def serving(
    bench: Bench, trial: Trial, ask: Callable[[int], None], variables: dict[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """Run a server for the length of the block; give its process id and port once `ask` gets a right answer."""
    case, server = trial.case, trial.server
    environment = bench.environment
    if server.package in environment.missing:
        raise StartFault(environment.missing[server.package])
    plan = Plan(
        app=case.app,
        port=free_port(),
        threads=case.threads,
        bin=environment.peers_bin if server.is_peer else environment.own_bin,
        floor=environment.floor,
        is_logging=trial.setting == "log on",
        is_mounted=trial.setting == "mounted",
        is_crowded=case.connections > MANY_CONNECTIONS,
        certificate=environment.certificate if case.is_tls else None,
        is_http2=case.is_http2,
    )
    output = bench.scratch / "output"
    command = server.command(plan)
    environ = {**surroundings(bench, server.is_peer), **(variables or {})}
    with running(command, core=bench.core, environment=environ, output=output, directory=APPS) as process:
        wait_until(process, lambda: ask(plan.port), output)
        yield process.pid, plan.port


def measure(bench: Bench, trial: Trial) -> Figures:
    """Return the figures of one measurement over HTTP; StartFault or LoadError says why there are none."""
    case = trial.case
    if trial.setting == "mounted":
        case = dataclasses.replace(case, path=MOUNTED_AT + case.path)
    variables = {VARIABLE: str(write_file(bench.scratch))} if isinstance(case, FileCase) else None
    with serving(bench, trial, lambda port: ask_right(bench, case, port), variables) as (root, port):
        if case.kind is Kind.IDLE:
            return hold_idle(bench, case, root, port)
        case = warm(bench, case, port)
        return load(bench, dataclasses.replace(trial, case=case), root, port)


def ask_right(bench: Bench, case: Case, port: int) -> None:
    """Ask once by what carries the case's requests."""
    if case.is_http2:
        bench.h2load.ask_once(case, port, ANSWER_TIMEOUT_S)
    else:
        ask_once(case, port, ANSWER_TIMEOUT_S, bench.environment.certificate if case.is_tls else None)


def warm(bench: Bench, case: Case, port: int) -> Case:
    """Load the server for a moment, so that what it makes once is made; returns the case that is to be measured."""
    if case.requests:
        bench.h2load.throughput(dataclasses.replace(case, requests=case.connections), port, WARM_S)
    elif case.is_http2:
        return bench.h2load.sized(case, port, bench.seconds)
    elif case.is_tls:
        bench.driver.throughput(case, port, 1)
    else:
        bench.driver.paced(case, port, 0, WARM_S)
    return case


def load(bench: Bench, trial: Trial, root: int, port: int) -> Figures:
    """Put the trial's load on a running server and return what came of it."""
    before = cpu_time(root, bench.core)
    begun_s = time.monotonic()
    if trial.rate:
        figures = bench.driver.paced(trial.case, port, trial.rate, bench.seconds)
        spent_s = figures["seconds"]
        faults = figures["failed"]
    else:
        driver = bench.h2load if trial.case.requests else bench.driver
        figures = driver.throughput(trial.case, port, 1 if trial.setting == "capacity" else bench.seconds)
        spent_s = figures["duration_us"] / 1e6
        faults = figures["refused"] + figures["broken"] + figures["timed_out"]
    wall_s = time.monotonic() - begun_s
    used = cpu_time(root, bench.core).since(before)
    requests = figures["requests"]
    if not requests:
        raise LoadError("not one request was answered")
    return {
        "requests_per_s": requests / spent_s,
        "offered_per_s": trial.rate,
        "user_us": used.user_s / requests * 1e6,
        "system_us": used.system_s / requests * 1e6,
        "cpu_us": used.total_s / requests * 1e6,
        "cpu_share": used.total_s / wall_s,
        "neighbours_share": max(0.0, used.core_s - used.total_s) / wall_s,
        "pss_kib": pss_kib(root),
        "faults": faults,
        **{name: figures[name] for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")},
    }


def hold_idle(bench: Bench, case: Case, root: int, port: int) -> Figures:
    """Open connections that have each been served once, and return what keeping them costs the server."""
    warm = dataclasses.replace(case, connections=64)
    bench.driver.paced(warm, port, 0, WARM_S)
    before_kib = pss_kib(root)
    with idle_connections(case, port) as peers:
        begun = cpu_time(root, bench.core)
        time.sleep(IDLE_WATCH_S)
        used = cpu_time(root, bench.core).since(begun)
        after_kib = pss_kib(root)
        held = sum(map(is_open, peers))
    if held < case.connections:
        raise LoadError(f"holds only {held} of {case.connections} connections open")
    return {
        "connections": held,
        "kib_per_connection": (after_kib - before_kib) / held,
        "idle_cpu_ms_per_s": used.total_s / IDLE_WATCH_S * 1e3,
        "pss_kib": after_kib,
    }
