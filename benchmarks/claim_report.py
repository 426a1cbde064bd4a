"""Tables of the sensors example: what each interface bears with few and with many clients."""

from benchmarks.cases import SETTINGS, Case, Kind
from benchmarks.results import Results
from benchmarks.tables import Cells, fault_note, number, table, title_of


def claim_table(results: Results, case: Case) -> list[str]:
    """Return the table of one interface."""
    rows = [
        claim_row(results, case, server, clients, title_of(server))
        for server in results.servers(case.name)
        for clients in SETTINGS[Kind.CLAIM]
        if results.of(case.name, server, clients)
    ]
    return table(["server", "clients", "uploads/s", "p50 ms", "p99 ms", "memory MiB", "CPU us"], rows)


def claim_row(results: Results, case: Case, server: str, clients: str, label: str) -> Cells:
    """Return the row of one server and one number of clients."""

    def figure(name: str) -> float | None:
        return results.median(case.name, server, name, clients)

    times = [number(figure(name), 0) for name in ("p50_ms", "p99_ms")]
    label += fault_note(results, case, server, clients)
    memory = number((figure("pss_kib") or 0) / 1024, 0)
    return [
        label,
        f"{int(clients):,}",
        number(figure("requests_per_s"), 0),
        *times,
        memory,
        number(figure("cpu_us"), 0),
    ]
