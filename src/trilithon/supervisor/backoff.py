"""How long to wait before a worker is started again that ended by itself."""

import time

FIRST_S = 0.5
LONGEST_S = 30.0
# A worker that lived so long was no failed start.
SETTLED_S = 10.0


class Backoff:
    """Doubles the wait with each worker that ended soon after its start, and forgets them when one has lived on."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.until = 0.0

    def ended(self, lived_s: float) -> float:
        """A worker ended unasked; returns how long to wait, in seconds."""
        if lived_s >= SETTLED_S:
            self.reset()
        else:
            self.delay_s = min(LONGEST_S, max(FIRST_S, 2 * self.delay_s))
            self.until = time.monotonic() + self.delay_s
        return self.delay_s

    def wait_s(self) -> float:
        """Return how much of the wait is left, in seconds."""
        return max(0.0, self.until - time.monotonic())

    def reset(self) -> None:
        """Wait no more: somebody changed something, or a worker has settled."""
        self.delay_s = self.until = 0.0
