"""Serving an application inside a test: a real server on a free port, in a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trilithon.foundation.options import Options
from trilithon.worker.running import leave_loop, loop_factory
from trilithon.worker.server import Server

START_TIMEOUT_S = 30.0


class Site:
    """A running server: where it is, and the server itself."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.fault: BaseException | None = None

    @property
    def address(self) -> tuple[str, int] | str:
        """The first address, (host, port) or "unix:PATH"."""
        return self.server.addresses[0]

    @property
    def host(self) -> str:
        """The host of the first address."""
        return str(self.address[0])

    @property
    def port(self) -> int:
        """The port of the first address."""
        return int(self.address[1])

    @property
    def url(self) -> str:
        """The root of the site, without a closing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "http" if self.server.store is None else "https"
        return f"{scheme}://{host}:{self.port}"


@contextmanager
def serve(app: Any = None, **options: Any) -> Iterator[Site]:
    """Serve an application, an object or a target, on a free port of 127.0.0.1 while the block runs.

    Keywords are options. Leaving the block stops gracefully. Raises what the start raises, and at the end what the
    server's thread died of.
    """
    options.setdefault("bind", ["127.0.0.1:0"])
    options.setdefault("access_log", "off")
    options.setdefault("graceful_timeout_s", 5.0)
    server = Server(app, Options.of(options))
    server.load()
    needs_loop = any(loaded.interface != "wsgi" for _, loaded in server.loaded)
    loop = loop_factory(server.options.loop, needs_loop)()
    site = Site(server)
    started = threading.Event()

    async def main() -> None:
        await server.start()
        started.set()
        await server.serve_on()

    def body() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(main())
            leave_loop(loop)
        except BaseException as fault:
            site.fault = fault
        finally:
            loop.close()
            started.set()

    thread = threading.Thread(target=body, name="trilithon-site", daemon=True)
    thread.start()
    started.wait(START_TIMEOUT_S)
    if site.fault is not None:
        raise site.fault
    try:
        yield site
    finally:
        server.stop()
        thread.join()
    if site.fault is not None:
        raise site.fault
