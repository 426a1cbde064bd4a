"""The upgrade as the program before sees it: start the next one, hand over, stand by as the way back."""

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import Options
from trilithon.net.channel import Channel
from trilithon.supervisor.control import ControlSocket, RefusedCommand
from trilithon.supervisor.heritage import Heritage, Origin, bequeath
from trilithon.supervisor.premises import Premises
from trilithon.supervisor.reactor import Reactor, Timer
from trilithon.supervisor.watcher import adopt_orphans

log = logging.getLogger("trilithon.error")

Done = Callable[[str], None]

# A start-up that takes longer will not succeed, and meanwhile nothing else can be asked for.
START_LIMIT_S = 300.0
# Beyond its own time-outs, a program that is told to end gets so long.
KILL_S = 5.0


class Phase(Enum):
    """What an upgrade is at, for the program before."""

    NONE = ""
    STARTING = "upgrading"
    STANDBY = "standing by"
    RETURNING = "rolling back"
    # It has handed over for good and cannot leave: the first process of a container, or one that is watched.
    STAYING = "watching over the next program"


class Keeper(Protocol):
    """The supervisor, as far as an upgrade needs it."""

    reactor: Reactor
    premises: Premises
    control: ControlSocket | None

    @property
    def is_stopping(self) -> bool:
        """Whether the end has begun."""

    @property
    def options(self) -> Options:
        """The options in effect."""

    def refusal(self) -> str:
        """Return why an upgrade cannot begin now, empty when it can."""

    def scaled(self) -> tuple[int, int]:
        """Return how many workers the options ask for, and how many are wanted since."""

    def service_variables(self) -> dict[str, str]:
        """Return what the next program needs in its environment to speak with the service manager."""

    def no_way_back(self) -> None:
        """Let the program before go: from now on this one is the way back."""

    def hand_over(self, pid: int, places: list[str], has_control: bool) -> None:
        """Let another process be the service, with the files of some bind addresses, and take commands if it can."""

    def part_with(self, kept: list[str]) -> None:
        """Listen no more on bind addresses that are not kept."""

    def take_charge(self) -> None:
        """Be the service, for the service manager, the PID file and the control socket."""

    def rest(self) -> None:
        """Retire all workers and start none."""

    def resume(self) -> str:
        """Start workers again; returns why that is of no use, empty when it is."""

    def end_if_empty(self) -> None:
        """End when nothing is left to wait for."""

    def leave(self, code: int) -> None:
        """End when the workers have, with files left to the other program."""

    def fold(self) -> None:
        """Let go of everything but the workers that still finish, for ever."""


class Upgrade:
    """Starts the program anew and hands over to it; all on the reactor's thread."""

    def __init__(self, keeper: Keeper, origin: Origin) -> None:
        self.keeper = keeper
        self.origin = origin
        self.elder = origin.heritage.elder if origin.heritage is not None else None
        self.phase = Phase.NONE
        self.pid = 0
        self.channel: Channel | None = None
        self.reason = ""
        # Where the next program listens.
        self.places: list[str] = []
        self.is_leaving = False
        self.done: Done = nobody
        self.back: Done = nobody
        self.timer: Timer | None = None
        # Of a process that must stay only: what it hears who serves from, and who that is.
        self.herald: Channel | None = None
        self.main_pid = 0

    def told(self) -> str:
        """Return in words what is under way, empty for nothing."""
        if self.phase is Phase.STARTING:
            return f"process {self.pid} is starting"
        return ""

    def stays(self) -> bool:
        """Tell whether this program must stay for good; of several programs only the first one does."""
        return self.origin.is_watched and self.origin.heritage is None

    # Handing over.

    def begin(self, done: Done) -> None:
        """Start the next program; raises RefusedCommand. `done` gets "" once that one serves, or what was wrong."""
        if self.phase is not Phase.NONE:
            other = f", to process {self.pid}" if self.phase is Phase.STANDBY else ""
            raise RefusedCommand(f"an upgrade is under way already{other}")
        if refusal := self.keeper.refusal():
            raise RefusedCommand(refusal)
        log.info("upgrading: starting %s", " ".join(self.origin.command))
        here, there = Channel.pair()
        try:
            self.start(there)
        except OSError as error:
            here.close()
            reason = f"{self.origin.command[0]}: {error.strerror or error}"
            log.error("not upgraded: %s", reason)
            raise RefusedCommand(reason) from None
        finally:
            there.close()
        self.keeper.no_way_back()
        self.phase = Phase.STARTING
        self.channel = here
        self.reason = ""
        self.is_leaving = False
        self.done = done
        self.keeper.reactor.add(here, self.hear)
        self.timer = self.keeper.reactor.later(START_LIMIT_S, self.give_up)

    def start(self, channel: Channel) -> None:
        """Run the program with the other end of the channel; raises OSError."""
        keeper, origin = self.keeper, self.origin
        control = (keeper.control.place, keeper.control.listener) if keeper.control is not None else None
        elder = self.elder
        if self.stays():
            adopt_orphans()
            self.forget_herald()
            self.herald, elder = Channel.pair()
            keeper.reactor.add(self.herald, self.hear_herald)
        try:
            heritage = Heritage(os.getpid(), channel, keeper.premises.places, control, elder, keeper.scaled())
            variable, passed = bequeath(heritage)
            environ = {**os.environ, **keeper.service_variables(), **variable}
            process = subprocess.Popen(
                origin.command, cwd=origin.directory, env=environ, pass_fds=passed, umask=origin.umask
            )
            process.returncode = 0  # its end is the supervisor's to wait for
            self.pid = self.main_pid = process.pid
        finally:
            if elder is not None and elder is not self.elder:
                elder.close()

    def give_up(self) -> None:
        """End a program that does not come to serve."""
        self.reason = self.reason or f"the new program did not serve within {START_LIMIT_S:g} s"
        self.end_next(signal.SIGTERM)

    def is_starting(self) -> bool:
        """Tell whether there is a next program that does not serve yet."""
        return self.phase is Phase.STARTING

    def stopping(self, is_quick: bool) -> None:
        """The server stops, or is to stop at once: a next program that does not serve yet does so too."""
        if self.is_starting():
            self.reason = "the server stops"
            self.cancel_timer()
            self.end_next(signal.SIGQUIT if is_quick else signal.SIGTERM)

    def end_next(self, number: int) -> None:
        """End a next program that does not serve yet: gracefully, for some of its workers may; in the end by force."""
        self.signal(number)
        patience_s = self.keeper.options.graceful_timeout_s + KILL_S
        self.timer = self.keeper.reactor.later(patience_s, lambda: self.signal(signal.SIGKILL))

    def hear(self) -> None:
        """Take what the next program says."""
        if self.channel is None:
            return
        try:
            messages = self.channel.receive()
        except EOFError:
            self.keeper.reactor.remove(self.channel)  # its end is told by the kernel
            return
        for message, _ in messages:
            self.take(message)

    def take(self, message: dict[str, Any]) -> None:
        """Act on one thing that the next program says."""
        what = message["say"]
        if what == "ready" and self.phase is Phase.STARTING and not self.keeper.is_stopping:
            self.hand_over(message["places"], message["control"])
        elif what == "serves":  # and what belongs to the service, such as the PID file, is its own now
            self.finish("")
        elif what == "failed":
            self.reason = message["reason"]
        elif what == "leaving":
            self.is_leaving = True
        elif what == "rollback" and self.phase is Phase.STANDBY:
            self.roll_back()
        elif what == "dismiss" and self.phase is Phase.STANDBY:
            self.stand_down()

    def hand_over(self, places: list[str], has_control: bool) -> None:
        """The next program serves: let it, and stand by."""
        self.phase = Phase.STANDBY
        self.places = places
        self.cancel_timer()
        standby_s = self.keeper.options.upgrade_standby_s
        log.info("upgraded: process %d serves, this one stands by for %g s", self.pid, standby_s)
        self.keeper.hand_over(self.pid, places, has_control)
        self.send({"do": "serve"})
        self.keeper.rest()
        self.keeper.part_with(places)
        self.timer = self.keeper.reactor.later(standby_s, self.stand_down)

    def stand_down(self) -> None:
        """Be no way back any more."""
        self.cancel_timer()
        self.finish("")
        if not self.stays():
            log.info("process %d goes on alone", self.pid)
            self.keeper.leave(0)
            return
        log.info("process %d goes on alone, under this one", self.pid)
        self.phase = Phase.STAYING
        self.close_channel()
        self.keeper.fold()

    # The way back.

    def roll_back(self, done: Done | None = None) -> None:
        """Start workers again, then have the next program leave; `done` gets "" or why not."""
        if self.pid:
            log.info("rolling back from process %d", self.pid)
        self.phase = Phase.RETURNING
        self.back = done or nobody
        self.cancel_timer()
        if fault := self.keeper.resume():
            if self.pid:
                self.worker_failed(fault)
            else:
                log.error("this process cannot serve again: %s", fault)
                self.keeper.leave(int(ExitCode.BIND))

    def all_ready(self) -> None:
        """Take note that all workers that are wanted serve."""
        if self.phase is not Phase.RETURNING:
            return
        self.phase = Phase.NONE
        self.send({"do": "leave"})
        self.close_channel()
        self.keeper.take_charge()
        log.info("rolled back: this process serves again")
        self.finish_back("")

    def worker_failed(self, reason: str) -> None:
        """Take note that a worker could not start: the next program goes on, if it lives."""
        if self.phase is not Phase.RETURNING or not self.pid:
            return
        log.error("not rolled back, process %d goes on: %s", self.pid, reason)
        self.phase = Phase.STANDBY
        self.keeper.rest()
        self.keeper.part_with(self.places)
        self.send({"do": "stay", "reason": reason})
        self.finish_back(reason)
        self.timer = self.keeper.reactor.later(self.keeper.options.upgrade_standby_s, self.stand_down)

    # The end of the next program.

    def child_ended(self, pid: int, code: int) -> bool:
        """Take note that a process has ended, `code` minus the signal that ended it; returns whether it was ours."""
        if self.phase is Phase.STAYING:
            self.hear_herald()  # it may just have become another one
            if pid == self.main_pid:
                self.keeper.leave(exit_code(code))
            return pid in (self.main_pid, self.pid)
        if not self.pid or pid != self.pid:
            return False
        self.hear()
        self.close_channel()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        phase, left, self.pid = self.phase, self.is_leaving, 0
        if phase is Phase.STARTING:
            self.phase = Phase.NONE
            self.cancel_timer()
            reason = self.reason or f"the new program ended {how}{meaning(code)}"
            if self.keeper.is_stopping:
                self.keeper.end_if_empty()
            else:
                log.error("not upgraded, this process serves on: %s", reason)
            self.finish(reason)
        elif phase in (Phase.STANDBY, Phase.RETURNING) and left:
            self.cancel_timer()
            self.tell_elder()
            self.keeper.leave(exit_code(code))
        elif phase is Phase.STANDBY:
            log.error("process %d ended %s: this one serves again", pid, how)
            self.roll_back()
        self.finish(f"the new program ended {how}")  # to those who still wait for it to take charge
        return True

    # Signals.

    def takes(self, number: int) -> bool:
        """Act on a signal where an upgrade changes what it means; returns whether it did."""
        if self.phase is Phase.NONE:
            return False
        is_end = number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
        if self.phase is Phase.STARTING:
            return False
        if self.phase is Phase.STAYING or (is_end and self.stays()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.main_pid, number)
        elif is_end:
            if self.keeper.is_stopping or number == signal.SIGQUIT:
                return False
            self.cancel_timer()
            self.keeper.leave(0)
        elif number == signal.SIGHUP and self.phase is Phase.STANDBY:
            self.roll_back()
        elif number == signal.SIGUSR1:
            return False
        else:
            log.error("%s is for process %d, which serves", signal.Signals(number).name, self.pid)
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the next program."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    # The process that must stay.

    def hear_herald(self) -> None:
        """Take word of who serves, from programs that are no children of this one."""
        if self.herald is None:
            return
        try:
            for message, _ in self.herald.receive():
                self.main_pid = message["main"]
        except EOFError:
            self.forget_herald()
            # No program is left; the exit code of the last one comes with the kernel's word of its end.
            self.keeper.reactor.later(KILL_S, self.leave_if_staying)

    def leave_if_staying(self) -> None:
        """End, as nobody is left to watch over."""
        if self.phase is Phase.STAYING and self.herald is None:
            self.keeper.leave(int(ExitCode.UNEXPECTED))

    def forget_herald(self) -> None:
        """Hear of nobody any more."""
        if self.herald is not None:
            self.keeper.reactor.remove(self.herald)
            self.herald.close()
            self.herald = None

    def tell_elder(self) -> None:
        """Say to the process that must stay that this one serves."""
        self.main_pid = os.getpid()
        if self.elder is not None:
            self.elder.send({"main": os.getpid()})

    # What goes with it.

    def send(self, message: dict[str, Any]) -> None:
        """Say something to the next program."""
        if self.channel is not None:
            self.channel.send(message)

    def finish(self, reason: str) -> None:
        """Tell who asked for the upgrade how it went."""
        done, self.done = self.done, nobody
        done(reason)

    def finish_back(self, reason: str) -> None:
        """Tell who asked for the way back how it went."""
        back, self.back = self.back, nobody
        back(reason)

    def cancel_timer(self) -> None:
        """Let what was due not happen."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def close_channel(self) -> None:
        """Hear no more of the next program; idempotent."""
        if self.channel is not None:
            self.keeper.reactor.remove(self.channel)
            self.channel.close()
            self.channel = None

    def close_in_child(self) -> None:
        """Close, in a process that was forked off, what belongs to the supervisor alone."""
        for channel in (self.channel, self.herald, self.elder):
            if channel is not None:
                channel.close()


def exit_code(code: int) -> int:
    """Return the exit code that tells of an end, as a shell does for a signal."""
    return code if code >= 0 else 128 - code


def meaning(code: int) -> str:
    """Return what a documented exit code says, in brackets; empty for others."""
    found = [each.prose for each in ExitCode if each == code and code]
    return f" ({found[0]})" if found else ""


def nobody(reason: str) -> None:
    """Take the outcome that nobody waits for; the log has told it."""
