"""Development: a change of a file starts the application anew, on sockets that stay open meanwhile."""

import contextlib
import dataclasses
import importlib.util
import logging
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import WorkerState
from trilithon.supervisor.backoff import Backoff
from trilithon.supervisor.household import Launcher
from trilithon.supervisor.reactor import Reactor
from trilithon.supervisor.roster import Roster, Worker
from trilithon.supervisor.watching import Watcher, is_within, sources_of, spell_path
from trilithon.worker.member import SHOWN

log = logging.getLogger("trilithon.error")

# What runs gets so long to finish; streams get no time, for a browser would wait as long as they do.
GRACE_S = 1.0
# Idle connections get just enough for a request that is on its way.
IDLE_GRACE_S = 0.05
STANDARD = sysconfig.get_path("stdlib")


class Charge(Protocol):
    """The supervisor, as far as development needs it."""

    app: Any
    options: Options
    reread: Callable[[], Options] | None
    reactor: Reactor
    roster: Roster
    launcher: Launcher
    backoff: Backoff
    generation: int
    wanted: int
    is_stopping: bool
    is_resting: bool

    def fill(self) -> None:
        """Have as many workers as are wanted."""

    def stop(self, is_quick: bool = False) -> None:
        """End all workers, then the supervisor."""

    def dismiss(self, worker: Worker, because: str, message: dict[str, Any], state: WorkerState) -> None:
        """Tell a worker to leave."""


class Developing:
    """Restarts all workers at a change: the old ones end first, since both at once may want the same port or file.

    Requests wait in the listening sockets meanwhile. A worker whose application cannot be loaded serves a page about
    that and counts as ready. Raises ConfigError for directories that are not there.
    """

    # After this a worker is killed that was told to leave: time for what runs, the lifespan and the end of the process.
    PATIENCE_S = GRACE_S + 2.0

    def __init__(self, charge: Charge) -> None:
        self.charge = charge
        self.began_at = 0.0
        self.terminals = [fd for fd in range(3) if os.isatty(fd)]
        # Why the process of the last worker ended during its start; the next one serves this and loads nothing.
        self.trouble = ""
        self.sources = self.find_sources(charge.options)
        self.watcher = self.make_watcher()

    def find_sources(self, options: Options) -> dict[str, Any]:
        """Return what is to be watched; raises ConfigError."""
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
        if self.charge.is_stopping or self.charge.is_resting:
            return
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        log.info("%s%s changed: starting anew", spell_path(paths[0]), others)
        for path in paths:
            forget_bytecode(path)
        self.restart(self.charge.options)

    def reload(self, done: Callable[[str], None]) -> None:
        """Start anew because somebody asks, with the options as they are now; `done` gets "", or why not."""
        charge = self.charge
        if self.terminals and not any(os.isatty(fd) for fd in self.terminals):
            # The window was closed, which sends SIGHUP as well; a server that nobody sees any more only keeps the port.
            charge.stop()
            done("the terminal was closed")
            return
        try:
            options = for_development(charge.reread()) if charge.reread is not None else charge.options
            sources = self.find_sources(options)
        except ConfigError as fault:
            log.error("not started anew: %s", fault)
            done(str(fault))
            return
        log.info("starting anew, as asked")
        self.restart(options, done)
        if sources != self.sources:
            self.sources = sources
            self.watcher.close()
            self.watcher = self.make_watcher()
            self.watcher.start()

    def restart(self, options: Options, done: Callable[[str], None] | None = None) -> None:
        """End all workers quickly; the last one's end brings the new ones. `done` gets "", or why nothing is done."""
        charge = self.charge
        # The same options keep their generation, and with it what was prepared: a certificate that was accepted once.
        generation = charge.generation + (options is not charge.options)
        workers = charge.options.workers
        began_at = time.monotonic()

        def prepared(fault: str, code: int) -> None:
            if fault:
                log.error("not started anew: %s", fault)
            elif not charge.is_stopping:
                charge.options = options
                charge.generation = generation
                if options.workers != workers:
                    charge.wanted = options.worker_count()
                self.began_at = began_at
                self.trouble = ""
                self.dismiss_all()
                charge.launcher.keep(generation)
                charge.backoff.reset()
                charge.fill()
            if done is not None:
                done(fault)

        if generation == charge.generation:
            prepared("", 0)
        else:
            charge.launcher.prepare(generation, options, prepared)

    def dismiss_all(self) -> None:
        """Have all workers end soon."""
        for worker in self.charge.roster.staying():
            self.charge.dismiss(worker, "changed files", {"do": "retire"}, WorkerState.RETIRING)

    def may_hire(self) -> bool:
        """Tell whether new workers may start: not before the old ones have ended."""
        return all(worker.is_staying for worker in self.charge.roster.all())

    def failed(self, worker: Worker) -> bool:
        """Show in the terminal why a worker cannot serve the application; returns whether it serves that as well."""
        code, reason = worker.failure or (int(ExitCode.UNEXPECTED), "")
        if code not in SHOWN:
            return False
        if not self.trouble:
            os.write(2, (reason.rstrip("\n") + "\n").encode(errors="backslashreplace"))
            log.error("the application cannot be started: browsers are shown why, until a file changes")
        return True

    def became_ready(self) -> None:
        """Say how long it took, once all are ready and none shows a fault."""
        ready = self.charge.roster.ready()
        if self.began_at and len(ready) == self.charge.wanted and all(each.failure is None for each in ready):
            log.info("started anew in %.2f s", time.monotonic() - self.began_at)
            self.began_at = 0.0

    def excuses(self, worker: Worker, how: str) -> bool:
        """Tell whether to go on after a worker that ended during its start; another one then tells browsers so.

        Not when it was to tell a fault already, or when it has told its own, which then is one of the options.
        """
        if self.trouble or worker.failure is not None:
            return False
        self.trouble = f"the process ended {how} while the application was loaded"
        log.error("%s ended %s during its start: browsers are told so, until a file changes", worker, how)
        return True


def has_loaded(roots: Sequence[str]) -> bool:
    """Tell whether modules of the application are loaded in this process, its main program aside."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in ("__main__", "trilithon") or not file or "site-packages" in file:
            continue
        if any(is_within(os.path.realpath(file), root) for root in roots) and not is_within(file, STANDARD):
            return True
    return False


def forget_bytecode(path: str) -> None:
    """Remove what the interpreter keeps of a source file that has changed.

    It tells versions apart by size and whole seconds, which is too coarse for somebody who saves twice in a second.
    """
    if path.endswith(".py"):
        with contextlib.suppress(OSError, NotImplementedError):
            os.unlink(importlib.util.cache_from_source(path))


def for_development(options: Options) -> Options:
    """Return the options with stops that are quick, and without replacing a worker that stands in a debugger.

    Raises ConfigError for directories that are not there.
    """
    if options.start_method == "auto" and has_loaded(sources_of(options, ())["roots"]):
        # A program of the application's that calls `run` has loaded modules, which forked workers would go on with.
        options = dataclasses.replace(options, start_method="spawn")
    return dataclasses.replace(
        options,
        reload=True,
        graceful_timeout_s=min(options.graceful_timeout_s, GRACE_S),
        stream_grace_s=0.0,
        idle_grace_s=IDLE_GRACE_S,
        hang_timeout_s=0.0,
        balance="shared",
    )
