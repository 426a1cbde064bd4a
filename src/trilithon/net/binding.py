"""Listening sockets made from bind addresses."""

import errno
import ipaddress
import os
import socket
import stat

from trilithon.foundation.addresses import Address, AddressKind
from trilithon.foundation.errors import BindError


def bind(address: Address, backlog: int) -> list[socket.socket]:
    """Return the bound, listening, non-blocking sockets of an address; raises BindError.

    A host name may stand for several addresses; no host stands for every interface, IPv4 and IPv6.
    """
    try:
        if address.kind is AddressKind.UNIX:
            sockets = [bind_unix(address.path)]
        elif address.kind is AddressKind.FD:
            sockets = [inherit(address.fd)]
        else:
            sockets = bind_tcp(address.host, address.port)
        for sock in sockets:
            sock.setblocking(False)
            sock.listen(backlog)
    except OSError as error:
        raise BindError("bind", str(address), explain(error)) from None
    return sockets


def explain(error: OSError) -> str:
    """Return what a failed bind means and what to do about it."""
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return f"{reason}: another program listens there; stop it or choose another port"
    if error.errno == errno.EACCES:
        return f"{reason}: ports below 1024 need a privilege; choose a higher one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{reason}: this machine does not have that address"
    return reason


def bind_tcp(host: str, port: int) -> list[socket.socket]:
    """Return the sockets of a TCP address; raises OSError."""
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
            sockets.append(bound(family, place))
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


def bind_unix(path: str) -> socket.socket:
    """Return a bound Unix socket, in the place of one that a dead server left; raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale(path)
        sock.bind(path)
    except BaseException:
        sock.close()
        raise
    return sock


def remove_stale(path: str) -> None:
    """Remove a socket file on which nobody listens; raises OSError (EADDRINUSE) when somebody does."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is no socket is there already")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
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
        return f"unix:{name}"
    return name[0], name[1]
