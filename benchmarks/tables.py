"""Write figures as cells and rows of Markdown tables."""

from collections.abc import Sequence

from benchmarks.cases import Case
from benchmarks.catalogue import ALL_SERVERS
from benchmarks.results import Results

Cells = list[str]


def number(value: float | None, digits: int = 1) -> str:
    """Write a figure, a dash when there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def table(header: Sequence[str], rows: Sequence[Cells]) -> list[str]:
    """Return a Markdown table, its first column to the left and the others to the right."""
    return [
        "| " + " | ".join(header) + " |",
        "|---|" + "--:|" * (len(header) - 1),
        *("| " + " | ".join(cells) + " |" for cells in rows),
        "",
    ]


def title_of(server: str) -> str:
    """Return a server's name for the tables."""
    return next(known.title for known in ALL_SERVERS if known.name == server)


def by_cost(results: Results, case: Case, setting: str = "") -> list[str]:
    """List the servers of a case that have figures, the cheapest first."""
    found = [(results.median(case.name, server, "cpu_us", setting), server) for server in results.servers(case.name)]
    return [server for _, server in sorted((cost, server) for cost, server in found if cost is not None)]


def fault_note(results: Results, case: Case, server: str, setting: str = "") -> str:
    """Return a warning when requests of a row failed."""
    faults = sum(int(figures.get("faults", 0)) for figures in results.of(case.name, server, setting))
    return f" ({faults:,} requests failed)" if faults else ""
