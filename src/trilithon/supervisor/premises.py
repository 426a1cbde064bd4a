"""The places where a server listens: bound, handed over by systemd or by the program before, and let go of."""

import logging
import os
import socket
from collections.abc import Iterable, MutableMapping

from trilithon.foundation.addresses import Address, AddressKind
from trilithon.foundation.errors import BindError
from trilithon.foundation.options import Options
from trilithon.net.binding import SocketFile, bind, socket_files, spell, terms_of
from trilithon.supervisor.systemd import inherited_sockets

log = logging.getLogger("trilithon.error")

# What the sockets of systemd are called where others have their bind address.
ACTIVATED = "systemd"


class Premises:
    """The listening sockets of a server, by bind address, and the files of the Unix ones.

    `files` are to be removed at the end; those that are `lent` are another program's to remove.
    """

    def __init__(self) -> None:
        self.places: list[tuple[str, list[socket.socket]]] = []
        self.files: list[SocketFile] = []
        self.lent: list[SocketFile] = []
        self.inherited: set[str] = set()
        # By name: a reload may have brought options with other addresses, where nobody listens yet.
        self.addresses: dict[str, Address] = {}
        self.gone: list[Address] = []

    def open(
        self, options: Options, environ: MutableMapping[str, str], inherited: list[tuple[str, list[socket.socket]]]
    ) -> None:
        """Listen on all bind addresses, or on what systemd gave; raises BindError, and ConfigError for an owner.

        Sockets that the program before had for an address are `inherited`, their files still lent; those for which
        there is no address any more are closed.
        """
        left = list(inherited)
        given = inherited_sockets(environ) or take(left, ACTIVATED)
        if given:
            count = "1 socket of systemd takes" if len(given) == 1 else f"{len(given)} sockets of systemd take"
            log.info("%s the place of bind", count)
            self.places.append((ACTIVATED, given))
        try:
            for address in [] if given else options.addresses():
                name = name_of(address)
                self.addresses[name] = address
                found = take(left, name)
                if found and is_reachable(address):
                    for sock in found:
                        sock.listen(options.backlog)
                    self.lent += socket_files([address])
                    self.inherited.add(name)
                else:
                    for sock in found:
                        sock.close()
                    found = bind(address, options.backlog, terms_of(options))
                    self.files += socket_files([address])
                self.places.append((name, found))
        except BaseException:
            self.close()
            raise
        finally:
            for _, sockets in left:
                for sock in sockets:
                    sock.close()

    def listening(self) -> list[socket.socket]:
        """Return all sockets that are listened on."""
        return [sock for _, sockets in self.places for sock in sockets]

    def told(self) -> list[str]:
        """Return where is listened, for people."""
        return [spelled(sock) for sock in self.listening()]

    def names(self) -> list[str]:
        """Return the bind addresses."""
        return [name for name, _ in self.places]

    def claim(self) -> None:
        """Have all files as ours to remove."""
        self.files += self.lent
        self.lent = []

    def lend(self, names: Iterable[str]) -> None:
        """Leave the files of some bind addresses to another program."""
        paths = {name.removeprefix("unix:") for name in names if name.startswith("unix:")}
        self.lent += [file for file in self.files if file.path in paths]
        self.files = [file for file in self.files if file.path not in paths]

    def part_with(self, kept: Iterable[str]) -> None:
        """Close what the next program does not listen on: nobody accepts there any more."""
        wanted = set(kept)
        self.gone += [self.addresses[name] for name in self.names() if name in self.addresses and name not in wanted]
        paths = {os.path.abspath(address.path) for address in self.gone if address.path}
        for file in [file for file in self.files if file.path in paths]:
            self.files.remove(file)
            file.remove()
        for name, sockets in self.places:
            if name not in wanted:
                for sock in sockets:
                    sock.close()
        self.places = [(name, sockets) for name, sockets in self.places if name in wanted]

    def take_back(self, options: Options) -> list[str]:
        """Listen again on what was parted with; what cannot be had is logged and left, and the reasons returned."""
        gone, self.gone = self.gone, []
        faults = []
        for address in gone:
            try:
                self.places.append((name_of(address), bind(address, options.backlog, terms_of(options))))
            except BindError as fault:
                log.error("on the way back: %s", fault)
                faults.append(str(fault))
                self.gone.append(address)
            else:
                self.files += socket_files([address])
        return faults

    def close(self) -> None:
        """Listen no more, and remove the files that are ours."""
        for sock in self.listening():
            sock.close()
        self.places.clear()
        for file in self.files:
            file.remove()
        self.files.clear()


def name_of(address: Address) -> str:
    """Return what an address is called between two programs, whose working directories may differ."""
    if address.kind is AddressKind.UNIX and not address.is_abstract():
        return f"unix:{os.path.abspath(address.path)}"
    return str(address)


def is_reachable(address: Address) -> bool:
    """Tell whether clients still find the socket: a Unix socket whose file was removed is listened on in vain."""
    return not name_of(address).startswith("unix:/") or bool(socket_files([address]))


def spelled(sock: socket.socket) -> str:
    """Return where a socket listens, in the form of a bind address."""
    place = spell(sock)
    if isinstance(place, str):
        return place
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def take(left: list[tuple[str, list[socket.socket]]], name: str) -> list[socket.socket]:
    """Take the sockets of one bind address off a list; none when it has none."""
    for index, (address, sockets) in enumerate(left):
        if address == name:
            del left[index]
            return sockets
    return []
