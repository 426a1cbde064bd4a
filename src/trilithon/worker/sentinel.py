"""The sentinel: one watching thread that relieves a leader stuck in the application."""

import threading
import time

from trilithon.worker.crew import Crew

TICK_S = 0.001
# A sentinel that gets the GIL later than this on average sees a busy interpreter: more threads would only fight for it.
PRESSED_S = 0.0015
QUIET_TICKS = 50


class Sentinel:
    """Watches a crew from its own thread; sleeps when nothing runs.

    How late its own short sleep ends is the wait for the GIL. Near zero, a leader that stays inside the application
    waits for something outside and another thread can use the time: the crew then promotes before each call. Near the
    switch interval the interpreter is the bottleneck and calls stay inline.
    """

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.late_s = 0.0

    def start(self) -> None:
        """Begin watching."""
        threading.Thread(target=self.watch, name="trilithon-sentinel", daemon=True).start()

    def watch(self) -> None:
        """Tick while calls are made, wait for the crew's sign while not."""
        crew = self.crew
        seen = -1
        quiet = 0
        while not crew.stopped:
            start = time.monotonic()
            time.sleep(TICK_S)
            self.late_s += 0.3 * (time.monotonic() - start - TICK_S - self.late_s)
            if self.late_s > PRESSED_S:
                crew.promoting = False
            calls = crew.calls
            if crew.term.door:
                quiet = 0
                if calls == seen:
                    self.relieve()
            elif not crew.promoting or not crew.away:
                quiet += 1
                if quiet > QUIET_TICKS:
                    quiet = 0
                    self.doze()
            seen = calls

    def relieve(self) -> None:
        """Let another thread lead while the leader is inside the application."""
        crew = self.crew
        with crew.lock:
            try:
                crew.term.door.pop()
            except IndexError:
                return
            crew.away += 1
            crew.promote()
        if self.late_s < PRESSED_S:
            crew.calm = 0
            crew.promoting = True

    def doze(self) -> None:
        """Sleep until the next call."""
        crew = self.crew
        crew.awake.clear()
        crew.drowsy = True
        if not crew.term.door:
            crew.awake.wait()
        crew.drowsy = False
