"""The scoreboard: what each worker does, in shared memory that the supervisor and all workers read without locks."""

import mmap
import os
import tempfile
from dataclasses import dataclass
from enum import IntEnum

from trilithon.foundation.cells import Cells, clock_us, microseconds, this_thread

# A worker that leaves may take its time, and keeps its place until it has ended.
MAX_WORKERS = 128
SLOTS = 2 * MAX_WORKERS
MAGIC = 0x7472696C69740001


class WorkerState(IntEnum):
    """What the process that has a slot is doing; EMPTY: there is none."""

    EMPTY = 0
    STARTING = 1
    READY = 2
    RETIRING = 3
    STOPPING = 4
    HUNG = 5


# The two engines a worker may have, whose figures stand beside each other.
LOOP = 0
CREW = 1

# The cells of a slot. Times are microseconds of the clock that all processes of a machine share, zero for never.
PID = 0
GENERATION = 1
STATE = 2
STARTED_AT = 3
BEAT_AT = 4  # and 5: one for each engine, as all that come in pairs
WATCHED_AT = 6
TURN_SINCE = 7
OPEN = 9
QUEUED = 11
HTTP1 = 13
HTTP2 = 15
SOCKETS = 17
REQUESTS = 19
ENDED = 20
CLASSES = 21  # to 26: no status, 1xx to 5xx
LATENCY_US = 27
BYTES_IN = 28
BYTES_OUT = 29
LAG_US = 30
LAG_PEAK_US = 31
RSS_BYTES = 32
CPU_US = 33
ACCEPTED = 34
GIVEN = 35
TAKEN = 36
WINDOW_AT = 37
WINDOW_BASE = 38
RECENT = 39
CALLS = 40
SPARE = 41
HISTOGRAM = 64
MARK_BEGAN = 192
MARK_NUMBER = 224
MARK_THREAD = 256
MARK_TEXT = 288

BUCKETS = 128
MARKS = 32
TEXT_BYTES = 104
TEXT_CELLS = TEXT_BYTES // 8
SLOT_CELLS = 768
HEAD_CELLS = 64
WINDOW_US = 250_000
# So often an event loop shows that it is alive, and how late it is.
BEAT_US = 500_000


@dataclass(frozen=True, slots=True)
class Mark:
    """A request in flight: its method and path, cut, as they came in; when it began; which thread runs its call.

    `thread` is zero while no thread of the crew has it, as always for an application on the event loop.
    """

    request: bytes
    began_us: int
    thread: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a slot held at one moment; counters are those of the worker's whole life.

    `beats_us` and `busy_since_us` are of the event loop and of the crew, zero for none and for an engine that sleeps
    in its poll. `recent` is the number of requests in the last quarter of a second. `responses` counts those without
    a status and then 1xx to 5xx. A figure may be a moment older than the one beside it.
    """

    pid: int
    generation: int
    state: WorkerState
    started_us: int
    beats_us: tuple[int, int]
    watched_us: int
    busy_since_us: tuple[int, int]
    requests: int
    in_flight: int
    queued: int
    recent: int
    connections: int
    http1: int
    http2: int
    websockets: int
    bytes_in: int
    bytes_out: int
    responses: tuple[int, ...]
    latency_us: int
    p50_us: int
    p99_us: int
    histogram: tuple[int, ...]
    lag_us: int
    lag_peak_us: int
    rss_bytes: int
    cpu_us: int
    accepted: int
    given: int
    taken: int
    marks: tuple[Mark, ...]


class Slot:
    """The cells of one worker. Only that worker writes them, but for the state, which both do, and `clear`.

    What is written while requests are served is a few stores each, with the GIL and without a lock: a reader may see
    one figure of a moment before the next.
    """

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        self.index = index
        self.cells = Cells(memory, HEAD_CELLS + index * SLOT_CELLS, SLOT_CELLS)
        self.serial = 0
        self.cursor = 0

    # The supervisor.

    def clear(self) -> None:
        """Forget the worker that had the slot; the supervisor does so before another one gets it."""
        for index in range(SLOT_CELLS):
            self.cells.write(index, 0)

    def occupy(self, pid: int, generation: int) -> None:
        """Begin as a worker that starts; called by it or by who forked it."""
        cells = self.cells
        cells.write(PID, pid)
        cells.write(GENERATION, generation)
        cells.write(STARTED_AT, clock_us())
        cells.write(STATE, WorkerState.STARTING)

    @property
    def pid(self) -> int:
        """The process that has the slot, zero for none."""
        return self.cells.read(PID)

    @property
    def generation(self) -> int:
        """The generation of the worker."""
        return self.cells.read(GENERATION)

    @property
    def state(self) -> WorkerState:
        """What the worker is doing."""
        return WorkerState(self.cells.read(STATE))

    @state.setter
    def state(self, state: WorkerState) -> None:
        self.cells.write(STATE, state)

    # The worker, while it serves.

    def begin(self, line: bytes, now: float) -> int:
        """Count a request that begins at `now` and keep the beginning of its line; returns its mark for `end`."""
        at = self.cells.at
        at[REQUESTS] += 1
        place = self.place()
        self.serial += 1
        mark = self.serial * MARKS + place
        at[MARK_BEGAN + place] = microseconds(now)
        at[MARK_NUMBER + place] = mark
        at[MARK_THREAD + place] = 0
        self.cells.put_text(MARK_TEXT + place * TEXT_CELLS, line, TEXT_BYTES)
        return mark

    def place(self) -> int:
        """Return a place for a mark: a free one, or that of the request that was marked longest ago."""
        at = self.cells.at
        place = self.cursor
        for _ in range(MARKS):
            if not at[MARK_BEGAN + place]:
                break
            place = (place + 1) & (MARKS - 1)
        self.cursor = (place + 1) & (MARKS - 1)
        return place

    def end(self, mark: int, status: int, began: float) -> None:
        """Count the end of a request that began at `began`."""
        at = self.cells.at
        elapsed = clock_us() - microseconds(began)
        at[ENDED] += 1
        at[CLASSES + (status // 100 if status < 600 else 0)] += 1
        at[LATENCY_US] += elapsed
        at[HISTOGRAM + bucket(elapsed)] += 1
        place = mark & (MARKS - 1)
        if at[MARK_NUMBER + place] == mark:
            at[MARK_BEGAN + place] = 0

    def enter(self, mark: int) -> int:
        """Note that this thread calls the application for a request; returns which thread that is."""
        at = self.cells.at
        thread = this_thread()
        at[CALLS] += 1
        place = mark & (MARKS - 1)
        if at[MARK_NUMBER + place] == mark:
            at[MARK_THREAD + place] = thread
        return thread

    def leave(self) -> None:
        """Note that a call has come back."""
        self.cells.at[CALLS] += 1

    def rest(self, engine: int, connections: int, queued: int) -> None:
        """Note that an engine is about to sleep in its poll."""
        at = self.cells.at
        at[OPEN + engine] = connections
        at[QUEUED + engine] = queued
        at[TURN_SINCE + engine] = 0

    def wake(self, engine: int, now: float) -> None:
        """Note that an engine's poll came back; this is its heartbeat."""
        at = self.cells.at
        stamp = microseconds(now)
        at[BEAT_AT + engine] = stamp
        at[TURN_SINCE + engine] = stamp
        if stamp - at[WINDOW_AT] >= WINDOW_US:
            requests = at[REQUESTS]
            at[RECENT] = (requests - at[WINDOW_BASE]) * WINDOW_US // max(WINDOW_US, stamp - at[WINDOW_AT])
            at[WINDOW_BASE] = requests
            at[WINDOW_AT] = stamp

    def carry(self, bytes_in: int, bytes_out: int) -> None:
        """Count bytes received and sent."""
        at = self.cells.at
        at[BYTES_IN] += bytes_in
        at[BYTES_OUT] += bytes_out

    def accepted(self) -> None:
        """Count an accepted connection."""
        self.cells.at[ACCEPTED] += 1

    def gave(self) -> None:
        """Count a connection that was handed to another worker."""
        self.cells.at[GIVEN] += 1

    def took(self) -> None:
        """Count a connection that another worker handed over."""
        self.cells.at[TAKEN] += 1

    # The worker, once in a while.

    def beat(self, engine: int) -> None:
        """Note that an engine is alive."""
        self.cells.write(BEAT_AT + engine, clock_us())

    def watched(self) -> None:
        """Note that the watchdog is alive."""
        self.cells.write(WATCHED_AT, clock_us())

    def tally(self, engine: int, http1: int, http2: int, websockets: int) -> None:
        """Note how many connections of each protocol an engine has."""
        cells = self.cells
        cells.write(HTTP1 + engine, http1)
        cells.write(HTTP2 + engine, http2)
        cells.write(SOCKETS + engine, websockets)

    def lag(self, lag_us: int) -> None:
        """Note how late the event loop ran a timer."""
        cells = self.cells
        cells.write(LAG_US, lag_us)
        if lag_us > cells.read(LAG_PEAK_US):
            cells.write(LAG_PEAK_US, lag_us)

    def weigh(self, rss_bytes: int, cpu_us: int) -> None:
        """Note the resident memory and the processor time of the process."""
        self.cells.write(RSS_BYTES, rss_bytes)
        self.cells.write(CPU_US, cpu_us)

    # Readers.

    def lag_us(self) -> int:
        """Return how late the event loop is: at its last beat, or by now where the next one should have come."""
        beat = self.beat_us(LOOP)
        watched = beat and self.state in (WorkerState.READY, WorkerState.HUNG)
        overdue = clock_us() - beat - BEAT_US if watched else 0
        return max(self.cells.read(LAG_US), overdue)

    def requests(self) -> int:
        """Return the number of requests that have begun."""
        return self.cells.read(REQUESTS)

    def beat_us(self, engine: int) -> int:
        """Return when an engine was last known to be alive, zero for one that is not there."""
        return self.cells.read(BEAT_AT + engine)

    def watched_us(self) -> int:
        """Return when the watchdog was last known to be alive, zero for never."""
        return self.cells.read(WATCHED_AT)

    def in_flight(self) -> int:
        """Return the number of requests that have begun and not ended."""
        return max(0, self.cells.read(REQUESTS) - self.cells.read(ENDED))

    def recent(self, now_us: int) -> int:
        """Return the requests of the last quarter of a second, as of `now_us`."""
        cells = self.cells
        since = now_us - cells.read(WINDOW_AT)
        if since < 2 * WINDOW_US:
            return cells.read(RECENT)
        # No turn has closed the window for long: what came in it is spread over all of it.
        return (cells.read(REQUESTS) - cells.read(WINDOW_BASE)) * WINDOW_US // since

    def busy_since_us(self) -> int:
        """Return since when an engine has been inside a turn, the earlier one of two; zero when both sleep."""
        loop = self.cells.read(TURN_SINCE + LOOP)
        crew = self.cells.read(TURN_SINCE + CREW)
        return min(loop, crew) if loop and crew else loop or crew

    def connections(self) -> int:
        """Return the number of open connections, as of the end of the last turn."""
        return self.pair(OPEN)

    def pair(self, index: int) -> int:
        """Return the sum of what both engines have in a cell of which each has one."""
        return self.cells.read(index) + self.cells.read(index + 1)

    def marks(self) -> tuple[Mark, ...]:
        """Return the requests in flight that are marked, the oldest first."""
        cells = self.cells
        found = []
        for place in range(MARKS):
            began = cells.read(MARK_BEGAN + place)
            if began:
                line = cells.text(MARK_TEXT + place * TEXT_CELLS, TEXT_BYTES)
                found.append(Mark(plain_request(line), began, cells.read(MARK_THREAD + place)))
        return tuple(sorted(found, key=began_at))

    def snapshot(self) -> Snapshot:
        """Return everything the slot holds."""
        read = self.cells.read
        histogram = tuple(read(HISTOGRAM + index) for index in range(BUCKETS))
        lag_us = self.lag_us()
        return Snapshot(
            pid=self.pid,
            generation=self.generation,
            state=self.state,
            started_us=read(STARTED_AT),
            beats_us=(read(BEAT_AT + LOOP), read(BEAT_AT + CREW)),
            watched_us=read(WATCHED_AT),
            busy_since_us=(read(TURN_SINCE + LOOP), read(TURN_SINCE + CREW)),
            requests=read(REQUESTS),
            in_flight=self.in_flight(),
            queued=self.pair(QUEUED),
            recent=self.recent(clock_us()),
            connections=self.connections(),
            http1=self.pair(HTTP1),
            http2=self.pair(HTTP2),
            websockets=self.pair(SOCKETS),
            bytes_in=read(BYTES_IN),
            bytes_out=read(BYTES_OUT),
            responses=tuple(read(CLASSES + index) for index in range(6)),
            latency_us=read(LATENCY_US),
            p50_us=percentile(histogram, 0.5),
            p99_us=percentile(histogram, 0.99),
            histogram=histogram,
            lag_us=lag_us,
            lag_peak_us=max(lag_us, read(LAG_PEAK_US)),
            rss_bytes=read(RSS_BYTES),
            cpu_us=read(CPU_US),
            accepted=read(ACCEPTED),
            given=read(GIVEN),
            taken=read(TAKEN),
            marks=self.marks(),
        )


class Scoreboard:
    """Shared memory with a slot for every worker there may be; anonymous, gone with the last process that has it.

    `fd` is its descriptor, closed by `close` and not inherited by other programs unless it is passed on.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.memory = mmap.mmap(fd, (HEAD_CELLS + SLOTS * SLOT_CELLS) * 8)
        self.slots: dict[int, Slot] = {}

    @staticmethod
    def create() -> "Scoreboard":
        """Return a new one, all slots empty; raises OSError."""
        fd = open_memory()
        os.ftruncate(fd, (HEAD_CELLS + SLOTS * SLOT_CELLS) * 8)
        board = Scoreboard(fd)
        Cells(board.memory, 0, HEAD_CELLS).write(0, MAGIC)
        return board

    @staticmethod
    def attach(fd: int) -> "Scoreboard":
        """Return the one behind a descriptor, which belongs to it from now on; raises ValueError when it is none."""
        board = Scoreboard(fd)
        if Cells(board.memory, 0, HEAD_CELLS).read(0) != MAGIC:
            raise ValueError(f"descriptor {fd} is no scoreboard of this version")
        return board

    def slot(self, index: int) -> Slot:
        """Return a slot, the same object each time; raises IndexError."""
        slot = self.slots.get(index)
        if slot is None:
            if not 0 <= index < SLOTS:
                raise IndexError(f"slot {index} of {SLOTS}")
            slot = self.slots[index] = Slot(self.memory, index)
        return slot

    def close(self) -> None:
        """Let go of the memory, which the slots that are still used keep; idempotent."""
        self.slots.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_memory() -> int:
    """Return the descriptor of anonymous memory; where the system has none, of a file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("trilithon-scoreboard", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def bucket(elapsed_us: int) -> int:
    """Return the place in a histogram: four for every doubling, so that one is at most a quarter wide."""
    shift = 0
    value = max(0, elapsed_us)
    while value > 127:
        value >>= 4
        shift += 4
    while value > 7:
        value >>= 1
        shift += 1
    return min(BUCKETS - 1, 4 * shift + value)


def bucket_start(place: int) -> int:
    """Return the least number of microseconds that a place in a histogram stands for."""
    return place if place < 8 else (place % 4 + 4) << (place // 4 - 1)


def percentile(histogram: tuple[int, ...], part: float) -> int:
    """Return the microseconds within which `part` of all requests ended: the upper end of their place, zero for none.

    Exact to a quarter.
    """
    wanted = part * sum(histogram)
    seen = 0
    for place, count in enumerate(histogram):
        seen += count
        if count and seen >= wanted:
            return bucket_start(place + 1)
    return 0


def plain_request(line: bytes) -> bytes:
    """Return method and path of a request line that may be cut, without its query, which may hold secrets."""
    method, _, rest = line.partition(b" ")
    target = rest.partition(b" ")[0].partition(b"?")[0]
    return method + b" " + target


def began_at(mark: Mark) -> int:
    """Return when a request began, to sort by."""
    return mark.began_us
