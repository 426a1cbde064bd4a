"""The numbers to build towards, each computed from a run's results."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.cases import CASES, SETTINGS, Kind
from benchmarks.file_cases import FILE_CASES
from benchmarks.http2_cases import HTTP2_CASES
from benchmarks.replacing_cases import REPLACING_CASES, SCALING_CASES
from benchmarks.results import Results
from benchmarks.socket_cases import SOCKET_CASES, Mode

KEPT_UP = 0.98
"""The share of the offered rate a server must have answered for its latency to count."""

MEMORY_NOISE_KIB = 512
"""What 2,000 sockets may leave in memory: a quarter of a KiB each, less than the smallest thing kept for a socket."""


@dataclass(frozen=True)
class Target:
    """A figure, and what it may be at most (or must be at least)."""

    text: str
    figure: Callable[[Results], float | None]
    limit: float
    is_minimum: bool = False

    def is_met(self, value: float) -> bool:
        """Tell whether a value is good enough."""
        return value >= self.limit if self.is_minimum else value <= self.limit


def ratio(above: float | None, below: float | None) -> float | None:
    """Divide two figures, either of which may be missing."""
    return above / below if above is not None and below else None


def cost(case: str, against: str, limit: float, unit: str = "request") -> Target:
    """Return a target for trilithon's CPU time a request (or another unit) over another server's."""

    def figure(results: Results) -> float | None:
        return ratio(results.median(case, "trilithon", "cpu_us"), results.median(case, against, "cpu_us"))

    return Target(f"{case}: CPU a {unit} over {against}'s", figure, limit)


def idle_memory(case: str, against_case: str, against: str, limit: float) -> Target:
    """Return a target for the memory of an idle connection over another server's."""

    def figure(results: Results) -> float | None:
        own = results.median(case, "trilithon", "kib_per_connection")
        return ratio(own, results.median(against_case, against, "kib_per_connection"))

    return Target(f"{case}: memory of a connection over {against}'s", figure, limit)


def left_over(case: str, name: str, label: str, limit: float) -> Target:
    """Return a target for what is left in trilithon after many sockets were opened and closed."""
    return Target(f"{case}: {label} left", lambda results: results.median(case, "trilithon", name), limit)


def kept_with_log(case: str, limit: float) -> Target:
    """Return a target for the throughput that is left when requests are logged."""

    def figure(results: Results) -> float | None:
        logged = results.median(case, "trilithon", "requests_per_s", "log on")
        return ratio(logged, results.median(case, "trilithon", "requests_per_s", "log off"))

    return Target(f"{case}: requests a second with the log over without", figure, limit, is_minimum=True)


def mounted_cost(case: str, limit: float) -> Target:
    """Return a target for the CPU time of a mounted application over the same served alone."""

    def figure(results: Results) -> float | None:
        mounted = results.median(case, "trilithon", "cpu_us", "mounted")
        return ratio(mounted, results.median(case, "trilithon", "cpu_us", "alone"))

    return Target(f"{case}: CPU a request mounted over alone", figure, limit)


def best_latency(results: Results, case: str, setting: str, quantile: str) -> tuple[str, float] | None:
    """Return the peer with the lowest latency among those that kept up with the offered rate, and that latency."""
    found = []
    for server in results.servers(case):
        value = results.median(case, server, quantile, setting)
        offered = results.median(case, server, "offered_per_s", setting)
        answered = ratio(results.median(case, server, "requests_per_s", setting), offered)
        if not server.startswith("trilithon") and value is not None and answered and answered >= KEPT_UP:
            found.append((server, value))
    return min(found, key=lambda pair: pair[1]) if found else None


def latency(case: str, setting: str, quantile: str, label: str) -> Target:
    """Return a target for trilithon's latency over that of the best peer at the same offered rate."""

    def figure(results: Results) -> float | None:
        best = best_latency(results, case, setting, quantile)
        return ratio(results.median(case, "trilithon", quantile, setting), best[1] if best else None)

    return Target(f"{case}: {label} at {setting} of capacity, over the best peer's", figure, 1.0)


def ideal_share(case: str, ideal_rate: int, limit: float) -> Target:
    """Return a target for the share of the rate that the sleeping itself allows."""
    return Target(
        f"{case}: share of the ideal {ideal_rate:,} a second",
        lambda results: ratio(results.median(case, "trilithon", "requests_per_s"), ideal_rate),
        limit,
        is_minimum=True,
    )


def rate(case: str, against: str, limit: float) -> Target:
    """Return a target for trilithon's throughput over another server's."""

    def figure(results: Results) -> float | None:
        own = results.median(case, "trilithon", "requests_per_s")
        return ratio(own, results.median(case, against, "requests_per_s"))

    return Target(f"{case}: requests a second over {against}'s", figure, limit, is_minimum=True)


def latency_targets() -> list[Target]:
    """Return the targets of all latency cases."""
    quantiles = (("p50_ms", "p50"), ("p99_ms", "p99"), ("p999_ms", "p99.9"))
    return [
        latency(case.name, setting, quantile, label)
        for case in CASES
        if case.kind is Kind.LATENCY
        for setting in SETTINGS[Kind.LATENCY][1:]
        for quantile, label in quantiles
    ]


def socket_targets() -> list[Target]:
    """Return the targets of the WebSocket cases."""
    found = [
        cost(case.name, server, 0.5, "message")
        for case in SOCKET_CASES
        if case.mode is Mode.ECHO
        for server in ("uvicorn-websockets", "uvicorn-wsproto", "granian-asgi")
        if server in case.servers
    ]
    found += [cost("ws-broadcast", server, 1.0, "message") for server in ("granian-asgi", "gunicorn-asgi")]
    found += [idle_memory("ws-idle", "ws-idle", server, 1 / 3) for server in ("uvicorn-websockets", "uvicorn-wsproto")]
    found.append(left_over("ws-churn", "descriptors_left", "descriptors", 0))
    found.append(left_over("ws-churn", "kib_left", "KiB of memory", MEMORY_NOISE_KIB))
    return found


HTTP2_LIMITS = {
    "granian-asgi": 1.0,
    "granian-wsgi": 1.0,
    "uvicorn-zttp": 0.5,
    "hypercorn": 0.1,
    "hypercorn-wsgi": 0.1,
}
"""What a request over HTTP/2 may cost over each peer's."""

RIVALS = ("granian", "uvicorn")
"""Those who must not send a large file for less."""


def carried_targets() -> list[Target]:
    """Return the targets over HTTP/2, over TLS and of the large file; of handshakes there is none."""
    found = [
        cost(case.name, server, HTTP2_LIMITS[server])
        for case in HTTP2_CASES
        if case.is_http2
        for server in case.servers
        if server in HTTP2_LIMITS
    ]
    for case in HTTP2_CASES:
        if case.kind is Kind.LOAD and not case.is_http2:
            found += [cost(case.name, server, 1.0) for server in case.servers if server != "trilithon"]
    for case in FILE_CASES:
        found += [cost(case.name, server, 1.0, "file") for server in case.servers if server.startswith(RIVALS)]
    return found


def replacing_targets() -> list[Target]:
    """Return the targets of replacing workers under load, and of a second worker."""

    def losses(case: str, setting: str) -> Target:
        return Target(
            f"{case}: requests lost in {setting}", lambda results: results.median(case, "trilithon", "lost", setting), 0
        )

    def gain(case: str) -> Target:
        def figure(results: Results) -> float | None:
            two = results.median(case, "trilithon", "requests_per_s", "2")
            return ratio(two, results.median(case, "trilithon", "requests_per_s", "1"))

        return Target(f"{case}: requests a second of two workers over one's", figure, 1.9, is_minimum=True)

    found = [gain(case.name) for case in SCALING_CASES]
    return found + [losses(case.name, setting) for case in REPLACING_CASES for setting in SETTINGS[Kind.REPLACING]]


TARGETS: tuple[Target, ...] = (
    cost("constant-asgi", "uvicorn", 0.5),
    cost("constant-asgi", "granian-asgi", 0.55),
    cost("constant-asgi", "floor", 1.8),
    cost("constant-wsgi", "bjoern", 1.0),
    cost("constant-wsgi", "floor", 1.5),
    cost("constant-wsgi", "granian-wsgi", 0.45),
    cost("constant-wsgi", "gunicorn-gthread", 0.1),
    cost("fastapi", "uvicorn", 0.65),
    cost("fastapi", "granian-asgi", 0.65),
    cost("flask", "bjoern", 1.0),
    cost("flask", "granian-wsgi", 0.7),
    cost("flask", "gunicorn-gthread", 0.3),
    ideal_share("sleep-wsgi", 6400, 0.96),
    rate("sleep-wsgi", "granian-wsgi", 1.0),
    idle_memory("idle-asgi", "idle-asgi", "uvicorn", 1 / 3),
    idle_memory("idle-wsgi", "idle-asgi", "uvicorn", 1 / 3),
    kept_with_log("log-asgi", 0.75),
    kept_with_log("log-wsgi", 0.75),
    mounted_cost("mount", 1.5),
    *latency_targets(),
    *carried_targets(),
    *socket_targets(),
    *replacing_targets(),
)
