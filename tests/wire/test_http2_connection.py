"""HTTP/2: how connections begin, are kept and end (RFC 9113 3.4, 5.4, 6)."""

import pytest

from trilithon.foundation.limits import Timeouts
from trilithon.wire.exchange import Inbound, Outbound
from trilithon.wire.h2_codes import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    SETTINGS,
    SETTINGS_TIMEOUT,
)
from trilithon.wire.h2_session import Standing
from trilithon.wire.http2 import LAST_STREAM_ID

from .h2_bytes import GREETING, PREFACE, number, raw
from .h2_memory import GET, POST, Script, answer, block, content, data, headers, news, ping, reset, settings, start
from .hpack_blocks import incremental, indexed

LARGEST = 2**31 - 1


@pytest.mark.spec("H2-CONN-01")
@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", PREFACE + raw(PING, 0, 0, bytes(8))])
def test_another_beginning_ends_the_connection(sent):
    script = Script(greet=False)
    assert script.send(sent) == []
    assert script.goodbye() == (0, PROTOCOL_ERROR)
    assert script.send(GREETING, headers(1, GET)) == []


@pytest.mark.spec("H2-CONN-01")
@pytest.mark.parametrize("sent", [b"", PREFACE[:10], PREFACE])
def test_a_beginning_that_does_not_come_is_waited_for_no_longer_than_a_head(sent):
    script = Script(greet=False, timeouts=Timeouts(header_timeout_s=20))
    script.machine.begin()
    if sent:
        script.send(sent)
    script.machine.look(1000.0)
    script.machine.look(1019.0)
    assert not script.transport.closed
    script.machine.look(1020.0)
    assert script.goodbye() == (0, NO_ERROR)


@pytest.mark.spec("H2-CONN-05")
def test_unknown_frames_and_flags_are_ignored():
    script = Script()
    script.send(raw(0x77, 0xFF, 1, b"what"), raw(PING, 0xFE, 0, bytes(8)), raw(PRIORITY, 0, 1, bytes(5)))
    (pong,) = script.frames()
    assert (pong.kind, pong.flags) == (PING, ACK)
    assert script.alive()


BROKEN = [
    pytest.param(raw(HEADERS, 0, 3) + raw(0x77), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-05", "H2-STR-10")),
    pytest.param(raw(CONTINUATION, END_HEADERS, 3), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-STR-10", "H2-STR-02")),
    pytest.param(
        headers(1, GET, end=False) + raw(CONTINUATION, 4, 1), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-STR-10")
    ),
    pytest.param(raw(HEADERS, 4, 3, bytes(16385)), FRAME_SIZE_ERROR, marks=pytest.mark.spec("H2-CONN-06")),
    pytest.param(raw(SETTINGS, 0, 0, bytes(16386)), FRAME_SIZE_ERROR, marks=pytest.mark.spec("H2-CONN-06")),
    pytest.param(raw(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-08")),
    pytest.param(raw(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR, marks=pytest.mark.spec("H2-CONN-10")),
    pytest.param(raw(PING, 0, 1, bytes(8)), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-10")),
    pytest.param(raw(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR, marks=pytest.mark.spec("H2-CONN-11")),
    pytest.param(raw(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR, marks=pytest.mark.spec("H2-CONN-11")),
    pytest.param(raw(SETTINGS, 0, 1), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-11")),
    pytest.param(settings((2, 2)), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-12")),
    pytest.param(settings((4, 2**31)), FLOW_CONTROL_ERROR, marks=pytest.mark.spec("H2-CONN-12")),
    pytest.param(settings((5, 16383)), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-12")),
    pytest.param(settings((5, 2**24)), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-12")),
    pytest.param(settings((8, 2)), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-12")),
    pytest.param(settings((9, 2)), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-12")),
    pytest.param(raw(PUSH_PROMISE, 4, 1, number(2)), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-CONN-13")),
    pytest.param(raw(DATA, 0, 0, b"x"), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-STR-06")),
    pytest.param(raw(HEADERS, 5, 0, block(GET)), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-STR-07")),
    pytest.param(raw(HEADERS, 0xD, 3, b"\x09" + block(GET)[:5]), PROTOCOL_ERROR, marks=pytest.mark.spec("H2-STR-07")),
]


@pytest.mark.parametrize(("sent", "code"), BROKEN)
@pytest.mark.spec("H2-CONN-07")
def test_a_connection_error_names_the_last_stream_and_closes(sent, code):
    script = Script()
    pending = script.one(headers(1, GET))
    script.frames()
    assert script.send(sent, headers(9, GET)) == []
    last, found = script.goodbye()
    assert found == code
    assert last in (1, 3)
    assert pending.outbound is Outbound.LOST
    assert news(pending) == ["lost"]
    assert script.transport.over == [pending]


@pytest.mark.spec("H2-CONN-07")
def test_a_reset_is_never_answered_by_one():
    script = Script()
    script.one(headers(1, GET))
    script.send(reset(1), reset(1), reset(1))
    assert script.frames() == []
    assert script.alive()


@pytest.mark.spec("H2-CONN-08")
def test_a_client_that_leaves_gets_what_is_open():
    script = Script()
    exchange = script.one(headers(1, GET))
    script.send(raw(GOAWAY, 0, 0, number(0) + number(0xBEEF) + b"why"))
    assert not script.transport.closed
    answer(exchange, b"still")
    assert content(script.frames(), 1) == b"still"
    assert script.transport.closed


@pytest.mark.spec("H2-CONN-08")
def test_a_client_that_leaves_with_nothing_open_is_gone():
    script = Script()
    script.send(raw(GOAWAY, 0, 0, number(0) + number(0)))
    assert script.goodbye() == (0, NO_ERROR)


@pytest.mark.spec("H2-CONN-09")
def test_a_connection_retires_in_two_steps():
    script = Script()
    first = script.one(headers(1, GET))
    script.machine.retire()
    script.machine.retire()
    goaway, probe = script.frames()
    assert (goaway.kind, goaway.payload[:4], goaway.code) == (GOAWAY, number(LARGEST), NO_ERROR)
    late = script.one(headers(3, GET))
    script.send(ping(probe.payload, ack=True))
    (second,) = script.frames()
    assert (second.payload[:4], second.code) == (number(3), NO_ERROR)
    # Above the last one: ignored, but the table of the connection is kept up.
    assert script.send(headers(5, GET, end=False), data(5, b"x"), reset(7)) == []
    assert script.frames() == []
    answer(late, b"late")
    assert not script.transport.closed
    answer(first, b"first")
    frames = script.frames()
    assert (content(frames, 1), content(frames, 3)) == (b"first", b"late")
    assert script.transport.closed
    assert GOAWAY not in [sent.kind for sent in frames]


@pytest.mark.spec("H2-CONN-09", "H2-STR-04")
def test_what_is_ignored_counts_for_the_table_all_the_same():
    script = Script()
    exchange = script.one(headers(1, POST, end=False))
    script.machine.leave()
    script.send(raw(HEADERS, 5, 3, block(GET) + incremental(b"digest", b"abc")), raw(HEADERS, 5, 1, indexed(62)))
    assert exchange.inbound is Inbound.COMPLETE
    assert not script.transport.closed


@pytest.mark.spec("H2-CONN-09")
def test_a_client_that_does_not_answer_the_ping_is_parted_from_all_the_same():
    script = Script(timeouts=Timeouts(linger_timeout_s=2))
    script.machine.retire()
    script.machine.look(1000.0)
    script.machine.look(1002.0)
    assert script.goodbye() == (0, NO_ERROR)


@pytest.mark.spec("H2-DOS-14")
def test_a_connection_serves_so_many_requests_and_parts_in_peace():
    script = Script()
    script.terms.max_requests = 8
    exchanges = script.send(*[headers(1 + 2 * at, GET) for at in range(6)])
    goaway, probe = script.frames()
    assert (goaway.payload[:4], goaway.code) == (number(LARGEST), NO_ERROR)
    exchanges += script.send(headers(13, GET), ping(probe.payload, ack=True), headers(15, GET))
    assert len(exchanges) == 7
    for exchange in exchanges:
        answer(exchange, b"")
    assert script.transport.closed


@pytest.mark.spec("H2-DOS-14")
def test_a_connection_serves_no_request_more_though_its_client_heeds_nothing():
    script = Script(timeouts=Timeouts(linger_timeout_s=0))
    script.terms.max_requests = 8
    exchanges = script.send(*[headers(1 + 2 * at, GET) for at in range(20)], data(39, b"late"))
    assert len(exchanges) == 8
    (last,) = [sent for sent in script.frames() if sent.kind == GOAWAY][1:]
    assert (last.payload[:4], last.code) == (number(15), NO_ERROR)
    for exchange in exchanges:
        answer(exchange, b"")
    assert script.transport.closed


@pytest.mark.spec("H2-DOS-12")
def test_a_connection_parts_before_its_identifiers_run_out():
    script = Script()
    answer(script.one(headers(LAST_STREAM_ID - 2, GET)), b"")
    assert GOAWAY not in [sent.kind for sent in script.frames()]
    answer(script.one(headers(LAST_STREAM_ID, GET)), b"")
    assert GOAWAY in [sent.kind for sent in script.frames()]


@pytest.mark.spec("H2-CONN-10")
def test_a_ping_is_answered_with_the_same_and_an_answer_is_not():
    script = Script()
    script.send(ping(b"abcdefgh"), ping(b"ABCDEFGH", ack=True))
    (pong,) = script.frames()
    assert (pong.kind, pong.flags, pong.payload) == (PING, ACK, b"abcdefgh")


@pytest.mark.spec("H2-CONN-11")
def test_settings_are_taken_in_order_and_acknowledged():
    script = Script()
    script.send(settings((0xFFFF, 7), (4, 1), (4, 3), (5, 16384)))
    (ack,) = script.frames()
    assert (ack.kind, ack.flags) == (SETTINGS, ACK)
    answer(script.one(headers(1, GET)), b"12345")
    assert content(script.frames(), 1) == b"123"


@pytest.mark.spec("H2-CONN-14")
def test_settings_that_are_not_acknowledged_end_the_connection():
    script = Script(greet=False, timeouts=Timeouts(header_timeout_s=10))
    script.send(GREETING)
    script.machine.look(1000.0)
    script.machine.look(1010.0)
    assert script.goodbye() == (0, SETTINGS_TIMEOUT)


@pytest.mark.spec("H2-DOS-11")
def test_an_idle_connection_is_closed_in_peace():
    script = Script(timeouts=Timeouts(keep_alive_timeout_s=75))
    exchange = script.one(headers(1, GET))
    script.machine.look(1000.0)
    script.machine.look(1080.0)
    answer(exchange, b"")
    script.machine.look(1081.0)
    script.machine.look(1155.0)
    assert not script.transport.closed
    script.machine.look(1156.0)
    assert script.goodbye() == (1, NO_ERROR)


@pytest.mark.spec("H2-DOS-09", "H2-DOS-03")
def test_a_field_block_that_does_not_end_is_not_waited_for():
    script = Script(timeouts=Timeouts(header_timeout_s=20))
    script.send(raw(HEADERS, 0, 1, b"\x82"))
    script.machine.look(1000.0)
    script.machine.look(1020.0)
    assert script.goodbye() == (0, ENHANCE_YOUR_CALM)


HALF_SENT = {
    "part of a frame header": headers(3, GET)[:5],
    "a frame header": headers(3, GET)[:9],
    "part of a field block": headers(3, GET)[:20],
    "trailers": raw(HEADERS, 5, 1, b"\x00\x01a\x01b")[:12],
    "part of a CONTINUATION": raw(HEADERS, 0, 3, b"\x82") + raw(CONTINUATION, 4, 3, b"\x82")[:9],
}


@pytest.mark.spec("H2-DOS-09", "H-LIM-05")
@pytest.mark.parametrize("half", HALF_SENT.values(), ids=HALF_SENT)
def test_a_frame_that_begins_a_field_block_has_the_time_of_a_head(half: bytes):
    script = Script(timeouts=Timeouts(header_timeout_s=20, keep_alive_timeout_s=0, body_timeout_s=0))
    script.one(headers(1, POST, end=False))  # a connection with an open stream is not idle
    script.send(half)
    script.pass_time(19.0)
    assert script.frames() == []
    script.pass_time(1.0)
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM


@pytest.mark.spec("H-LIM-05")
def test_half_a_frame_of_a_body_is_no_late_head():
    script = Script(timeouts=Timeouts(header_timeout_s=20, body_timeout_s=0))
    exchange = script.one(headers(1, POST, end=False))
    script.send(data(1, b"whole")[:10])
    script.pass_time(60.0)
    script.send(data(1, b"whole")[10:])
    assert exchange.take_body() == b"whole"


@pytest.mark.spec("H-LIM-05")
def test_each_head_has_its_own_time():
    script = Script(timeouts=Timeouts(header_timeout_s=20))
    frames = b"".join(headers(1 + 2 * at, GET) for at in range(20))
    size = len(frames) // 20
    for at in range(19):
        script.send(frames[at * size + (20 if at else 0) : (at + 1) * size + 20])  # one head whole, the next half come
        script.pass_time(5.0)
    assert len(script.exchanges) == 19
    assert not script.transport.closed


def test_the_end_of_the_client_leaves_whole_requests_their_answer():
    script = Script()
    whole, half = script.send(headers(1, GET), headers(3, POST, end=False))
    script.machine.receive_end()
    assert half.outbound is Outbound.LOST
    assert news(whole) == ["ended"]
    assert whole.half_closed
    answer(whole, b"still")
    assert content(script.frames(), 1) == b"still"
    assert script.transport.closed


def test_nothing_is_read_behind_the_end_of_the_client():
    script = Script()
    script.one(headers(1, GET))
    script.machine.receive_end()
    script.machine.drained()
    assert script.transport.paused


def test_a_broken_connection_loses_all_that_is_open():
    script = Script()
    opened = script.send(headers(1, GET), headers(3, POST, end=False))
    start(opened[0])
    opened[0].write(b"x")
    script.machine.lose()
    script.machine.lose()
    assert [exchange.outbound for exchange in opened] == [Outbound.LOST, Outbound.LOST]
    assert script.transport.over == opened
    assert script.machine.standing is Standing.OVER
    assert script.send(headers(5, GET)) == []


@pytest.mark.parametrize("sent", [b"", PREFACE, PREFACE + raw(SETTINGS)[:5]])
def test_a_client_that_goes_before_it_has_said_anything_is_told_nothing(sent):
    script = Script(greet=False)
    if sent:
        script.send(sent)
    before = len(script.transport.written)
    script.machine.receive_end()
    assert script.transport.closed
    assert len(script.transport.written) == before
    assert script.transport.statuses == []


@pytest.mark.spec("H2-DOS-11")
def test_requests_between_two_looks_at_the_clock_keep_a_connection_from_being_idle():
    script = Script(timeouts=Timeouts(keep_alive_timeout_s=3.0))
    for at in range(20):
        script.machine.look(script.now)
        script.now += 0.5
        answer(script.one(headers(1 + 2 * at, GET)), b"x")
        script.now += 0.5
    assert not script.transport.closed
    script.pass_time(3.0)
    assert script.goodbye() == (39, NO_ERROR)
