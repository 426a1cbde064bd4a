"""A listening socket: accepts in bounded batches, and survives the descriptors running out."""

import errno
import logging
import resource
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from trilithon.net.arrival import Doorway
from trilithon.net.binding import unix_name
from trilithon.net.connection import Connection, Owner
from trilithon.net.poller import EXCLUSIVE, READ, Poller
from trilithon.wire.exchange import Peer

log = logging.getLogger("trilithon.error")

ACCEPT_BATCH = 64
RETRY_S = 1.0
# Errors of one connection that was gone before it was accepted: the next one may be fine.
GONE = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH})


class Entrance(Protocol):
    """What connections come in by: a Listener, or a mailbox that other workers put them into."""

    paused: bool

    def accept(self) -> None:
        """Take in what waits, up to a bound; the rest is reported again in the next turn."""

    def pause(self) -> None:
        """Leave what comes where it is."""

    def resume(self) -> None:
        """Take in again."""

    def retry(self, now: float) -> None:
        """Take in again when a pause for want of descriptors is over."""

    def close(self) -> None:
        """Take in no more."""


class Placer(Protocol):
    """Who decides which worker an accepted connection goes to."""

    def place(self, listener: "Listener", sock: socket.socket, address: Any) -> bool:
        """Take an accepted connection for another worker; returns False when it is for this one."""

    def dispatch(self) -> None:
        """Hand over what was placed."""


class Listener:
    """One bound socket of an engine, which `admit` hands the accepted connections to.

    `shares` says that other processes accept from it too, `placer` decides then who gets a connection.
    """

    def __init__(
        self,
        owner: Owner,
        poller: Poller,
        admit: Callable[[Connection], None],
        sock: socket.socket,
        doorway: Doorway,
    ) -> None:
        self.owner = owner
        self.poller = poller
        self.admit = admit
        self.sock = sock
        self.doorway = doorway
        self.fd = sock.fileno()
        self.paused = True
        self.retry_at = 0.0
        self.family = sock.family
        self.address = sock.getsockname()
        self.door = str(self.address)
        self.placer: Placer | None = None
        self.shares = False

    def accept(self) -> None:
        """Accept what waits, at most a batch; the rest is reported again in the next turn."""
        has_accepted = self.accept_batch()
        if self.placer is not None:
            self.placer.dispatch()
        if self.shares and has_accepted and not self.paused:
            # Whoever has waited longest is woken first: to the end of the line, or one worker would accept everything.
            self.poller.unregister(self.fd)
            self.poller.register(self.fd, READ | EXCLUSIVE)

    def accept_batch(self) -> bool:
        """Accept until nothing waits, or enough is accepted; returns whether anything was."""
        has_accepted = False
        for _ in range(ACCEPT_BATCH):
            if self.paused:
                break
            try:
                sock, address = self.sock.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in GONE:
                    continue
                # EMFILE, ENFILE, ENOBUFS, ENOMEM: the queue stays readable, so polling it would spin.
                self.pause()
                self.retry_at = self.owner.now + RETRY_S
                log.error("cannot accept connections: %s; trying again in %.0f s", error.strerror, RETRY_S)
                break
            has_accepted = True
            self.welcome(sock, address)
        return has_accepted

    def welcome(self, sock: socket.socket, address: Any) -> None:
        """Set an accepted socket up and hand it to the engine."""
        try:
            if self.placer is not None and self.placer.place(self, sock, address):
                return
            sock.setblocking(False)
            peer = self.identify(sock, address)
            connection = Connection(self.owner, sock)
            self.doorway.enter(connection, peer)
            self.admit(connection)
        except OSError:
            sock.close()  # gone between accept and here

    def identify(self, sock: socket.socket, address: Any) -> Peer:
        """Return who is at the other end; IPv4 clients of a dual-stack socket are given in IPv4 form."""
        if self.family == socket.AF_UNIX:
            return Peer(None, (unix_name(self.address), None))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        here = self.address
        if here[0] in ("0.0.0.0", "::"):
            here = sock.getsockname()
        return Peer(plain(address), plain(here))

    def pause(self) -> None:
        """Leave connections in the backlog."""
        if not self.paused:
            self.paused = True
            self.poller.unregister(self.fd)

    def resume(self) -> None:
        """Accept again."""
        if self.paused:
            self.paused = False
            self.retry_at = 0.0
            self.poller.register(self.fd, READ | EXCLUSIVE)

    def retry(self, now: float) -> None:
        """Accept again when a pause for want of descriptors is over."""
        if self.retry_at and now >= self.retry_at:
            self.resume()

    def close(self) -> None:
        """Stop listening, and take in what waits: who was woken for a connection is the only one who was."""
        self.accept_batch()
        if self.placer is not None:
            self.placer.dispatch()
        self.pause()
        self.sock.close()


def resume_all(entrances: Mapping[int, Entrance]) -> None:
    """Have all take in again, on the thread of their engine."""
    for entrance in entrances.values():
        entrance.resume()


def plain(address: tuple[str, int] | tuple[str, int, int, int]) -> tuple[str, int]:
    """Return (host, port) of a socket address, without flow label, scope and IPv4 mapping."""
    host = address[0]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return host, address[1]


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if limit == resource.RLIM_INFINITY else limit
