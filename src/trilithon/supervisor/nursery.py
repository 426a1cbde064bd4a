"""The supervisor's side of template processes: one for each generation, made anew when it is gone."""

import atexit
import contextlib
import ctypes
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import Options
from trilithon.net.channel import Channel, Message
from trilithon.supervisor.household import Household, Outcome
from trilithon.supervisor.newborn import begin, end_as, fork, handled_signals, why
from trilithon.supervisor.papers import write_papers
from trilithon.supervisor.template import DEAF_TO, Template
from trilithon.supervisor.vigil import is_stopped
from trilithon.worker.member import Birth

log = logging.getLogger("trilithon.error")

# A template that waits forks at once; one that takes so long is stuck, or stopped by somebody.
FORK_S = 10.0
LOOK_S = 0.2
FAREWELL_S = 1.0
_PR_SET_CHILD_SUBREAPER = 36


class Mother:
    """A template as its supervisor sees it: loading until `is_ready`, then waiting for workers to fork."""

    def __init__(self, generation: int, channel: Channel, outcome: Outcome) -> None:
        self.generation = generation
        self.channel = channel
        self.outcomes = [outcome]
        self.pid = 0
        self.is_ready = False
        # No worker of its generation is wanted any more.
        self.is_over = False
        self.failure: tuple[str, int] | None = None
        self.workers: set[int] = set()


class TemplateLauncher:
    """Has each generation's application imported once, by a template, and workers forked from that.

    A template whose generation is over stays until its last worker has ended, since it is their parent. When one is
    killed its workers become children of the supervisor where the system can do that; the next worker of its
    generation has to wait for a new template.
    """

    def __init__(self, household: Household) -> None:
        self.household = household
        self.mothers: list[Mother] = []
        self.kept = 0
        adopt_orphans()

    def prepare(self, generation: int, options: Options, done: Outcome) -> None:
        """Fork a template and have it import the application; see Launcher.

        One of this generation that is ready has what is wanted, as on the way back from an upgrade. One that is still
        importing is ended, for the code has changed since, and its `done` is called when this one is.
        """
        known = self.mother_of(generation)
        if known is not None and known.is_ready:
            done("", 0)
            return
        here, there = Channel.pair()
        mother = Mother(generation, here, done)
        for other in [each for each in self.mothers if each.generation == generation and not each.is_ready]:
            mother.outcomes = other.outcomes + mother.outcomes
            self.part_with(other)

        def child(mask: set[int]) -> NoReturn:
            atexit._clear()
            self.household.release()
            self.release_in_child()
            here.close()
            begin(mask, handled_signals(), DEAF_TO)
            template = Template(self.household, options, there)
            end_as(template.run)

        try:
            mother.pid = fork(child)
        except OSError as error:
            here.close()
            reason = f"trilithon: no process for the application: {why(error)}"
            self.household.reactor.later(0.0, lambda: self.settle(mother, reason, int(ExitCode.UNEXPECTED)))
            return
        finally:
            there.close()
        self.mothers.append(mother)
        self.household.reactor.add(here, lambda: self.hear(mother))

    def release_in_child(self) -> None:
        """Close, in a process that was forked, what belongs to the supervisor."""
        for mother in self.mothers:
            mother.channel.close()

    def launch(self, birth: Birth) -> int:
        """Have the generation's template fork a worker; see Launcher."""
        mother = self.mother_of(birth.generation)
        if mother is None:
            log.warning("preload: the process that workers are forked from is gone; the application is imported again")
            self.prepare(birth.generation, birth.options, tell_of_failure)
            mother = self.mother_of(birth.generation)
        if mother is None or not mother.is_ready:
            raise OSError(errno.EAGAIN, "the application is still being imported")
        if is_stopped(mother.pid):
            # Whoever stopped it may let it go on, and the supervisor has others to look after than to wait for that.
            raise OSError(errno.EAGAIN, f"the process that workers are forked from (pid {mother.pid}) is stopped")
        papers, fds = write_papers(birth)
        mother.channel.send({"do": "fork", **papers}, fds)
        answer = self.answer_of(mother)
        if answer is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(mother.pid, signal.SIGKILL)
            self.drop(mother)
            raise OSError(errno.EPIPE, "the process that workers are forked from does not answer")
        if answer["say"] == "refused":
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        pid = int(answer["pid"])
        if not is_child(pid, mother.pid):
            raise OSError(errno.ESRCH, "the process that workers are forked from named one that is not its child")
        mother.workers.add(pid)
        return pid

    def mother_of(self, generation: int) -> Mother | None:
        """Return the template of a generation, importing or ready."""
        wanted = (each for each in self.mothers if each.generation == generation and not each.is_over)
        return next(wanted, None)

    def answer_of(self, mother: Mother) -> Message | None:
        """Wait for the answer to a request; other news is taken when the caller is done."""
        deadline = time.monotonic() + FORK_S
        answer = None
        while answer is None:
            while not mother.channel.wait(LOOK_S):
                if time.monotonic() > deadline or is_stopped(mother.pid):
                    return None
            try:
                messages = mother.channel.receive()
            except EOFError:
                return None
            for message, _ in messages:
                if message["say"] in ("forked", "refused"):
                    answer = message
                else:
                    self.household.reactor.later(0.0, self.taking(mother, message))
        return answer

    def taking(self, mother: Mother, message: Message) -> Callable[[], None]:
        """Return the call that takes a message later."""
        return lambda: self.take(mother, message)

    def hear(self, mother: Mother) -> None:
        """Take what a template says."""
        try:
            messages = mother.channel.receive()
        except EOFError:
            # Its end as a process tells why; what it did not say of its workers, theirs will.
            self.household.reactor.remove(mother.channel)
            return
        for message, _ in messages:
            self.take(mother, message)

    def take(self, mother: Mother, message: dict[str, Any]) -> None:
        """Act on one thing that a template says."""
        what = message["say"]
        if what == "ready":
            mother.is_ready = True
            self.settle(mother, "", 0)
            mother.is_over = mother.is_over or mother.generation < self.kept
            self.tidy()
        elif what == "failed":
            mother.failure = (message["reason"], message["code"])
        elif what == "ended":
            mother.workers.discard(message["pid"])
            self.household.ended(message["pid"], message["code"])
            mother.channel.send({"do": "bury", "pid": message["pid"]})
            self.tidy()

    def settle(self, mother: Mother, fault: str, code: int) -> None:
        """Tell those who wait for a template how its import ended."""
        waiting = mother.outcomes
        mother.outcomes = []
        for outcome in waiting:
            outcome(fault, code)

    def child_ended(self, pid: int, code: int) -> None:
        """Take note that a template has ended; see Launcher."""
        mother = next((each for each in self.mothers if each.pid == pid), None)
        if mother is None:
            return
        with contextlib.suppress(EOFError):
            for message, _ in mother.channel.receive():
                self.take(mother, message)
        self.drop(mother)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        died = (f"trilithon: the process that imports the application ended {how}", int(ExitCode.UNEXPECTED))
        self.settle(mother, *(mother.failure or died))

    def worker_fell_silent(self, pid: int) -> None:
        """End a template that is stopped and so cannot tell: its workers are children of this process then.

        See Launcher.
        """
        for mother in self.mothers:
            if pid in mother.workers and is_stopped(mother.pid):
                log.warning("preload: a worker has ended whose parent is stopped and cannot tell: that is killed")
                os.kill(mother.pid, signal.SIGKILL)

    def drop(self, mother: Mother) -> None:
        """Forget a template; idempotent."""
        if mother in self.mothers:
            self.mothers.remove(mother)
        self.household.reactor.remove(mother.channel)
        mother.channel.close()

    def keep(self, generation: int) -> None:
        """Have no more workers of other generations; see Launcher."""
        self.kept = generation
        for mother in self.mothers:
            # One that somebody waits for belongs to the next reload.
            if mother.generation != generation and not mother.outcomes:
                mother.is_over = True
        self.tidy()

    def tidy(self) -> None:
        """Part with the templates that have no worker left, of generations that are over."""
        for mother in list(self.mothers):
            if mother.is_over and not mother.workers:
                self.part_with(mother)

    def part_with(self, mother: Mother) -> None:
        """End a template that has no workers: at once while it imports, otherwise when it has buried all of them."""
        if not mother.is_ready:
            with contextlib.suppress(ProcessLookupError):
                os.kill(mother.pid, signal.SIGKILL)
        self.drop(mother)

    def close(self) -> None:
        """End all templates, and wait for their end; see Launcher."""
        for mother in list(self.mothers):
            if mother.is_ready:
                see_off(mother.channel)
            with contextlib.suppress(ProcessLookupError):
                os.kill(mother.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(mother.pid, 0)
            self.drop(mother)


def see_off(channel: Channel) -> None:
    """Let a template do what it was told and end itself, for a moment."""
    with contextlib.suppress(OSError, EOFError):
        channel.sock.shutdown(socket.SHUT_WR)
        while channel.wait(FAREWELL_S):
            channel.receive()


def is_child(pid: int, parent: int) -> bool:
    """Tell whether a process is the child of another one; where the system does not say, it is believed.

    A template has run foreign code, perhaps as another user, and workers are signalled with the rights of this process.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[1]) == parent
    except FileNotFoundError:
        return not os.path.exists("/proc/self/stat")


def tell_of_failure(fault: str, code: int) -> None:
    """Log why there is no template anew; the next worker that is wanted tries again."""
    if fault:
        log.error("%s", fault)


def adopt_orphans() -> None:
    """Become the parent of workers whose template ends; on Linux only, elsewhere the channel alone tells their end."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
