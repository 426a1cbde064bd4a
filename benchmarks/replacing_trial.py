"""Replace the workers of a server again and again under continuous load, and count what was lost."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.balance_servers import with_workers
from benchmarks.load import LoadError
from benchmarks.process import end, pinned, read_stat
from benchmarks.replacing_cases import ReplacingCase
from benchmarks.servers import Plan, Server
from benchmarks.trial import Bench, Figures, Trial, ask_right, serving

CLIENT = Path(__file__).with_name("traffic.py")
MIX = {"steady": 4, "slow": 6, "fresh": 2, "post": 2, "download": 1}
"""The clients that every server gets; kinds are told in traffic.py."""
STAYING = {"socket": 1, "events": 1}
"""Peers wait for ever for the end of these, and a reload of theirs never ends."""
PACE_S = 0.5
STEP_S = 30.0
LIMIT_S = 150.0
PEER_LIMIT_S = 40.0
"""Who is slower is replaced fewer times; of the peers, some seconds tell whether they lose anything."""
END_S = 60.0
PROMOTION_S = 2.0
"""A new gunicorn looks once a second whether the old one is gone, and takes no further upgrade before."""


class Watched:
    """The traffic as a process; `workers` are those that have answered."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.workers: set[int] = set()
        self.counted: dict[str, Any] = {}
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        """Take in what it prints."""
        for line in self.process.stdout or ():
            with self.news, contextlib.suppress(ValueError):
                told = json.loads(line)
                if "new" not in told:
                    self.counted = told
                elif told["new"]:
                    self.workers.add(int(told["new"]))
                self.news.notify_all()

    def wait_for_new(self, count: int, before: set[int]) -> set[int]:
        """Wait until so many other workers have answered, and return them."""
        with self.news:
            if not self.news.wait_for(lambda: len(self.workers - before) >= count, STEP_S):
                raise LoadError(f"new workers did not answer in {STEP_S:.0f} s")
            return self.workers - before

    def finish(self) -> dict[str, Any]:
        """Stop the traffic and return what it counted."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.reader.join(END_S)
        if not self.counted:
            raise LoadError("the traffic did not end: an answer was owed for ever")
        return self.counted


@contextlib.contextmanager
def traffic(bench: Bench, trial: Trial, port: int) -> Iterator[Watched]:
    """Run the traffic for the length of the block; it speaks HTTP/2 by a library that a peer brings along."""
    mix = dict(MIX)
    if trial.server.name == "trilithon":
        mix["streams"] = 2
        if trial.case.interface == "asgi" and trial.setting != "upgrades":
            mix |= STAYING
    how = "tls" if trial.case.is_tls else "plain"
    words = [str(bench.environment.peers_bin / "python"), str(CLIENT), str(port), how]
    words += [f"{kind}={count}" for kind, count in mix.items()]
    process = subprocess.Popen(
        pinned(words, bench.driver.core), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield Watched(process)
    finally:
        end(process)


def measure_replacing(bench: Bench, trial: Trial) -> Figures:
    """Return what was answered and lost in one setting; StartFault or LoadError says why there are no figures."""
    case = trial.case
    assert isinstance(case, ReplacingCase)
    is_upgrade = trial.setting == "upgrades"
    if is_upgrade and trial.server.package == "uvicorn":
        raise LoadError("it has no upgrade")
    case = dataclasses.replace(case, is_tls=trial.setting.endswith("TLS"), is_http2=False)
    trial = dataclasses.replace(trial, case=case, server=with_two(trial.server, case.workers))
    with contextlib.ExitStack() as stack:
        master, port = stack.enter_context(serving(bench, trial, lambda port: ask_right(bench, case, port)))
        clients = stack.enter_context(traffic(bench, trial, port))
        clients.wait_for_new(case.workers, set())
        begun_s = time.monotonic()
        until_s = begun_s + (LIMIT_S if trial.server.package == "trilithon" else PEER_LIMIT_S)
        done = 0
        while done < (case.upgrades if is_upgrade else case.reloads) and time.monotonic() < until_s:
            step_s = time.monotonic()
            try:
                master = replace(clients, master, trial)
            except LoadError:
                if not done:
                    raise
                break  # a server that was replaced so often and then no more; the table says how often
            done += 1
            time.sleep(max(0.0, step_s + PACE_S - time.monotonic()))
        seconds = time.monotonic() - begun_s
        counted = clients.finish()
    return figures_of(counted, done, seconds)


def with_two(server: Server, workers: int) -> Server:
    """Return a server with several workers, started so that it can start itself anew."""
    words = ("--upgrade-standby", "0") if server.package == "trilithon" else ()
    started = with_workers(server.command, *words, count=workers)

    def command(plan: Plan) -> list[str]:
        whole = started(plan)
        if server.package == "trilithon" and not plan.certificate:
            whole += ["--h2c", "on"]
        # Started by -m, gunicorn finds itself no more when it does so by its path.
        return [str(plan.bin / "gunicorn"), *whole[3:]] if server.package == "gunicorn" else whole

    return dataclasses.replace(server, command=command)


def replace(clients: Watched, master: int, trial: Trial) -> int:
    """Replace all workers once; returns the process id that signals go to from now on."""
    if trial.setting == "upgrades":
        return upgrade(clients, master, trial)
    case = trial.case
    assert isinstance(case, ReplacingCase)
    before = set(clients.workers)
    os.kill(master, signal.SIGHUP)
    clients.wait_for_new(case.workers, before)
    return master


def upgrade(clients: Watched, master: int, trial: Trial) -> int:
    """Have a program hand over to a new one and leave; returns the process id of the new one."""
    case = trial.case
    assert isinstance(case, ReplacingCase)
    before = set(clients.workers)
    os.kill(master, signal.SIGUSR2)
    newest = clients.wait_for_new(case.workers, before)
    parents = {stat.parent for pid in newest if (stat := read_stat(pid))} - {master}
    if len(parents) != 1:
        raise LoadError("the new program cannot be told from the old one")
    if trial.server.package == "gunicorn":
        os.kill(master, signal.SIGTERM)
    deadline_s = time.monotonic() + STEP_S
    while (stat := read_stat(master)) and stat.is_running:
        if time.monotonic() > deadline_s:
            raise LoadError(f"the old program did not leave in {STEP_S:.0f} s")
        time.sleep(0.02)
    if trial.server.package == "gunicorn":
        time.sleep(PROMOTION_S)
    return parents.pop()


def figures_of(counted: dict[str, Any], done: int, seconds: float) -> Figures:
    """Return the figures out of what the traffic counted."""
    ends = counted["ends"]
    broken = sum(count for how, count in ends.items() if how.endswith((": broken", ": refused")))
    return {
        "replaced": done,
        "seconds": seconds,
        "answered": sum(counted["answered"].values()),
        "lost": len(counted["lost"]),
        "refused": sum(": refused" in each for each in counted["lost"]),
        "streams_ended": sum(ends.values()) - broken,
        "streams_broken": broken,
    }
