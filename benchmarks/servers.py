"""The servers: how each is started for a case, as close to its own defaults as a fair comparison lets it be."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KEEP_ALIVE_S = 75
BACKLOG = 2048
MANY_CONNECTIONS = 1024
"""More than so many connections are not what a server expects by default."""
ROOM = 8192
"""What a server that limits its connections is told to allow."""

MOUNTED_AT = "/mounted"


@dataclass(frozen=True)
class Plan:
    """What a server is to do: serve `app` on `port` with `threads`, from the programs in `bin` (of its environment)."""

    app: str
    port: int
    threads: int
    bin: Path
    floor: Path
    is_logging: bool = False
    is_mounted: bool = False
    is_crowded: bool = False
    certificate: Path | None = None
    is_http2: bool = False

    @property
    def key(self) -> Path | None:
        """The private key of the certificate, which lies beside it."""
        return self.certificate and self.certificate.with_suffix(".key")

    def secured(self, certificate_flag: str, key_flag: str) -> list[str]:
        """Return the words that turn TLS on, none when it stays off."""
        return [certificate_flag, str(self.certificate), key_flag, str(self.key)] if self.certificate else []

    @property
    def address(self) -> str:
        """The address to listen on, as most servers take it."""
        return f"127.0.0.1:{self.port}"

    def python(self, *words: str) -> list[str]:
        """Return a command run by the environment's interpreter."""
        return [str(self.bin / "python"), *words]


@dataclass(frozen=True)
class Server:
    """One row of the tables.

    `package` is what it is installed from. An empty `interface` keeps it to the cases that ask for it by name.
    `is_key` marks those a target names: a quick run meets only them, a full one meets them in every round.
    """

    name: str
    title: str
    interface: str
    package: str
    command: Callable[[Plan], list[str]]
    is_peer: bool = True
    is_key: bool = False


def trilithon(loop: str, threads: int | None) -> Callable[[Plan], list[str]]:
    """Return the way to start trilithon on `loop`, with `threads` or as many as the case asks for."""

    def command(plan: Plan) -> list[str]:
        target = ["--mount", f"{MOUNTED_AT}={plan.app}", "--mount", "/=plain_asgi:constant"]
        words = target if plan.is_mounted else [plan.app]
        words += ["--bind", plan.address, "--threads", str(threads or plan.threads), "--loop", loop]
        words += plan.secured("--certfile", "--keyfile")
        words += ["--h2c", "on"] if plan.is_http2 and not plan.certificate else []
        return plan.python("-m", "trilithon", *words, "--access-log", "common" if plan.is_logging else "off")

    return command


def uvicorn(parser: str, sockets: str = "auto") -> Callable[[Plan], list[str]]:
    """Return the way to start uvicorn with one of its parsers and without the middleware trilithon has no twin of."""

    def command(plan: Plan) -> list[str]:
        words = ["-m", "uvicorn", plan.app, "--host", "127.0.0.1", "--port", str(plan.port), "--loop", "uvloop"]
        words += ["--http", parser, "--no-proxy-headers", "--timeout-keep-alive", str(KEEP_ALIVE_S)]
        words += ["--backlog", str(BACKLOG), "--ws", sockets]
        words += plan.secured("--ssl-certfile", "--ssl-keyfile") + (["--http2"] if plan.is_http2 else [])
        return plan.python(*words, *([] if plan.is_logging else ["--no-access-log"]))

    return command


def granian(interface: str) -> Callable[[Plan], list[str]]:
    """Return the way to start granian; its threads are its default ones unless the application blocks."""

    def command(plan: Plan) -> list[str]:
        words = ["--interface", interface, "--host", "127.0.0.1", "--port", str(plan.port), "--workers", "1"]
        words += ["--loop", "uvloop", "--access-log" if plan.is_logging else "--no-access-log"]
        words += plan.secured("--ssl-certificate", "--ssl-keyfile") + (["--http", "2"] if plan.is_http2 else [])
        if plan.threads > 8:
            words += ["--blocking-threads", str(plan.threads)]
        if plan.is_crowded:
            # Its back-pressure counts connections, idle ones too: without room for them it stops accepting.
            words += ["--backlog", str(ROOM), "--backpressure", str(ROOM)]
        return [str(plan.bin / "granian"), *words, plan.app]

    return command


def gunicorn(worker: str) -> Callable[[Plan], list[str]]:
    """Return the way to start gunicorn with one worker of a class."""

    def command(plan: Plan) -> list[str]:
        words = ["-k", worker, "-w", "1", "-b", plan.address, "--keep-alive", str(KEEP_ALIVE_S), "--no-control-socket"]
        words += ["--worker-connections", str(ROOM), "--log-level", "warning"]
        words += ["--threads", str(plan.threads)] if worker == "gthread" else ["--asgi-loop", "uvloop"]
        words += plan.secured("--certfile", "--keyfile")
        words += ["--access-logfile", "-"] if plan.is_logging else []
        return plan.python("-m", "gunicorn", *words, plan.app)

    return command


def hypercorn(plan: Plan) -> list[str]:
    """Start hypercorn on uvloop."""
    words = ["-k", "uvloop", "-b", plan.address, "--keep-alive", str(KEEP_ALIVE_S), "--backlog", str(BACKLOG)]
    words += plan.secured("--certfile", "--keyfile")
    words += ["--access-logfile", "-"] if plan.is_logging else []
    return plan.python("-m", "hypercorn", *words, plan.app)


def daphne(plan: Plan) -> list[str]:
    """Start daphne, silent."""
    return plan.python("-m", "daphne", "-b", "127.0.0.1", "-p", str(plan.port), "-v", "0", plan.app)


def waitress(plan: Plan) -> list[str]:
    """Start waitress."""
    words = [f"--listen={plan.address}", f"--threads={plan.threads}", f"--backlog={BACKLOG}"]
    words += [f"--connection-limit={ROOM}", "--asyncore-use-poll"]
    return plan.python("-m", "waitress", *words, plan.app)


def uwsgi(plan: Plan) -> list[str]:
    """Start uwsgi behind its own HTTP router, the only way it keeps many connections alive."""
    words = ["--http", plan.address, f"--http-keepalive={KEEP_ALIVE_S}", "--http-auto-chunked", "--master"]
    words += ["--die-on-term", "--need-app", "--disable-logging", "--threads", str(plan.threads)]
    words += ["--listen", "1024", "--home", str(plan.bin.parent), "--module", plan.app]
    return [str(plan.bin / "uwsgi"), *words]


def launched(server: str) -> Callable[[Plan], list[str]]:
    """Return the way to start a server that is called from Python only."""
    return lambda plan: plan.python("launch.py", server, plan.app, str(plan.port))


def floor(plan: Plan) -> list[str]:
    """Start the bare epoll loop."""
    return [str(plan.floor), str(plan.port)]


def floor_of(program: str) -> Callable[[Plan], list[str]]:
    """Return the way to start the bare epoll loop of another protocol."""
    return lambda plan: [str(plan.floor.with_name(program)), str(plan.port)]


SERVERS: tuple[Server, ...] = (
    Server("floor", "raw C epoll (floor)", "", "", floor, is_key=True),
    Server("socket-floor", "raw C epoll (floor)", "", "", floor_of("socket_floor")),
    Server("http2-floor", "raw C epoll (floor)", "", "", floor_of("http2_floor")),
    Server("trilithon", "trilithon", "both", "trilithon", trilithon("uvloop", None), is_peer=False, is_key=True),
    Server("trilithon-asyncio", "trilithon, stdlib loop", "", "trilithon", trilithon("asyncio", None), is_peer=False),
    Server("trilithon-1", "trilithon, 1 thread", "", "trilithon", trilithon("uvloop", 1), is_peer=False, is_key=True),
    Server("trilithon-8", "trilithon, 8 threads", "", "trilithon", trilithon("uvloop", 8), is_peer=False),
    Server("trilithon-64", "trilithon, 64 threads", "", "trilithon", trilithon("uvloop", 64), is_peer=False),
    Server("uvicorn", "uvicorn, httptools", "asgi", "uvicorn", uvicorn("httptools"), is_key=True),
    Server("uvicorn-zttp", "uvicorn, zttp", "asgi", "uvicorn", uvicorn("zttp")),
    Server(
        "uvicorn-websockets",
        "uvicorn, websockets",
        "",
        "uvicorn",
        uvicorn("httptools", "websockets-sansio"),
        is_key=True,
    ),
    Server("uvicorn-wsproto", "uvicorn, wsproto", "", "uvicorn", uvicorn("httptools", "wsproto"), is_key=True),
    Server("granian-asgi", "granian, asgi", "asgi", "granian", granian("asgi"), is_key=True),
    Server("gunicorn-asgi", "gunicorn, asgi", "asgi", "gunicorn", gunicorn("asgi")),
    Server("hypercorn", "hypercorn", "asgi", "hypercorn", hypercorn),
    Server("hypercorn-wsgi", "hypercorn, wsgi", "", "hypercorn", hypercorn),
    Server("daphne", "daphne", "asgi", "daphne", daphne),
    Server("fastpysgi-asgi", "fastpysgi, asgi", "asgi", "fastpysgi", launched("fastpysgi")),
    Server("bjoern", "bjoern, 1 thread", "wsgi", "bjoern", launched("bjoern"), is_key=True),
    Server("fastpysgi-wsgi", "fastpysgi, wsgi, 1 thread", "wsgi", "fastpysgi", launched("fastpysgi")),
    Server("granian-wsgi", "granian, wsgi", "wsgi", "granian", granian("wsgi"), is_key=True),
    Server("gunicorn-gthread", "gunicorn, gthread", "wsgi", "gunicorn", gunicorn("gthread"), is_key=True),
    Server("waitress", "waitress", "wsgi", "waitress", waitress),
    Server("uwsgi", "uwsgi, http router", "wsgi", "uwsgi", uwsgi),
)
