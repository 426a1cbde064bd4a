"""Tables of the WebSocket cases."""

from benchmarks.cases import Case
from benchmarks.results import Results
from benchmarks.tables import Cells, by_cost, number, table, title_of
from benchmarks.targets import ratio


def cost_cells(results: Results, case: Case, server: str) -> Cells:
    """Return the cells that a table of messages and one of cycles have in common."""
    costs = [results.median(case.name, server, name) for name in ("cpu_us", "user_us", "system_us")]
    own = results.median(case.name, "trilithon", "cpu_us")
    rate = number(results.median(case.name, server, "requests_per_s"), 0)
    return [title_of(server), rate, *map(number, costs), number(ratio(costs[0], own), 2)]


def time_cells(results: Results, case: Case, server: str) -> Cells:
    """Return the cells of the times that a message or a cycle took."""
    return [number(results.median(case.name, server, name), 2) for name in ("p50_ms", "p99_ms")]


def message_table(results: Results, case: Case) -> list[str]:
    """Return the table of an echo or a broadcast."""
    rows = []
    for server in by_cost(results, case):
        memory = number((results.median(case.name, server, "pss_kib") or 0) / 1024)
        rows.append([*cost_cells(results, case, server), memory, *time_cells(results, case, server)])
    header = ["server", "messages/s", "CPU us", "user", "system", "ratio", "memory MiB", "p50 ms", "p99 ms"]
    return table(header, rows)


def churn_table(results: Results, case: Case) -> list[str]:
    """Return the table of opening and closing."""
    rows = []
    for server in by_cost(results, case):
        left = [number(results.median(case.name, server, name), 0) for name in ("descriptors_left", "kib_left")]
        rows.append([*cost_cells(results, case, server), *time_cells(results, case, server), *left])
    header = ["server", "cycles/s", "CPU us", "user", "system", "ratio", "p50 ms", "p99 ms"]
    return table([*header, "descriptors left", "KiB left"], rows)
