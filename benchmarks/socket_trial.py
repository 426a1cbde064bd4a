"""One measurement over WebSockets: open them, load them or leave them alone, read what that cost the server."""

import dataclasses
import os
import time
from pathlib import Path

from benchmarks.load import LoadError
from benchmarks.measure import CpuTime, cpu_time, pss_kib
from benchmarks.process import family
from benchmarks.socket_cases import Mode, SocketCase
from benchmarks.socket_check import ask_sockets
from benchmarks.trial import ANSWER_TIMEOUT_S, IDLE_WATCH_S, WARM_S, Bench, Figures, Trial, serving

SETTLE_TIMEOUT_S = 5.0
QUANTILES = ("p50_ms", "p99_ms", "p999_ms", "max_ms")


def measure_sockets(bench: Bench, trial: Trial) -> Figures:
    """Return the figures of one measurement; StartFault or LoadError says why there are none."""
    case = trial.case
    assert isinstance(case, SocketCase)
    with serving(bench, trial, lambda port: ask_sockets(case, port, ANSWER_TIMEOUT_S)) as (root, port):
        if case.mode is Mode.IDLE:
            return hold(bench, case, root, port)
        if case.mode is Mode.CHURN:
            return churn(bench, case, root, port)
        warm(bench, dataclasses.replace(case, connections=min(case.connections, 64)), port)
        return exchange(bench, case, root, port)


def warm(bench: Bench, case: SocketCase, port: int) -> None:
    """Load the server for a moment, so that what it makes once is made."""
    with bench.sockets.opened(case, port, WARM_S) as sockets:
        sockets.load(WARM_S)


def costs(used: CpuTime, wall_s: float, count: float) -> Figures:
    """Return the figures of the processor time that `count` messages or cycles took."""
    return {
        "user_us": used.user_s / count * 1e6,
        "system_us": used.system_s / count * 1e6,
        "cpu_us": used.total_s / count * 1e6,
        "cpu_share": used.total_s / wall_s,
        "neighbours_share": max(0.0, used.core_s - used.total_s) / wall_s,
        "requests_per_s": count / wall_s,
        "offered_per_s": 0.0,
        "faults": 0,
    }


def exchange(bench: Bench, case: SocketCase, root: int, port: int) -> Figures:
    """Exchange messages over open sockets; the opening and the closing of them is not counted."""
    with bench.sockets.opened(case, port, bench.seconds) as sockets:
        before = cpu_time(root, bench.core)
        figures = sockets.load(bench.seconds)
        used = cpu_time(root, bench.core).since(before)
        memory = pss_kib(root)
    if not figures["messages"]:
        raise LoadError("not one message was answered")
    quantiles = {name: figures[name] for name in QUANTILES}
    return {**costs(used, figures["seconds"], figures["messages"]), "pss_kib": memory, **quantiles}


def hold(bench: Bench, case: SocketCase, root: int, port: int) -> Figures:
    """Open sockets that have each been echoed once, and return what keeping them costs the server."""
    warm(bench, dataclasses.replace(case, mode=Mode.ECHO, connections=64), port)
    settle(root, 0)
    before_kib = pss_kib(root)
    with bench.sockets.opened(case, port, 0) as sockets:
        begun = cpu_time(root, bench.core)
        time.sleep(IDLE_WATCH_S)
        used = cpu_time(root, bench.core).since(begun)
        after_kib = pss_kib(root)
        held = sockets.load(0)["open"]
    if held < case.connections:
        raise LoadError(f"holds only {held:.0f} of {case.connections} sockets open")
    return {
        "connections": held,
        "kib_per_connection": (after_kib - before_kib) / held,
        "idle_cpu_ms_per_s": used.total_s / IDLE_WATCH_S * 1e3,
        "pss_kib": after_kib,
    }


def churn(bench: Bench, case: SocketCase, root: int, port: int) -> Figures:
    """Open, echo and close many sockets, first to warm, then to measure; return what that cost and what is left."""
    idle_descriptors = settle(root, 0)
    with bench.sockets.opened(case, port, 0) as sockets:
        sockets.load(0)
    settle(root, idle_descriptors)
    before_kib, before = pss_kib(root), cpu_time(root, bench.core)
    with bench.sockets.opened(case, port, 0) as sockets:
        figures = sockets.load(0)
        used = cpu_time(root, bench.core).since(before)
    if figures["messages"] != case.cycles:
        raise LoadError(f"closed only {figures['messages']:,} of {case.cycles:,} sockets as it should")
    return {
        **costs(used, figures["seconds"], figures["messages"]),
        "descriptors_left": settle(root, idle_descriptors) - idle_descriptors,
        "kib_left": pss_kib(root) - before_kib,
        "pss_kib": pss_kib(root),
        **{name: figures[name] for name in QUANTILES},
    }


def descriptors(root: int) -> int:
    """Count the open descriptors of all processes under `root`."""
    count = 0
    for stat in family(root):
        try:
            count += len(os.listdir(Path("/proc") / str(stat.pid) / "fd"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return count


def settle(root: int, wanted: int) -> int:
    """Wait until no more than `wanted` descriptors are open or their number does not fall any more; return it."""
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    count, unchanged = descriptors(root), 0
    while count > wanted and unchanged < 10 and time.monotonic() < deadline_s:
        time.sleep(0.05)
        before, count = count, descriptors(root)
        unchanged = unchanged + 1 if count == before else 0
    return count
