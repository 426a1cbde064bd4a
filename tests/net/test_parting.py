"""An engine that parts with its clients: what has reached this process by then is answered, by no other one."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from tests.wire.inmemory import new_terms
from trilithon.foundation.limits import Capacity, Limits
from trilithon.foundation.options import Options
from trilithon.foundation.scoreboard import Scoreboard, WorkerState
from trilithon.net.arrival import Doorway
from trilithon.net.balance import Balancer
from trilithon.net.binding import bind_all
from trilithon.net.engine import Engine
from trilithon.net.life import CLOSED
from trilithon.net.mailbox import Neighbour, mailbox_pair
from trilithon.wire.exchange import Exchange

pytestmark = pytest.mark.real

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
WITHIN_S = 5.0


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Make an engine that listens, and close it behind the test."""
    engine = listening_engine()
    yield engine
    engine.close()


def listening_engine(**capacity: int) -> Engine:
    """Return an engine that listens."""
    engine = Engine(new_terms(), Limits(capacity=Capacity(**capacity)))
    listen(engine)
    return engine


def listen(engine: Engine) -> None:
    """Have an engine accept connections."""
    (sock,) = bind_all(Options(bind=("127.0.0.1:0",)))
    engine.listen(sock, Doorway(engine.terms, Limits()))


@contextlib.contextmanager
def client_of(engine: Engine) -> Iterator[socket.socket]:
    """Connect to an engine, which has not looked yet."""
    listener = list(engine.listeners.values())[-1]
    with socket.create_connection(listener.sock.getsockname(), timeout=WITHIN_S) as client:
        yield client


def serve_next(engine: Engine) -> Exchange:
    """Answer the next request that comes."""
    while not engine.exchanges:
        engine.poll(WITHIN_S)
    exchange = engine.exchanges.popleft()
    exchange.refuse(404)
    engine.flush()
    return exchange


def test_who_was_not_accepted_yet_is_answered(engine: Engine) -> None:
    with client_of(engine) as client:
        engine.part()
        assert len(engine.connections) == 1 and not engine.listeners
        client.sendall(GET)
        serve_next(engine)
        assert client.recv(65536).startswith(b"HTTP/1.1 404 ")


def test_who_has_just_connected_is_not_old_because_the_engine_has_slept(engine: Engine) -> None:
    with client_of(engine) as client:
        engine.now -= 60.0
        engine.stop_waiting()
        assert len(engine.connections) == 1
        client.sendall(GET)
        serve_next(engine)
        assert client.recv(65536).startswith(b"HTTP/1.1 404 ")


def test_who_was_given_to_a_worker_that_is_gone_is_answered() -> None:
    board = Scoreboard.create()
    (reading, writing), (others_reading, others_writing) = mailbox_pair(), mailbox_pair()
    engine = Engine(new_terms(), Limits())
    balancer = Balancer(board, 0, reading)
    balancer.attend(engine)
    listen(engine)
    Balancer(board, 1, others_reading)  # the other worker says that it has room
    board.slot(1).state = WorkerState.READY
    neighbour = Neighbour(1, others_writing, others_reading)
    balancer.exchange(1, neighbour)
    with contextlib.closing(board), contextlib.closing(writing), contextlib.closing(neighbour):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(client_of(engine)) for _ in range(2)]
            while not neighbour.sent:
                engine.poll(WITHIN_S)
            board.slot(1).state = WorkerState.RETIRING  # its mailbox is closed by now
            for connection in list(engine.connections.values()):
                connection.close()
            engine.part()
            assert not engine.is_empty()
            for client in clients:
                client.sendall(GET)
            serve_next(engine)
            assert sorted(client.recv(65536)[:13] for client in clients) == [b"", b"HTTP/1.1 404 "]
        engine.close()


def test_a_head_that_has_begun_to_come_is_answered(engine: Engine) -> None:
    with client_of(engine) as client:
        engine.poll(WITHIN_S)
        client.sendall(GET[:10])
        while not engine.connections or next(iter(engine.connections.values())).protocol.phase.name != "HEAD":
            engine.poll(WITHIN_S)
        engine.stop_waiting()
        client.sendall(GET[10:])
        serve_next(engine)
        assert client.recv(65536).startswith(b"HTTP/1.1 404 ")


def test_a_connection_between_two_engines_is_always_to_be_seen(engine: Engine) -> None:
    heir = Engine(engine.terms, Limits())
    with client_of(engine) as client:
        client.sendall(GET)
        while not engine.exchanges:
            engine.poll(WITHIN_S)
        engine.hand_over(engine.exchanges.popleft(), heir)
        assert not engine.connections and len(heir.posts) == 1
        heir.poll(WITHIN_S)
        assert len(heir.connections) == 1 and not heir.posts
        heir.close()


@pytest.mark.parametrize("shared", [False, True])
def test_what_a_thread_is_closing_as_the_engine_closes_is_closed(shared: bool) -> None:
    engine = listening_engine()
    with client_of(engine) as client, ThreadPoolExecutor(2) as threads:
        client.sendall(GET)
        while not engine.exchanges:
            engine.poll(WITHIN_S)
        connection = engine.exchanges.popleft().connection
        if shared:
            connection.lock = threading.RLock()
        else:
            connection.busy = True  # lent to the thread that calls the application
        with engine.lending:
            left = threads.submit(connection.broken)
            while connection.life is not CLOSED:
                wait([left], timeout=0.001)
            ended = threads.submit(engine.close)
            wait([left, ended], timeout=0.2)  # both wait for the lock, or are through
            assert not left.done() and not ended.done()
        left.result(WITHIN_S)
        ended.result(WITHIN_S)
        assert connection.sock.fileno() == -1


def test_only_the_engine_touches_its_listeners() -> None:
    engine = listening_engine(max_connections=1)
    (listener,) = engine.listeners.values()
    with client_of(engine), ThreadPoolExecutor(1) as threads:
        while not engine.connections:
            engine.poll(WITHIN_S)
        assert listener.paused
        (connection,) = engine.connections.values()
        connection.busy = True  # lent to the thread that calls the application
        threads.submit(connection.broken).result(WITHIN_S)
        assert listener.paused
        engine.poll(WITHIN_S)
        assert not listener.paused
    engine.close()
