"""The command `trilithon ctl`: tell a running server what to do, over its control socket."""

import json
import os
import select
import socket
from pathlib import Path
from typing import Any

import click

from trilithon.cli.status import table
from trilithon.foundation.errors import TrilithonError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.option_sources import CONFIG_VARIABLE, gather
from trilithon.foundation.options import BY_NAME
from trilithon.supervisor.control import peer_pid, peer_uid

# A supervisor answers at once; one that does not is stuck or stopped. Waiting for a reload has no limit but the
# server's own.
ANSWER_TIMEOUT_S = 15.0
ANSWER_MAX_BYTES = 16 << 20
LAST_MOMENTS_S = 1.0

_SOCKET = BY_NAME["control_socket"]
_EXAMPLE = f"start the server with {_SOCKET.flag} PATH, and give --socket PATH here or set {_SOCKET.env}"


class ControlFault(TrilithonError):
    """The running server could not be reached or could not do what was asked; the message says why and what to do."""


class Conversation:
    """One command to the server and what it answers."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.incoming = bytearray()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_TIMEOUT_S)

    def __enter__(self) -> "Conversation":
        try:
            self.sock.connect(self.path)
        except TimeoutError:
            self.sock.close()
            raise ControlFault(f"{self.path}: the server takes no command; is it stopped or stuck?") from None
        except OSError as error:
            self.sock.close()
            raise ControlFault(f"{self.path}: {_unreached(error, self.path)}") from None
        uid = peer_uid(self.sock)
        # Whoever could put a socket there would be told what the administrator does, and could say that it is done.
        if os.geteuid() and uid not in (0, os.geteuid()):
            self.sock.close()
            raise ControlFault(f"{self.path}: belongs to user {uid}; this is no server of yours")
        return self

    def __exit__(self, *fault: object) -> None:
        self.sock.close()

    def ask(self, command: str, patient: bool = False, **arguments: Any) -> dict[str, Any]:
        """Send a command and return the answer, however long it takes if `patient`; raises ControlFault."""
        try:
            self.sock.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
        except BrokenPipeError:
            pass  # refused before it was heard; the answer says why
        except OSError as error:
            raise ControlFault(f"{self.path}: {error.strerror or error}") from None
        if patient:
            self.sock.settimeout(None)
        answer = self.read()
        if not answer.get("ok"):
            raise ControlFault(f"{command}: {answer.get('reason', 'refused')}")
        return answer

    def read(self) -> dict[str, Any]:
        """Return the next answer; raises ControlFault."""
        while True:
            line, end, rest = self.incoming.partition(b"\n")
            if end:
                self.incoming = rest
                if line.strip():
                    break
                continue
            if not self.receive():
                raise ControlFault(f"{self.path}: the server ended before it answered; its log says why")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ControlFault(f"{self.path}: what answers there is no control socket of trilithon")
        return answer

    def receive(self) -> bool:
        """Take more of the answer; returns False at the end."""
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise ControlFault(f"{self.path}: the server does not answer; is it stopped or stuck?") from None
        except OSError:
            return False
        self.incoming += data
        if len(self.incoming) > ANSWER_MAX_BYTES:
            raise ControlFault(f"{self.path}: what answers there is no control socket of trilithon")
        return bool(data)

    def outlast(self) -> None:
        """Wait until the server closes, which it does at its end, and for the end of its process where that can be."""
        try:
            process = os.pidfd_open(peer_pid(self.sock))
        except (AttributeError, OSError):  # not on this system, or another program than the one that made the socket
            process = -1
        self.sock.settimeout(None)
        while self.receive():
            self.incoming.clear()
        if process >= 0:
            # Not for ever: a Python program may go on behind what it served.
            select.select([process], [], [], LAST_MOMENTS_S)
            os.close(process)


def _unreached(error: OSError, path: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"nothing is there; {_EXAMPLE}"
    if isinstance(error, ConnectionRefusedError):
        return "the server that made it is gone; start it again" if Path(path).is_socket() else "this is no socket"
    if isinstance(error, PermissionError):
        return "only the user of the server may use it, and root"
    return error.strerror or str(error)


def _path(given: str | None, config: str | None) -> str:
    """Return where the control socket is, from the flag, the variable or the options of this directory."""
    path = given or os.environ.get(_SOCKET.env) or gather({}, os.environ, Path.cwd(), config).options.control_socket
    if not path:
        raise click.UsageError(f"No control socket is known: {_EXAMPLE}.")
    return path


def _conversation() -> Conversation:
    return Conversation(click.get_current_context().obj())


def _status(as_json: bool) -> int:
    """Show the supervisor and each worker."""
    with _conversation() as conversation:
        status = conversation.ask("status")["status"]
    click.echo(json.dumps(status, indent=2) if as_json else table(status))
    return ExitCode.OK


def _reload(no_wait: bool) -> int:
    """Replace all workers, one at a time, with new code and options."""
    return _lengthy("reload", no_wait, "reloaded")


def _upgrade(no_wait: bool) -> int:
    """Start the program as it is installed now, and hand over."""
    return _lengthy("upgrade", no_wait, "upgraded; trilithon ctl rollback is the way back for a while")


def _rollback(no_wait: bool) -> int:
    """Give back to the program before the upgrade."""
    return _lengthy("rollback", no_wait, "rolled back")


def _lengthy(command: str, no_wait: bool, success: str) -> int:
    with _conversation() as conversation:
        conversation.ask(command, patient=not no_wait, wait=not no_wait)
    click.echo(f"{command} has begun" if no_wait else success)
    return ExitCode.OK


def _stop(quick: bool, no_wait: bool) -> int:
    """Stop the server gracefully and wait for its end."""
    with _conversation() as conversation:
        conversation.ask("stop", quick=quick, wait=not no_wait)
        if not no_wait:
            conversation.outlast()
    click.echo("stop has begun" if no_wait else "stopped")
    return ExitCode.OK


def _scale(workers: str) -> int:
    """Have N workers, or with a sign so many more or fewer."""
    try:
        number = int(workers)
    except ValueError:
        raise click.BadParameter(f"{workers!r} is no number; write 4, +1 or -1", param_hint="N") from None
    with _conversation() as conversation:
        answer = conversation.ask("scale", workers=number, relative=workers[0] in "+-")
    count = answer["workers"]
    click.echo(f"{count} {'worker is' if count == 1 else 'workers are'} wanted now")
    return ExitCode.OK


def _reopen() -> int:
    """Open the log files anew, after they were moved away."""
    with _conversation() as conversation:
        conversation.ask("reopen")
    click.echo("log files are open anew")
    return ExitCode.OK


class ControlCommand(click.Command):
    """A command whose faults are the server's, told in one message."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; a fault becomes a message and its exit code."""
        try:
            return super().invoke(ctx)
        except ControlFault as fault:
            click.echo(f"trilithon: {fault}", err=True)
            return ExitCode.CONTROL


def _command(name: str, run: Any, *params: click.Parameter, **more: Any) -> ControlCommand:
    return ControlCommand(name, callback=run, help=run.__doc__, params=list(params), **more)


def _no_wait(what: str) -> click.Option:
    return click.Option(["--no-wait"], is_flag=True, help=f"Return at once, not when {what}.")


def _remember(ctx: click.Context, given: str | None, config: str | None) -> None:
    # Looked for when a command needs it: its help needs none.
    ctx.obj = lambda: _path(given, config)


ctl = click.Group(
    "ctl",
    help="Tell a running server what to do, over its control socket.",
    short_help="Tell a running server what to do.",
    callback=click.pass_context(_remember),
    params=[
        click.Option(
            ["given", "--socket"],
            metavar="PATH",
            help=f"The control socket of the server. [variable: {_SOCKET.env}; or control_socket in TOML]",
        ),
        click.Option(["--config"], metavar="FILE", help=f"TOML file with options. [variable: {CONFIG_VARIABLE}]"),
    ],
    commands=[
        _command("status", _status, click.Option(["as_json", "--json"], is_flag=True, help="Print JSON.")),
        _command("reload", _reload, _no_wait("all workers are replaced")),
        _command(
            "stop",
            _stop,
            click.Option(["--quick"], is_flag=True, help="Cut requests off instead of finishing them."),
            _no_wait("the server has ended"),
        ),
        _command(
            "scale",
            _scale,
            click.Argument(["workers"], metavar="N|+N|-N"),
            # Or -1 would be a flag.
            context_settings={"ignore_unknown_options": True},
        ),
        _command("reopen", _reopen),
        _command("upgrade", _upgrade, _no_wait("the new program serves")),
        _command("rollback", _rollback, _no_wait("the old program serves")),
    ],
)
