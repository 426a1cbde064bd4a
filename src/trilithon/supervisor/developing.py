"""Development: a change of a file starts the application anew, on sockets that stay open meanwhile."""

import contextlib
import dataclasses
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import WorkerState
from trilithon.supervisor.reactor import Reactor
from trilithon.supervisor.roster import Roster, Worker
from trilithon.supervisor.watching import Watcher, sources_of, spell_path

log = logging.getLogger("trilithon.error")

# What runs gets so long to finish; streams and idle connections none: a browser would wait as long as they do.
GRACE_S = 1.0
# And so long to end the lifespan and the process.
END_S = 2.0


class Charge(Protocol):
    """The supervisor, as far as development needs it."""

    app: Any
    options: Options
    reread: Callable[[], Options] | None
    reactor: Reactor
    roster: Roster
    wanted: int
    is_stopping: bool

    def renew(self, options: Options) -> None:
        """Use these options for the workers of a new generation, and start what is missing."""

    def dismiss(self, worker: Worker, because: str, message: dict[str, Any], state: WorkerState) -> None:
        """Tell a worker to leave."""

    def set_deadline(self, worker: Worker, delay_s: float) -> None:
        """Kill a worker unless it has ended in time."""


class Developing:
    """Restarts all workers at a change: the old ones end first, since both at once may want the same port or file.

    Requests wait in the listening sockets meanwhile. A worker whose application cannot be loaded serves a page about
    that and counts as ready. Raises ConfigError for directories that are not there.
    """

    def __init__(self, charge: Charge) -> None:
        self.charge = charge
        self.began_at = 0.0
        # Why the process of the last worker ended during its start; the next one serves this and loads nothing.
        self.trouble = ""
        self.sources = self.find_sources()
        self.watcher = self.make_watcher()

    def find_sources(self) -> dict[str, Any]:
        """Return what is to be watched."""
        options = self.charge.options
        return sources_of(options, [self.charge.app, *(target for _, target in options.mount_table())])

    def make_watcher(self) -> Watcher:
        """Return a watcher of the sources, to be started."""
        return Watcher(self.charge.reactor, self.sources, self.changed)

    def start(self) -> None:
        """Begin to watch."""
        self.watcher.start()

    def close(self) -> None:
        """Watch no more; idempotent."""
        self.watcher.close()

    def release(self) -> None:
        """Close, in a process that was forked off, what belongs to the supervisor."""
        self.watcher.release()

    def changed(self, paths: list[str]) -> None:
        """Start anew because of these files."""
        if self.charge.is_stopping:
            return
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        log.info("%s%s changed: starting anew", spell_path(paths[0]), others)
        self.restart(self.charge.options)

    def reload(self) -> str:
        """Start anew because somebody asks, with the options as they are now; returns "", or why not."""
        charge = self.charge
        try:
            options = for_development(charge.reread()) if charge.reread is not None else charge.options
            log.info("starting anew, as asked")
            self.restart(options)
            sources = self.find_sources()
        except ConfigError as fault:
            log.error("not started anew: %s", fault)
            return str(fault)
        if sources != self.sources:
            self.sources = sources
            self.watcher.close()
            self.watcher = self.make_watcher()
            self.watcher.start()
        return ""

    def restart(self, options: Options) -> None:
        """End all workers quickly; the last one's end brings the new ones."""
        charge = self.charge
        self.began_at = time.monotonic()
        self.trouble = ""
        for worker in charge.roster.staying():
            was_starting = worker.state is WorkerState.STARTING
            charge.dismiss(worker, "changed files", {"do": "stop"}, WorkerState.STOPPING)
            if was_starting:
                # It may import for long, and hears nothing meanwhile; nobody waits for its answers.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGTERM)
            charge.set_deadline(worker, END_S if was_starting else GRACE_S + END_S)
        charge.renew(options)

    def may_hire(self) -> bool:
        """Tell whether new workers may start: not before the old ones have ended."""
        return all(worker.is_staying for worker in self.charge.roster.all())

    def failed(self, worker: Worker) -> None:
        """Show in the terminal why a worker cannot serve the application; it serves that as well."""
        if self.trouble:
            return  # said already
        _, reason = worker.failure or (0, "")
        os.write(2, (reason.rstrip("\n") + "\n").encode(errors="backslashreplace"))
        log.error("the application cannot be started: browsers are shown why, until a file changes")

    def became_ready(self, worker: Worker) -> None:
        """Say how long it took, once all are ready."""
        if self.began_at and worker.failure is None and len(self.charge.roster.ready()) == self.charge.wanted:
            log.info("started anew in %.2f s", time.monotonic() - self.began_at)
            self.began_at = 0.0

    def excuses(self, worker: Worker, how: str) -> bool:
        """Tell whether to go on after a worker that ended during its start; another one then tells browsers so.

        Not when it was one to tell a fault already, or when the fault is in the options.
        """
        if self.trouble or (worker.failure is not None and worker.failure[0] == ExitCode.USAGE):
            return False
        self.trouble = f"the process ended {how} while the application was loaded"
        log.error("%s ended %s during its start: browsers are told so, until a file changes", worker, how)
        return True


def for_development(options: Options) -> Options:
    """Return the options with stops that are quick, and without replacing a worker that stands in a debugger."""
    return dataclasses.replace(
        options,
        reload=True,
        graceful_timeout_s=min(options.graceful_timeout_s, GRACE_S),
        stream_grace_s=0.0,
        idle_grace_s=0.0,
        hang_timeout_s=0.0,
        balance="shared",
    )
