"""The sentinel: one watching thread that relieves a leader stuck in the application."""

import threading
import time

from trilithon.worker.crew import CALM_CALLS, Crew

TICK_S = 0.001
# A sentinel that gets the GIL later than this on average sees a busy interpreter: more threads would only fight for it.
PRESSED_S = 0.0015
QUIET_TICKS = 50
# A leader that computes so long in one call is relieved, so that short calls need not wait for its end. Above what a
# full collection of a framework's garbage takes.
PATIENCE_S = 0.02


class Sentinel:
    """Watches a crew from its own thread; sleeps when nothing runs.

    A leader whose pulse stands still inside the application is relieved when it waits for something. One that is only
    waiting for a processor, because the machine is crowded, goes on by itself, and one that computes is left alone for
    a while. How long the sentinel waits for the GIL tells the rest. Near zero, another thread can use the time: when
    that is no accident, the crew promotes before each call. Near the switch interval the interpreter is the
    bottleneck, more threads would only fight for it, and calls stay inline.
    """

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.late_s = 0.0
        self.relieved_at = -2 * CALM_CALLS
        self.computing_at = 0
        self.computed_s = 0.0

    def start(self) -> None:
        """Begin watching."""
        threading.Thread(target=self.watch, name="trilithon-sentinel", daemon=True).start()

    def watch(self) -> None:
        """Watch until the crew stops."""
        crew = self.crew
        while not crew.stopped:
            # A leader that went inside just before the crew began to promote is watched all the same.
            if crew.promoting and not crew.term.door:
                self.listen()
                continue
            late_s = crew.pulse.watch(TICK_S, QUIET_TICKS)
            if late_s < 0:
                self.doze()
            else:
                self.relieve(late_s)

    def listen(self) -> None:
        """While the crew promotes before each call, hold it against how late a short sleep gets the GIL back."""
        start = time.monotonic()
        time.sleep(TICK_S)
        self.crew.pulse.ticks += 1
        self.late_s += 0.3 * (time.monotonic() - start - TICK_S - self.late_s)
        if self.late_s > PRESSED_S or not self.crew.away:
            self.crew.promoting = False

    def relieve(self, late_s: float) -> None:
        """Let another thread lead while the leader is inside the application, if that is of use."""
        crew = self.crew
        pulse = crew.pulse
        beats = pulse.stood_at
        is_free = late_s < PRESSED_S
        if not self.holds_up(beats, is_free):
            return
        with crew.lock:
            if pulse.beats != beats:
                return  # it went on while the sentinel waited for the GIL
            try:
                crew.term.door.pop()
            except IndexError:
                return
            # One leader that stood still may have met a hiccup of the machine; two within a few calls are no accident.
            if is_free and beats - self.relieved_at < 2 * CALM_CALLS:
                self.late_s = 0.0
                crew.calm = 0
                crew.promoting = True
            self.relieved_at = beats
            crew.away += 1
            crew.promote()

    def holds_up(self, beats: int, is_free: bool) -> bool:
        """Tell whether a leader that stood still at `beats`, the GIL free or not, keeps others from being served."""
        pulse = self.crew.pulse
        if beats != self.computing_at:
            self.computing_at = beats
            self.computed_s = 0.0
        self.computed_s += pulse.ran_s
        if pulse.ran_s < TICK_S / 2:
            return pulse.asleep
        # Who computes without the GIL, as when hashing, leaves it to others; who holds it gets a reasonable time.
        return is_free or self.computed_s >= PATIENCE_S

    def doze(self) -> None:
        """Sleep until the next call."""
        crew = self.crew
        crew.awake.clear()
        crew.drowsy = True
        if not crew.term.door and not crew.stopped:
            crew.awake.wait()
        crew.drowsy = False
