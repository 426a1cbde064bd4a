"""What a program hands to the one that follows it: sockets and a channel, in descriptors and one variable."""

import contextlib
import json
import os
import socket
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from trilithon.foundation.errors import ConfigError
from trilithon.net.channel import Channel
from trilithon.supervisor.watcher import must_stay

# Not one of the TRILITHON_ variables, which are options all.
VARIABLE = "_TRILITHON_UPGRADE"


@dataclass(slots=True)
class Heritage:
    """What comes with an upgrade. Whoever has it closes what it holds.

    `places` are listening sockets by bind address, `control` is the control socket with its path. `elder` leads to the
    program that must stay for good, which has to know who serves; it outlives several upgrades. `scaled` is how many
    workers the options asked for, and how many were wanted in the end.
    """

    pid: int
    channel: Channel
    places: list[tuple[str, list[socket.socket]]] = field(default_factory=list)
    control: tuple[str, socket.socket] | None = None
    elder: Channel | None = None
    scaled: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Origin:
    """How this program was started, so that it can be started again, and what it inherited then."""

    command: list[str]
    directory: str
    umask: int
    # Asked at the start: later the parent may be one that only took over an orphan.
    is_watched: bool
    heritage: Heritage | None = None

    @staticmethod
    def now() -> "Origin":
        """Return how it was; call it before anything is changed, and while there is one thread."""
        umask = os.umask(0o077)
        os.umask(umask)
        return Origin(command_line(), directory(), umask, must_stay())


def inherit(environ: MutableMapping[str, str]) -> Heritage | None:
    """Return what the program before left, None when there is none; raises ConfigError for what cannot be.

    The variable is removed from `environ`, and the descriptors close on exec: no child takes them for its own.
    """
    text = environ.pop(VARIABLE, "")
    if not text:
        return None
    try:
        told: dict[str, Any] = json.loads(text)
        control = (told["control"][0], adopt(told["control"][1])) if told["control"] else None
        elder = Channel(adopt(told["elder"])) if told["elder"] is not None else None
        places = [(name, [adopt(fd) for fd in fds]) for name, fds in told["places"]]
        channel = Channel(adopt(told["channel"]))
        # A version that did not count workers has not told.
        option, wanted = told.get("scaled", (0, 0))
        return Heritage(told["pid"], channel, places, control, elder, (int(option), int(wanted)))
    except (ValueError, TypeError, KeyError, IndexError, OSError):
        raise ConfigError(VARIABLE, text, "is for upgrades only and does not fit; unset it") from None


def tell_failure(environ: MutableMapping[str, str], reason: str) -> None:
    """Tell the program before, where there is one, why this one cannot even begin; what it left is let go of."""
    with contextlib.suppress(ConfigError):
        heritage = inherit(environ)
        if heritage is not None:
            heritage.channel.send({"say": "failed", "reason": reason})


def adopt(fd: int) -> socket.socket:
    """Return the socket behind an inherited descriptor; raises OSError."""
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def bequeath(heritage: Heritage) -> tuple[dict[str, str], list[int]]:
    """Return the variable that tells of `heritage`, and the descriptors that have to be passed with it."""
    elder = heritage.elder.fileno() if heritage.elder is not None else None
    control = (heritage.control[0], heritage.control[1].fileno()) if heritage.control is not None else None
    places = [(name, [sock.fileno() for sock in sockets]) for name, sockets in heritage.places]
    told = {
        "pid": heritage.pid,
        "channel": heritage.channel.fileno(),
        "places": places,
        "control": control,
        "elder": elder,
        "scaled": heritage.scaled,
    }
    passed = [heritage.channel.fileno(), *(fd for _, fds in places for fd in fds)]
    passed += [fd for fd in (elder, control[1] if control else None) if fd is not None]
    return {VARIABLE: json.dumps(told)}, passed


def command_line() -> list[str]:
    """Return the command that started this program, to be run again in `directory`.

    A script is run itself where its first lines named the interpreter: they may name a newer one by then.
    """
    words = list(sys.orig_argv)
    if not words:
        return [sys.executable, "-m", "trilithon", *sys.argv[1:]]
    if len(words) > 1 and os.access(words[1], os.X_OK):
        try:
            with open(words[1], "rb") as script:
                head = script.read(512)
        except OSError:
            head = b""
        if head.startswith(b"#!") and os.fsencode(words[0]) in head:
            return words[1:]
    return words


def directory() -> str:
    """Return where this program was started, by the name that was used: a link may lead to a newer place by then."""
    here = os.getcwd()
    named = os.environ.get("PWD", "")
    try:
        if os.path.isabs(named) and os.path.samefile(named, here):
            return named
    except OSError:
        pass
    return here
