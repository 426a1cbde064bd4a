"""Measure what shaking hands over TLS costs a server, in full and when a session is resumed."""

import json
import sys
import time
from pathlib import Path

from benchmarks.load import LoadError, run_load
from benchmarks.measure import cpu_time, pss_kib
from benchmarks.trial import WARM_S, Bench, Figures, Trial, ask_right, serving

CLIENT = Path(__file__).with_name("handshakes.py")
RESUMED_SHARE = 0.95
"""A server that keeps its tickets resumes all but every client's first session."""


def measure_handshakes(bench: Bench, trial: Trial) -> Figures:
    """Return the figures of one setting; StartFault or LoadError says why there are none."""
    with serving(bench, trial, lambda port: ask_right(bench, trial.case, port)) as (root, port):
        shake(bench, trial, port, WARM_S)
        before, begun_s = cpu_time(root, bench.core), time.monotonic()
        figures = shake(bench, trial, port, bench.seconds)
        wall_s = time.monotonic() - begun_s
        used = cpu_time(root, bench.core).since(before)
        memory = pss_kib(root)
    count = figures["requests"]
    if not count:
        raise LoadError("not one handshake was completed")
    if trial.setting == "resumed" and figures["resumed"] < RESUMED_SHARE * count:
        raise LoadError(f"resumed only {figures['resumed']:,.0f} of {count:,.0f} sessions")
    return {
        "requests_per_s": count / figures["seconds"],
        "offered_per_s": 0.0,
        "user_us": used.user_s / count * 1e6,
        "system_us": used.system_s / count * 1e6,
        "cpu_us": used.total_s / count * 1e6,
        "cpu_share": used.total_s / wall_s,
        "neighbours_share": max(0.0, used.core_s - used.total_s) / wall_s,
        "pss_kib": memory,
        "faults": figures["failed"],
        **{name: figures[name] for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")},
    }


def shake(bench: Bench, trial: Trial, port: int, seconds: float) -> dict[str, float]:
    """Run the clients for some seconds; their Python is the one that runs this."""
    words = [trial.setting, str(port), str(trial.case.connections), str(seconds), str(bench.environment.certificate)]
    return json.loads(run_load([sys.executable, str(CLIENT), *words], bench.driver.core, b"", seconds))
