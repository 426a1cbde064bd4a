"""Measure the sensors example under a number of clients who upload again as soon as they are answered."""

import contextlib
import dataclasses
import http.client
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.claim_cases import UPLOAD, ClaimCase
from benchmarks.load import HOST, LoadError
from benchmarks.measure import cpu_time, pss_kib
from benchmarks.ports import free_port
from benchmarks.process import running
from benchmarks.trial import ANSWER_TIMEOUT_S, APPS, Bench, Figures, Trial, serving, surroundings, wait_until

WARM_S = 1.5
WARM_CLIENTS = 64
MAX_SETTLING_S = 60.0
MAX_COUNTED_S = 15.0
WANTED_ANSWERS = 400
"""Fewer answers than this make no p99."""


def measure_claim(bench: Bench, trial: Trial) -> Figures:
    """Return the figures of one number of clients; StartFault or LoadError says why there are none."""
    case = trial.case
    assert isinstance(case, ClaimCase)
    clients = int(trial.setting)
    with ExitStack() as stack:
        remote = stack.enter_context(remote_service(bench, case.remote_s))
        variables = {"SENSORS_UPSTREAM": remote, "SENSORS_DATABASE": str(fresh_database(bench.scratch))}
        root, port = stack.enter_context(serving(bench, trial, lambda port: upload_once(case, port), variables))
        warm = bench.driver.paced(dataclasses.replace(case, connections=WARM_CLIENTS), port, 0, WARM_S)
        rate = max(1.0, warm["requests"] / warm["seconds"])
        # An answer takes as long as all who wait in front of it, so the first ones come early and prove nothing.
        settling_s = min(MAX_SETTLING_S, 1.0 + 1.5 * clients / rate)
        counted_s = min(MAX_COUNTED_S, max(float(bench.seconds), WANTED_ANSWERS / rate))
        before, begun_s = cpu_time(root, bench.core), time.monotonic()
        figures = bench.driver.settled(dataclasses.replace(case, connections=clients), port, counted_s, settling_s)
        wall_s = time.monotonic() - begun_s
        used = cpu_time(root, bench.core).since(before)
        memory = pss_kib(root)
    if not figures["requests"]:
        raise LoadError("not one upload was answered")
    return {
        "requests_per_s": figures["requests"] / figures["seconds"],
        "offered_per_s": 0.0,
        "cpu_us": used.total_s / wall_s / (figures["requests"] / figures["seconds"]) * 1e6,
        "cpu_share": used.total_s / wall_s,
        "neighbours_share": max(0.0, used.core_s - used.total_s) / wall_s,
        "pss_kib": memory,
        "faults": figures["failed"],
        **{name: figures[name] for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")},
    }


def fresh_database(scratch: Path) -> Path:
    """Return the path of a database that does not exist."""
    path = scratch / "sensors.sqlite3"
    for name in scratch.glob(f"{path.name}*"):
        name.unlink()
    return path


def upload_once(case: ClaimCase, port: int) -> None:
    """Upload once and hold the answer to what is right."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("POST", "/uploads", UPLOAD, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if not case.is_right(answer.status, answer.read()):
            raise LoadError(f"wrong answer: status {answer.status}")
    finally:
        connection.close()


@contextlib.contextmanager
def remote_service(bench: Bench, work_s: float) -> Iterator[str]:
    """Run the stand-in for the remote service beside the load; give its address."""
    port = free_port()
    environment = bench.environment
    command = [str(environment.own_bin / "python"), "-m", "trilithon", "remote:app"]
    command += ["--bind", f"{HOST}:{port}", "--access-log", "off"]
    output = bench.scratch / "remote"
    variables = {**surroundings(bench, is_peer=False), "REMOTE_WORK_S": str(work_s)}
    with running(command, core=bench.driver.core, environment=variables, output=output, directory=APPS) as process:
        wait_until(process, lambda: ask_remote(port), output)
        yield f"http://{HOST}:{port}"


def ask_remote(port: int) -> None:
    """Ask the remote service once."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", "/calibration/ridge-7")
        if connection.getresponse().status != 200:
            raise LoadError("the remote service gives no right answer")
    finally:
        connection.close()
