"""The servers with several workers: how each spreads connections over them by itself."""

from collections.abc import Callable

from benchmarks.balance_cases import WORKERS
from benchmarks.servers import Plan, Server, granian, gunicorn, trilithon, uvicorn


def with_workers(
    command: Callable[[Plan], list[str]], *words: str, count: int = WORKERS
) -> Callable[[Plan], list[str]]:
    """Return the way to start a server with several workers, whose words come behind those that say one."""

    def extended(plan: Plan) -> list[str]:
        first = command(plan)
        if "-w" in first:
            first[first.index("-w") + 1] = str(count)
        elif "--workers" in first:
            first[first.index("--workers") + 1] = str(count)
        else:
            first += ["--workers", str(count)]
        # Where the application is the last word, the new ones go before it.
        return [*first[:-1], *words, first[-1]] if first[-1] == plan.app else [*first, *words]

    return extended


def own(balance: str) -> Server:
    """Return trilithon with one of its ways to balance."""
    command = with_workers(trilithon("uvloop", None), "--balance", balance)
    return Server(f"trilithon-{balance}", f"trilithon, {balance}", "", "trilithon", command, is_peer=False)


WORKER_SERVERS: tuple[Server, ...] = (
    own("hand-over"),
    own("shared"),
    Server("uvicorn-workers", "uvicorn, shared", "", "uvicorn", with_workers(uvicorn("httptools"))),
    Server("granian-asgi-workers", "granian, SO_REUSEPORT", "", "granian", with_workers(granian("asgi"))),
    Server("granian-wsgi-workers", "granian, SO_REUSEPORT", "", "granian", with_workers(granian("wsgi"))),
    *(
        Server(
            f"gunicorn-{worker}-{suffix}",
            f"gunicorn {worker}, {label}",
            "",
            "gunicorn",
            with_workers(gunicorn(worker), *words),
        )
        for worker in ("asgi", "gthread")
        for suffix, label, words in (("workers", "shared", ()), ("reuse-port", "SO_REUSEPORT", ("--reuse-port",)))
    ),
)
