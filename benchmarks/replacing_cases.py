"""The questions of several workers: what is lost while they are replaced, and what a second one is worth."""

from dataclasses import dataclass

from benchmarks.cases import Case, Kind

SERVERS = {
    "asgi": ("trilithon", "uvicorn", "gunicorn-asgi"),
    "wsgi": ("trilithon", "gunicorn-gthread"),
}
"""Those that replace workers when told by a signal."""

SCALED = {
    "asgi": ("trilithon", "uvicorn", "granian-asgi", "gunicorn-asgi"),
    "wsgi": ("trilithon", "granian-wsgi", "gunicorn-gthread"),
}


@dataclass(frozen=True)
class ReplacingCase(Case):
    """One interface of an application whose answers name the worker; the settings are what replaces workers."""

    workers: int = 2
    reloads: int = 100
    upgrades: int = 20

    def is_right(self, status: int, body: bytes) -> bool:
        """Tell whether a worker has answered."""
        return status == 200 and body.isdigit()


REPLACING_CASES: tuple[ReplacingCase, ...] = tuple(
    ReplacingCase(
        name=f"reloads-{interface}",
        title=f"100 reloads and 20 upgrades of 2 workers under load, {interface.upper()}",
        interface=interface,
        app=f"traffic_{interface}:app",
        kind=Kind.REPLACING,
        servers=servers,
        extras=servers,
    )
    for interface, servers in SERVERS.items()
)

SCALING_CASES: tuple[Case, ...] = tuple(
    Case(
        name=f"scaling-{interface}",
        title=f"One worker and two: 5 ms of Python a request, {interface.upper()}",
        interface=interface,
        app=f"burn:{interface}",
        kind=Kind.SCALING,
        body=b"31249875000",
        connections=16,
        servers=servers,
        extras=servers,
    )
    for interface, servers in SCALED.items()
)
"""So much work that what a worker can do counts, and not what the load generator takes of its processor."""
