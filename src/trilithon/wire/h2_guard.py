"""What a client may make an HTTP/2 server do for nothing, and how often, before the connection ends."""

from trilithon.wire.h2_codes import ENHANCE_YOUR_CALM
from trilithon.wire.h2_frames import H2Error

# What is counted.
RESETS = 0
PROVOKED = 1
REFUSED = 2
SETTINGS_FRAMES = 3
PINGS = 4
EMPTY_FRAMES = 5
WINDOW_FRAMES = 6
IDLE_FRAMES = 7
DRIBBLES = 8

# How many at once, and how many a second on top.
BUDGETS: list[tuple[str, float, float]] = [
    ("cancelled requests", 200.0, 20.0),  # rapid reset, CVE-2023-44487
    ("stream errors", 50.0, 2.0),  # resets provoked from us, CVE-2025-8671
    ("requests above the stream limit", 500.0, 50.0),
    ("SETTINGS", 50.0, 2.0),  # CVE-2019-9515
    ("PING", 200.0, 20.0),  # CVE-2019-9512
    ("empty DATA", 100.0, 10.0),  # CVE-2019-9518
    ("WINDOW_UPDATE", 2000.0, 100.0),
    ("frames without effect", 2000.0, 100.0),  # PRIORITY, unknown types, resets of what is over: CVE-2019-9513
    ("window updates of a few octets", 500.0, 50.0),  # each lets one small frame out, CVE-2019-9511
]
# Each DATA frame sent may be answered by so many window updates.
UPDATES_PER_FRAME = 4.0
# Updates by less, while something waits for them and windows are too small to wait for larger ones, are dribbles.
DRIBBLE_BYTES = 256


class Guard:
    """Counts what costs the server and brings the client nothing; each kind has a budget that time refills."""

    def __init__(self) -> None:
        self.left = [burst for _, burst, _ in BUDGETS]
        self.spent_at = [-1.0] * len(BUDGETS)

    def spend(self, kind: int, now: float) -> None:
        """Count one of a kind; raises H2Error (ENHANCE_YOUR_CALM) when there were too many."""
        name, burst, rate = BUDGETS[kind]
        left = self.left[kind]
        since = self.spent_at[kind]
        if now > since:
            if since >= 0.0:
                left = min(burst, left + (now - since) * rate)
            self.spent_at[kind] = now
        if left < 1.0:
            self.left[kind] = left
            raise H2Error(ENHANCE_YOUR_CALM, f"too many {name}")
        self.left[kind] = left - 1.0

    def earn_updates(self, frames: int) -> None:
        """DATA frames went out: window updates are due for them."""
        burst = BUDGETS[WINDOW_FRAMES][1]
        self.left[WINDOW_FRAMES] = min(burst, self.left[WINDOW_FRAMES] + frames * UPDATES_PER_FRAME)
