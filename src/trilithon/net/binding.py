"""Listening sockets made from bind addresses."""

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from trilithon.foundation.accounts import find_owner
from trilithon.foundation.addresses import Address, AddressKind
from trilithon.foundation.errors import BindError, ConfigError
from trilithon.foundation.options import Options


@dataclass(frozen=True, slots=True)
class BindTerms:
    """What a socket depends on besides its address; -1 leaves the mode, the user or the group to the system.

    `ipv4_ports` are the ports on which IPv4 has a socket of its own.
    """

    unix_mode: int = -1
    unix_uid: int = -1
    unix_gid: int = -1
    ipv4_ports: frozenset[int] = frozenset()


def terms_of(options: Options) -> BindTerms:
    """Return the terms that the options ask for; raises ConfigError for an owner that this system does not know."""
    uid, gid = find_owner(options.unix_owner, "unix_owner") if options.unix_owner else (-1, -1)
    mode = int(options.unix_mode, 8) if options.unix_mode else -1
    addresses = options.addresses()
    for address in addresses:
        if address.is_abstract() and (mode, uid, gid) != (-1, -1, -1):
            remedy = "an abstract socket has no owner and no mode, anybody on this machine may connect; give a path"
            raise ConfigError("bind", str(address), remedy)
    tcp = (address for address in addresses if address.kind is AddressKind.TCP)
    ports = frozenset(address.port for address in tcp if ":" not in address.host)
    return BindTerms(mode, uid, gid, ports)


def bind_all(options: Options) -> list[socket.socket]:
    """Return the listening sockets of all bind addresses, as `bind` does; where it raises BindError none stays open."""
    terms = terms_of(options)
    sockets: list[socket.socket] = []
    files: list[SocketFile] = []
    try:
        for address in options.addresses():
            sockets += bind(address, options.backlog, terms)
            files += socket_files([address])
    except BaseException:
        for file in files:
            file.remove()
        for sock in sockets:
            sock.close()
        raise
    return sockets


def bind(address: Address, backlog: int, terms: BindTerms | None = None) -> list[socket.socket]:
    """Return the bound, listening, non-blocking sockets of an address; raises BindError.

    A host name may stand for several addresses; no host stands for every interface, IPv4 and IPv6. `::` takes IPv4 as
    well, unless `terms` say that IPv4 has a socket of its own on that port.
    """
    terms = terms or BindTerms()
    sockets: list[socket.socket] = []
    try:
        if address.kind is AddressKind.UNIX:
            sockets = [bind_unix(address, terms)]
        elif address.kind is AddressKind.FD:
            sockets = [inherit(address.fd)]
        else:
            sockets = bind_tcp(address.host, address.port, address.port not in terms.ipv4_ports)
        for sock in sockets:
            sock.setblocking(False)
            sock.listen(backlog)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise BindError("bind", str(address), explain(error, address)) from None
    return sockets


def explain(error: OSError, address: Address) -> str:
    """Return what a failed bind means and what to do about it."""
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE and address.kind is AddressKind.UNIX:
        return f"{reason}: another program listens there; stop it or choose another path"
    if error.errno == errno.EADDRINUSE:
        return f"{reason}: another program listens there; stop it or choose another port"
    if address.kind is AddressKind.UNIX:
        return f"{reason}{UNIX_REMEDIES.get(error.errno or 0, '')}"
    if error.errno == errno.EACCES:
        return f"{reason}: ports below 1024 need a privilege; choose a higher one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{reason}: this machine does not have that address"
    return reason


UNIX_REMEDIES = {
    errno.ENOENT: ": its directory does not exist; make it first",
    errno.EACCES: ": its directory is not this user's to write to; choose another path",
    errno.EROFS: "; choose a path that can be written, as under /run",
    errno.EPERM: ": only root may give a socket to somebody else; start as root or leave unix_owner out",
}


def bind_tcp(host: str, port: int, dual: bool) -> list[socket.socket]:
    """Return the sockets of a TCP address, `::` taking IPv4 as well where `dual`; raises OSError."""
    if not host:
        if socket.has_dualstack_ipv6():
            return [bound(socket.AF_INET6, ("::", port), dual=True)]
        return [bound(socket.AF_INET, ("0.0.0.0", port))]
    sockets: list[socket.socket] = []
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, place in dict.fromkeys(found):
        if sockets and not port:
            # All addresses of a name share the port that the first one got.
            place = (place[0], sockets[0].getsockname()[1], *place[2:])
        try:
            sockets.append(bound(family, place, dual and place[0] == "::" and socket.has_dualstack_ipv6()))
        except OSError as error:
            # A name such as localhost often resolves to an IPv6 address that this machine does not have.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                for sock in sockets:
                    sock.close()
                raise
            missing = error
    if not sockets:
        raise missing
    return sockets


def bound(family: int, place: tuple[object, ...], dual: bool = False) -> socket.socket:
    """Return a bound stream socket; raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        sock.bind(place)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_unix(address: Address, terms: BindTerms) -> socket.socket:
    """Return a bound Unix socket, in the place of one that a dead server left; raises OSError.

    Its mode and owner are as asked for before it listens: until then nobody can connect.
    """
    path = address.path
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if address.is_abstract():
            sock.bind(b"\0" + os.fsencode(path[1:]))
            return sock
        remove_stale(path)
        if terms.unix_mode < 0:
            sock.bind(path)
        else:
            # Made with its mode: a change afterwards, by its name, could be led to another file meanwhile.
            before = os.umask(0o777 & ~terms.unix_mode)
            try:
                sock.bind(path)
            finally:
                os.umask(before)
        if (terms.unix_uid, terms.unix_gid) != (-1, -1):
            try:
                os.lchown(path, terms.unix_uid, terms.unix_gid)
            except OSError:
                os.unlink(path)
                raise
    except BaseException:
        sock.close()
        raise
    return sock


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a Unix socket of ours; `mark` tells it from one that another server put there.

    The mark has the time as well: a file system may give the number of a removed file to the next one.
    """

    path: str
    mark: tuple[int, int, int]

    def remove(self) -> None:
        """Remove the file if it is still this one; idempotent, never raises."""
        try:
            if mark_of(self.path) == self.mark:
                os.unlink(self.path)
        except OSError:
            pass  # somebody else has removed it, or may only


def socket_files(addresses: Sequence[Address]) -> list[SocketFile]:
    """Return the files of those addresses that have one; call it when they are bound."""
    files = []
    for address in addresses:
        if address.kind is AddressKind.UNIX and not address.is_abstract():
            # The working directory may be another one when the file is removed.
            path = os.path.abspath(address.path)
            try:
                files.append(SocketFile(path, mark_of(path)))
            except OSError:
                continue  # removed already; there is nothing for us to remove
    return files


def mark_of(path: str) -> tuple[int, int, int]:
    """Return what tells a file from others that had its path before, or will have; raises OSError."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns


def remove_stale(path: str) -> None:
    """Remove a socket file on which nobody listens; raises OSError (EADDRINUSE) when somebody does."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is no socket is there already")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # One whose backlog is full would have this wait for as long as it is.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def inherit(fd: int) -> socket.socket:
    """Return the socket behind a descriptor that the parent process opened; raises OSError."""
    sock = socket.socket(fileno=os.dup(fd))
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise OSError(errno.EINVAL, "the descriptor is no stream socket")
    return sock


def is_local(sock: socket.socket) -> bool:
    """Tell whether only this machine can connect to a socket."""
    return sock.family == socket.AF_UNIX or ipaddress.ip_address(sock.getsockname()[0]).is_loopback


def spell(sock: socket.socket) -> tuple[str, int] | str:
    """Return where a socket listens: (host, port), or "unix:PATH"."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{unix_name(name)}"
    return name[0], name[1]


def unix_name(name: str | bytes) -> str:
    """Return the path of a Unix socket's address; that of an abstract one begins with @."""
    return f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else name
