"""Run the benchmark: choose cases and servers, measure them in alternating rounds, report."""

import argparse
import contextlib
import fnmatch
import os
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.balance_trial import measure_balance
from benchmarks.cases import SETTINGS, Case, Kind
from benchmarks.catalogue import ALL_CASES, ALL_SERVERS
from benchmarks.claim_cases import CLAIM_CASES
from benchmarks.claim_trial import measure_claim
from benchmarks.environment import ROOT, Environment, EnvironmentFault, prepare
from benchmarks.h2load import H2load
from benchmarks.handshake_trial import measure_handshakes
from benchmarks.load import Driver, LoadError
from benchmarks.machine import describe
from benchmarks.publish import conclude
from benchmarks.replacing_trial import measure_replacing
from benchmarks.results import Outcome, Results
from benchmarks.scaling_trial import measure_scaling
from benchmarks.servers import Server
from benchmarks.socket_load import SocketDriver
from benchmarks.socket_trial import measure_sockets
from benchmarks.trial import Bench, EarlyEnd, Figures, StartFault, Trial, measure

OFFERED_SHARE = {"half": 0.5, "90%": 0.9}
OPEN_FILES = 16384
NOISE_SHARE = 0.05
APPLICATIONS_AND_PARSERS = ("flask", "fastapi", "httpx", "uvloop", "httptools", "zttp", "websockets", "wsproto")
MEASURES: dict[Kind, Callable[[Bench, Trial], Figures]] = {
    Kind.SOCKETS: measure_sockets,
    Kind.SOCKET_IDLE: measure_sockets,
    Kind.CHURN: measure_sockets,
    Kind.CLAIM: measure_claim,
    Kind.HANDSHAKE: measure_handshakes,
    Kind.BALANCE: measure_balance,
    Kind.REPLACING: measure_replacing,
    Kind.SCALING: measure_scaling,
}
"""How a case is measured that is not asked over HTTP and nothing else."""


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure trilithon beside its peers: requests per second, CPU time a request, memory, latency.",
    )
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="only these cases ('constant*' works)")
    parser.add_argument("--servers", nargs="+", metavar="NAME", help="only these servers ('granian*' works)")
    parser.add_argument("--rounds", type=int, help="how often each server meets each case (3, with --quick 1)")
    parser.add_argument("--seconds", type=int, help="how long each lasts, in whole seconds (2, with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="one short round, only the peers that a target names")
    parser.add_argument(
        "--claim", action="store_true", help="WSGI or ASGI: measure the sensors, write docs/choosing.md"
    )
    parser.add_argument("--update", action="store_true", help="publish these cases, keep the published others")
    parser.add_argument("--minutes", type=float, default=60, help="begin no measurement after this time (60)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where RESULTS.md and results.json go")
    kept = ROOT / ".venv-bench"
    parser.add_argument("--env", type=Path, default=kept, metavar="DIR", help="where the environments are kept")
    parser.add_argument("--built", type=Path, metavar="DIR", help="measure the trilithon in this directory, as it is")
    parser.add_argument("--list", action="store_true", help="name the cases and servers, measure nothing")
    chosen = parser.parse_args(words)
    if chosen.claim:
        chosen.cases = [case.name for case in CLAIM_CASES]
        chosen.update = True
        # Its longest load takes a minute to settle, so once is the default.
        chosen.rounds = chosen.rounds or 1
        chosen.seconds = chosen.seconds or 10
    if chosen.update and (chosen.servers or chosen.quick):
        parser.error("--update publishes whole cases: leave out --servers and --quick")
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 3)
    chosen.seconds = chosen.seconds or (1 if chosen.quick else 2)
    if not (1 <= chosen.rounds <= 20 and 1 <= chosen.seconds <= 60):
        parser.error("--rounds is 1 to 20, --seconds 1 to 60")
    for kind, known in (("cases", ALL_CASES), ("servers", ALL_SERVERS)):
        for pattern in getattr(chosen, kind) or []:
            if not fnmatch.filter([item.name for item in known], pattern):
                parser.error(f"no such {kind[:-1]}: {pattern} (there are {', '.join(item.name for item in known)})")
    return chosen


def is_chosen(name: str, patterns: list[str] | None) -> bool:
    """Tell whether a name is among those asked for; all are when none was."""
    return patterns is None or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def field_of(case: Case, chosen: argparse.Namespace) -> list[Server]:
    """List the servers that meet a case in this run."""
    able = [
        server for server in ALL_SERVERS if server.interface in (case.interface, "both") or server.name in case.extras
    ]
    if case.servers:
        able = [server for server in able if server.name in case.servers]
    if chosen.quick and chosen.servers is None and not case.servers:
        able = [server for server in able if server.is_key]
    return [server for server in able if is_chosen(server.name, chosen.servers)]


def offered_rate(results: Results, case: Case, setting: str) -> float:
    """Return the rate all servers are offered: a share of what trilithon and its best peer both can bear."""
    share = OFFERED_SHARE.get(setting)
    if share is None:
        return 0.0
    capacity = {
        server: rate
        for server in results.servers(case.name)
        if (rate := results.median(case.name, server, "requests_per_s", "capacity")) is not None
    }
    own = capacity.pop("trilithon", None)
    bounds = [bound for bound in (own, max(capacity.values(), default=None)) if bound]
    return share * min(bounds) if bounds else 0.0


def is_repeated(case: Case, server: Server, chosen: argparse.Namespace) -> bool:
    """Tell whether more rounds than the first are worth their time: not for memory, nor for peers no target names."""
    if case.kind in (Kind.IDLE, Kind.SOCKET_IDLE, Kind.CLAIM, Kind.REPLACING):
        return False
    return case.kind is not Kind.LOAD or server.is_key or bool(case.servers) or chosen.servers is not None


def plan_round(chosen: argparse.Namespace, cases: list[Case], number: int) -> Iterator[tuple[Case, Server, str]]:
    """Yield the measurements of one round, counted from 0; every second round meets the servers from the other end."""
    for case in cases:
        servers = [server for server in field_of(case, chosen) if number == 0 or is_repeated(case, server, chosen)]
        for setting in SETTINGS[case.kind]:
            for server in reversed(servers) if number % 2 else servers:
                yield case, server, setting


def chosen_cases(chosen: argparse.Namespace) -> list[Case]:
    """List the cases of this run; a quick one leaves out what takes minutes unless it is asked for."""
    cases = [case for case in ALL_CASES if is_chosen(case.name, chosen.cases)]
    return [case for case in cases if chosen.cases or not (chosen.quick and case.kind in (Kind.CLAIM, Kind.REPLACING))]


def first_round(chosen: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Name the case, server and setting of every measurement that a whole run makes at least once."""
    planned = plan_round(chosen, chosen_cases(chosen), 0)
    return [(case.name, server.name, setting) for case, server, setting in planned]


def describe_figures(figures: dict[str, float]) -> str:
    """Return one line about a measurement for the person who waits."""
    if "kib_per_connection" in figures:
        return f"{figures['kib_per_connection']:8.2f} KiB a connection"
    if "lost" in figures:
        lost = f"{figures['lost']:,.0f} lost, {figures['refused']:,.0f} of them refused"
        done = f"{figures['replaced']:.0f} times in {figures['seconds']:.0f} s"
        return f"{figures['answered']:10,.0f} answered, {lost}; {done}"
    if "kib_left" in figures:
        left = f"{figures['descriptors_left']:.0f} descriptors and {figures['kib_left']:.0f} KiB left"
        return f"{figures['requests_per_s']:10,.0f} /s {figures['cpu_us']:8.1f} us  {left}"
    line = f"{figures['requests_per_s']:10,.0f} /s {figures['cpu_us']:8.1f} us"
    if figures["offered_per_s"]:
        line += f"  p50 {figures['p50_ms']:.3f} p99 {figures['p99_ms']:.3f} p99.9 {figures['p999_ms']:.3f} ms"
    if figures["neighbours_share"] > NOISE_SHARE:
        line += f"  (others used {figures['neighbours_share']:.0%} of the core)"
    return line + (f"  ({figures['faults']:.0f} failed)" if figures["faults"] else "")


def attempt(bench: Bench, results: Results, trial: Trial) -> None:
    """Make one measurement and keep its figures or its reason."""
    label = f"{trial.case.name:20} {trial.server.name:18} {trial.setting:9}"
    how = MEASURES.get(trial.case.kind, measure)
    try:
        try:
            figures = how(bench, trial)
        except EarlyEnd as fault:
            # Between finding a free port and listening on it, somebody else may have taken it.
            say(f"{label} {fault}; once more")
            figures = how(bench, trial)
    except (StartFault, LoadError, OSError) as fault:
        reason = " ".join(str(fault).split()) or type(fault).__name__
        results.add(Outcome(trial.case.name, trial.server.name, trial.setting, None, reason))
        say(f"{label} {reason}")
        return
    results.add(Outcome(trial.case.name, trial.server.name, trial.setting, figures))
    say(f"{label} {describe_figures(figures)}")


def run_rounds(bench: Bench, chosen: argparse.Namespace, results: Results) -> None:
    """Measure everything chosen, round by round, until done or out of time."""
    cases = chosen_cases(chosen)
    deadline_s = time.monotonic() + chosen.minutes * 60
    for number in range(chosen.rounds):
        say(f"round {number + 1} of {chosen.rounds}")
        for case, server, setting in plan_round(chosen, cases, number):
            if time.monotonic() > deadline_s:
                say(f"out of time after {chosen.minutes:g} minutes: the rest is left out")
                results.machine["cut short"] = f"in round {number + 1} of {chosen.rounds}"
                return
            if number and not results.of(case.name, server.name, setting):
                # It failed in every round so far: saying so once is enough.
                continue
            rate = offered_rate(results, case, setting)
            if case.kind is Kind.LATENCY and setting != "capacity" and not rate:
                continue
            attempt(bench, results, Trial(case, server, setting, rate))


def make_bench(environment: Environment, seconds: int, scratch: Path) -> Bench:
    """Choose the cores and bring together what the measurements share."""
    is_pinned = shutil.which("taskset") is not None and len(os.sched_getaffinity(0)) > 1
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = (cores[0], cores[1]) if is_pinned else (None, None)
    programs = environment.programs
    return Bench(
        environment=environment,
        driver=Driver(programs["wrk"], environment.pace, load_core),
        sockets=SocketDriver(environment.sockets, load_core, scratch),
        h2load=H2load(programs["h2load"], programs["nghttp"], load_core, scratch),
        core=server_core,
        seconds=seconds,
        scratch=scratch,
    )


def allow_many_files() -> None:
    """Raise the number of open files for this process and the servers it starts, as far as it may be raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def public_command(chosen: argparse.Namespace) -> str:
    """Return the command line that measures the same, without the places it was told to use."""
    words = ["scripts/bench", *(f"--{name}" for name in ("quick", "claim") if getattr(chosen, name))]
    for name in ("servers",) if chosen.claim else ("cases", "servers"):
        words += [f"--{name}", *getattr(chosen, name)] if getattr(chosen, name) else []
    return shlex.join([*words, "--rounds", str(chosen.rounds), "--seconds", str(chosen.seconds)])


def main(words: Sequence[str]) -> int:
    """Run the benchmark; return 0 when done, 2 when something it needs is missing, 130 when interrupted."""
    chosen = parse(words)
    if chosen.list:
        print("cases:  ", " ".join(case.name for case in ALL_CASES))
        print("servers:", " ".join(server.name for server in ALL_SERVERS))
        return 0
    # A polite kill unwinds as Ctrl-C does, so that no server outlives the run.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    allow_many_files()
    try:
        environment = prepare(chosen.env, chosen.built.resolve() if chosen.built else None, say)
    except EnvironmentFault as fault:
        say(f"scripts/bench: {fault}")
        return 2
    except KeyboardInterrupt:
        return 130
    names = {server.package for server in ALL_SERVERS} | set(APPLICATIONS_AND_PARSERS)
    versions = {name: version for name, version in environment.versions.items() if name in names}
    with tempfile.TemporaryDirectory(prefix="trilithon-bench-") as scratch:
        bench = make_bench(environment, chosen.seconds, Path(scratch))
        machine = describe(bench.core is not None)
        machine["rounds"] = f"{chosen.rounds} of {chosen.seconds} s"
        results = Results(machine, public_command(chosen), versions)
        code = 0
        try:
            run_rounds(bench, chosen, results)
        except KeyboardInterrupt:
            say("interrupted: what was measured is written")
            results.machine["cut short"] = "interrupted"
            code = 130
        conclude(results, chosen, first_round(chosen), say)
    return code
