"""A server as the whole program: its event loop, its signals, its exit code."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from trilithon.foundation.errors import BindError, ConfigError, LoadError, StartupError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.first_process import answer_as_first_process, end_at_once
from trilithon.foundation.options import Options
from trilithon.worker.leaving import leave
from trilithon.worker.loader import explain
from trilithon.worker.logs import configure
from trilithon.worker.server import Server
from trilithon.worker.signals import ReopeningSignal, Signals

log = logging.getLogger("trilithon.error")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_server(app: Any, options: Options, is_program: bool = False) -> int:
    """Serve until SIGINT or SIGTERM and return the exit code, every fault told in one message on standard error.

    Where that `is_program`, this process ends here if requests had to be cut off whose threads would keep it alive.
    """
    answer_as_first_process()
    if options.umask:
        os.umask(int(options.umask, 8))
    configure(options)
    server = Server(app, options)
    try:
        with ReopeningSignal() as reopening:
            serve_until_signal(server, reopening)
    except LoadError as error:
        return tell(explain(error), ExitCode.LOAD)
    except BindError as error:
        return tell(f"trilithon: {error}", ExitCode.BIND)
    except ConfigError as error:
        return tell(f"trilithon: {error}", ExitCode.USAGE)
    except StartupError as error:
        return tell(f"trilithon: the application's start-up failed: {error}", ExitCode.STARTUP)
    if server.cut_off and is_program:
        leave(ExitCode.OK, 0.0)
    return int(ExitCode.OK)


def tell(message: str, code: ExitCode) -> int:
    """Print a fault and return its exit code."""
    print(message, file=sys.stderr)
    return int(code)


def serve_until_signal(server: Server, reopening: ReopeningSignal) -> None:
    """Run a server in an event loop of its own; raises what `Server.start` raises."""
    server.load()
    needs_loop = any(loaded.interface != "wsgi" for _, loaded in server.loaded)
    reopening.loop = loop = loop_factory(server.options.loop, needs_loop)()
    asyncio.set_event_loop(loop)
    try:
        task = loop.create_task(serve(server))
        calls: dict[int, Callable[[int], None]] = dict.fromkeys(SIGNALS, Stopper(server, task).handle)
        calls[signal.SIGQUIT] = end_at_once  # inherited as ignored where a shell has started us in the background
        with Signals(loop, calls):
            try:
                loop.run_until_complete(task)
            except asyncio.CancelledError:
                log.info("stopped during the start-up")
        leave_loop(loop)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def serve(server: Server) -> None:
    """Serve, with a line in the log at either end."""
    await server.start()
    # What is loaded stays: the collector need not look at it again and again, 14 ms each time for a bare application.
    gc.collect()
    gc.freeze()
    log.info("%s", server.describe())
    await server.serve_on()
    log.info("stopped")


def leave_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks that the application left behind and finish its generators."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())


def loop_factory(choice: str, needs_loop: bool) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop of a choice; raises ConfigError when uvloop is asked for and missing.

    With "auto" uvloop is used where it is installed and an ASGI application needs a loop at all.
    """
    if choice == "asyncio" or (choice == "auto" and not needs_loop):
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        if choice == "auto":
            return asyncio.new_event_loop
        raise ConfigError("loop", choice, "uvloop is not installed; type pip install 'trilithon[uvloop]'") from None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class Stopper:
    """What the signals to stop do to a server: the first one stops it gracefully, the second ends the process."""

    def __init__(self, server: Server, task: "asyncio.Task[None]") -> None:
        self.server = server
        self.task = task
        self.seen = False

    def handle(self, number: int) -> None:
        """Take a signal."""
        if self.seen:
            os.write(2, b"trilithon: second signal, ended at once\n")
            os._exit(128 + number)
        self.seen = True
        if not self.server.is_serving():
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)
        # A start-up that was complete in the same moment has not noticed that it was cancelled.
        self.server.stop()
