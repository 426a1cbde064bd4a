"""Tables of several workers: what was lost while they were replaced, and what the second one brought."""

from benchmarks.cases import SETTINGS, Case, Kind
from benchmarks.results import Results
from benchmarks.tables import number, table, title_of
from benchmarks.targets import ratio


def replacing_table(results: Results, case: Case) -> list[str]:
    """Return the table of one interface."""
    rows = []
    for server in results.servers(case.name):
        for setting in SETTINGS[Kind.REPLACING]:
            found = results.of(case.name, server, setting)
            if found:
                names = ("replaced", "seconds", "answered", "lost", "refused", "streams_ended", "streams_broken")
                rows.append([title_of(server), setting, *(number(found[-1][name], 0) for name in names)])
    header = ["server", "what", "times", "seconds", "answered", "lost", "of these refused"]
    return table([*header, "streams ended", "streams broken"], rows)


def scaling_table(results: Results, case: Case) -> list[str]:
    """Return the table of one interface."""
    rows = []
    for server in results.servers(case.name):
        one, two = (results.median(case.name, server, "requests_per_s", setting) for setting in SETTINGS[Kind.SCALING])
        rows.append([title_of(server), number(one, 0), number(two, 0), number(ratio(two, one), 2)])
    return table(["server", "requests/s, 1 worker", "requests/s, 2 workers", "ratio"], rows)
