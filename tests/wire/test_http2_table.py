"""HTTP/2: every frame in every state of a stream, and everything that can happen to a connection wherever it stands."""

from collections.abc import Callable

import pytest

from trilithon.wire.exchange import Inbound, Outbound
from trilithon.wire.h2_codes import GOAWAY, PROTOCOL_ERROR, RST_STREAM, STREAM_CLOSED
from trilithon.wire.h2_session import RETIRE_PING, Standing

from .h2_bytes import GREETING, number, raw
from .h2_memory import GET, POST, SETTINGS_ACK, Script, answer, data, headers, ping, reset, start, update

TRAILER = [(b"digest", b"abc")]

STATES: dict[str, Callable[[Script], object]] = {
    "idle": lambda script: None,
    "open": lambda script: script.send(headers(1, POST, end=False)),
    "half-closed": lambda script: script.send(headers(1, GET)),
    "ended": lambda script: answer(script.one(headers(1, GET)), b""),
    "cancelled": lambda script: script.send(headers(1, GET), reset(1)),
    "broken": lambda script: script.one(headers(1, GET)).abort(),
}

# What comes of it: nothing, an exchange, a whole body, a loss, the reset of the stream or the end of the connection.
NOTHING = "nothing"
OPENS = "opens"
WHOLE = "whole"
LOST = "lost"
RESETS = {STREAM_CLOSED: "reset: closed", PROTOCOL_ERROR: "reset: protocol"}
ENDS = {STREAM_CLOSED: "end: closed", PROTOCOL_ERROR: "end: protocol"}
TOO_LATE = [ENDS[STREAM_CLOSED], ENDS[STREAM_CLOSED], NOTHING]

FRAMES: dict[str, tuple[bytes, list[str]]] = {
    "request": (headers(1, GET), [OPENS, RESETS[PROTOCOL_ERROR], RESETS[STREAM_CLOSED], *TOO_LATE]),
    "trailers": (headers(1, TRAILER), [RESETS[PROTOCOL_ERROR], WHOLE, RESETS[STREAM_CLOSED], *TOO_LATE]),
    "no trailers": (
        headers(1, TRAILER, end=False),
        [RESETS[PROTOCOL_ERROR], RESETS[PROTOCOL_ERROR], RESETS[STREAM_CLOSED], *TOO_LATE],
    ),
    "data": (data(1, b"x"), [ENDS[PROTOCOL_ERROR], NOTHING, RESETS[STREAM_CLOSED], *TOO_LATE]),
    "last data": (data(1, b"", end=True), [ENDS[PROTOCOL_ERROR], WHOLE, RESETS[STREAM_CLOSED], *TOO_LATE]),
    "priority": (raw(2, 0, 1, bytes(5)), [NOTHING] * 6),
    "reset": (reset(1), [ENDS[PROTOCOL_ERROR], LOST, LOST, NOTHING, NOTHING, NOTHING]),
    "update": (update(1, 5), [ENDS[PROTOCOL_ERROR], *[NOTHING] * 5]),
    "priority update": (raw(0x10, 0, 0, number(1) + b"u=1"), [NOTHING] * 6),
    "push promise": (raw(5, 4, 1, number(2)), [ENDS[PROTOCOL_ERROR]] * 6),
    "continuation": (raw(9, 4, 1), [ENDS[PROTOCOL_ERROR]] * 6),
}


def outcome(script: Script, opened: int) -> str:
    """Say in one word what became of stream 1."""
    frames = script.frames()
    if script.transport.closed:
        return ENDS[frames[-1].code]
    resets = [RESETS[sent.code] for sent in frames if sent.kind == RST_STREAM]
    if resets:
        return resets[0]
    if opened:
        return OPENS
    exchange = script.exchanges[0] if script.exchanges else None
    if exchange is not None and exchange.outbound is Outbound.LOST and exchange.inbound is not Inbound.OPEN:
        return LOST
    if exchange is not None and exchange.head.method == "POST" and exchange.inbound is Inbound.COMPLETE:
        return WHOLE
    return NOTHING


@pytest.mark.spec("H2-STR-01", "H2-STR-02", "H2-STR-03", "H2-STR-04", "H2-STR-09", "H2-STR-11", "H2-CONN-13")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("frame", FRAMES)
def test_every_frame_in_every_state(state, frame):
    script = Script()
    STATES[state](script)
    script.frames()
    if state == "broken":
        script.exchanges.clear()
    sent, outcomes = FRAMES[frame]
    opened = len(script.send(sent))
    assert outcome(script, opened) == outcomes[list(STATES).index(state)]
    if not script.transport.closed:
        assert script.alive()


def stand(standing: Standing) -> Script:
    """Return a connection that stands there, with a request open where that can be."""
    script = Script(greet=False)
    if standing is Standing.NEW:
        return script
    script.send(GREETING, SETTINGS_ACK, headers(1, GET))
    if standing in (Standing.RETIRING, Standing.LEAVING):
        script.machine.retire()
    if standing is Standing.LEAVING:
        script.send(ping(RETIRE_PING, ack=True))
    if standing is Standing.OVER:
        script.machine.close(0, "test")
    assert script.machine.standing is standing
    script.frames()
    return script


def first(script: Script, *frames: bytes) -> list[bytes]:
    """Return frames behind what a new connection begins with."""
    return [*([GREETING] if script.machine.standing is Standing.NEW else []), *frames]


def answer_all(script: Script) -> None:
    """Answer what can still be answered."""
    for exchange in script.exchanges:
        if exchange.outbound is Outbound.FRESH:
            answer(exchange, b"")


N, S, R, L, O = Standing  # noqa: E741
HAPPENINGS: dict[str, tuple[Callable[[Script], object], list[Standing]]] = {
    "begin": (lambda script: script.machine.begin(), [S, S, R, L, O]),
    "request": (lambda script: script.send(*first(script, headers(3, GET))), [S, S, R, L, O]),
    "answer": (answer_all, [N, S, R, O, O]),
    "ping": (lambda script: script.send(*first(script, ping())), [S, S, R, L, O]),
    "retired": (lambda script: script.send(*first(script, ping(RETIRE_PING, ack=True))), [S, S, L, L, O]),
    "goaway": (lambda script: script.send(*first(script, raw(GOAWAY, 0, 0, bytes(8)))), [O, S, R, L, O]),
    "nonsense": (lambda script: script.send(*first(script, raw(GOAWAY, 0, 1, bytes(8)))), [O, O, O, O, O]),
    "retire": (lambda script: script.machine.retire(), [O, R, R, L, O]),
    "leave": (lambda script: script.machine.leave(), [N, L, L, L, O]),
    "close": (lambda script: script.machine.close(0, ""), [O, O, O, O, O]),
    "lose": (lambda script: script.machine.lose(), [O, O, O, O, O]),
    "end": (lambda script: script.machine.receive_end(), [O, S, R, L, O]),
    "drained": (lambda script: script.machine.drained(), [N, S, R, L, O]),
    "time": (lambda script: script.machine.look(1000.0), [N, S, R, L, O]),
}


@pytest.mark.spec("H2-CONN-07", "H2-CONN-08", "H2-CONN-09")
@pytest.mark.parametrize("standing", Standing, ids=lambda standing: standing.value)
@pytest.mark.parametrize("name", HAPPENINGS)
def test_everything_that_can_happen_wherever_the_connection_stands(name, standing):
    script = stand(standing)
    happen, ends = HAPPENINGS[name]
    happen(script)
    where = ends[list(Standing).index(standing)]
    assert script.machine.standing is where
    written = len(script.transport.written)
    if where is O:
        assert not script.machine.streams
        for exchange in script.exchanges:
            assert exchange.outbound in (Outbound.ENDED, Outbound.LOST)
            if exchange.outbound is Outbound.LOST:
                with pytest.raises(ConnectionError):
                    start(exchange)
        assert len(script.transport.written) == written
