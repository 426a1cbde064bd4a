"""The state machine of a connection: every input in every state, and what it reads ahead."""

from collections.abc import Callable

import pytest

from trilithon.wire.exchange import Inbound, Outbound, SocketAnswer
from trilithon.wire.handshake import read_handshake
from trilithon.wire.http1 import MAX_AHEAD_BYTES, Http1
from trilithon.wire.phase import Phase

from .inmemory import Connection, Memory, new_terms
from .replies import read_replies

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"


def idle() -> Connection:
    connection = Connection(new_terms())
    connection.feed(GET)
    return connection


def head() -> Connection:
    connection = Connection(new_terms())
    connection.feed(GET[:20])
    return connection


def body() -> Connection:
    connection = Connection(new_terms())
    connection.hold = True
    connection.feed(CHUNKED)
    return connection


def wait() -> Connection:
    connection = Connection(new_terms())
    connection.hold = True
    connection.feed(GET)
    return connection


def tunnel() -> Connection:
    connection = Connection(new_terms())
    connection.hold = True
    connection.feed(UPGRADE)
    exchange = connection.machine.exchange
    assert exchange is not None
    exchange.switch(read_handshake(exchange.head), SocketAnswer(None, b"", []))
    connection.transport.written.clear()
    return connection


def drain() -> Connection:
    connection = Connection(new_terms(), early=True)
    connection.feed(CHUNKED)
    return connection


def over() -> Connection:
    connection = Connection(new_terms())
    connection.feed(b"\0")
    return connection


STATES = {
    Phase.IDLE: idle,
    Phase.HEAD: head,
    Phase.BODY: body,
    Phase.WAIT: wait,
    Phase.TUNNEL: tunnel,
    Phase.DRAIN: drain,
    Phase.OVER: over,
}
# What goes on with each state as it should.
MORE = {
    Phase.IDLE: GET,
    Phase.HEAD: GET[20:],
    Phase.BODY: b"lo\r\n0\r\n\r\n",
    Phase.WAIT: GET,
    Phase.TUNNEL: GET,
    Phase.DRAIN: b"lo\r\n0\r\n\r\n",
    Phase.OVER: GET,
}
BAD = {**dict.fromkeys(Phase, b"\0\r\n\r\n"), Phase.BODY: b"loXX", Phase.DRAIN: b"loXX"}
INPUTS: dict[str, Callable[[Http1, Phase], object]] = {
    "more": lambda machine, phase: machine.receive(MORE[phase]),
    "bad": lambda machine, phase: machine.receive(BAD[phase]),
    "end": lambda machine, phase: machine.receive_end(),
    "lost": lambda machine, phase: machine.lose(),
    "late": lambda machine, phase: machine.time_out(),
    "next": lambda machine, phase: machine.next(),
}
# The phase that follows, and the statuses that are sent on the way.
I, H, B, W, T, D, _, _, O = Phase  # noqa: E741
TABLE = {
    # more, bad, end, lost, late, next
    I: [(W, []), (O, [400]), (O, []), (O, []), (O, []), (I, [])],
    H: [(W, []), (O, [400]), (O, []), (O, []), (O, [408]), (H, [])],
    B: [(W, []), (O, [400]), (O, []), (O, []), (O, [408]), (B, [])],
    W: [(W, []), (W, []), (W, []), (O, []), (O, [408]), (W, [])],
    T: [(T, []), (T, []), (T, []), (O, []), (T, []), (T, [])],
    D: [(I, []), (O, []), (O, []), (O, []), (O, []), (D, [])],
    O: [(O, []), (O, []), (O, []), (O, []), (O, []), (O, [])],
}


@pytest.mark.spec(
    "H1-CON-03", "H1-CON-04", "H1-CON-05", "H1-CON-06", "H1-CON-07", "H1-CON-12", "H1-BODY-13", "H1-CHK-10"
)
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("phase", STATES, ids=[phase.value for phase in STATES])
def test_every_input_in_every_state(phase: Phase, name: str) -> None:
    connection = STATES[phase]()
    machine, transport = connection.machine, connection.transport
    assert machine.phase is phase
    before = len(transport.written)
    exchange = machine.exchange
    opened = INPUTS[name](machine, phase)
    following, statuses = TABLE[phase][list(INPUTS).index(name)]
    assert machine.phase is following
    replies, rest = read_replies(bytes(transport.written[before:]), [], ended=transport.closed)
    assert [reply.status for reply in replies] == statuses
    assert not rest
    if following is Phase.OVER and name != "lost":
        assert transport.closed
    if phase in (Phase.IDLE, Phase.HEAD) and name == "more":
        assert opened is machine.exchange
    elif exchange is not None and following is Phase.OVER:
        assert exchange.outbound is Outbound.LOST
        assert machine.exchange is None
        if phase is Phase.BODY:
            assert exchange.inbound is Inbound.LOST


@pytest.mark.spec("H1-CON-03")
@pytest.mark.parametrize("first", INPUTS)
@pytest.mark.parametrize("second", INPUTS)
@pytest.mark.parametrize("phase", STATES, ids=[phase.value for phase in STATES])
def test_no_two_inputs_answer_a_request_twice(phase: Phase, first: str, second: str) -> None:
    connection = STATES[phase]()
    transport = connection.transport
    for name in (first, second):
        INPUTS[name](connection.machine, phase)
    replies, _ = read_replies(bytes(transport.written), [], ended=True)
    assert [reply.status for reply in replies if reply.status != 200] in ([], [400], [408])
    refused = [place for place, reply in enumerate(replies) if reply.status != 200]
    assert refused in ([], [len(replies) - 1])


class Reluctant(Memory):
    """A transport whose client reads when `full` is taken back."""

    full = False

    def congested(self) -> bool:
        return self.full


@pytest.mark.spec("H1-CON-04", "H-LIM-08")
def test_no_request_is_opened_while_earlier_answers_wait() -> None:
    connection = Connection(new_terms(), transport=Reluctant())
    transport = connection.transport
    connection.transport.full = True
    connection.feed(GET * 3)
    assert len(connection.calls) == 1
    assert transport.paused
    assert connection.machine.next() is None
    transport.full = False
    connection.run(connection.machine.next())
    assert len(connection.calls) == 3
    assert not transport.paused


@pytest.mark.spec("H1-CON-04", "H-LIM-08")
def test_reading_goes_on_once_an_only_answer_is_read() -> None:
    connection = Connection(new_terms(), transport=Reluctant())
    connection.transport.full = True
    connection.feed(GET)
    assert connection.transport.paused
    connection.transport.full = False
    assert connection.machine.next() is None
    assert not connection.transport.paused
    connection.feed(GET)
    assert len(connection.calls) == 2


@pytest.mark.spec("H1-CON-04", "H-LIM-08")
def test_what_is_read_ahead_stays_bounded_while_requests_are_answered() -> None:
    connection = Connection(new_terms())
    connection.hold = True
    block = GET * (65536 // len(GET))
    taken = 0
    for _ in range(3000):
        while not connection.transport.paused:
            exchange = connection.machine.receive(block)
            taken += len(block)
            if exchange is not None:
                connection.open(exchange)
        assert len(connection.machine.ahead) <= MAX_AHEAD_BYTES + 2 * len(block)
        assert connection.step()
        following = connection.machine.next()
        assert following is not None
        connection.open(following)
    assert taken <= 3000 * len(GET) + MAX_AHEAD_BYTES + 3 * len(block)
