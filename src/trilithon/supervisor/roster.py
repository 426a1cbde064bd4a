"""The workers that a supervisor has, and what state each is in."""

import os
import socket
import time
from dataclasses import dataclass, field

from trilithon.foundation.scoreboard import Slot, WorkerState
from trilithon.net.channel import Channel

LEAVING = (WorkerState.RETIRING, WorkerState.STOPPING)


@dataclass(eq=False, slots=True)
class Worker:
    """One worker as its supervisor sees it.

    `serial` counts all workers there have ever been; `leaves_because` says, once it leaves or is to leave, why.
    `mailbox` are the reading and the writing end of where others put connections for it. `held` is its lifeline, which
    ends it when this process is gone.
    """

    serial: int
    slot: Slot
    place: int
    generation: int
    channel: Channel
    mailbox: tuple[socket.socket, socket.socket]
    pid: int = 0
    state: WorkerState = WorkerState.STARTING
    born_at: float = field(default_factory=time.monotonic)
    leaves_because: str = ""
    failure: tuple[int, str] | None = None
    held: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        """Write how the log calls this worker."""
        return f"worker {self.serial} (pid {self.pid})"

    @property
    def is_staying(self) -> bool:
        """Whether it serves or is about to, and has not been told to leave."""
        return self.state in (WorkerState.STARTING, WorkerState.READY)

    def hold(self, fds: list[int]) -> None:
        """Keep descriptors that it sent, for as long as it and this process live."""
        self.held += fds

    def release(self) -> None:
        """Close this process's ends of what leads to the worker; idempotent."""
        self.channel.close()
        while self.held:
            os.close(self.held.pop())
        for end in self.mailbox:
            end.close()


class Roster:
    """All workers that have not ended, by process id, and the places on the scoreboard that are free."""

    def __init__(self, places: int) -> None:
        self.workers: dict[int, Worker] = {}
        self.free = list(range(places))
        self.serial = 0

    def take_place(self) -> int:
        """Return the lowest free place; raises IndexError when there are too many workers."""
        place = min(self.free, default=-1)
        if place < 0:
            raise IndexError("no place on the scoreboard is free")
        self.free.remove(place)
        return place

    def enter(self, worker: Worker) -> None:
        """Take in a worker that was started."""
        self.workers[worker.pid] = worker

    def drop(self, worker: Worker) -> None:
        """Forget a worker that has ended."""
        self.workers.pop(worker.pid, None)
        worker.release()
        self.free.append(worker.place)

    def all(self) -> list[Worker]:
        """Return all workers, oldest first."""
        return sorted(self.workers.values(), key=lambda worker: worker.serial)

    def staying(self) -> list[Worker]:
        """Return the workers that serve or are about to, oldest first."""
        return [worker for worker in self.all() if worker.is_staying]

    def ready(self) -> list[Worker]:
        """Return the workers that serve, oldest first."""
        return [worker for worker in self.all() if worker.state is WorkerState.READY]
