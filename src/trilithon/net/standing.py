"""How a worker stands among its neighbours: the figures by which connections are spread, on the scoreboard."""

import math

from trilithon.foundation.cells import clock_us
from trilithon.foundation.scoreboard import CREW, LOOP, SPARE, STATE, Slot, WorkerState

# The cells of a slot that are kept for this; times in microseconds as all on the scoreboard.
RATE = SPARE
RECENT_WORK = SPARE + 1
CPU_PERMILLE = SPARE + 2
MEASURED_AT = SPARE + 3
RESTS = SPARE + 4
HAS_ROOM = SPARE + 5
ARRIVALS = SPARE + 6
ARRIVED_AT = SPARE + 7
COLLECTED = SPARE + 8

# What happened is forgotten like this: a request counts for two seconds, an arrival for four.
WORK_S = 2.0
ARRIVAL_S = 4.0
ARRIVAL_UNIT = 1024
# A worker that has been inside one turn for longer is given nothing: its clients would wait. On a crowded machine one
# that only waits for a processor may look like that for a while.
STUCK_US = 150_000
# Nor is one whose last measurement, due every eighth of a second while it has clients, is older than this.
SILENT_US = 500_000
# Nor is one that has not shown for so long that it is alive, as an engine does once a second and a loop twice, whether
# there are clients or not: its process was stopped, or something that is no request's call holds it up.
LIFELESS_US = 2_000_000


class Standing:
    """The figures of one worker as they were read at one moment.

    `rate` is the requests a second that it expects, `work` those of the last seconds, `cpu` its share of a processor.
    """

    def __init__(self, slot: Slot, now_us: int) -> None:
        read = slot.cells.read
        age_s = max(0, now_us - read(MEASURED_AT)) / 1e6
        rests = bool(read(RESTS))
        self.slot = slot
        self.connections = slot.connections()
        self.rate = 0.0 if rests else float(read(RATE))
        self.work = read(RECENT_WORK) * math.exp(-age_s / WORK_S)
        self.cpu = 0.0 if rests else read(CPU_PERMILLE) / 1000


def takes_connections(slot: Slot, now_us: int) -> bool:
    """Tell whether a worker serves, has room, and is not held up."""
    read = slot.cells.read
    if read(STATE) != WorkerState.READY or not read(HAS_ROOM):
        return False
    since = slot.busy_since_us()
    if since and now_us - since > STUCK_US:
        return False
    # Where there are both, the loop is who accepts and collects.
    beat = slot.beat_us(LOOP) or slot.beat_us(CREW)
    if beat and now_us - beat > LIFELESS_US:
        return False
    return bool(read(RESTS)) or now_us - read(MEASURED_AT) < SILENT_US


def recent_arrivals(slot: Slot, now_us: int) -> float:
    """Return how many connections a worker got of late, each forgotten bit by bit."""
    read = slot.cells.read
    age_s = max(0, now_us - read(ARRIVED_AT)) / 1e6
    return read(ARRIVALS) / ARRIVAL_UNIT * math.exp(-age_s / ARRIVAL_S)


def note_arrivals(slot: Slot, count: int) -> None:
    """Count connections that this worker got."""
    now_us = clock_us()
    total = recent_arrivals(slot, now_us) + count
    slot.cells.write(ARRIVALS, int(total * ARRIVAL_UNIT))
    slot.cells.write(ARRIVED_AT, now_us)
