"""Measure how evenly a server with several workers spreads unequal traffic and bursts of new connections."""

import json
import sys
import time
from pathlib import Path

from benchmarks.balance_cases import BalanceCase
from benchmarks.load import LoadError, run_load
from benchmarks.measure import cpu_time, pss_kib
from benchmarks.trial import Bench, Figures, Trial, ask_right, serving

CLIENT = Path(__file__).with_name("balance_load.py")
SETTLING_S = 0.5
"""Workers of some servers come up one after the other, and the first answer is that of the first."""


def measure_balance(bench: Bench, trial: Trial) -> Figures:
    """Return the figures of one setting; StartFault or LoadError says why there are none."""
    case = trial.case
    assert isinstance(case, BalanceCase)
    with serving(bench, trial, lambda port: ask_right(bench, case, port)) as (root, port):
        time.sleep(SETTLING_S)
        before, begun_s = cpu_time(root, bench.core), time.monotonic()
        figures = put_load(bench, trial, case, port)
        wall_s = time.monotonic() - begun_s
        used = cpu_time(root, bench.core).since(before)
        memory = pss_kib(root)
    count = figures["requests"]
    if not count:
        raise LoadError("not one request was answered")
    return {
        "requests_per_s": count / figures["seconds"],
        "offered_per_s": float(case.offered) if trial.setting == "uneven" else 0.0,
        "busiest": figures["busiest"],
        "user_us": used.user_s / count * 1e6,
        "system_us": used.system_s / count * 1e6,
        "cpu_us": used.total_s / count * 1e6,
        "cpu_share": used.total_s / wall_s,
        "neighbours_share": max(0.0, used.core_s - used.total_s) / wall_s,
        "pss_kib": memory,
        "faults": figures["failed"],
        **{name: figures[name] for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")},
    }


def put_load(bench: Bench, trial: Trial, case: BalanceCase, port: int) -> dict[str, float]:
    """Run the clients for some seconds; their Python is the one that runs this."""
    numbers = [port, case.connections, bench.seconds, case.offered, case.workers]
    words = [sys.executable, str(CLIENT), trial.setting, *map(str, numbers)]
    return json.loads(run_load(words, bench.driver.core, b"", bench.seconds))
