"""A template process: imports the application once, then is forked into workers that share its memory."""

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

from trilithon.foundation.errors import ConfigError, LoadError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.identity import identity_of
from trilithon.foundation.options import Options
from trilithon.net.channel import Channel
from trilithon.supervisor.household import Household
from trilithon.supervisor.import_report import report, report_native_threads
from trilithon.supervisor.import_watch import ImportWatch
from trilithon.supervisor.newborn import MEANINGS, NOT_OURS, Handler, begin, fork, why, work
from trilithon.supervisor.papers import Inherited, read_papers
from trilithon.supervisor.reactor import Reactor
from trilithon.supervisor.renewal import Renewal
from trilithon.worker.loader import explain
from trilithon.worker.logs import configure
from trilithon.worker.member import ignore
from trilithon.worker.server import Server

log = logging.getLogger("trilithon.error")

# Service managers and terminals send these to every process; a template ends when the supervisor lets go of it.
DEAF_TO: dict[int, Handler | signal.Handlers] = {
    signal.SIGINT: ignore,
    signal.SIGHUP: ignore,
    signal.SIGTERM: ignore,
    signal.SIGUSR1: ignore,
    **NOT_OURS,
}
_PR_SET_PDEATHSIG = 1


class Template:
    """The process after its fork.

    It says {"say": "ready"} once the application is imported, or {"say": "failed", "code", "reason"}. Told
    {"do": "fork"} with a worker's papers and descriptors it forks one and says {"say": "forked", "pid"}, or
    {"say": "refused", "errno"}; of each worker that ends, {"say": "ended", "pid", "code"}. It keeps that process id
    until it is told {"do": "bury", "pid"}.
    """

    def __init__(self, household: Household, options: Options, channel: Channel) -> None:
        self.household = household
        self.options = options
        self.channel = channel
        self.server = Server(household.app, options)
        self.watch = ImportWatch(str(household.app or "the application"))
        self.workers: set[int] = set()
        self.reactor: Reactor | None = None
        self.has_forked = False

    def run(self) -> NoReturn:
        """Be a template; ends without what the interpreter does at its end, which is the workers' to do."""
        raise SystemExit(self.live())

    def live(self) -> int:
        """Import, then fork when told; returns the exit code when the import fails."""
        # Workers get theirs when they are forked; what the supervisor stops listening on must not be held open here.
        for sock in self.household.listening():
            sock.close()
        try:
            configure(self.options)
            self.server.open_certificates()
            identity_of(self.options).assume(os.environ)
            # Not before: a process that becomes another user is asked anew.
            die_with_parent()
            with self.watch:
                self.server.load()
        except LoadError as error:
            return self.fail(ExitCode.LOAD, explain(error))
        except ConfigError as error:
            return self.fail(ExitCode.USAGE, f"trilithon: {error}")
        except Exception:
            return self.fail(ExitCode.UNEXPECTED, traceback.format_exc())
        # What nobody refers to any more is not shared, and what stays is never looked at again by the collector of a
        # worker: it would write to every object, and so end the sharing.
        gc.collect()
        for line in report(self.watch):
            log.warning("%s", line)
        gc.freeze()
        self.serve()
        return int(ExitCode.OK)

    def fail(self, code: ExitCode, reason: str) -> int:
        """Tell the supervisor why there will be no workers; returns the exit code."""
        self.channel.send({"say": "failed", "code": int(code), "reason": reason})
        return int(code)

    def serve(self) -> None:
        """Fork and reap until the supervisor lets go."""
        self.reactor = Reactor()
        self.reactor.handle_signals([signal.SIGCHLD], self.reap)
        self.reactor.add(self.channel, self.hear)
        if self.server.store is not None:
            Renewal(self.reactor, lambda: [self.server.store]).begin(self.options.cert_reload_s)
        self.channel.send({"say": "ready"})
        self.reactor.run()

    def hear(self) -> None:
        """Do what the supervisor says."""
        try:
            messages = self.channel.receive()
        except EOFError:
            # No end of the interpreter: what the application wants done then is its workers' to do.
            os._exit(ExitCode.OK)
        for message, fds in messages:
            if message["do"] == "bury":
                self.bury(message["pid"])
            else:
                self.bear(message, fds)

    def bear(self, message: dict[str, Any], fds: list[int]) -> None:
        """Fork a worker."""

        def child(mask: set[int]) -> NoReturn:
            reactor = self.reactor
            if reactor is not None:
                reactor.release_signals()
                reactor.close()
            self.channel.close()
            # What the application handles since its import stays so, as in a worker that has imported it itself.
            theirs = [each for each in DEAF_TO if each not in NOT_OURS and signal.getsignal(each) is ignore]
            begin(mask, theirs, {each: MEANINGS[each] for each in MEANINGS if each not in NOT_OURS})
            inherited = Inherited(self.household.app, self.options, self.household.scoreboard)
            inherited.loaded = self.server.loaded
            birth = read_papers(message, fds, inherited)
            birth.store = self.server.store
            work(birth)

        try:
            pid = fork(child)
        except OSError as error:
            log.error("preload: a worker cannot be forked: %s", why(error))
            self.channel.send({"say": "refused", "errno": error.errno})
            return
        finally:
            for fd in fds:
                os.close(fd)
        self.workers.add(pid)
        self.channel.send({"say": "forked", "pid": pid})
        if not self.has_forked:
            self.has_forked = True
            for line in report_native_threads(self.watch):
                log.warning("%s", line)

    def reap(self, number: int) -> None:
        """Tell of the workers that have ended; processes that the application started are its own to wait for."""
        for pid in list(self.workers):
            code = exit_code_of(pid)
            if code is not None:
                self.workers.discard(pid)
                self.channel.send({"say": "ended", "pid": pid, "code": code})

    def bury(self, pid: int) -> None:
        """Let go of the process id of a worker that has ended: from now on another process may have it."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def exit_code_of(pid: int) -> int | None:
    """Return how a child ended, minus the signal that ended it; None while it lives. It stays a zombie, if that can be.

    The supervisor may be about to signal it: a process of the same number must not be met instead.
    """
    if not hasattr(os, "waitid"):
        ended, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def die_with_parent() -> None:
    """End with the supervisor however it ends, even while the application is imported; on Linux only.

    Later the end of the channel says the same. A worker that is forked from here does not inherit this.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
