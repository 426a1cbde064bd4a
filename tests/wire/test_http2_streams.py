"""HTTP/2: what frames do to streams in every state (RFC 9113 5.1, 6, 8.1)."""

import pytest

from trilithon.foundation.limits import H2Limits, MessageLimits, Timeouts
from trilithon.wire.exchange import Inbound, Outbound
from trilithon.wire.h2_codes import (
    CANCEL,
    DATA,
    FRAME_SIZE_ERROR,
    HEADERS,
    INTERNAL_ERROR,
    NO_ERROR,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    WINDOW_UPDATE,
)
from trilithon.wire.h2_stream import KEPT_CLOSED

from .h2_bytes import raw
from .h2_memory import GET, POST, Script, answer, block, content, data, headers, news, release, reset, start, update
from .hpack_blocks import incremental, indexed

PRIORITY_OF = {stream: raw(PRIORITY, 0, stream, bytes(5)) for stream in range(1, 12)}


@pytest.mark.spec("H2-STR-01")
@pytest.mark.parametrize(("opened", "sent"), [(1, 2), (5, 3), (5, 4)])
def test_identifiers_are_odd_and_rise(opened, sent):
    script = Script()
    script.one(headers(opened, GET))
    assert script.send(headers(sent, GET)) == []
    assert script.goodbye() == (opened, PROTOCOL_ERROR)


@pytest.mark.spec("H2-STR-01", "H2-STR-04")
@pytest.mark.parametrize("sent", [headers(1, GET), data(1, b"x")])
@pytest.mark.parametrize("closed_by", ["end", "reset"])
def test_a_closed_stream_takes_nothing_more(sent, closed_by):
    script = Script()
    exchange = script.one(headers(1, GET))
    if closed_by == "end":
        answer(exchange, b"done")
    else:
        script.send(reset(1))
    script.send(sent)
    assert script.goodbye() == (1, STREAM_CLOSED)


@pytest.mark.spec("H2-STR-04", "H2-STR-03")
def test_a_closed_stream_may_still_be_spoken_of():
    script = Script()
    answer(script.one(headers(1, GET)), b"done")
    script.frames()
    script.send(update(1, 5), PRIORITY_OF[1], reset(1))
    assert script.frames() == []
    assert script.alive()


@pytest.mark.spec("H2-STR-02", "H2-STR-09")
@pytest.mark.parametrize("sent", [data(7, b"x"), reset(7), update(7, 1), raw(WINDOW_UPDATE, 0, 7, bytes(4)), reset(4)])
def test_an_idle_stream_takes_nothing_but_its_request(sent):
    script = Script()
    script.send(PRIORITY_OF[7])
    assert script.frames() == []
    script.send(sent)
    assert script.goodbye() == (0, PROTOCOL_ERROR)


@pytest.mark.spec("H2-STR-03")
@pytest.mark.parametrize("sent", [data(1, b"x"), data(1, b"", end=True), headers(1, GET)])
def test_nothing_may_follow_the_end_of_a_request(sent):
    script = Script()
    exchange = script.one(headers(1, GET))
    script.send(sent)
    assert script.resets() == [(1, STREAM_CLOSED)]
    assert exchange.outbound is Outbound.LOST
    assert news(exchange) == ["lost"]
    assert script.alive()


@pytest.mark.spec("H2-STR-03")
def test_a_whole_request_may_still_be_spoken_of():
    script = Script()
    exchange = script.one(headers(1, GET))
    script.send(update(1, 5), PRIORITY_OF[1])
    answer(exchange, b"ok")
    assert content(script.frames(), 1) == b"ok"


@pytest.mark.spec("H2-STR-04", "H2-STR-14")
def test_what_comes_behind_our_own_reset_is_dropped_and_credited():
    script = Script()
    exchange = script.one(headers(1, POST, end=False))
    exchange.abort()
    assert script.resets() == [(1, INTERNAL_ERROR)]
    for _ in range(100):
        script.send(data(1, bytes(16384)))
    credited = [int.from_bytes(sent.payload, "big") for sent in script.frames() if sent.kind == WINDOW_UPDATE]
    assert sum(credited) >= 100 * 16384 - 1024 * 1024 // 2
    # The block of a stream that is over still counts for the table: field 62 is what it put there.
    script.send(raw(HEADERS, 5, 1, b"\x40\x01a\x01b"))
    exchange = script.one(raw(HEADERS, 5, 3, block(GET) + b"\xbe"))
    assert (b"a", b"b") in exchange.head.fields


@pytest.mark.spec("H2-DOS-13")
def test_closed_streams_are_forgotten_in_time():
    script = Script()
    for each in range(5 * KEPT_CLOSED):
        answer(script.one(headers(1 + 2 * each, GET)), b"")
    closed = script.machine.closed
    assert len(closed.young) + len(closed.old) <= 2 * KEPT_CLOSED
    assert not script.machine.streams
    assert not script.machine.cancelled
    script.frames()
    script.send(data(1, b"x"))
    assert script.resets() == [(1, STREAM_CLOSED)]


@pytest.mark.spec("H2-STR-05", "H2-STR-16", "H-LIM-09")
def test_streams_above_the_limit_are_refused_and_may_be_tried_again():
    script = Script(H2Limits(h2_max_streams=3))
    opened = script.send(*[headers(1 + 2 * each, GET) for each in range(4)])
    assert len(opened) == 3
    assert script.resets() == [(7, REFUSED_STREAM)]
    script.send(data(7, b"sent before the refusal was seen"))
    assert script.frames() == []
    answer(opened[0], b"")
    assert len(script.send(headers(9, GET))) == 1


@pytest.mark.spec("H2-STR-06", "H2-STR-12")
def test_padding_is_no_content_but_counts_for_the_window():
    script = Script()
    exchange = script.one(headers(1, [*POST, (b"content-length", b"3")], end=False))
    stream = script.machine.streams[1]
    before = stream.window_in
    script.send(raw(DATA, 0x8 | 0x1, 1, b"\x05abc" + bytes(5)))
    assert exchange.take_body() == b"abc"
    assert before - stream.window_in == 9
    assert exchange.inbound is Inbound.COMPLETE


@pytest.mark.spec("H2-STR-07")
def test_priority_and_padding_of_headers_are_skipped():
    script = Script()
    payload = b"\x03" + b"\x80\x00\x00\x03\xff" + block(GET) + bytes(3)
    exchange = script.one(raw(HEADERS, 0x20 | 0x8 | 0x4 | 0x1, 1, payload))
    assert exchange.head.path == b"/"


ITSELF = 0x80000005.to_bytes(4, "big") + b"\xff"


@pytest.mark.spec("H2-STR-08")
def test_a_stream_cannot_depend_on_itself():
    script = Script()
    exchange = script.one(headers(5, GET))
    script.send(raw(PRIORITY, 0, 5, ITSELF))
    assert script.resets() == [(5, PROTOCOL_ERROR)]
    assert news(exchange) == ["lost"]
    release(exchange)
    assert script.alive()


@pytest.mark.spec("H2-STR-08")
@pytest.mark.parametrize("cut", [0, 9])
@pytest.mark.parametrize("padding", [b"", b"\x02"])
def test_a_head_that_makes_its_stream_depend_on_itself_still_counts_for_the_table(cut, padding):
    script = Script()
    table = incremental(b"x-kept", b"1")
    whole = block(GET) + table
    flags = 0x20 | 0x01 | (0x08 if padding else 0)
    payload = padding + ITSELF
    if cut:
        frames = [raw(HEADERS, flags, 5, payload + whole[:cut] + bytes(2 * len(padding))), raw(9, 4, 5, whole[cut:])]
    else:
        frames = [raw(HEADERS, flags | 4, 5, payload + whole + bytes(2 * len(padding)))]
    assert script.send(*frames) == []
    assert script.resets() == [(5, PROTOCOL_ERROR)]
    exchange = script.one(raw(HEADERS, 0x5, 7, block(GET) + indexed(62)))
    assert exchange.head.lines[-1].value == b"1"


@pytest.mark.spec("H2-STR-08")
def test_trailers_cannot_make_their_stream_depend_on_itself():
    script = Script()
    script.one(headers(5, POST, end=False))
    script.send(raw(HEADERS, 0x25, 5, ITSELF))
    assert script.resets() == [(5, PROTOCOL_ERROR)]


@pytest.mark.spec("H2-STR-08")
def test_a_priority_of_a_wrong_size_is_an_error_of_its_stream():
    script = Script()
    exchange = script.one(headers(1, GET))
    script.send(raw(PRIORITY, 0, 1, bytes(4)))
    assert script.resets() == [(1, FRAME_SIZE_ERROR)]
    assert exchange.outbound is Outbound.LOST
    assert script.alive()


@pytest.mark.spec("H2-STR-09", "A-DISC-10")
@pytest.mark.parametrize("code", [0, 8, 0xFFFFFFFF])
def test_a_reset_ends_the_exchange_and_nothing_more_is_sent(code):
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(b"x")
    script.frames()
    script.send(reset(1, code))
    assert exchange.outbound is Outbound.LOST
    assert exchange.status == 200
    assert news(exchange) == ["lost"]
    with pytest.raises(ConnectionError):
        exchange.write(b"y")
    exchange.abort()
    assert script.frames() == []
    assert script.alive()


def test_a_request_that_is_reset_at_once_is_never_seen():
    script = Script()
    assert script.send(headers(1, GET), reset(1)) == []
    assert script.transport.over == []
    assert script.alive()


@pytest.mark.spec("H2-STR-11")
def test_trailers_end_a_request():
    script = Script()
    exchange = script.one(headers(1, POST, end=False), data(1, b"x"), headers(1, [(b"digest", b"abc")]))
    assert exchange.inbound is Inbound.COMPLETE
    assert exchange.take_body() == b"x"


@pytest.mark.spec("H2-STR-11")
@pytest.mark.parametrize(
    "sent",
    [
        headers(1, [(b"digest", b"abc")], end=False),
        headers(1, [(b":path", b"/")]),
        headers(1, [(b"Digest", b"abc")]),
        headers(1, [(b"connection", b"close")]),
    ],
)
def test_trailers_that_are_none_break_the_request(sent):
    script = Script()
    exchange = script.one(headers(1, POST, end=False), data(1, b"x"))
    script.send(sent)
    assert script.resets() == [(1, PROTOCOL_ERROR)]
    assert exchange.inbound is Inbound.LOST
    assert script.alive()


@pytest.mark.spec("H-LIM-03", "H-LIM-09")
def test_trailers_above_the_limit_are_answered_431():
    script = Script(message=MessageLimits(max_trailer_fields=2))
    exchange = script.one(headers(1, POST, end=False))
    script.send(headers(1, [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]))
    (only,) = script.frames()
    assert only.fields[0] == (b":status", b"431")
    assert (exchange.status, exchange.outbound) == (431, Outbound.LOST)
    whole = script.one(headers(3, POST, end=False), headers(3, [(b"a", b"1"), (b"b", b"2")]))
    assert whole.inbound is Inbound.COMPLETE


LENGTH_5 = [*POST, (b"content-length", b"5")]


@pytest.mark.spec("H2-STR-12")
@pytest.mark.parametrize(
    "sent",
    [
        [headers(1, LENGTH_5)],
        [headers(1, LENGTH_5, end=False), data(1, b"1234", end=True)],
        [headers(1, LENGTH_5, end=False), data(1, b"123456")],
        [headers(1, LENGTH_5, end=False), data(1, b"1234"), headers(1, [(b"a", b"b")])],
    ],
)
def test_content_of_another_length_than_declared_breaks_the_request(sent):
    script = Script()
    assert script.send(*sent) == []
    assert script.resets() == [(1, PROTOCOL_ERROR)]
    assert script.alive()


@pytest.mark.spec("H2-STR-12")
def test_content_of_the_declared_length_is_a_request():
    script = Script()
    exchange = script.one(headers(1, LENGTH_5, end=False), data(1, b"123"), data(1, b"45", end=True))
    assert exchange.take_body() == b"12345"
    assert script.one(headers(3, [*POST, (b"content-length", b"0")])).inbound is Inbound.COMPLETE


def test_a_body_above_the_limit_is_answered_413():
    script = Script(message=MessageLimits(max_body_bytes=10))
    assert script.send(headers(1, [*POST, (b"content-length", b"11")], end=False)) == []
    exchange = script.one(headers(3, POST, end=False), data(3, b"0123456789"))
    script.send(data(3, b"x"))
    statuses = [sent.fields[0][1] for sent in script.frames() if sent.kind == HEADERS]
    assert statuses == [b"413", b"413"]
    assert exchange.outbound is Outbound.LOST
    assert script.alive()


def test_a_body_that_does_not_come_is_answered_408():
    script = Script(timeouts=Timeouts(body_timeout_s=20))
    slow = script.one(headers(1, POST, end=False))
    steady = script.one(headers(3, POST, end=False))
    unread = script.one(headers(5, POST, end=False), data(5, b"x"))
    script.machine.look(1000.0)
    script.send(data(3, bytes(10000)))
    steady.take_body()
    script.machine.look(1020.0)
    (only,) = script.frames()
    assert only.fields[0] == (b":status", b"408")
    assert script.linger() == [(1, NO_ERROR)]
    assert [each.outbound for each in (slow, steady, unread)] == [Outbound.LOST, Outbound.FRESH, Outbound.FRESH]


def test_half_a_body_that_no_call_has_begun_to_read_does_not_wait_for_ever():
    script = Script(timeouts=Timeouts(body_timeout_s=20))
    gathered = script.one(headers(1, POST, end=False), data(1, b"half"))
    release(gathered)  # as a gateway that calls the application with the whole body only
    script.machine.look(1000.0)
    script.machine.look(1020.0)
    assert script.frames()[0].fields[0] == (b":status", b"408")


@pytest.mark.spec("H2-HDR-19")
def test_a_client_may_wait_for_100_as_long_as_the_application_takes():
    script = Script(timeouts=Timeouts(body_timeout_s=20))
    exchange = script.one(headers(1, [*POST, (b"expect", b"100-continue")], end=False))
    script.machine.look(1000.0)
    script.machine.look(1100.0)
    assert script.frames() == []
    exchange.carrier.want_body(exchange)
    assert script.frames()[0].fields == [(b":status", b"100")]
    script.machine.look(1100.0)
    script.machine.look(1120.0)
    assert script.frames()[0].fields[0] == (b":status", b"408")


def test_a_client_whose_window_is_closed_waits_for_us():
    script = Script(H2Limits(h2_stream_window_bytes=65535), timeouts=Timeouts(body_timeout_s=20))
    release(script.one(headers(1, POST, end=False), *[data(1, bytes(13107))] * 5))
    script.machine.look(1000.0)
    script.machine.look(1100.0)
    assert [sent.stream_id for sent in script.frames()] == [0] * len(script.frames())


def test_a_body_that_stops_behind_the_head_of_its_answer_cancels_the_stream():
    script = Script(timeouts=Timeouts(body_timeout_s=20))
    exchange = script.one(headers(1, POST, end=False))
    start(exchange)
    exchange.write(b"half")
    script.machine.look(1000.0)
    script.machine.look(1020.0)
    assert script.resets() == [(1, CANCEL)]
    assert (exchange.status, exchange.outbound) == (200, Outbound.LOST)


@pytest.mark.spec("H2-STR-11")
def test_a_pseudo_field_that_was_good_in_a_head_is_none_in_trailers():
    script = Script()
    head = block(POST[:3]) + incremental(1, b"a.test")
    script.one(raw(HEADERS, 4, 1, head), data(1, b"x"))
    script.send(raw(HEADERS, 5, 1, indexed(62)))
    assert script.resets() == [(1, PROTOCOL_ERROR)]


def test_a_call_that_returned_before_its_stream_broke_frees_its_place():
    script = Script(H2Limits(h2_max_streams=1))
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.end(bytes(100_000))
    release(exchange)
    script.send(reset(1))
    assert script.transport.over == [exchange]
    assert len(script.send(headers(3, GET))) == 1
