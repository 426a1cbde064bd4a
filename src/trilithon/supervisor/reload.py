"""A reload: the code and the options as they are now, in new workers that take the places of the old ones."""

import logging
from collections.abc import Callable
from typing import Protocol

from trilithon.foundation.options import Options
from trilithon.supervisor.backoff import Backoff
from trilithon.supervisor.household import Launcher
from trilithon.supervisor.roster import Roster
from trilithon.supervisor.systemd import Notifier
from trilithon.supervisor.turnover import Turnover
from trilithon.worker.logs import configure

log = logging.getLogger("trilithon.error")


class Keeper(Protocol):
    """The supervisor, as far as a reload needs it."""

    options: Options
    generation: int
    wanted: int
    is_stopping: bool
    backoff: Backoff
    launcher: Launcher
    notifier: Notifier
    roster: Roster
    turnover: Turnover

    def fill(self) -> None:
        """Have as many workers as are wanted."""


class Reload:
    """One reload to `options`; `done` gets "" at its end, or why the workers that were there go on."""

    def __init__(self, keeper: Keeper, options: Options, done: Callable[[str], None]) -> None:
        self.keeper = keeper
        self.options = options
        self.done = done
        self.former = (keeper.options, keeper.generation)
        generations = [worker.generation for worker in keeper.roster.all()]
        self.generation = max(keeper.generation, *generations, 0) + 1

    def begin(self) -> None:
        """Prepare for new workers, then replace the old ones one at a time."""
        keeper = self.keeper
        if self.options.addresses() != keeper.options.addresses():
            log.warning("bind has changed: new addresses need an upgrade (SIGUSR2) or a start anew")
        log.info("reloading")
        keeper.notifier.reloading()
        keeper.backoff.reset()
        keeper.launcher.prepare(self.generation, self.options, self.prepared)

    def prepared(self, fault: str, code: int) -> None:
        """Start the first new worker."""
        keeper = self.keeper
        if keeper.is_stopping:
            fault = "the server stops"
        if fault:
            self.finish(fault)
            return
        if self.options.workers != keeper.options.workers:
            keeper.wanted = self.options.worker_count()
        keeper.options = self.options
        keeper.generation = self.generation
        former = [worker for worker in keeper.roster.staying() if worker.generation < self.generation]
        keeper.turnover.reload(former, self.finish)
        keeper.fill()

    def finish(self, fault: str) -> None:
        """Say how it ended; after a fault, all is as before."""
        keeper = self.keeper
        if fault:
            keeper.options, keeper.generation = self.former
            log.error("not reloaded, the workers that were there go on: %s", fault)
        else:
            configure(self.options)
            log.info("reloaded")
        keeper.notifier.ready()
        keeper.launcher.keep(keeper.generation)
        self.done(fault)
