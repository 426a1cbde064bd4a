"""What every way to start workers has to do, and what it is given for that."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import Scoreboard
from trilithon.supervisor.reactor import Reactor
from trilithon.worker.member import Birth

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

    def worker_fell_silent(self, pid: int) -> None:
        """See to it that the end of a worker is told, which says no more and so has ended most likely."""

    def close(self) -> None:
        """Release what is held for further workers."""
