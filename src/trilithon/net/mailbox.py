"""Connections handed from worker to worker: each has a mailbox, a socket pair that descriptors travel through."""

import array
import contextlib
import json
import logging
import select
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trilithon.net.poller import READ, Poller
from trilithon.wire.exchange import Peer

log = logging.getLogger("trilithon.error")

# The kernel passes at most 253 descriptors with one message.
MAX_PARCELS = 64
MAX_BYTES = 65536
# Messages of one turn: a worker that is showered with connections serves those it has in between.
MAX_MESSAGES = 16
# Linux keeps but ten datagrams in a queue, packets as many as there is memory for.
PACKETS = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
ROOM = socket.CMSG_SPACE(MAX_PARCELS * array.array("i").itemsize)


@dataclass(slots=True)
class Parcel:
    """A connection on its way to another worker: its socket, and what was learned of it so far.

    `door` names the listener it came in by, `peer` who is at its other end. `requests` is how many it has brought, -1
    for one that was accepted just now and has not been read from; `rate` how many a second it brought of late.
    """

    sock: socket.socket
    door: str
    peer: Peer
    requests: int = -1
    rate: float = 0.0


def mailbox_pair() -> tuple[socket.socket, socket.socket]:
    """Return the reading and the writing end of a new mailbox; both non-blocking, messages stay whole."""
    reading, writing = socket.socketpair(socket.AF_UNIX, PACKETS)
    for end in (reading, writing):
        end.setblocking(False)
    return reading, writing


def write_label(parcels: Sequence[Parcel]) -> bytes:
    """Return what a message says of its connections, in their order."""
    rows = [
        [
            int(parcel.sock.family),
            parcel.door,
            parcel.peer.client,
            parcel.peer.server,
            parcel.peer.proxied,
            parcel.peer.hearsay,
            parcel.requests,
            round(parcel.rate, 3),
        ]
        for parcel in parcels
    ]
    return json.dumps(rows).encode()


def read_label(label: bytes, fds: Sequence[int]) -> list[Parcel]:
    """Return the connections of a message, whose descriptors belong to them from now on."""
    parcels = []
    for row, fd in zip(json.loads(label), fds, strict=False):
        family, door, client, server, proxied, hearsay, requests, rate = row
        sock = socket.socket(family, socket.SOCK_STREAM, 0, fd)
        peer = Peer(tuple(client) if client is not None else None, tuple(server))
        peer.proxied = proxied
        peer.hearsay = hearsay
        parcels.append(Parcel(sock, door, peer, requests, rate))
    return parcels


def collect(reading: socket.socket) -> list[Parcel] | None:
    """Return the connections of the next message, None when there is none.

    Raises EOFError when nobody can send any more. Whoever reads a message has it alone.
    """
    try:
        label, rights, flags, _ = reading.recvmsg(MAX_BYTES, ROOM, CLOEXEC)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        raise EOFError from error
    if not label:
        raise EOFError
    fds = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    if flags & socket.MSG_CTRUNC:
        log.error("connections from another worker were lost: the descriptors have run out; raise the limit on them")
    return read_label(label, fds)


class Mailbox:
    """The reading end of a worker's own mailbox, in an engine's poller; has the shape of a Listener.

    `take` gets what arrives.
    """

    def __init__(self, poller: Poller, reading: socket.socket, take: Callable[[list[Parcel]], None]) -> None:
        self.poller = poller
        self.reading = reading
        self.take = take
        self.fd = reading.fileno()
        self.paused = True

    def accept(self) -> None:
        """Take what has arrived, up to a bound."""
        for _ in range(MAX_MESSAGES):
            if self.paused or not self.collect():
                return

    def collect(self) -> bool:
        """Take one message; returns whether there was one."""
        try:
            parcels = collect(self.reading)
        except EOFError:
            self.pause()
            return False
        if parcels is None:
            return False
        self.take(parcels)
        return True

    def pause(self) -> None:
        """Leave messages where they are."""
        if not self.paused:
            self.paused = True
            self.poller.unregister(self.fd)

    def resume(self) -> None:
        """Take messages again."""
        if self.paused:
            self.paused = False
            self.poller.register(self.fd, READ)

    def retry(self, now: float) -> None:
        """Do nothing: a mailbox is not paused for want of descriptors; see Listener."""

    def close(self) -> None:
        """Take what has arrived, then no more."""
        while self.collect():
            pass
        self.pause()
        self.reading.close()


class Neighbour:
    """Another worker's mailbox: both ends, so that what a stuck or dead worker leaves in it can be taken back.

    `slot` is that worker's place on the scoreboard. `sent` counts the connections that were sent since it was last
    seen to collect, `seen` is its count of collected messages by then, `since` the time of the first of them. It is
    given nothing until `shunned_until`.
    """

    def __init__(self, slot: int, writing: socket.socket, reading: socket.socket) -> None:
        writing.setblocking(False)
        reading.setblocking(False)
        self.slot = slot
        self.writing = writing
        self.reading = reading
        self.sent = 0
        self.seen = 0
        self.since = 0.0
        self.shunned_until = 0.0

    def send(self, parcels: Sequence[Parcel]) -> bool:
        """Hand connections over, MAX_PARCELS at most; returns False when the mailbox is full or gone.

        The sockets are still the caller's to close.
        """
        fds = array.array("i", [parcel.sock.fileno() for parcel in parcels])
        try:
            self.writing.sendmsg([write_label(parcels)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except OSError:
            return False
        return True

    def catch_up(self, collected: int, busy_since_us: int, now: float) -> None:
        """Note whether the worker has collected what was sent.

        `collected` is its count of messages, `busy_since_us` when its turn began, zero between two. It counts what it
        collected among its own connections once it is through a turn that began later.
        """
        if self.sent and collected != self.seen and (not busy_since_us or busy_since_us > self.since * 1e6):
            if self.has_mail():
                # Sent while it collected, or by others: whether it collects this is not known yet.
                self.seen, self.since = collected, now
            else:
                self.sent = 0
        if not self.sent:
            self.seen = collected

    def take_back(self) -> list[Parcel]:
        """Return what nobody has collected."""
        parcels: list[Parcel] = []
        with contextlib.suppress(EOFError):
            while (found := collect(self.reading)) is not None:
                parcels += found
        return parcels

    def has_mail(self) -> bool:
        """Tell whether something waits to be collected."""
        poller = select.poll()
        poller.register(self.reading, select.POLLIN)
        return bool(poller.poll(0))

    def close(self) -> None:
        """Close both ends."""
        self.writing.close()
        self.reading.close()
