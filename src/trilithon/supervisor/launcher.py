"""How a worker's process comes to be: the ways there are, and the choice between them."""

import atexit
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import Scoreboard
from trilithon.net.certificates import TlsStore
from trilithon.supervisor.newborn import MEANINGS, begin, fork, handled_signals, work
from trilithon.supervisor.reactor import Reactor
from trilithon.worker.member import Birth
from trilithon.worker.server import Server

Outcome = Callable[[str, int], None]
"""Called with "" and 0, or with why something failed and the exit code that stands for it."""


@dataclass(slots=True)
class Household:
    """What workers come from: the application and the sockets that all of them share, and their supervisor's own.

    `release` closes, in a process that was forked, what belongs to the supervisor alone. `ended` takes the process id
    and the exit code of a worker that is no child of the supervisor itself, minus the signal that ended it.
    """

    app: Any
    listening: Callable[[], list[socket.socket]]
    scoreboard: Scoreboard
    reactor: Reactor
    release: Callable[[], None]
    ended: Callable[[int, int], None]


class Launcher(Protocol):
    """A way to start workers."""

    def prepare(self, generation: int, options: Options, done: Outcome) -> None:
        """Get ready to start workers of a generation; `done` may be called at once, with a fault later only."""

    def launch(self, birth: Birth) -> int:
        """Start a worker of a generation that was prepared and return its process id; raises OSError.

        The caller closes its own copies.
        """

    def keep(self, generation: int) -> None:
        """Forget how to start workers of other generations: a reload is over."""

    def child_ended(self, pid: int, code: int) -> None:
        """Take note that a child of the supervisor has ended that is no worker; see Household for the code."""

    def close(self) -> None:
        """Release what is held for further workers."""


class ForkLauncher:
    """Forks workers from the supervisor, which has not imported the application: each worker imports it itself.

    The certificates are opened here, so that all workers have the same keys for session tickets, and the same
    certificate where it is self-signed.
    """

    def __init__(self, household: Household) -> None:
        self.household = household
        self.stores: dict[int, TlsStore | None] = {}

    def prepare(self, generation: int, options: Options, done: Outcome) -> None:
        """Open the certificates; see Launcher."""
        server = Server(self.household.app, options)
        try:
            server.open_certificates()
        except ConfigError as fault:
            reason = f"trilithon: {fault}"
            self.household.reactor.later(0.0, lambda: done(reason, int(ExitCode.USAGE)))
            return
        self.stores[generation] = server.store
        done("", 0)

    def launch(self, birth: Birth) -> int:
        """Fork; see Launcher."""
        birth.store = self.stores[birth.generation]

        def child(mask: set[int]) -> NoReturn:
            # What the supervisor does at its end is not the worker's to do.
            atexit._clear()
            self.household.release()
            begin(mask, handled_signals(), MEANINGS)
            work(birth)

        return fork(child)

    def keep(self, generation: int) -> None:
        """Let go of other certificates; see Launcher."""
        self.stores = {generation: self.stores[generation]}

    def child_ended(self, pid: int, code: int) -> None:
        """See Launcher."""

    def close(self) -> None:
        """See Launcher."""


def choose_launcher(household: Household, options: Options) -> Launcher:
    """Return the way to start workers that the options ask for; raises ConfigError."""
    # Imported where they are chosen: most supervisors need neither.
    if options.preload:
        from trilithon.supervisor.nursery import TemplateLauncher

        return TemplateLauncher(household)
    if options.start_method == "spawn" or (options.start_method == "auto" and not is_fork_safe(household.app)):
        from trilithon.supervisor.spawning import SpawnLauncher

        return SpawnLauncher(household)
    return ForkLauncher(household)


def is_fork_safe(app: Any) -> bool:
    """Tell whether to fork where nothing is said: system libraries of macOS do not bear it.

    An application that is given as an object can only be forked.
    """
    return sys.platform != "darwin" or not (app is None or isinstance(app, str))
