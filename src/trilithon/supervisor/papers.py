"""What a worker is born with, on its way to a process that does not share our memory: a message and descriptors."""

import socket
from typing import Any

from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import Scoreboard
from trilithon.net.channel import Channel, Message
from trilithon.worker.loader import Loaded
from trilithon.worker.member import Birth


def write_papers(birth: Birth) -> tuple[Message, list[int]]:
    """Return what is particular to one worker, and the descriptors that belong to it, which stay the caller's."""
    sockets = [birth.channel.sock, *birth.listening]
    if birth.mailbox is not None:
        sockets.append(birth.mailbox)
    message: Message = {"slot": birth.slot, "generation": birth.generation, "listening": len(birth.listening)}
    message["trouble"] = birth.trouble
    return message, [sock.fileno() for sock in sockets]


def read_papers(message: Message, fds: list[int], inherited: "Inherited") -> Birth:
    """Return the birth that papers stand for; the descriptors are its own from now on."""
    channel, *sockets = [socket.socket(fileno=fd) for fd in fds]
    count = message["listening"]
    return Birth(
        inherited.app,
        inherited.options,
        message["slot"],
        message["generation"],
        sockets[:count],
        Channel(channel),
        inherited.scoreboard,
        sockets[count] if len(sockets) > count else None,
        inherited.loaded,
        message["trouble"],
    )


class Inherited:
    """What all workers of a generation have in common."""

    def __init__(self, app: Any, options: Options, scoreboard: Scoreboard) -> None:
        self.app = app
        self.options = options
        self.scoreboard = scoreboard
        self.loaded: list[tuple[str, Loaded]] = []
