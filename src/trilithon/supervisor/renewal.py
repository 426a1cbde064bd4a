"""Certificates for workers that are still to be forked: kept as fresh here as in the workers that serve."""

import time
from collections.abc import Callable, Iterable

from trilithon.net.certificates import TlsStore
from trilithon.supervisor.reactor import Reactor, Timer


class Renewal:
    """Looks at the files of the stores that `stores` gives; a worker begins with what these have."""

    def __init__(self, reactor: Reactor, stores: Callable[[], Iterable[TlsStore | None]]) -> None:
        self.reactor = reactor
        self.stores = stores
        self.timer: Timer | None = None

    def begin(self, interval_s: float) -> None:
        """Look every `interval_s` seconds from now on, zero for never."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.reactor.later(interval_s, lambda: self.look(interval_s)) if interval_s else None

    def look(self, interval_s: float) -> None:
        """Load what has changed. Those who serve with it say so."""
        for store in self.stores():
            if store is not None:
                store.reload_if_changed(time.monotonic(), is_spare=True)
        self.begin(interval_s)
