"""What became of workers: how many were replaced, and why the last ones ended."""

import signal
import time
from collections import deque
from typing import Any

from trilithon.supervisor.roster import Worker

REMEMBERED = 20


class Chronicle:
    """The ends of workers while the server goes on; the newest are kept in words."""

    def __init__(self) -> None:
        self.total = 0
        self.ends: deque[tuple[float, str]] = deque(maxlen=REMEMBERED)

    def ended(self, worker: Worker, code: int, was_leaving: bool) -> None:
        """Keep the end of a worker; `code` is its exit code, or minus the signal that ended it."""
        if was_leaving:
            what = f"{worker} left: {worker.leaves_because or 'it was told to'}"
        else:
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            what = f"{worker} ended {how}{f': {worker.failure[1]}' if worker.failure else ''}"
        self.total += 1
        self.ends.append((time.monotonic(), what))

    def told(self) -> list[dict[str, Any]]:
        """Return the newest ends, oldest first: how many seconds ago, and what happened."""
        now = time.monotonic()
        return [{"ago_s": round(now - when, 1), "what": what} for when, what in self.ends]
