"""The stream of an Extended CONNECT (RFC 8441): every pair of state and frame, and what each side still may."""

import pytest

from trilithon.foundation.errors import AppStateError, ClientDisconnected
from trilithon.foundation.limits import H2Limits, Limits, MessageLimits, Timeouts
from trilithon.wire.exchange import Exchange, Inbound, Outbound, Peer, SocketAnswer
from trilithon.wire.h2_codes import (
    DATA,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    NO_ERROR,
    PROTOCOL_ERROR,
    RST_STREAM,
    STREAM_CLOSED,
    WINDOW_UPDATE,
)
from trilithon.wire.handshake import read_handshake
from trilithon.wire.http2 import Http2
from trilithon.wire.response import SentLine

from .h2_bytes import PREFACE
from .h2_memory import (
    GET,
    SETTINGS_ACK,
    H2Memory,
    Pairs,
    Script,
    content,
    data,
    headers,
    news,
    release,
    reset,
    settings,
    start,
    update,
)
from .inmemory import new_terms

CONNECT = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"a.test"),
    (b"sec-websocket-version", b"13"),
]
LINGER = Timeouts(linger_timeout_s=2.0)


def ask(script: Script, stream_id: int = 1) -> Exchange:
    """Let the client ask for a WebSocket."""
    return script.one(headers(stream_id, CONNECT, end=False))


def switch(exchange: Exchange, lines: list[SentLine] | None = None) -> None:
    """Let the application accept."""
    exchange.switch(read_handshake(exchange.head), SocketAnswer(None, b"", lines or []))


def stand(state: str) -> tuple[Script, Exchange]:
    """Return a connection whose one stream stands so, and nothing that the server sent until then."""
    script = Script(timeouts=LINGER)
    exchange = ask(script)
    if state != "asked":
        switch(exchange)
    if state in ("they ended", "over"):
        script.send(data(1, b"", end=True))
    if state in ("we ended", "over"):
        exchange.end(b"bye")
    if state == "reset":
        script.send(reset(1))
    script.frames()
    news(exchange).clear()
    return script, exchange


NOTHING, BODY, END, LOST, CLOSES = "nothing", "content", "the end", "lost", "closes the stream"
STREAM, FRAMES, MALFORMED = "STREAM_CLOSED", "STREAM_CLOSED for all", "PROTOCOL_ERROR"
STATES = ["asked", "open", "they ended", "we ended", "over", "reset"]
INPUTS = {
    "data": (data(1, b"x"), [BODY, BODY, STREAM, NOTHING, FRAMES, FRAMES]),
    "no data": (data(1, b""), [NOTHING, NOTHING, STREAM, NOTHING, FRAMES, FRAMES]),
    "last data": (data(1, b"x", end=True), [END, END, STREAM, CLOSES, FRAMES, FRAMES]),
    "end": (data(1, b"", end=True), [END, END, STREAM, CLOSES, FRAMES, FRAMES]),
    "trailers": (headers(1, [(b"x-a", b"1")]), [MALFORMED, MALFORMED, STREAM, MALFORMED, FRAMES, FRAMES]),
    "headers": (headers(1, CONNECT, end=False), [MALFORMED, MALFORMED, STREAM, MALFORMED, FRAMES, FRAMES]),
    "reset": (reset(1), [LOST, LOST, LOST, CLOSES, NOTHING, NOTHING]),
    "window": (update(1, 1), [NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING]),
}


def outcome(script: Script, exchange: Exchange, was_open: bool) -> str:
    """Return what became of the stream or the connection."""
    sent = script.frames()
    resets = [each.code for each in sent if each.kind == RST_STREAM]
    if script.transport.closed:
        assert sent[-1].code == STREAM_CLOSED
        return FRAMES
    if resets:
        (code,) = resets
        assert 1 not in script.machine.streams
        assert exchange.outbound in (Outbound.LOST, Outbound.ENDED)
        return {STREAM_CLOSED: STREAM, PROTOCOL_ERROR: MALFORMED}[code]
    if was_open and 1 not in script.machine.streams:
        return LOST if "lost" in news(exchange) else CLOSES
    if exchange.inbound is Inbound.COMPLETE and "body" in news(exchange):
        return END
    return BODY if exchange.body_bytes else NOTHING


@pytest.mark.spec("WS-H2-09", "WS-H2-14", "H2-STR-01", "H2-STR-02")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", INPUTS)
def test_every_frame_in_every_state(name: str, state: str) -> None:
    script, exchange = stand(state)
    sent, outcomes = INPUTS[name]
    was_open = 1 in script.machine.streams
    script.send(sent)
    assert outcome(script, exchange, was_open) == outcomes[STATES.index(state)]
    if not script.transport.closed:
        assert script.alive()


@pytest.mark.spec("WS-H2-07", "WS-H2-08", "WS-H2-09")
def test_bytes_pass_both_ways_and_each_side_ends_its_own() -> None:
    script = Script(timeouts=LINGER)
    exchange = ask(script)
    switch(exchange, [SentLine(b"x-a", b"1")])
    (head,) = script.frames()
    assert (head.kind, head.ended) == (HEADERS, False)
    assert head.fields[0] == (b":status", b"200")
    assert (b"x-a", b"1") in head.fields and b"content-length" not in dict(head.fields)
    assert exchange.status == 200
    script.send(data(1, b"to"), data(1, b"gether"))
    assert exchange.take_body() == b"together"
    exchange.write(b"x" * 20_000)
    exchange.end(b"last")
    sent = script.frames()
    assert content(sent, 1) == b"x" * 20_000 + b"last"
    assert [each.ended for each in sent] == [False] * (len(sent) - 1) + [True]
    assert script.transport.over == [exchange]
    script.send(data(1, b"late"), data(1, b"", end=True))
    assert script.frames() == []
    assert not script.machine.streams
    assert script.transport.over == [exchange]


@pytest.mark.spec("WS-H2-09")
def test_a_client_that_ended_first_is_answered_by_the_end_alone() -> None:
    script = Script(timeouts=LINGER)
    exchange = ask(script)
    switch(exchange)
    script.send(data(1, b"all", end=True))
    assert exchange.inbound is Inbound.COMPLETE
    assert exchange.take_body() == b"all"
    script.frames()
    exchange.end(b"bye")
    (last,) = script.frames()
    assert (last.kind, last.payload, last.ended) == (DATA, b"bye", True)
    assert not script.machine.streams


@pytest.mark.spec("WS-H2-10")
def test_a_switch_behind_the_clients_end_has_nothing_more_to_expect() -> None:
    script = Script()
    exchange = ask(script)
    script.send(data(1, b"early", end=True))
    switch(exchange)
    assert exchange.inbound is Inbound.COMPLETE
    assert exchange.take_body() == b"early"


@pytest.mark.spec("WS-H2-09")
def test_the_clients_end_is_waited_for_only_so_long() -> None:
    script, _ = stand("we ended")
    for _ in range(3):
        script.machine.look(script.now)
        script.now += 0.9
    assert script.frames() == [] and 1 in script.machine.streams
    script.machine.look(script.now)
    assert script.resets() == [(1, NO_ERROR)]
    assert not script.machine.streams
    # What was on its way is no error.
    script.send(data(1, b"late", end=True))
    assert script.alive()


@pytest.mark.spec("WS-H2-09")
def test_where_nothing_lingers_the_client_is_asked_at_once() -> None:
    script = Script(timeouts=Timeouts(linger_timeout_s=0.0))
    exchange = ask(script)
    switch(exchange)
    script.frames()
    exchange.end(b"bye")
    sent = script.frames()
    assert [(each.kind, each.ended) for each in sent] == [(DATA, True), (RST_STREAM, False)]
    assert sent[-1].code == NO_ERROR
    assert not script.machine.streams


@pytest.mark.spec("WS-H2-09", "H2-CONN-08")
def test_the_end_of_the_connection_leaves_no_half_of_a_stream() -> None:
    script, exchange = stand("we ended")
    script.machine.receive_end()
    assert not script.machine.streams
    assert script.transport.over == [exchange]
    assert script.transport.closed


@pytest.mark.spec("WS-H2-13", "H2-CONN-09")
def test_a_connection_that_leaves_waits_for_the_other_half() -> None:
    script, _ = stand("we ended")
    script.machine.leave()
    assert not script.transport.closed
    script.send(data(1, b"", end=True))
    assert script.transport.closed


@pytest.mark.spec("WS-H2-13", "H2-DOS-01")
def test_a_call_that_goes_on_keeps_the_place_of_its_stream() -> None:
    script = Script(H2Limits(h2_max_streams=1), timeouts=LINGER)
    exchange = ask(script)
    switch(exchange)
    exchange.end(b"")
    script.send(data(1, b"", end=True))
    assert script.send(headers(3, CONNECT, end=False)) == []
    release(exchange)
    assert len(script.send(headers(5, CONNECT, end=False))) == 1


@pytest.mark.spec("WS-H2-11")
def test_what_comes_behind_our_end_is_bounded() -> None:
    script, _ = stand("we ended")
    for _ in range(8):
        script.send(data(1, b"x" * 16_384))
    # The connection's window is given back, the stream's is not.
    assert {(each.kind, each.stream_id) for each in script.frames()} <= {(WINDOW_UPDATE, 0)}
    script.send(data(1, b"x"))
    assert script.resets() == [(1, FLOW_CONTROL_ERROR)]
    script, _ = stand("we ended")
    script.send(*[data(1, b"")] * 200)
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM


@pytest.mark.spec("WS-KA-04")
def test_no_length_and_no_time_of_bodies_holds_for_a_tunnel() -> None:
    times = Timeouts(body_timeout_s=1.0, linger_timeout_s=2.0)
    script = Script(message=MessageLimits(max_body_bytes=10), timeouts=times)
    exchange = ask(script)
    switch(exchange)
    for _ in range(5):
        script.send(data(1, b"x" * 1000))
        script.now += 5.0
        script.machine.look(script.now)
    assert exchange.take_body() == b"x" * 5000
    assert exchange.outbound is Outbound.FLOWING


@pytest.mark.spec("WS-HS-18")
def test_a_handshake_that_waits_for_its_turn_has_the_time_of_a_request() -> None:
    script = Script(timeouts=Timeouts(body_timeout_s=1.0, request_timeout_s=10.0))
    exchange = ask(script)
    exchange.opened_at = script.now
    for _ in range(4):
        script.now += 2.0
        script.machine.look(script.now)
    assert script.frames() == []
    script.now += 2.0
    script.machine.look(script.now)
    assert script.frames()[0].fields[0] == (b":status", b"503")


class Narrow(H2Memory):
    """A transport that takes so many more frames with content before it is full."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    def congested(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.spec("WS-H2-13", "H-PRIO-05")
@pytest.mark.parametrize("extra", [[], [(b"priority", b"u=0")], [(b"priority", b"u=7, i")]])
def test_sockets_take_turns_with_each_other_and_with_all_else(extra: Pairs) -> None:
    transport = Narrow()
    machine = Http2(transport, new_terms(), Peer(None, ("192.0.2.2", 80)), Limits())
    transport.left = 10
    machine.receive(PREFACE + settings((4, 1 << 20)) + SETTINGS_ACK + update(0, 1 << 20))
    machine.receive(
        headers(1, [*CONNECT, *extra], end=False) + headers(3, CONNECT, end=False) + headers(5, GET) + headers(7, GET)
    )
    exchanges = transport.fresh
    for exchange in exchanges[:2]:
        switch(exchange)
    for exchange in exchanges[2:]:
        start(exchange, 200, [(b"content-length", b"200000")])
    transport.left = 0
    before = len(transport.written)
    for exchange in exchanges:
        exchange.write(b"x" * 100_000)
    transport.written[:before] = b""
    transport.left = 12
    machine.drained()
    turns = []
    rest = bytes(transport.written)
    while rest:
        size = int.from_bytes(rest[:3], "big")
        if rest[3] == DATA:
            turns.append(int.from_bytes(rest[5:9], "big"))
        rest = rest[9 + size :]
    assert turns == [1, 5, 3, 5] * 3


@pytest.mark.spec("WS-H2-09")
def test_nothing_can_be_sent_behind_the_end() -> None:
    for state in ("we ended", "over"):
        _, exchange = stand(state)
        with pytest.raises(AppStateError):
            exchange.write(b"more")
    _, exchange = stand("reset")
    with pytest.raises(ClientDisconnected):
        exchange.write(b"more")
    script = Script()
    exchange = ask(script)
    script.send(reset(1))
    with pytest.raises(ClientDisconnected):
        switch(exchange)
