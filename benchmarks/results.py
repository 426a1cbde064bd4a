"""The figures of a run: what was measured of which server in which case, and the middle of the rounds."""

import statistics
from dataclasses import asdict, dataclass, field

from benchmarks.trial import Figures


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

    def raw(self) -> dict[str, object]:
        """Return everything as plain values."""
        return asdict(self)
