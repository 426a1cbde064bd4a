"""Tables of even load: the share of the busiest worker, and what spreading costs."""

from benchmarks.cases import SETTINGS, Case, Kind
from benchmarks.results import Results
from benchmarks.tables import fault_note, number, table, title_of


def balance_table(results: Results, case: Case) -> list[str]:
    """Return the table of one interface."""
    rows = []
    for server in results.servers(case.name):
        cells = [title_of(server) + "".join(fault_note(results, case, server, name) for name in SETTINGS[Kind.BALANCE])]
        for setting in SETTINGS[Kind.BALANCE]:
            figures = [results.median(case.name, server, name, setting) for name in ("busiest", "cpu_us", "p99_ms")]
            cells += [number(figures[0], 2), number(figures[1], 0), number(figures[2], 1)]
        rows.append((results.median(case.name, server, "busiest", "uneven") or 0.0, cells))
    rows.sort(key=lambda row: row[0])
    header = ["server"]
    for setting in SETTINGS[Kind.BALANCE]:
        header += [f"busiest over mean, {setting}", "CPU us", "p99 ms"]
    return table(header, [cells for _, cells in rows])
