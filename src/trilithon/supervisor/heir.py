"""The upgrade as the program after sees it: serve first, then be in charge, and give back if that is asked for."""

import logging
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from trilithon.supervisor.control import RefusedCommand
from trilithon.supervisor.heritage import Heritage
from trilithon.supervisor.premises import Premises
from trilithon.supervisor.reactor import Reactor

log = logging.getLogger("trilithon.error")

Done = Callable[[str], None]


class Standing(Enum):
    """What an heir is to the program before."""

    STARTING = 1
    # It serves and is in charge; the program before stands by.
    TRIED = 2
    ALONE = 3


class Successor(Protocol):
    """The supervisor, as far as an heir needs it."""

    reactor: Reactor
    premises: Premises

    @property
    def has_started(self) -> bool:
        """Whether all workers have served once."""

    @property
    def is_stopping(self) -> bool:
        """Whether the end has begun."""

    def take_charge(self) -> None:
        """Be the service, for the service manager, the PID file and the control socket."""

    def give_back(self, pid: int) -> None:
        """Retire all workers and leave, with files left to the program before, which is the service again."""


class Heir:
    """The side of the new program; all on the reactor's thread."""

    def __init__(self, heritage: Heritage, keeper: Successor, has_control: bool) -> None:
        self.pid = heritage.pid
        self.channel = heritage.channel
        self.keeper = keeper
        self.has_control = has_control
        self.standing = Standing.STARTING
        self.back: list[Done] = []
        keeper.reactor.add(self.channel, self.hear)

    def told(self) -> str:
        """Return in words what the program before does, empty when it is gone."""
        return f"process {self.pid} stands by as the way back" if self.standing is Standing.TRIED else ""

    def started(self) -> None:
        """All workers serve: say so; the program before answers that this one is in charge."""
        message = {"say": "ready", "places": self.keeper.premises.names(), "control": self.has_control}
        if self.standing is Standing.ALONE or not self.channel.send(message):
            self.be_alone()
            self.keeper.take_charge()

    def is_starting(self) -> bool:
        """Tell whether the program before still serves."""
        return self.standing is Standing.STARTING

    def failed(self, reason: str) -> bool:
        """Say why the start failed; returns whether anybody was told."""
        return self.say({"say": "failed", "reason": reason})

    def leaving(self) -> None:
        """Say that this program ends because it was told to, not by a fault."""
        self.say({"say": "leaving"})

    def dismiss(self) -> None:
        """Let the program before go: a newer upgrade has this one as its way back."""
        self.say({"say": "dismiss"})

    def ask_back(self, done: Done) -> None:
        """Ask the program before to serve again; raises RefusedCommand."""
        if self.standing is not Standing.TRIED:
            raise RefusedCommand("there is no program to go back to: none, or no longer, stands by")
        self.back.append(done)
        self.say({"say": "rollback"})

    def hear(self) -> None:
        """Take what the program before says."""
        try:
            messages = self.channel.receive()
        except EOFError:
            self.be_alone()
            return
        for message, _ in messages:
            self.take(message)

    def take(self, message: dict[str, Any]) -> None:
        """Act on one thing that the program before says."""
        what = message["do"]
        if what == "serve":
            self.standing = Standing.TRIED
            self.keeper.take_charge()
            self.say({"say": "serves"})
            log.info("in charge now: process %d stands by as the way back", self.pid)
        elif what == "leave":
            log.info("process %d serves again: this one leaves", self.pid)
            self.answer("")
            self.keeper.give_back(self.pid)
        elif what == "stay":
            self.answer(message["reason"])

    def be_alone(self) -> None:
        """Take note that the program before is gone: whatever it was, this one is in charge once it serves."""
        if self.standing is Standing.ALONE:
            return
        was_starting = self.standing is Standing.STARTING
        self.standing = Standing.ALONE
        if not self.keeper.is_stopping:
            log.info("the program before this one, process %d, has ended", self.pid)
        self.keeper.reactor.remove(self.channel)
        self.answer("the program before this one has ended")
        if was_starting and self.keeper.has_started and not self.keeper.is_stopping:
            self.keeper.take_charge()

    def answer(self, reason: str) -> None:
        """Tell who asked for the way back how it went."""
        waiting, self.back = self.back, []
        for done in waiting:
            done(reason)

    def say(self, message: dict[str, Any]) -> bool:
        """Say something to the program before; returns whether it is there."""
        return self.standing is not Standing.ALONE and self.channel.send(message)

    def close_in_child(self) -> None:
        """Close, in a process that was forked off, what belongs to the supervisor alone."""
        self.channel.close()
