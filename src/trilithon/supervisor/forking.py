"""Workers as forks of the supervisor."""

import atexit
from typing import NoReturn

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import Options
from trilithon.net.certificates import TlsStore
from trilithon.supervisor.household import Household, Outcome
from trilithon.supervisor.newborn import MEANINGS, begin, fork, handled_signals, work
from trilithon.supervisor.renewal import Renewal
from trilithon.worker.member import Birth
from trilithon.worker.server import Server


class ForkLauncher:
    """Forks workers from the supervisor, which has not imported the application: each worker imports it itself.

    The certificates are opened here, so that all workers have the same keys for session tickets, and the same
    certificate where it is self-signed.
    """

    def __init__(self, household: Household) -> None:
        self.household = household
        self.stores: dict[int, TlsStore | None] = {}
        self.renewal = Renewal(household.reactor, lambda: self.stores.values())

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
        if server.store is not None:
            self.renewal.begin(options.cert_reload_s)
        done("", 0)

    def launch(self, birth: Birth) -> int:
        """Fork; see Launcher."""
        birth.store = self.stores.get(birth.generation)

        def child(mask: set[int]) -> NoReturn:
            # What the supervisor does at its end is not the worker's to do.
            atexit._clear()
            self.household.release()
            begin(mask, handled_signals(), MEANINGS)
            work(birth)

        return fork(child)

    def keep(self, generation: int) -> None:
        """Let go of other certificates; see Launcher."""
        self.stores = {each: store for each, store in self.stores.items() if each == generation}

    def child_ended(self, pid: int, code: int) -> None:
        """See Launcher."""

    def worker_fell_silent(self, pid: int) -> None:
        """See Launcher: as a child of this process."""

    def close(self) -> None:
        """See Launcher."""
