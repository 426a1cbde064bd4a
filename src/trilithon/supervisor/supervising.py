"""Serving under a supervisor as the whole program; and when one is needed."""

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from trilithon.foundation.errors import BindError, ConfigError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import Options
from trilithon.supervisor.heritage import VARIABLE, Origin, inherit
from trilithon.worker.logs import configure
from trilithon.worker.running import run_server, tell

# Options that only a supervisor can fulfil.
SUPERVISED = (
    "preload",
    "recycle_requests",
    "recycle_age_s",
    "recycle_rss_bytes",
    "control_socket",
    "pid_file",
    "user",
    "group",
    "reload",
)
# What a service manager sets for those who are to speak with it.
SERVICE_VARIABLES = ("LISTEN_FDS", "NOTIFY_SOCKET", VARIABLE)


def is_needed(options: Options, environ: Mapping[str, str]) -> bool:
    """Tell whether options or the service manager ask for what one process alone cannot do."""
    if options.workers or any(getattr(options, name) for name in SUPERVISED):
        return True
    return any(environ.get(name) for name in SERVICE_VARIABLES)


def run(app: Any = None, **options: Any) -> int:
    """Serve an application, an object or a target such as "module:attr", until SIGINT or SIGTERM.

    Keywords are the options of the table in docs/options.md. Returns the exit code, zero after a graceful stop.
    Raises ConfigError for an option that cannot be used. Signals are handled only in the main thread, and so workers
    are had only there.
    """
    settings = Options.of(options)
    if threading.current_thread() is not threading.main_thread() and is_needed(settings, {}):
        raise ConfigError("workers", settings.workers, "a supervisor handles signals: call run in the main thread")
    return serve(app, settings, os.environ)


def serve(
    app: Any,
    options: Options,
    environ: Mapping[str, str],
    reread: Callable[[], Options] | None = None,
    is_program: bool = False,
) -> int:
    """Serve in this process, or in workers where that is needed, until told to stop; returns the exit code.

    `is_program` says that this process is there for nothing else, and may be ended with what it serves.
    """
    if is_needed(options, environ):
        return supervise(app, options, reread)
    return run_server(app, options, is_program)


def supervise(app: Any, options: Options, reread: Callable[[], Options] | None = None) -> int:
    """Serve in workers until told to stop; returns the exit code, every fault told in one message."""
    origin = Origin.now()
    try:
        origin.heritage = inherit(os.environ)
        if options.umask:
            os.umask(int(options.umask, 8))
        configure(options)
        # One process alone does without all of it.
        from trilithon.supervisor.supervisor import Supervisor

        return Supervisor(app, options, reread, origin).run()
    except BindError as error:
        return fail(origin, f"trilithon: {error}", ExitCode.BIND)
    except ConfigError as error:
        return fail(origin, f"trilithon: {error}", ExitCode.USAGE)


def fail(origin: Origin, message: str, code: ExitCode) -> int:
    """Print a fault, tell it to the program before an upgrade, and return its exit code."""
    if origin.heritage is not None:
        origin.heritage.channel.send({"say": "failed", "reason": message})
    return tell(message, code)
