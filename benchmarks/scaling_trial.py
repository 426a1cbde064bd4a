"""Measure what a number of workers answers when applications have so much to do that processors are what counts."""

import dataclasses

from benchmarks.balance_servers import with_workers
from benchmarks.trial import Bench, Figures, Trial, ask_right, load, serving, warm


def measure_scaling(bench: Bench, trial: Trial) -> Figures:
    """Return the figures of one number of workers, on all processors; StartFault or LoadError says why there are none.

    The load shares a processor with them: it takes next to nothing of it, as requests are few.
    """
    command = with_workers(trial.server.command, count=int(trial.setting))
    server = dataclasses.replace(trial.server, command=command)
    trial = dataclasses.replace(trial, server=server)
    bench = dataclasses.replace(bench, core=None, driver=dataclasses.replace(bench.driver, core=None))
    with serving(bench, trial, lambda port: ask_right(bench, trial.case, port)) as (root, port):
        warm(bench, trial.case, port)
        return load(bench, trial, root, port)
