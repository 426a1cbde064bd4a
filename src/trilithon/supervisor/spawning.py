"""Workers as new interpreters: nothing is forked, so each loads everything itself, from papers that it inherits."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import open_memory
from trilithon.supervisor.household import Household, Outcome
from trilithon.supervisor.newborn import NOT_OURS
from trilithon.supervisor.papers import write_papers
from trilithon.worker.member import Birth

# Held back until the new interpreter knows what they mean; TERM and QUIT end it before that, as they should.
HELD_BACK = (signal.SIGINT, signal.SIGHUP, *NOT_OURS)
_PROGRAM = str(Path(__file__).with_name("spawned.py"))
_REMEDY = (
    "an application that is an object cannot be given to a new interpreter; name it as module:attr, or choose fork"
)


class SpawnLauncher:
    """Starts each worker as a new interpreter with this one's flags, environment, directory and module path.

    Certificates are loaded by each worker. So are the keys of its session tickets made by each: a client that comes
    back to another worker makes a full handshake.
    """

    def __init__(self, household: Household) -> None:
        """Raises ConfigError for an application that cannot be named."""
        self.household = household
        if not (household.app is None or isinstance(household.app, str)):
            raise ConfigError("start_method", "spawn", _REMEDY)
        if not sys.executable:
            raise ConfigError("start_method", "spawn", "this program does not know its interpreter; choose fork")

    def prepare(self, generation: int, options: Options, done: Outcome) -> None:
        """See Launcher: there is nothing to prepare."""
        done("", 0)

    def launch(self, birth: Birth) -> int:
        """Start an interpreter; see Launcher."""
        papers, fds = write_papers(birth)
        board = birth.scoreboard.fd
        # A file in memory: a pipe would have to be filled while nobody reads yet.
        letter = open_memory()
        passed = [letter, board, *fds]
        try:
            with open(letter, "wb", closefd=False) as file:
                file.write(json.dumps(sys.path).encode() + b"\n")
                told = {"app": birth.app, "options": birth.options, "papers": papers}
                pickle.dump({**told, "argv": sys.argv, "held_back": HELD_BACK}, file)
            for fd in passed:
                os.set_inheritable(fd, True)
            # By its file: the module path that leads to this package may be one that the program has made.
            arguments = [sys.executable, *interpreter_flags(), _PROGRAM, *(str(fd) for fd in passed)]
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, ()) | set(HELD_BACK)
            return os.posix_spawn(sys.executable, arguments, os.environ, setsigmask=mask)
        finally:
            for fd in passed:
                with contextlib.suppress(OSError):
                    os.set_inheritable(fd, False)
            os.close(letter)

    def keep(self, generation: int) -> None:
        """See Launcher."""

    def child_ended(self, pid: int, code: int) -> None:
        """See Launcher."""

    def worker_fell_silent(self, pid: int) -> None:
        """See Launcher: as a child of this process."""

    def close(self) -> None:
        """See Launcher."""


def interpreter_flags() -> list[str]:
    """Return the flags that start an interpreter like this one, -W and -X among them."""
    flags: Any = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return list(flags)
