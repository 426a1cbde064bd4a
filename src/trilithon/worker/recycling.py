"""Recycling: a worker that has served enough, lived long enough or grown too large asks to be replaced."""

import math
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import Slot

Say = Callable[[dict[str, Any]], object]

# A successor that could not start is forgotten: who is still there then asks again.
AGAIN_S = 60.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Recycler:
    """Holds one worker against the limits of the options, each lowered by a random part drawn once at its birth.

    `say` takes the message to the supervisor; it is called on the thread that calls `look`.
    """

    def __init__(self, options: Options, slot: Slot, say: Say) -> None:
        self.slot = slot
        self.say = say
        self.born_at = time.monotonic()
        self.max_requests = lower(options.recycle_requests, options.recycle_jitter)
        self.max_age_s = lower(options.recycle_age_s, options.recycle_jitter)
        self.max_rss_bytes = lower(options.recycle_rss_bytes, options.recycle_jitter)
        self.asked_at = -math.inf

    def look(self, now: float) -> None:
        """Ask to be replaced when a limit is reached; called once a second or so with the time of `time.monotonic`."""
        if now - self.asked_at < AGAIN_S:
            return
        reason = self.reason(now)
        if reason:
            self.asked_at = now
            self.say({"say": "recycle", "reason": reason})

    def reason(self, now: float) -> str:
        """Return which limit is reached, "" for none."""
        requests = self.slot.requests()
        if self.max_requests and requests >= self.max_requests:
            return f"it has taken {requests} requests"
        age_s = now - self.born_at
        if self.max_age_s and age_s >= self.max_age_s:
            return f"it is {age_s:.0f} s old"
        rss_bytes = resident_bytes() if self.max_rss_bytes else 0
        if self.max_rss_bytes and rss_bytes >= self.max_rss_bytes:
            return f"it holds {rss_bytes / 1048576:.0f} MiB of memory"
        return ""


def lower(limit: float, jitter: int) -> float:
    """Return a limit less a random part of up to `jitter` percent; zero, no limit, stays zero."""
    return limit * (1 - random.random() * jitter / 100)


def resident_bytes() -> int:
    """Return the resident memory of this process; where the system tells only the most there ever was, that."""
    try:
        with open("/proc/self/statm", "rb", 0) as file:
            return int(file.read(128).split()[1]) * PAGE_BYTES
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def processor_us() -> int:
    """Return the processor time that this process has used, in microseconds."""
    return int(time.process_time() * 1e6)
