"""Mailboxes: connections travel whole, keep what was learned of them, and are never lost on the way."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from trilithon.net.mailbox import MAX_PARCELS, Mailbox, Neighbour, Parcel, collect, mailbox_pair
from trilithon.net.poller import open_poller
from trilithon.wire.exchange import Peer

pytestmark = pytest.mark.real

WAIT_S = 10.0
FOLDER_OF_DESCRIPTORS = "/dev/fd"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A mailbox's reading and writing end."""
    reading, writing = mailbox_pair()
    yield reading, writing
    reading.close()
    writing.close()


@pytest.fixture
def streams() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Pairs of a client's and a server's end of TCP connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pairs = []
        for _ in range(3):
            client = socket.create_connection(listening.getsockname(), WAIT_S)
            server, _ = listening.accept()
            server.setblocking(False)
            pairs.append((client, server))
        yield pairs
        for client, server in pairs:
            client.close()
            server.close()


def parcel(sock: socket.socket, requests: int = -1) -> Parcel:
    """Return a connection that is ready to go."""
    return Parcel(sock, "('127.0.0.1', 80)", Peer(("203.0.113.9", 4711), ("127.0.0.1", 80)), requests)


def test_a_connection_arrives_with_all_that_is_known_of_it(ends, streams) -> None:
    reading, writing = ends
    (client, server), *_ = streams
    peer = Peer(("2001:db8::7", 50000), ("192.0.2.1", 8443))
    peer.proxied = True
    peer.hearsay = True
    assert Neighbour(3, writing, reading).send([Parcel(server, "door", peer, 41, 12.5)])
    server.close()
    client.sendall(b"still here?")
    (arrived,) = collect(reading) or []
    with arrived.sock:
        assert (arrived.door, arrived.requests, arrived.rate) == ("door", 41, 12.5)
        assert (arrived.peer.client, arrived.peer.server) == (("2001:db8::7", 50000), ("192.0.2.1", 8443))
        assert (arrived.peer.proxied, arrived.peer.hearsay, arrived.peer.secure) == (True, True, False)
        arrived.sock.settimeout(WAIT_S)
        assert arrived.sock.recv(100) == b"still here?"
        arrived.sock.sendall(b"yes")
        assert client.recv(100) == b"yes"


def test_a_client_without_an_address_stays_without(ends) -> None:
    reading, writing = ends
    here, there = socket.socketpair()
    with here, there:
        assert Neighbour(1, writing, reading).send(
            [Parcel(there, "/run/site.sock", Peer(None, ("/run/site.sock", None)))]
        )
    (arrived,) = collect(reading) or []
    with arrived.sock:
        assert arrived.peer.client is None
        assert arrived.peer.server == ("/run/site.sock", None)
        assert arrived.sock.family == socket.AF_UNIX
        assert arrived.requests == -1


def test_messages_stay_whole_and_in_order(ends, streams) -> None:
    reading, writing = ends
    neighbour = Neighbour(1, writing, reading)
    servers = [server for _, server in streams]
    assert neighbour.send([parcel(servers[0], 1), parcel(servers[1], 2)])
    assert neighbour.send([parcel(servers[2], 3)])
    counts = []
    for _ in range(2):
        parcels = collect(reading) or []
        counts.append([arrived.requests for arrived in parcels])
        for arrived in parcels:
            arrived.sock.close()
    assert counts == [[1, 2], [3]]
    assert collect(reading) is None


def test_as_many_as_one_message_may_hold_arrive(ends, streams) -> None:
    reading, writing = ends
    server = streams[0][1]
    assert Neighbour(1, writing, reading).send([parcel(server, number) for number in range(MAX_PARCELS)])
    parcels = collect(reading) or []
    for arrived in parcels:
        arrived.sock.close()
    assert [arrived.requests for arrived in parcels] == list(range(MAX_PARCELS))


def test_what_arrives_is_not_inherited_by_programs(ends, streams) -> None:
    reading, writing = ends
    assert Neighbour(1, writing, reading).send([parcel(streams[0][1])])
    (arrived,) = collect(reading) or []
    with arrived.sock:
        assert not os.get_inheritable(arrived.sock.fileno())


def test_a_full_mailbox_refuses_and_nothing_is_lost(ends, streams) -> None:
    reading, writing = ends
    neighbour = Neighbour(1, writing, reading)
    server = streams[0][1]
    sent = 0
    while neighbour.send([parcel(server, sent)]):
        sent += 1
    assert sent > 0
    assert server.fileno() >= 0  # still the sender's to serve
    before = len(os.listdir(FOLDER_OF_DESCRIPTORS))
    parcels = neighbour.take_back()
    assert [arrived.requests for arrived in parcels] == list(range(sent))
    assert len(os.listdir(FOLDER_OF_DESCRIPTORS)) == before + sent
    assert neighbour.send([parcel(server)])
    for arrived in parcels + (collect(reading) or []):
        arrived.sock.close()


def test_what_a_stuck_worker_leaves_is_taken_back_once(ends, streams) -> None:
    reading, writing = ends
    neighbour = Neighbour(1, writing, socket.socket(fileno=os.dup(reading.fileno())))
    with contextlib.closing(neighbour):
        assert not neighbour.has_mail()
        assert neighbour.send([parcel(streams[0][1], 7)])
        assert neighbour.has_mail()
        (back,) = neighbour.take_back()
        back.sock.close()
        assert back.requests == 7
        assert not neighbour.has_mail()
        assert collect(reading) is None  # the worker wakes up too late, and finds nothing


def test_what_came_too_late_to_be_collected_is_not_forgotten(ends, streams) -> None:
    reading, writing = ends
    neighbour = Neighbour(1, writing, reading)
    neighbour.sent, neighbour.since = 1, 5.0
    neighbour.catch_up(1, 6_000_000, 6.0)  # it has collected in a turn that began later
    assert neighbour.sent == 0
    neighbour.sent, neighbour.since = 1, 7.0
    assert neighbour.send([parcel(streams[0][1], 3)])
    neighbour.catch_up(2, 8_000_000, 9.0)  # another message, before this one lay there
    assert (neighbour.sent, neighbour.since) == (1, 9.0)
    neighbour.catch_up(2, 0, 10.0)
    assert neighbour.sent == 1
    for taken in collect(reading) or []:
        taken.sock.close()
    neighbour.catch_up(3, 0, 11.0)
    assert neighbour.sent == 0


def test_what_was_sent_into_a_turn_that_had_begun_is_not_known_to_be_counted(ends) -> None:
    neighbour = Neighbour(1, *reversed(ends))
    neighbour.sent, neighbour.since = 2, 5.0
    neighbour.catch_up(1, 4_000_000, 6.0)
    assert neighbour.sent == 2
    neighbour.catch_up(1, 0, 6.0)
    assert neighbour.sent == 0


def test_a_mailbox_that_nobody_can_write_to_ends(ends) -> None:
    reading, writing = ends
    poller = open_poller()
    arrived: list[list[Parcel]] = []
    mailbox = Mailbox(poller, reading, arrived.append)
    mailbox.resume()
    writing.close()
    with pytest.raises(EOFError):
        collect(reading)
    mailbox.accept()
    assert mailbox.paused  # an end that stays readable would keep the poller from sleeping
    assert poller.poll(0) == []
    assert not arrived
    mailbox.close()
    poller.close()


def test_a_mailbox_that_closes_takes_what_has_come(ends, streams) -> None:
    reading, writing = ends
    poller = open_poller()
    arrived: list[Parcel] = []
    mailbox = Mailbox(poller, reading, arrived.extend)
    mailbox.resume()
    neighbour = Neighbour(1, writing, reading)
    assert neighbour.send([parcel(streams[0][1], 1)])
    assert neighbour.send([parcel(streams[1][1], 2)])
    assert [fd for fd, _ in poller.poll(WAIT_S)] == [mailbox.fd]
    mailbox.close()
    assert [taken.requests for taken in arrived] == [1, 2]
    for taken in arrived:
        taken.sock.close()
    assert not neighbour.send([parcel(streams[2][1])])
    poller.close()
