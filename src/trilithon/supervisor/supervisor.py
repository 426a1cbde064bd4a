"""The supervisor: owns the listening sockets and the workers, replaces what dies, answers signals."""

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import MAX_WORKERS, SLOTS, Scoreboard, WorkerState
from trilithon.net.channel import Channel
from trilithon.net.mailbox import mailbox_pair
from trilithon.supervisor.backoff import Backoff
from trilithon.supervisor.chronicle import Chronicle
from trilithon.supervisor.developing import Developing, for_development
from trilithon.supervisor.heritage import Origin
from trilithon.supervisor.household import Household
from trilithon.supervisor.launcher import choose_launcher
from trilithon.supervisor.pid_file import PidFile
from trilithon.supervisor.reactor import Reactor, Timer
from trilithon.supervisor.reload import Reload
from trilithon.supervisor.roster import LEAVING, Roster, Worker
from trilithon.supervisor.succession import Succession
from trilithon.supervisor.systemd import Notifier
from trilithon.supervisor.turnover import Turnover
from trilithon.supervisor.vigil import LOOK_S, Vigil
from trilithon.worker.leaving import END_S
from trilithon.worker.logs import reopen_log_files
from trilithon.worker.member import Birth
from trilithon.worker.watchdog import patience_s

log = logging.getLogger("trilithon.error")

QUICK_S = 1.0


class Supervisor:
    """One thread, no application: starts workers on sockets that it owns, and keeps as many as are wanted.

    `reread` returns the options anew for a reload. `run` returns the exit code.
    """

    def __init__(self, app: Any, options: Options, reread: Callable[[], Options] | None, origin: Origin) -> None:
        self.app = app
        self.options = options = for_development(options) if options.reload else options
        self.reread = reread
        self.pid_file = PidFile(options.pid_file) if options.pid_file else None
        self.notifier = Notifier(os.environ)
        self.reactor = Reactor()
        self.scoreboard = Scoreboard.create()
        self.roster = Roster(SLOTS)
        self.turnover = Turnover(self)
        self.backoff = Backoff()
        self.listening: list[socket.socket] = []
        household = Household(
            app, lambda: self.listening, self.scoreboard, self.reactor, self.release_in_child, self.worker_ended
        )
        self.launcher = choose_launcher(household, options)
        option, wanted = origin.heritage.scaled if origin.heritage is not None else (0, 0)
        self.wanted = wanted if wanted and option == options.workers else options.worker_count()
        self.generation = 1
        self.has_started = False
        self.is_stopping = False
        self.is_resting = False  # another program serves
        self.exit_code = int(ExitCode.OK)
        self.deadlines: dict[Worker, Timer] = {}
        self.refill: Timer | None = None
        self.chronicle = Chronicle()
        self.succession = Succession(self, origin)
        self.newborn: Worker | None = None
        self.developing = Developing(self) if options.reload else None
        self.vigil = Vigil(patience_s(options), self.replace_hung)

    # The life of the supervisor.

    def run(self) -> int:
        """Serve until told to stop; raises BindError and ConfigError before anything is started."""
        try:
            self.succession.open()
            self.reactor.handle_signals([signal.SIGCHLD], self.reap)
            self.on([signal.SIGTERM, signal.SIGINT], self.stop_by_signal)
            self.on([signal.SIGQUIT], lambda number: self.stop_by_signal(number, True))
            self.on([signal.SIGHUP], lambda number: self.reload())
            self.on([signal.SIGTTIN], lambda number: self.scale(self.wanted + 1))
            self.on([signal.SIGTTOU], lambda number: self.scale(self.wanted - 1))
            self.on([signal.SIGUSR1], lambda number: self.reopen())
            self.on([signal.SIGUSR2], lambda number: self.succession.upgrade_by_signal())
            self.give_sign_of_life()
            self.keep_vigil()
            if self.developing is not None:
                self.developing.start()
            self.launcher.prepare(self.generation, self.options, self.prepared)
            self.reactor.run()
        finally:
            self.close()
        return self.exit_code

    def on(self, numbers: Iterable[int], handler: Callable[[int], None]) -> None:
        """Have signals handled, unless an upgrade gives them another meaning."""
        takes = self.succession.upgrade.takes
        self.reactor.handle_signals(numbers, lambda number: None if takes(number) else handler(number))

    def prepared(self, fault: str, code: int) -> None:
        """Start the first workers, or end."""
        if fault:
            self.fail(code, fault)
        else:
            self.fill()

    def close(self) -> None:
        """Release everything."""
        if self.developing is not None:
            self.developing.close()
        self.launcher.close()
        self.succession.close()
        self.reactor.release_signals()
        self.reactor.close()
        self.scoreboard.close()

    def give_sign_of_life(self) -> None:
        """Feed the watchdog of the service manager, where it has one."""
        if self.notifier.interval_s:
            self.notifier.watchdog()
            self.reactor.later(self.notifier.interval_s, self.give_sign_of_life)

    def keep_vigil(self) -> None:
        """Look for workers that hang, once a second."""
        self.vigil.timeout_s = patience_s(self.options)
        self.vigil.look(self.roster.all(), time.monotonic())
        self.reactor.later(LOOK_S, self.keep_vigil)

    def release_in_child(self) -> None:
        """Close, in a process that was forked off, what belongs to the supervisor alone."""
        self.reactor.close()
        self.succession.close_in_child()
        if self.pid_file is not None:
            self.pid_file.close_in_child()
        if self.developing is not None:
            self.developing.release()
        for worker in self.roster.all():
            worker.release()
        if self.newborn is not None:
            # Its ends of the supervisor's; it would never hear that the supervisor is gone.
            self.newborn.channel.close()
            self.newborn.mailbox[1].close()

    def fail(self, code: int, reason: str) -> None:
        """End because the start failed, with its reason once."""
        if self.exit_code == ExitCode.OK:
            self.exit_code = code
            if not self.succession.failed(reason):
                os.write(2, (reason.rstrip("\n") + "\n").encode(errors="backslashreplace"))
        # Next to the program before an upgrade, workers that could start serve already.
        self.stop(not self.succession.is_heir())

    # Workers.

    def hire(self, because: str) -> Worker | None:
        """Start a worker; None, logged, when the system does not let us, or those that leave have all places."""
        if not self.roster.free:
            log.warning("a new worker waits for the end of one that leaves: there are %d", SLOTS)
            return None
        here, there = Channel.pair()
        place = self.roster.take_place()
        slot = self.scoreboard.slot(place)
        slot.clear()
        self.roster.serial += 1
        mailbox = mailbox_pair()
        worker = Worker(self.roster.serial, slot, place, self.generation, here, mailbox)
        birth = Birth(
            self.app, self.options, place, self.generation, self.listening, there, self.scoreboard, mailbox[0]
        )
        if self.developing is not None:
            birth.trouble = self.developing.trouble
        self.newborn = worker
        try:
            worker.pid = self.launcher.launch(birth)
        except OSError as error:
            self.roster.drop(worker)
            log.error("cannot start a worker: %s; trying again in %g s", error.strerror, self.backoff.ended(0.0))
            self.fill_later()
            return None
        finally:
            self.newborn = None
            there.close()
        self.introduce(worker)
        self.roster.enter(worker)
        self.reactor.add(here, lambda: self.hear(worker))
        log.debug("%s starts %s", worker, because)
        return worker

    def introduce(self, newcomer: Worker) -> None:
        """Let a new worker and the others know where to put connections for each other."""
        for worker in self.roster.all():
            worker.channel.send(
                {"do": "peer", "slot": newcomer.place}, [end.fileno() for end in newcomer.mailbox[::-1]]
            )
            newcomer.channel.send({"do": "peer", "slot": worker.place}, [end.fileno() for end in worker.mailbox[::-1]])

    def fill(self) -> None:
        """Have as many workers as are wanted: start what is missing, retire what is too many."""
        self.refill = None
        if self.is_stopping or self.is_resting or (self.developing is not None and not self.developing.may_hire()):
            return
        successor = self.turnover.successor
        staying = [worker for worker in self.roster.staying() if worker is not successor]
        missing = self.wanted - len(staying) - self.turnover.fills_a_gap()
        if missing > 0 and self.backoff.wait_s():
            self.fill_later()
            return
        for _ in range(missing):
            if self.hire("") is None:
                return
        for worker in staying[: max(0, len(staying) - self.wanted)]:
            self.retire(worker, "scaling")
        self.turnover.go_on()

    def fill_later(self) -> None:
        """Start what is missing when the back-off is over."""
        if self.refill is None:
            self.refill = self.reactor.later(self.backoff.wait_s(), self.fill)

    def retire(self, worker: Worker, because: str) -> None:
        """Have a worker leave, patiently with idle clients, for others serve; see Employer."""
        self.dismiss(worker, because, {"do": "retire"}, WorkerState.RETIRING)

    def dismiss(self, worker: Worker, because: str, message: dict[str, Any], state: WorkerState) -> None:
        """Tell a worker to leave, and end it when it takes too long."""
        worker.leaves_because = because
        if worker.state is WorkerState.STARTING:
            # One that imports its application hears nothing, but for the signal, which ends it there and then.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGTERM)
        else:
            worker.channel.send(message)
        worker.state = state
        patience_s = self.options.graceful_timeout_s + self.options.lifespan_timeout_s + END_S
        self.set_deadline(worker, patience_s if self.developing is None else self.developing.PATIENCE_S)

    def set_deadline(self, worker: Worker, delay_s: float) -> None:
        """Kill a worker unless it has ended in time."""
        if worker in self.deadlines:
            self.deadlines.pop(worker).cancel()
        self.deadlines[worker] = self.reactor.later(delay_s, lambda: self.kill(worker, "it did not end in time"))

    def kill(self, worker: Worker, because: str) -> None:
        """End a worker's process at once."""
        log.error("%s is killed: %s", worker, because)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)

    def hear(self, worker: Worker) -> None:
        """Take what a worker says, and no more when that was all."""
        try:
            self.take_all(worker)
        except EOFError:
            self.reactor.remove(worker.channel)
            self.launcher.worker_fell_silent(worker.pid)

    def take_all(self, worker: Worker) -> None:
        """Act on all that a worker has said; raises EOFError when there is nothing and it says no more."""
        for message, fds in worker.channel.receive():
            worker.hold(fds)
            self.take(worker, message)

    def take(self, worker: Worker, message: dict[str, Any]) -> None:
        """Act on one thing that a worker says."""
        what = message["say"]
        if what == "ready":
            self.became_ready(worker, message["serves"])
        elif what == "failed":
            worker.failure = (message["code"], message["reason"])
            if self.developing is None or not self.developing.failed(worker):
                # A thread that the application has left running would keep the process.
                self.set_deadline(worker, END_S)
        elif what == "retiring" and worker.is_staying:
            self.dismiss(worker, "a signal", {"do": "retire"}, WorkerState.RETIRING)
            self.turnover.ended(worker)
            self.fill()
        elif what == "hung":
            self.replace_hung(worker, message["report"])
        elif what == "leaving":
            self.set_deadline(worker, END_S if self.developing is None else QUICK_S)
            if worker.is_staying:
                worker.state = WorkerState.STOPPING  # by itself, or by a signal
                self.fill()
        elif what == "recycle" and worker.is_staying:
            log.info("%s is replaced: %s", worker, message["reason"])
            self.turnover.replace(worker, message["reason"])

    def replace_hung(self, worker: Worker, because: str) -> None:
        """End a worker that serves nobody any more, and start another one."""
        if worker.is_staying:
            worker.leaves_because = "it hung"
            worker.state = worker.slot.state = WorkerState.HUNG
            self.kill(worker, f"it hangs, {because}")
            self.turnover.ended(worker)
            self.fill()

    def became_ready(self, worker: Worker, serves: str) -> None:
        """Take note that a worker serves."""
        if worker.state is WorkerState.STARTING:
            worker.state = WorkerState.READY
        log.debug("%s serves", worker)
        if not self.has_started and len(self.roster.ready()) >= self.wanted:
            self.has_started = True
            if self.succession.started():
                self.notifier.ready(serves)
            log.info("%s, with %d worker%s", serves, self.wanted, "" if self.wanted == 1 else "s")
        if self.developing is not None:
            self.developing.became_ready()
        self.turnover.became_ready(worker)
        if len(self.roster.ready()) >= self.wanted:
            self.succession.upgrade.all_ready()
        self.fill()  # there may be fewer wanted than when its start began

    def reap(self, number: int) -> None:
        """Take note of the processes that have ended; as the first process of a container, of orphans too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self.ended(pid, os.waitstatus_to_exitcode(status))

    def ended(self, pid: int, code: int) -> None:
        """Take note that a process has ended: `code` is its exit code, or minus the signal that ended it."""
        if pid in self.roster.workers:
            self.worker_ended(pid, code)
        elif not self.succession.upgrade.child_ended(pid, code):
            self.launcher.child_ended(pid, code)

    def worker_ended(self, pid: int, code: int) -> None:
        """Take note that a worker's process has ended; see `ended`."""
        worker = self.roster.workers.get(pid)
        if worker is None:
            return
        with contextlib.suppress(EOFError):
            self.take_all(worker)
        self.reactor.remove(worker.channel)
        if worker in self.deadlines:
            self.deadlines.pop(worker).cancel()
        was_leaving = worker.state in LEAVING or worker.state is WorkerState.HUNG
        was_starting = worker.state is WorkerState.STARTING
        worker.state = WorkerState.EMPTY
        worker.slot.clear()
        self.roster.drop(worker)
        for other in self.roster.all():
            other.channel.send({"do": "unpeer", "slot": worker.place})
        if self.is_stopping:
            self.end_if_empty()
            return
        self.chronicle.ended(worker, code, was_leaving)
        if was_starting:
            self.succession.upgrade.worker_failed(worker.failure[1] if worker.failure else f"{worker} ended")
        if not was_leaving and not self.is_resting:
            self.lost(worker, code, was_starting)
        self.turnover.ended(worker)
        self.fill()

    def lost(self, worker: Worker, code: int, was_starting: bool) -> None:
        """Say that a worker ended unasked, and wait before the next one when it lived for a short time only."""
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if was_starting and self.developing is not None and self.developing.excuses(worker, how):
            return
        if worker.failure is not None and not self.has_started:
            self.fail(*worker.failure)
            return
        if was_starting and not self.has_started:
            self.fail(int(ExitCode.UNEXPECTED), f"trilithon: {worker} ended {how} during its start")
            return
        if worker is self.turnover.successor:
            return  # whoever asked for it is told
        delay_s = self.backoff.ended(time.monotonic() - worker.born_at)
        reason = f": {worker.failure[1]}" if worker.failure is not None else ""
        when = f"in {delay_s:g} s" if delay_s else "now"
        log.error("%s ended %s; another one starts %s%s", worker, how, when, reason)

    def retire_all(self, because: str) -> None:
        """Retire all workers."""
        for worker in self.roster.staying():
            self.retire(worker, because)

    def start_workers(self) -> None:
        """Start as many workers as are wanted, when another program has served meanwhile."""
        self.backoff.reset()
        self.launcher.prepare(self.generation, self.options, self.resumed)

    def resumed(self, fault: str, code: int) -> None:
        """Start workers again, or leave it to the other program."""
        if fault:
            self.succession.upgrade.worker_failed(fault)
        else:
            self.fill()

    def end_if_empty(self) -> None:
        """End when there is no worker any more, nor a next program that does not serve yet."""
        if not self.roster.workers and not self.succession.upgrade.is_starting():
            self.reactor.stop()

    # What people ask for.

    def stop_by_signal(self, number: int, is_quick: bool = False) -> None:
        """Stop gracefully; at once when asked again, and end with the code that a shell gives to such an end."""
        if is_quick or self.is_stopping:
            self.exit_code = self.exit_code or 128 + number
        self.stop(is_quick or self.is_stopping)

    def stop(self, is_quick: bool = False) -> None:
        """End all workers, then the supervisor: gracefully, or at once."""
        if not self.is_stopping:
            log.info("stopping%s", " at once" if is_quick else "")
            self.notifier.stopping()
        self.is_stopping = True
        self.succession.stopping(is_quick)
        self.turnover.clear()
        self.end_if_empty()
        for worker in self.roster.all():
            if is_quick:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGQUIT)
                self.set_deadline(worker, QUICK_S)
            else:
                self.dismiss(worker, "stop", {"do": "stop"}, WorkerState.STOPPING)

    def reload(self, done: Callable[[str], None] | None = None) -> None:
        """Replace all workers by new ones with the code and the options as they are now, one at a time.

        `done` gets "" at the end, or why the workers that were there go on. Addresses stay what they were.
        """
        done = done or ignore_outcome
        if refusal := "the server stops" if self.is_stopping else self.succession.reload_refusal():
            log.error("not reloaded: %s", refusal)
            done(refusal)
            return
        if self.developing is not None:
            self.developing.reload(done)
            return
        try:
            options = self.reread() if self.reread is not None else self.options
        except ConfigError as fault:
            log.error("not reloaded: %s", fault)
            done(str(fault))
            return
        Reload(self, options, done).begin()

    def scale(self, count: int) -> None:
        """Have so many workers, or as few or as many as there may be."""
        self.wanted = max(1, min(count, MAX_WORKERS))
        log.info("%d %s wanted", self.wanted, "worker is" if self.wanted == 1 else "workers are")
        self.backoff.reset()
        self.fill()

    def reopen(self) -> None:
        """Have log files opened again, first here, where new ones are made for the user of the workers."""
        reopen_log_files()
        for worker in self.roster.all():
            worker.channel.send({"do": "reopen"})


def ignore_outcome(fault: str) -> None:
    """Take no notice of how a reload ended: the log says it."""
