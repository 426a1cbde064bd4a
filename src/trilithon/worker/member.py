"""A worker under a supervisor: born with its sockets, it serves until it is told to leave."""

import asyncio
import dataclasses
import gc
import logging
import os
import signal
import socket
import sys
import traceback
from dataclasses import dataclass, field
from typing import Any

from trilithon.foundation.errors import BindError, ConfigError, LoadError, StartupError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.first_process import end_at_once
from trilithon.foundation.identity import identity_of
from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import Scoreboard, WorkerState
from trilithon.net.certificates import TlsStore
from trilithon.net.channel import Channel
from trilithon.worker.crashes import show_crashes
from trilithon.worker.leaving import END_S, exit_now
from trilithon.worker.lifeline import Lifeline
from trilithon.worker.loader import Loaded, explain
from trilithon.worker.logs import configure, reopen_log_files
from trilithon.worker.running import leave_loop, loop_factory
from trilithon.worker.server import Server
from trilithon.worker.signals import ReopeningSignal, Signals
from trilithon.worker.watchdog import Watchdog

log = logging.getLogger("trilithon.error")

# The faults that are the application's, and a development server's to show.
SHOWN = (ExitCode.LOAD, ExitCode.STARTUP, ExitCode.UNEXPECTED)


@dataclass(slots=True)
class Birth:
    """What a worker is born with.

    `app` is an object, a target or, with mounts, None; `loaded` is what a template process has imported already.
    `slot` is its place on the scoreboard, `listening` the sockets that it accepts from, `channel` its way to speak with
    the supervisor, `mailbox` where other workers put connections for it. `store` are the certificates, where its parent
    has opened them. `trouble` says, in development, why the worker before this one ended; nothing is loaded then.
    """

    app: Any
    options: Options
    slot: int
    generation: int
    listening: list[socket.socket]
    channel: Channel
    scoreboard: Scoreboard
    mailbox: socket.socket | None = None
    loaded: list[tuple[str, Loaded]] = field(default_factory=list)
    trouble: str = ""
    store: TlsStore | None = None


def live(birth: Birth) -> int:
    """Be a worker: load, serve, leave when told; returns the exit code. The whole life of a fresh process.

    A start-up that fails is told to the supervisor, which says it once for all workers.
    """
    member = Member(birth)
    show_crashes()
    try:
        if not birth.loaded:
            # Otherwise it was done before the import, and an application may have set logging up its own way since.
            configure(birth.options)
        else:
            reopen_log_files()
        # What the worker's user may not read or open is read and opened by now: certificates, log files.
        member.server.open_certificates()
        identity_of(birth.options).assume(os.environ)
        member.lifeline.hold(birth.channel)
        if birth.trouble:
            raise StartupError(birth.trouble)
        with member.reopening:
            member.serve()
    except LoadError as error:
        return member.fail(ExitCode.LOAD, explain(error))
    except BindError as error:
        return member.fail(ExitCode.BIND, f"trilithon: {error}")
    except ConfigError as error:
        return member.fail(ExitCode.USAGE, f"trilithon: {error}")
    except StartupError as error:
        return member.fail(ExitCode.STARTUP, f"trilithon: the application's start-up failed: {error}")
    except Exception:
        return member.fail(ExitCode.UNEXPECTED, traceback.format_exc())
    return member.end()


class Member:
    """A worker at work."""

    def __init__(self, birth: Birth) -> None:
        self.birth = birth
        self.channel = birth.channel
        self.slot = birth.scoreboard.slot(birth.slot)
        # A start-up that fails closes its sockets; in development others are needed then.
        # By descriptor: a copy of the object would set the shared socket to block, as it believes itself to be.
        spare = [os.dup(sock.fileno()) for sock in birth.listening] if birth.options.reload else []
        self.spare = [socket.socket(fileno=fd) for fd in spare]
        self.server = self.make_server(birth.app, birth.options, birth.listening)
        self.server.loaded = list(birth.loaded)
        self.watchdog = Watchdog(self.server, self.slot, self.channel.send)
        self.task: asyncio.Task[None] | None = None
        self.reopening = ReopeningSignal()
        self.lifeline = Lifeline()
        self.is_leaving = False

    def make_server(self, app: Any, options: Options, listening: list[socket.socket]) -> Server:
        """Make a server that has this worker's place among the others."""
        birth = self.birth
        server = Server(app, options, listening)
        server.store = birth.store
        server.on_serving = self.begin_to_serve
        if birth.mailbox is not None and options.balance != "shared":
            server.join(birth.scoreboard, birth.slot, birth.mailbox)
        else:
            server.slot = self.slot
        return server

    def serve(self) -> None:
        """Serve in an event loop of its own; raises what `Server.start` raises."""
        # A terminal sends these to all processes of its group; the supervisor decides what they mean.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, ignore)
        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, end_at_once)
        self.slot.occupy(os.getpid(), self.birth.generation)
        server = self.server
        server.load()
        self.lifeline.respect_application()
        self.watchdog.on_tick = self.lifeline.respect_application
        needs_loop = any(loaded.interface != "wsgi" for _, loaded in server.loaded)
        self.reopening.loop = loop = loop_factory(server.options.loop, needs_loop)()
        asyncio.set_event_loop(loop)
        try:
            self.task = loop.create_task(self.run())
            with Signals(loop, {signal.SIGTERM: self.terminate, signal.SIGQUIT: end_at_once}):
                loop.add_reader(self.channel.fileno(), self.hear)
                try:
                    loop.run_until_complete(self.task)
                except asyncio.CancelledError:
                    log.info("stopped during the start-up")
                loop.remove_reader(self.channel.fileno())
            self.channel.send({"say": "leaving"})
            leave_loop(loop)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    async def run(self) -> None:
        """Start, say so, serve until told to leave."""
        await self.server.start()
        # What is loaded stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        self.channel.send({"say": "ready", "serves": self.server.describe()})
        await self.server.serve_on()

    def begin_to_serve(self) -> None:
        """Be looked at from now on: the first request may already hang, before the supervisor hears of this worker."""
        if not self.is_leaving:
            self.watchdog.start()
            self.slot.state = WorkerState.READY

    def fail(self, code: ExitCode, reason: str) -> int:
        """Tell the supervisor why the start failed, in development browsers as well; returns the exit code."""
        self.channel.send({"say": "failed", "code": int(code), "reason": reason})
        fault = sys.exception()
        if self.birth.options.reload and code in SHOWN and fault is not None:
            self.show(fault, reason)
            return self.end()
        return int(code)

    def show(self, fault: BaseException, reason: str) -> None:
        """Serve a page about a fault in place of the application, until told to leave."""
        # Imported here because it is for development alone.
        from trilithon.worker.error_page import ErrorPage
        from trilithon.worker.fault_report import report

        options = dataclasses.replace(self.birth.options, mounts=(), lifespan="off", root_path="")
        page = ErrorPage(report(fault, reason))
        self.server = self.make_server(page, options, self.spare)
        self.server.loaded = [("", Loaded(page, "asgi", "a fault of the application"))]
        self.watchdog = Watchdog(self.server, self.slot, self.channel.send)
        self.serve()

    def end(self) -> int:
        """Return the exit code after serving; ends the process where threads hang on requests that were cut off."""
        if self.server.cut_off:
            logging.shutdown()
            exit_now(ExitCode.OK)
        return int(ExitCode.OK)

    def hear(self) -> None:
        """Take what the supervisor says."""
        try:
            messages = self.channel.receive()
        except EOFError:
            log.error("the supervisor is gone: this worker ends")
            asyncio.get_running_loop().remove_reader(self.channel.fileno())
            options = self.birth.options
            self.lifeline.cut(options.graceful_timeout_s + options.lifespan_timeout_s + END_S)
            self.leave(False)
            return
        for message, fds in messages:
            self.obey(message, fds)

    def obey(self, message: dict[str, Any], fds: list[int]) -> None:
        """Do what one message asks for."""
        what = message["do"]
        if what == "retire":
            self.leave(True)
        elif what == "stop":
            self.leave(False)
        elif what == "peer":
            writing, reading = (socket.socket(fileno=fd) for fd in fds)
            self.server.add_peer(message["slot"], writing, reading)
        elif what == "unpeer":
            self.server.remove_peer(message["slot"])
        elif what == "reopen":
            reopen_log_files()

    def terminate(self, number: int) -> None:
        """Leave, by SIGTERM: others go on, or the supervisor says that it stops too."""
        if self.task is not None:
            self.task.get_loop().call_soon_threadsafe(self.leave_unasked)

    def leave_unasked(self) -> None:
        """Leave although the supervisor has not said so; it can start another worker meanwhile."""
        if not self.is_leaving:
            self.channel.send({"say": "retiring"})
            self.leave(True)

    def leave(self, has_successor: bool) -> None:
        """End, patiently with idle clients where a successor accepts already."""
        self.is_leaving = True
        self.watchdog.stop()
        self.slot.state = WorkerState.RETIRING if has_successor else WorkerState.STOPPING
        if not self.server.is_serving() and self.task is not None:
            self.task.cancel()
        # A start-up that was complete in the same moment has not noticed that it was cancelled.
        if has_successor:
            self.server.retire()
        else:
            self.server.stop()


def ignore(number: int, frame: object) -> None:
    """Take no notice; a handler, since a signal that is ignored would be so in programs that the application starts."""
