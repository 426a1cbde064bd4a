"""The table that `trilithon ctl status` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = (
    "worker",
    "pid",
    "state",
    "gen",
    "age",
    "requests",
    "active",
    "queued",
    "connections",
    "in",
    "out",
    "memory",
    "lag",
    "p50",
    "p99",
)
_LEFT = {"state", "connections"}
_MISSING = "-"
_RECENT = 5


def table(status: Mapping[str, Any]) -> str:
    """Return the state of a server as text: a line about the supervisor, a row for each worker, then reasons.

    `status` is what the control socket answers; a value that is missing there is shown as a dash.
    """
    supervisor = status.get("supervisor", {})
    workers = status.get("workers", [])
    lines = [headline(supervisor, len(workers))]
    lines += [f"listening: {', '.join(supervisor['addresses'])}"] if supervisor.get("addresses") else []
    rows = [row(worker) for worker in workers]
    if rows:
        lines += ["", *columns([_COLUMNS, *rows])]
    reasons = [
        f"worker {worker.get('worker')} leaves: {worker['reason']}" for worker in workers if worker.get("reason")
    ]
    for end in supervisor.get("recent", [])[-_RECENT:]:
        reasons.append(f"{span(end.get('ago_s'))} ago: {str(end.get('what')).splitlines()[0]}")
    if supervisor.get("upgrade"):
        reasons.append(f"upgrade: {supervisor['upgrade']}")
    return "\n".join([*lines, *([""] if reasons else []), *reasons])


def headline(supervisor: Mapping[str, Any], running: int) -> str:
    """Return the line about the supervisor."""
    wanted = supervisor.get("wanted", running)
    return (
        f"trilithon {supervisor.get('version', _MISSING)}, supervisor {supervisor.get('pid', _MISSING)}, "
        f"up {span(supervisor.get('uptime_s'))}, {supervisor.get('state', _MISSING)}, "
        f"workers: {running} of {wanted}, replaced: {supervisor.get('restarts', 0)}"
    )


def row(worker: Mapping[str, Any]) -> list[str]:
    """Return the cells of one worker, in the order of the columns."""
    connections = worker.get("connections") or {}
    kinds = [f"{protocol}:{number}" for protocol, number in connections.items() if number and protocol != "all"]
    told = " ".join([str(connections.get("all", 0)), *kinds])
    return [
        count(worker.get("worker")),
        count(worker.get("pid")),
        str(worker.get("state") or _MISSING),
        count(worker.get("generation")),
        span(worker.get("age_s")),
        count(worker.get("requests")),
        count(worker.get("in_flight")),
        count(worker.get("queued")),
        told,
        size(worker.get("bytes_received")),
        size(worker.get("bytes_sent")),
        size(worker.get("rss_bytes")),
        moment(worker.get("loop_lag_s")),
        moment(worker.get("p50_s")),
        moment(worker.get("p99_s")),
    ]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines, numbers to the right and words to the left."""
    widths = [max(len(each[index]) for each in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if name in _LEFT else cell.rjust(width)
            for name, cell, width in zip(_COLUMNS, each, widths, strict=True)
        ).rstrip()
        for each in rows
    ]


def count(value: Any) -> str:
    """Return a number as text."""
    return _MISSING if value is None else str(value)


def span(seconds: float | None) -> str:
    """Return a long time in its two greatest units, 3d4h, 5m10s or 12s."""
    if seconds is None:
        return _MISSING
    left = int(seconds)
    for unit, below, length, part in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if left >= length:
            return f"{left // length}{unit}{left % length // part}{below}"
    return f"{left}s"


def moment(seconds: float | None) -> str:
    """Return a short time in the unit that suits it."""
    if seconds is None:
        return _MISSING
    if seconds >= 10:
        return f"{seconds:.0f}s"
    if seconds >= 1:
        return f"{seconds:.1f}s"
    if seconds >= 0.01:
        return f"{seconds * 1e3:.0f}ms"
    return f"{seconds * 1e3:.1f}ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f}us"


def size(value: int | None) -> str:
    """Return bytes in the unit that suits them."""
    if value is None:
        return _MISSING
    amount = float(value)
    for unit in ("B", "K", "M"):
        if amount < 1024:
            return f"{amount:.0f}{unit}"
        amount /= 1024
    return f"{amount:.1f}G" if amount < 1024 else f"{amount / 1024:.1f}T"
