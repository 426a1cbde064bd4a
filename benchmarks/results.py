"""The figures of a run: what was measured of which server in which case, and the middle of the rounds."""

import json
import statistics
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.trial import Figures

COMMAND_SEPARATOR = " and "


@dataclass(frozen=True)
class Outcome:
    """One measurement, or the reason there is none."""

    case: str
    server: str
    setting: str
    figures: Figures | None
    reason: str = ""


@dataclass
class Results:
    """All outcomes of a run, and what it was run on."""

    machine: dict[str, str]
    command: str
    versions: dict[str, str]
    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Keep one more outcome."""
        self.outcomes.append(outcome)

    def of(self, case: str, server: str, setting: str = "") -> list[Figures]:
        """List the figures of all rounds."""
        return [
            outcome.figures
            for outcome in self.outcomes
            if (outcome.case, outcome.server, outcome.setting) == (case, server, setting) and outcome.figures
        ]

    def median(self, case: str, server: str, name: str, setting: str = "") -> float | None:
        """Return the middle of the rounds of one figure, None when it was not measured."""
        found = [figures[name] for figures in self.of(case, server, setting) if name in figures]
        return statistics.median(found) if found else None

    def reason(self, case: str, server: str) -> str:
        """Return why a server has no figures, the latest reason first."""
        known = (outcome for outcome in reversed(self.outcomes) if (outcome.case, outcome.server) == (case, server))
        return next((outcome.reason for outcome in known if outcome.reason), "")

    def servers(self, case: str) -> list[str]:
        """List the servers that met a case, in the order they did so first."""
        return list(dict.fromkeys(outcome.server for outcome in self.outcomes if outcome.case == case))

    def onto(self, published: "Results", cases: Collection[str]) -> "Results":
        """Return the published results with these cases replaced by this run's."""
        kept = [outcome for outcome in published.outcomes if outcome.case not in cases]
        if not kept:
            return self
        own = [outcome for outcome in self.outcomes if outcome.case in cases]
        machine = {**published.machine, **self.machine}
        # Every command line says its own.
        machine.pop("rounds", None)
        machine.pop("cut short", None)
        commands = dict.fromkeys([*published.command.split(COMMAND_SEPARATOR), self.command])
        versions = {**published.versions, **self.versions}
        return Results(machine, COMMAND_SEPARATOR.join(commands), versions, [*kept, *own])

    def raw(self) -> dict[str, object]:
        """Return everything as plain values."""
        return asdict(self)


def read(directory: Path) -> Results | None:
    """Read what a run wrote, None when there is nothing."""
    path = directory / "results.json"
    if not path.exists():
        return None
    kept = json.loads(path.read_text())
    return Results(**{**kept, "outcomes": [Outcome(**outcome) for outcome in kept["outcomes"]]})
