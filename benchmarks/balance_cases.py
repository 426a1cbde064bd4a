"""The question of even load: what share of unequal traffic, and of a burst, the busiest of several workers gets."""

from dataclasses import dataclass

from benchmarks.cases import Case, Kind

WORKERS = 4
OFFERED = 2000
"""Requests a second in all, far below what one worker could answer: who gets them is a choice, not a necessity."""


@dataclass(frozen=True)
class BalanceCase(Case):
    """One interface; answers name the worker."""

    workers: int = WORKERS
    offered: int = OFFERED

    def is_right(self, status: int, body: bytes) -> bool:
        """Tell whether a worker has answered."""
        return status == 200 and body.isdigit()


ASGI_FIELD = (
    "trilithon-hand-over",
    "trilithon-shared",
    "uvicorn-workers",
    "granian-asgi-workers",
    "gunicorn-asgi-workers",
    "gunicorn-asgi-reuse-port",
)
WSGI_FIELD = (
    "trilithon-hand-over",
    "trilithon-shared",
    "granian-wsgi-workers",
    "gunicorn-gthread-workers",
    "gunicorn-gthread-reuse-port",
)

BALANCE_CASES: tuple[BalanceCase, ...] = tuple(
    BalanceCase(
        name=f"balance-{interface}",
        title=f"Even load of {WORKERS} workers, {interface.upper()}",
        interface=interface,
        app=f"whose:{interface}",
        kind=Kind.BALANCE,
        servers=servers,
        extras=servers,
    )
    for interface, servers in (("asgi", ASGI_FIELD), ("wsgi", WSGI_FIELD))
)
