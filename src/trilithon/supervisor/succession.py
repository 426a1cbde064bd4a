"""What a supervisor shares with the program before it and the one after: its places, its files, who is in charge."""

import logging
import os
import socket
from collections.abc import Callable
from typing import Protocol

from trilithon.foundation.addresses import Address, AddressKind
from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.net.binding import SocketFile, socket_files
from trilithon.supervisor.commands import Charge, SupervisorCommands
from trilithon.supervisor.control import ControlSocket, RefusedCommand
from trilithon.supervisor.heir import Heir
from trilithon.supervisor.heritage import Origin
from trilithon.supervisor.household import Launcher
from trilithon.supervisor.pid_file import PidFile
from trilithon.supervisor.premises import Premises
from trilithon.supervisor.reactor import Reactor
from trilithon.supervisor.systemd import Notifier
from trilithon.supervisor.turnover import Turnover
from trilithon.supervisor.upgrade import Phase, Upgrade, nobody

log = logging.getLogger("trilithon.error")

Done = Callable[[str], None]


class Crown(Charge, Protocol):
    """The supervisor, as far as its succession needs it."""

    options: Options
    reactor: Reactor
    launcher: Launcher
    turnover: Turnover
    notifier: Notifier
    pid_file: PidFile | None
    listening: list[socket.socket]
    has_started: bool
    is_resting: bool
    exit_code: int

    def start_workers(self) -> None:
        """Start as many workers as are wanted, for the second time in this life."""

    def retire_all(self, because: str) -> None:
        """Retire all workers."""

    def end_if_empty(self) -> None:
        """End when there is no worker any more."""

    def give_sign_of_life(self) -> None:
        """Feed the watchdog of the service manager, from now on."""


class Succession:
    """The premises, the control socket and both sides of an upgrade; see Keeper and Successor."""

    def __init__(self, crown: Crown, origin: Origin) -> None:
        self.crown = crown
        self.reactor = crown.reactor
        self.premises = Premises()
        self.heritage = origin.heritage
        self.control: ControlSocket | None = None
        self.control_file: list[SocketFile] = []
        self.upgrade = Upgrade(self, origin)
        self.heir: Heir | None = None
        # Only who is in charge may speak for the service.
        self.notifier = crown.notifier
        if origin.heritage is not None:
            crown.notifier = Notifier({})

    @property
    def options(self) -> Options:
        """The options in effect."""
        return self.crown.options

    @property
    def has_started(self) -> bool:
        """Whether all workers have served once."""
        return self.crown.has_started

    @property
    def is_stopping(self) -> bool:
        """Whether the end has begun."""
        return self.crown.is_stopping

    # The beginning and the end.

    def open(self) -> None:
        """Listen, and claim the files; raises BindError and ConfigError."""
        crown, heritage = self.crown, self.heritage
        if crown.pid_file is not None and heritage is None:
            crown.pid_file.write()
        self.premises.open(self.options, os.environ, heritage.places if heritage is not None else [])
        crown.listening[:] = self.premises.listening()
        has_control = self.open_control()
        if heritage is not None:
            self.heir = Heir(heritage, self, has_control)
        elif self.control is not None:
            self.control.attend()

    def open_control(self) -> bool:
        """Open the control socket, where one is asked for; returns whether it is that of the program before."""
        inherited = self.heritage.control if self.heritage is not None else None
        path = self.options.control_socket
        is_same = inherited is not None and bool(path) and inherited[0] == os.path.abspath(path)
        if path:
            commands = SupervisorCommands(self.crown, self)
            listener = inherited[1] if inherited is not None and is_same else None
            self.control = ControlSocket(path, self.reactor, commands, listener)
            self.control.is_ours = not is_same
            self.control_file = socket_files([Address(AddressKind.UNIX, path=path)])
        if inherited is not None and not is_same:
            inherited[1].close()
        return is_same

    def close(self) -> None:
        """Let go of everything; files stay where another program has them."""
        self.premises.close()
        if self.crown.pid_file is not None:
            self.crown.pid_file.remove()
        self.close_control()

    def close_control(self) -> None:
        """Take no more commands; the file goes unless the other program has it."""
        if self.control is not None:
            # Clients that wait for the end go by the end of their connection, and may look for the file then.
            for file in self.control_file if self.control.is_ours else []:
                file.remove()
            self.control.close()
            self.control = None

    def close_in_child(self) -> None:
        """Close, in a process that was forked off, what belongs to the supervisor alone."""
        if self.control is not None:
            self.control.close_in_child()
        self.upgrade.close_in_child()
        if self.heir is not None:
            self.heir.close_in_child()

    # What the supervisor tells.

    def started(self) -> bool:
        """All workers serve for the first time; returns whether this program is in charge, and is to say so."""
        if self.heir is None:
            return True
        self.heir.started()
        return False

    def failed(self, reason: str) -> bool:
        """The start failed; returns whether the program before was told, which tells everybody."""
        return bool(self.heir is not None and self.heir.failed(reason))

    def is_heir(self) -> bool:
        """Tell whether the program before still serves."""
        return self.heir is not None and self.heir.is_starting()

    def stopping(self, is_quick: bool) -> None:
        """The end has begun because somebody asked for it, or is to come at once: of what is not in charge yet too."""
        if self.heir is not None:
            self.heir.leaving()
        self.upgrade.stopping(is_quick)

    # What the commands ask for; see Office.

    def phase(self) -> str:
        """Return in a word or two what the supervisor is doing."""
        crown = self.crown
        if crown.is_stopping:
            return "stopping"
        if self.upgrade.phase is not Phase.NONE:
            return str(self.upgrade.phase.value)
        if not crown.has_started:
            return "starting"
        return "reloading" if crown.turnover.is_reloading else "serving"

    def told(self) -> str:
        """Return in words what is under way between programs, empty for nothing."""
        return self.upgrade.told() or (self.heir.told() if self.heir is not None else "")

    def places(self) -> list[str]:
        """Return where is listened."""
        return self.premises.told()

    def begin(self, done: Done) -> None:
        """Start the program anew and hand over to it; raises RefusedCommand."""
        self.upgrade.begin(done)

    def ask_back(self, done: Done) -> None:
        """Give back to the program before; raises RefusedCommand."""
        if self.upgrade.phase is Phase.STANDBY:
            self.upgrade.roll_back(done)
        elif self.heir is not None:
            self.heir.ask_back(done)
        else:
            raise RefusedCommand("there is no program to go back to: none, or no longer, stands by")

    def upgrade_by_signal(self) -> None:
        """Begin an upgrade that nobody waits for."""
        try:
            self.upgrade.begin(nobody)
        except RefusedCommand as fault:
            log.error("not upgraded: %s", fault)

    def reload_refusal(self) -> str:
        """Return why a reload cannot begin now, empty when it can."""
        return "an upgrade is under way; try again when it is over" if self.upgrade.phase is not Phase.NONE else ""

    def stop_refusal(self) -> str:
        """Return why a stop would not end the service, empty when it would."""
        upgrade = self.upgrade
        if upgrade.phase is Phase.STANDBY or upgrade.phase is Phase.STAYING:
            return f"process {upgrade.main_pid} serves and has no control socket here: send TERM to it"
        return ""

    # What an upgrade asks for; see Keeper.

    def end_if_empty(self) -> None:
        """End when nothing is left to wait for."""
        self.crown.end_if_empty()

    def scaled(self) -> tuple[int, int]:
        """Return how many workers the options ask for, and how many are wanted since."""
        return self.options.workers, self.crown.wanted

    def refusal(self) -> str:
        """Return why an upgrade cannot begin now, empty when it can."""
        crown = self.crown
        if crown.is_stopping:
            return "the server stops"
        if not crown.has_started:
            return "this program is only starting"
        if self.is_heir():
            return "this program is not in charge yet"
        if self.options.reload:
            return "the option reload is for development; stop and start"
        return "a reload is under way; try again when it is over" if crown.turnover.is_reloading else ""

    def no_way_back(self) -> None:
        """Let the program before go."""
        if self.heir is not None:
            self.heir.dismiss()

    def service_variables(self) -> dict[str, str]:
        """Return what the next program needs in its environment to speak with the service manager."""
        return self.notifier.variables()

    def hand_over(self, pid: int, places: list[str], has_control: bool) -> None:
        """Let another process be the service."""
        self.premises.lend(places)
        if self.control is not None and has_control:
            self.control.is_ours = False
            self.control.pause()
        self.notifier.main_pid(pid)
        self.crown.notifier = Notifier({})

    def take_charge(self) -> None:
        """Be the service, for the service manager, the PID file and the control socket."""
        crown = self.crown
        self.premises.claim()
        if crown.pid_file is not None:
            try:
                crown.pid_file.take_over()
            except ConfigError as fault:
                log.error("%s", fault)
        if self.control is not None:
            self.control.is_ours = True
            self.control.attend()
        crown.notifier = self.notifier
        self.notifier.main_pid(os.getpid())
        self.notifier.ready()
        crown.give_sign_of_life()
        self.upgrade.tell_elder()

    def rest(self) -> None:
        """Retire all workers and start none."""
        self.crown.is_resting = True
        self.crown.retire_all("upgrade")

    def part_with(self, kept: list[str]) -> None:
        """Listen no more where the next program does not."""
        self.premises.part_with(kept)
        self.crown.listening[:] = self.premises.listening()

    def resume(self) -> str:
        """Start workers again; returns why that is of no use, empty when it is."""
        faults = self.premises.take_back(self.options)
        self.crown.listening[:] = self.premises.listening()
        if not self.crown.listening:
            return "; ".join(faults) or "it has no socket to listen on"
        self.crown.is_resting = False
        self.crown.start_workers()
        return ""

    def leave(self, code: int) -> None:
        """End when the workers have, with files left to the other program."""
        crown = self.crown
        crown.exit_code = code
        crown.is_stopping = True
        crown.turnover.clear()
        crown.retire_all("upgrade")
        crown.end_if_empty()

    def fold(self) -> None:
        """Let go of everything but the workers that still finish, for ever."""
        self.crown.listening.clear()
        self.premises.close()
        self.close_control()
        self.crown.launcher.close()

    # What an heir asks for; see Successor.

    def give_back(self, pid: int) -> None:
        """Retire all workers and leave, with files left to the program before, which is the service again."""
        inherited = self.heritage.control if self.heritage is not None else None
        shares_control = inherited is not None and self.control is not None and inherited[0] == self.control.place
        self.hand_over(pid, list(self.premises.inherited), shares_control)
        self.leave(0)
