"""Write what a run found where it belongs: the published results only take in cases that were measured whole."""

import argparse
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.choosing import write_choosing
from benchmarks.environment import ROOT
from benchmarks.report import write
from benchmarks.results import Results, read
from benchmarks.targets import TARGETS

PUBLISHED = ROOT / "benchmarks"
UNPUBLISHED = ROOT / ".cache" / "bench"

Planned = Iterable[tuple[str, str, str]]
"""The case, server and setting of every measurement of a round."""


def whole_cases(results: Results, planned: Planned) -> set[str]:
    """Return the cases of which nothing planned was left out; what failed counts, as its reason is known."""
    found = {(outcome.case, outcome.server, outcome.setting) for outcome in results.outcomes}
    planned = list(planned)
    return {case for case, _, _ in planned} - {each[0] for each in planned if each not in found}


def note_noise(results: Results) -> None:
    """Record how much of the server's core others used while it was measured."""
    shares = sorted(
        outcome.figures["neighbours_share"]
        for outcome in results.outcomes
        if outcome.figures and "neighbours_share" in outcome.figures
    )
    if shares:
        median, most = shares[len(shares) // 2], shares[-1]
        results.machine["others on the server's core"] = f"median {median:.1%}, at most {most:.1%}"


def conclude(results: Results, chosen: argparse.Namespace, planned: Planned, say: Callable[[str], None]) -> None:
    """Write the files and say how the targets stand."""
    is_partial = chosen.quick or chosen.cases or chosen.servers
    is_public = chosen.update or not (is_partial or chosen.output)
    directory: Path = chosen.output or (PUBLISHED if is_public else UNPUBLISHED)
    say_targets(results, say)
    if is_public and (published := read(directory)):
        cases = whole_cases(results, planned)
        left_out = {outcome.case for outcome in results.outcomes} - cases
        if left_out:
            say(f"not measured whole, so left as they were: {', '.join(sorted(left_out))}")
        if not cases:
            return
        results = results.onto(published, cases)
    note_noise(results)
    write(results, directory)
    say(f"written: {os.path.relpath(directory)}/RESULTS.md and results.json")
    pages = ROOT / "docs" if directory == PUBLISHED else directory
    if write_choosing(results, pages):
        say(f"written: {os.path.relpath(pages)}/choosing.md and its figures")


def say_targets(results: Results, say: Callable[[str], None]) -> None:
    """Say of every target that was measured how it stands."""
    for target in TARGETS:
        value = target.figure(results)
        if value is not None:
            sign = "at least" if target.is_minimum else "at most"
            say(f"{'ok  ' if target.is_met(value) else 'MISS'} {target.text}: {value:.2f} ({sign} {target.limit:.2f})")
