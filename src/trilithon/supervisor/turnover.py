"""Replacing workers one at a time: a new one is ready before an old one leaves."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from trilithon.supervisor.roster import Worker

log = logging.getLogger("trilithon.error")


class Employer(Protocol):
    """What replacing asks of the supervisor."""

    def hire(self, because: str) -> Worker | None:
        """Start a worker; None when that cannot be done now."""

    def retire(self, worker: Worker, because: str) -> None:
        """Have a worker leave, another one serving in its place."""


class Turnover:
    """Workers that are to be replaced, in order, and the one successor that is starting.

    A reload replaces all; its first successor that cannot start ends it, and the workers that are there go on.
    """

    def __init__(self, employer: Employer) -> None:
        self.employer = employer
        self.queue: deque[Worker] = deque()
        self.predecessor: Worker | None = None
        self.successor: Worker | None = None
        self.on_reloaded: list[Callable[[str], None]] = []
        self.is_reloading = False

    def reload(self, workers: list[Worker], done: Callable[[str], None]) -> None:
        """Replace these workers; `done` gets "" at the end, or why it ended early.

        One that is asked for while another one goes on is joined to it. A successor that is one of these workers is
        ended at once: what it starts with has changed since, and it must neither hold this up nor fail it.
        """
        self.is_reloading = True
        self.on_reloaded.append(done)
        for worker in workers:
            worker.leaves_because = "reload"
        waiting = [worker for worker in self.queue if worker not in workers]
        self.queue = deque([*workers, *waiting])
        outdated = self.successor
        if outdated is not None and outdated in self.queue:
            self.queue.remove(outdated)
            self.successor = self.predecessor = None
            self.employer.retire(outdated, outdated.leaves_because)
        elif self.predecessor in workers:
            self.queue.remove(self.predecessor)
        self.go_on()

    def replace(self, worker: Worker, because: str) -> None:
        """Replace one worker; nothing happens when that is under way already."""
        if worker is self.predecessor or worker in self.queue:
            return
        worker.leaves_because = because
        self.queue.append(worker)
        self.go_on()

    def go_on(self) -> None:
        """Start the next successor, unless one is starting."""
        while self.successor is None and self.queue:
            worker = self.queue.popleft()
            if not worker.is_staying:
                continue
            self.successor = self.employer.hire(f"in the place of {worker}: {worker.leaves_because}")
            if self.successor is None:
                self.queue.appendleft(worker)
                return
            self.predecessor = worker
        if self.successor is None and self.is_reloading:
            self.finish("")

    def fills_a_gap(self) -> bool:
        """Tell whether the successor that is starting has nobody to replace any more, and so counts for one more."""
        return self.successor is not None and (self.predecessor is None or not self.predecessor.is_staying)

    def became_ready(self, worker: Worker) -> None:
        """A worker serves: when it is the successor, its predecessor leaves."""
        if worker is not self.successor:
            return
        predecessor = self.predecessor
        self.successor = self.predecessor = None
        if predecessor is not None and predecessor.is_staying:
            self.employer.retire(predecessor, predecessor.leaves_because)
        self.go_on()

    def ended(self, worker: Worker) -> None:
        """A worker has ended, or could not start."""
        if worker is self.successor:
            self.successor = self.predecessor = None
            if self.is_reloading:
                self.abandon(worker.failure[1] if worker.failure is not None else f"{worker} ended during its start")
            # What was to be recycled asks again.
        elif worker is self.predecessor:
            self.predecessor = None  # its successor takes its place all the same
        self.go_on()

    def abandon(self, reason: str) -> None:
        """Give up what is left of a reload."""
        self.queue = deque(worker for worker in self.queue if worker.leaves_because != "reload")
        self.finish(reason)

    def finish(self, reason: str) -> None:
        """End the reload."""
        self.is_reloading = False
        # The first that was asked for knows what there was before all of them, to which it goes back at the end.
        waiting = self.on_reloaded[::-1] if reason else self.on_reloaded
        self.on_reloaded = []
        for done in waiting:
            done(reason)

    def clear(self) -> None:
        """Replace nothing more: all workers are to leave."""
        self.queue.clear()
        self.successor = self.predecessor = None
        if self.is_reloading:
            self.finish("the server stops")
