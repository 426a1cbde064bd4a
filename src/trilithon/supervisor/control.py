"""The control socket: the commands of `trilithon ctl`, taken on a Unix socket and answered by the supervisor."""

import errno
import json
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Protocol

from trilithon.foundation.errors import BindError, TrilithonError
from trilithon.net.binding import remove_stale
from trilithon.supervisor.reactor import Reactor, Timer

log = logging.getLogger("trilithon.error")

# A client sends one line and reads one line; whoever wants more, or is slower, has no honest reason.
REQUEST_MAX_BYTES = 4096
REQUEST_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
CLIENTS_MAX = 16
READ_BYTES = 4096
# An answer nearly always fits into the buffer of the socket; the reactor does not wait for room, this does.
RETRY_S = 0.05
# How long no client is taken when there is no descriptor left for one.
SHORTAGE_S = 1.0
_MODE = 0o600
# struct ucred of Linux: pid, uid, gid. struct xucred of the BSDs: version, uid, ...
_LINUX_CREDENTIALS = struct.Struct("3i")
_BSD_CREDENTIALS = struct.Struct("II")
_BSD_CREDENTIALS_BYTES = 76

Done = Callable[[str], None]


class RefusedCommand(TrilithonError):
    """A command that cannot be done now; the message is the reason, for the person who typed it."""


class Commands(Protocol):
    """What the supervisor can be told.

    Each raises RefusedCommand for what cannot be done now. `done` is called once, at once or later, with "" for success
    or with the reason of the failure, which may have several lines.
    """

    def status(self) -> dict[str, Any]:
        """Return the state of the supervisor and of each worker, ready for JSON."""

    def reload(self, done: Done) -> None:
        """Replace all workers, one at a time."""

    def stop(self, quick: bool) -> None:
        """Begin to stop, gracefully or at once."""

    def scale(self, change: int, absolute: bool) -> int:
        """Want so many workers, or so many more than now; returns how many are wanted now."""

    def reopen(self) -> None:
        """Open the log files anew, here and in the workers."""

    def upgrade(self, done: Done) -> None:
        """Start the program anew with the same sockets and hand over to it."""

    def rollback(self, done: Done) -> None:
        """Give back to the program before the upgrade."""


class Phase(Enum):
    """What a client of the control socket is at."""

    ASKING = 1
    WAITING = 2
    ANSWERED = 3
    CLOSED = 4


class ControlSocket:
    """The listening socket and its clients; all on the reactor's thread.

    `listener` is one that was opened for `path` before, by the program that this one follows. Raises BindError from
    the constructor. Call `attend` to take clients; `close` when all is over.
    """

    def __init__(self, path: str, reactor: Reactor, commands: Commands, listener: socket.socket | None = None) -> None:
        self.path = path
        self.place = os.path.abspath(path)
        # Not when another program has taken the same socket over.
        self.is_ours = True
        self.reactor = reactor
        self.commands = commands
        self.clients: set[Client] = set()
        self.listener = listener if listener is not None else open_listener(path)
        self.listener.setblocking(False)
        self.attending = False
        self.timer: Timer | None = None

    def attend(self) -> None:
        """Take clients; idempotent."""
        if not self.attending:
            self.attending = True
            self.reactor.add(self.listener, self.accept)

    def pause(self) -> None:
        """Take no new clients, because another program does or because the time is not right; idempotent."""
        self.attending = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.reactor.remove(self.listener)

    def close(self) -> None:
        """Take no more clients and let go of those who wait; the file is left to whoever made it."""
        self.pause()
        for client in list(self.clients):
            client.close()
        self.listener.close()

    def close_in_child(self) -> None:
        """Close the descriptors in a process that was forked off, which has no reactor."""
        self.listener.close()
        for client in self.clients:
            client.sock.close()

    def accept(self) -> None:
        """Take the clients that wait to be taken."""
        for _ in range(CLIENTS_MAX):
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                # Without a free descriptor the socket stays readable, and the reactor would do nothing else.
                log.warning("the control socket takes nobody for a moment: %s", error.strerror)
                self.pause()
                self.timer = self.reactor.later(SHORTAGE_S, self.attend)
                return
            self.welcome(sock)

    def welcome(self, sock: socket.socket) -> None:
        """Hear a client who may speak."""
        uid = peer_uid(sock)
        client = Client(sock, self)
        self.clients.add(client)
        if uid not in (0, os.geteuid()):
            log.warning("the control socket refused user %s", uid)
            client.refuse("only the user of the server may do that, and root")
        elif len(self.clients) > CLIENTS_MAX:
            client.refuse("too many clients of the control socket at once")
        else:
            client.listen()


class Client:
    """One client: a line with a request, a line with the answer."""

    def __init__(self, sock: socket.socket, control: ControlSocket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.control = control
        self.phase = Phase.ASKING
        self.incoming = bytearray()
        self.outgoing = b""
        self.timer: Timer | None = None
        self.deadline: Timer | None = None

    def listen(self) -> None:
        """Wait for the request."""
        reactor = self.control.reactor
        reactor.add(self.sock, self.read)
        self.deadline = reactor.later(REQUEST_TIMEOUT_S, partial(self.refuse, "the request did not come in time"))

    def read(self) -> None:
        """Take what the client sent."""
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if self.phase is not Phase.ASKING:
            # A request is all that a client may send. One that only ended its side may still read the answer, one that
            # is gone cannot be written to.
            if data or not self.is_there():
                self.close()
            else:
                self.control.reactor.remove(self.sock)
            return
        self.incoming += data
        line, end, rest = self.incoming.partition(b"\n")
        if len(line) > REQUEST_MAX_BYTES:
            self.refuse(f"the request is longer than {REQUEST_MAX_BYTES} bytes")
        elif rest:
            self.refuse("only one request at a time")
        elif end:
            self.hear(bytes(line))
        elif not data:
            self.close()

    def is_there(self) -> bool:
        """Tell whether the client still reads; blank lines before an answer mean nothing."""
        if self.outgoing:
            return True
        try:
            return self.sock.send(b"\n") == 1
        except OSError:
            return False

    def hear(self, line: bytes) -> None:
        """Do what a request asks for."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        self.phase = Phase.WAITING
        try:
            request = json.loads(line)
            if not isinstance(request, dict) or not isinstance(request.get("command"), str):
                raise RefusedCommand('a request is a JSON object with a "command"')
            self.do(request)
        except (ValueError, RecursionError):
            self.refuse("the request is not JSON")
        except RefusedCommand as fault:
            self.refuse(str(fault))
        except Exception:
            self.refuse("a fault of trilithon; its log has the traceback")
            raise

    def do(self, request: dict[str, Any]) -> None:
        """Run one command; raises RefusedCommand."""
        commands = self.control.commands
        command = request["command"]
        if command == "status":
            self.answer({"ok": True, "status": commands.status()})
        elif command in ("reload", "upgrade", "rollback"):
            begin = {"reload": commands.reload, "upgrade": commands.upgrade, "rollback": commands.rollback}[command]
            if flag(request, "wait", True):
                begin(self.finish)
            else:
                begin(_nobody)
                self.answer({"ok": True})
        elif command == "stop":
            quick = flag(request, "quick", False)
            commands.stop(quick)
            # Not closed behind the answer: the client sees the end of the process at the end of the connection.
            self.answer({"ok": True}, lasting=flag(request, "wait", True))
        elif command == "scale":
            change = request.get("workers")
            if not isinstance(change, int) or isinstance(change, bool) or abs(change) > 1000:
                raise RefusedCommand('"workers" must be a whole number')
            self.answer({"ok": True, "workers": commands.scale(change, not flag(request, "relative", False))})
        elif command == "reopen":
            commands.reopen()
            self.answer({"ok": True})
        else:
            raise RefusedCommand(f"there is no command {command[:40]!r}")

    def finish(self, reason: str) -> None:
        """Tell how a command ended that took its time."""
        if self.phase is Phase.WAITING:
            if reason:
                self.refuse(reason)
            else:
                self.answer({"ok": True})

    def refuse(self, reason: str) -> None:
        """Answer that it was not done, and why."""
        self.answer({"ok": False, "reason": reason})

    def answer(self, message: dict[str, Any], lasting: bool = False) -> None:
        """Write the answer and close, unless it is `lasting`: then the client closes."""
        if self.phase in (Phase.ANSWERED, Phase.CLOSED):
            return
        self.phase = Phase.ANSWERED
        if self.deadline is not None:
            self.deadline.cancel()
        self.outgoing = json.dumps(message).encode() + b"\n"
        self.deadline = self.control.reactor.later(ANSWER_TIMEOUT_S, self.close)
        self.write(lasting)

    def write(self, lasting: bool) -> None:
        """Write what fits, again until all is written."""
        if self.phase is Phase.CLOSED:
            return
        try:
            self.outgoing = self.outgoing[self.sock.send(self.outgoing) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close()
            return
        if self.outgoing:
            self.timer = self.control.reactor.later(RETRY_S, partial(self.write, lasting))
        elif not lasting:
            self.close()
        elif self.deadline is not None:
            self.deadline.cancel()

    def close(self) -> None:
        """Let the client go; idempotent."""
        self.phase = Phase.CLOSED
        self.control.reactor.remove(self.sock)
        for timer in (self.timer, self.deadline):
            if timer is not None:
                timer.cancel()
        self.control.clients.discard(self)
        self.sock.close()


def _nobody(reason: str) -> None:
    """Take the end of a command that nobody waits for; the log has told it."""


def flag(request: dict[str, Any], name: str, default: bool) -> bool:
    """Return a switch of a request; raises RefusedCommand."""
    value = request.get(name, default)
    if not isinstance(value, bool):
        raise RefusedCommand(f'"{name}" must be true or false')
    return value


def open_listener(path: str) -> socket.socket:
    """Return a listening socket that only its owner may connect to, in the place of a dead server's; raises BindError.

    A directory where everybody may put files is refused: somebody could be there first, and pass for the server.
    """
    place = os.path.dirname(os.path.abspath(path))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.stat(place).st_mode & stat.S_IWOTH:
            raise OSError(errno.EPERM, f"everybody may write to {place}; choose a directory of your own")
        remove_stale(path)
        # Made without the rights of others from the first moment on; the supervisor has one thread.
        former = os.umask(0o777 & ~_MODE)
        try:
            sock.bind(path)
        finally:
            os.umask(former)
        sock.listen(CLIENTS_MAX)
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason = "a running server listens there; stop it or choose another path"
        raise BindError("control_socket", path, reason) from None
    return sock


def peer_pid(sock: socket.socket) -> int:
    """Return the process at the other end of a Unix socket, zero where the system does not tell; on Linux only."""
    return _linux_credentials(sock)[0] if sys.platform == "linux" else 0


def peer_uid(sock: socket.socket) -> int:
    """Return the user at the other end of a Unix socket, -1 where the system does not tell."""
    try:
        if sys.platform == "linux":
            return _linux_credentials(sock)[1]
        # LOCAL_PEERCRED of level 0.
        data = sock.getsockopt(0, 1, _BSD_CREDENTIALS_BYTES)
        return int(_BSD_CREDENTIALS.unpack_from(data)[1])
    except OSError:
        return -1


def _linux_credentials(sock: socket.socket) -> tuple[int, int, int]:
    """Return process, user and group at the other end; raises OSError."""
    pid, uid, gid = _LINUX_CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_CREDENTIALS.size)
    )
    return pid, uid, gid
