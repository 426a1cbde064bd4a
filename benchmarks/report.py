"""Write what a run found: tables for people in RESULTS.md, everything in results.json."""

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.balance_report import balance_table
from benchmarks.cases import SETTINGS, Case, Kind
from benchmarks.catalogue import ALL_CASES
from benchmarks.claim_report import claim_table
from benchmarks.replacing_report import replacing_table, scaling_table
from benchmarks.results import COMMAND_SEPARATOR, Results
from benchmarks.socket_report import churn_table, message_table
from benchmarks.tables import Cells, by_cost, fault_note, number, table, title_of
from benchmarks.targets import KEPT_UP, TARGETS, Target, ratio

READING = """\
Every row is one server, all its processes bound to one core; the load runs on another, over 64 keep-alive
connections unless the title says otherwise. **CPU us** is the user and system time of all the server's processes
divided by the requests answered, the figure to compare: it does not depend on how fast the load generator is.
**Ratio** is that cost over trilithon's in the same case (above 1: dearer than trilithon). Memory is the
proportional set size (PSS) of all processes after the load. p50 and p99 in the throughput tables are those of a
closed loop at full load; the latency tables offer every server the same rate, a share of what trilithon and the
best peer can both bear, and count from the moment a request was due. Figures are medians over the rounds (memory of
idle connections, and peers that no target names, are measured once); absolute ones change from machine to machine,
ratios much less. In the WebSocket cases messages are counted, in a broadcast every one delivered; the opening
handshakes are left out there, and measured by themselves in the case that opens and closes sockets. Over TLS every
server has the same certificate (ECDSA P-256), and TLS 1.3 with AES-256-GCM is what is agreed on; a TLS handshake is
measured with the one request that its connection carries. One worker and two run on all cores. While workers are
replaced, a request is lost that was sent and got no whole answer with status 200 (a connection that was seen to be
closed before the request was sent, and streams that a GOAWAY gave back, are no loss); peers are spared HTTP/2,
WebSockets and event streams there, and who is slow is replaced fewer times.
"""

LATENCY_COLUMNS = ("p50_ms", "p99_ms", "p999_ms", "max_ms", "cpu_us")


def load_table(results: Results, case: Case) -> list[str]:
    """Return the table of a throughput case."""
    header = ["server", "requests/s", "CPU us", "user", "system", "ratio", "memory MiB", "p50 ms", "p99 ms"]
    header += ["of ideal"] if case.ideal_rate else []
    own = results.median(case.name, "trilithon", "cpu_us")
    rows = []
    for server in by_cost(results, case):
        figure = {name: results.median(case.name, server, name) for name in results.of(case.name, server)[0]}
        cells = [title_of(server) + fault_note(results, case, server), number(figure["requests_per_s"], 0)]
        cells += [number(figure["cpu_us"]), number(figure["user_us"]), number(figure["system_us"])]
        cells += [number(ratio(figure["cpu_us"], own), 2), number((figure["pss_kib"] or 0) / 1024)]
        cells += [number(figure["p50_ms"], 2), number(figure["p99_ms"], 2)]
        if case.ideal_rate:
            cells.append(f"{(figure['requests_per_s'] or 0) / case.ideal_rate:.1%}")
        rows.append(cells)
    return table(header, rows)


def idle_table(results: Results, case: Case) -> list[str]:
    """Return the table of idle connections."""
    own = results.median(case.name, "trilithon", "kib_per_connection")
    rows = []
    for server in results.servers(case.name):
        each = results.median(case.name, server, "kib_per_connection")
        if each is not None:
            total = results.median(case.name, server, "pss_kib") or 0
            idle_cpu = results.median(case.name, server, "idle_cpu_ms_per_s")
            cells = [title_of(server), number(each, 2), number(ratio(each, own), 2)]
            rows.append((each, [*cells, number(total / 1024), number(idle_cpu, 0)]))
    rows.sort(key=lambda row: row[0])
    return table(["server", "KiB a connection", "ratio", "total MiB", "CPU ms a second"], [cells for _, cells in rows])


def settings_table(results: Results, case: Case) -> list[str]:
    """Return the table of a case that compares two settings of the same server."""
    first, second = SETTINGS[case.kind]
    header = ["server", f"requests/s, {first}", f"requests/s, {second}", "kept"]
    header += [f"CPU us, {first}", f"CPU us, {second}", "cost ratio"]
    rows = []
    for server in by_cost(results, case, first):
        rates = [results.median(case.name, server, "requests_per_s", setting) for setting in (first, second)]
        costs = [results.median(case.name, server, "cpu_us", setting) for setting in (first, second)]
        kept = ratio(rates[1], rates[0])
        cells = [title_of(server), number(rates[0], 0), number(rates[1], 0), "-" if kept is None else f"{kept:.0%}"]
        rows.append([*cells, number(costs[0]), number(costs[1]), number(ratio(costs[1], costs[0]), 2)])
    return table(header, rows)


def latency_table(results: Results, case: Case) -> list[str]:
    """Return the table of latencies at the same offered rates."""
    lines = []
    for setting in SETTINGS[case.kind][1:]:
        servers = [server for server in results.servers(case.name) if results.of(case.name, server, setting)]
        if not servers:
            continue
        offered = results.median(case.name, servers[0], "offered_per_s", setting) or 0
        rows = []
        for server in servers:
            values = [results.median(case.name, server, name, setting) for name in LATENCY_COLUMNS]
            answered = ratio(results.median(case.name, server, "requests_per_s", setting), offered) or 0
            note = "" if answered >= KEPT_UP else f" (cannot keep up: {answered:.0%})"
            label = title_of(server) + note + fault_note(results, case, server, setting)
            rows.append((values[1] or 0, [label, *(number(value, 3) for value in values[:4]), number(values[4])]))
        rows.sort(key=lambda row: row[0])
        lines += [f"{offered:,.0f} requests a second ({setting} of capacity):", ""]
        lines += table(["server", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "CPU us"], [cells for _, cells in rows])
    return lines


TABLES: dict[Kind, Callable[[Results, Case], list[str]]] = {
    Kind.LOAD: load_table,
    Kind.IDLE: idle_table,
    Kind.LOG: settings_table,
    Kind.MOUNT: settings_table,
    Kind.LATENCY: latency_table,
    Kind.SOCKETS: message_table,
    Kind.SOCKET_IDLE: idle_table,
    Kind.CHURN: churn_table,
    Kind.CLAIM: claim_table,
    Kind.HANDSHAKE: settings_table,
    Kind.BALANCE: balance_table,
    Kind.REPLACING: replacing_table,
    Kind.SCALING: scaling_table,
}


def target_row(target: Target, results: Results) -> Cells | None:
    """Return the row of a target, None when the run did not measure it."""
    value = target.figure(results)
    if value is None:
        return None
    sign = "at least" if target.is_minimum else "at most"
    return [target.text, f"{sign} {target.limit:.2f}", f"{value:.2f}", "yes" if target.is_met(value) else "**no**"]


def target_lines(results: Results) -> list[str]:
    """Return the table of the numbers to build towards."""
    rows = [row for target in TARGETS if (row := target_row(target, results))]
    if not rows:
        return []
    met = sum(row[-1] == "yes" for row in rows)
    return [f"## Targets: {met} of {len(rows)} met", "", *table(["target", "wanted", "measured", "met"], rows)]


def case_lines(results: Results, case: Case) -> list[str]:
    """Return the section of one case, with the servers that could not meet it."""
    servers = results.servers(case.name)
    if not servers:
        return []
    lines = [f"## {case.title} (`{case.name}`)", "", *TABLES[case.kind](results, case)]
    reasons = {server: results.reason(case.name, server) for server in servers}
    silent = [f"* {title_of(server)}: {reason}" for server, reason in reasons.items() if reason]
    return [*lines, *silent, ""] if silent else lines


def markdown(results: Results) -> str:
    """Return the page."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items()))
    machine = "; ".join(f"{name}: {value}" for name, value in results.machine.items())
    commands = " and ".join(f"`{command}`" for command in results.command.split(COMMAND_SEPARATOR))
    lines = ["# What a request costs: trilithon and its peers, measured side by side in one run", ""]
    lines += [f"Written by {commands}. Do not edit.", "", READING]
    lines += [f"Machine: {machine}.", "", f"Versions: {versions}.", ""]
    lines += target_lines(results)
    for case in ALL_CASES:
        lines += case_lines(results, case)
    return "\n".join(lines).rstrip() + "\n"


def write(results: Results, directory: Path) -> None:
    """Write both files."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "RESULTS.md").write_text(markdown(results))
    (directory / "results.json").write_text(json.dumps(results.raw(), indent=1) + "\n")
