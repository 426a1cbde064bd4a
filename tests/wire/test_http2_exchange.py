"""HTTP/2: requests become exchanges, and their responses frames."""

import pytest

from trilithon.foundation.errors import AppValueError, ClientDisconnected
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.exchange import Inbound, Outbound
from trilithon.wire.h2_codes import (
    ACK,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_STREAM,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    NO_RFC7540_PRIORITIES,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from trilithon.wire.h2_session import MAX_LINGERING
from trilithon.wire.response import SentLine

from .h2_bytes import GREETING, PREFACE, cuts, raw
from .h2_memory import GET, POST, SETTINGS_ACK, Script, answer, content, data, headers, news, reset, start
from .inmemory import DATE_LINE

DATE = DATE_LINE[6:-2]


@pytest.mark.spec("H2-CONN-02", "H-PRIO-01", "WS-H2-01", "H2-HDR-16")
def test_the_server_begins_with_its_settings():
    script = Script(greet=False)
    script.machine.begin()
    script.machine.begin()
    first, more = script.frames()
    assert (first.kind, first.flags, first.stream_id) == (SETTINGS, 0, 0)
    found = {
        int.from_bytes(first.payload[at : at + 2], "big"): int.from_bytes(first.payload[at + 2 : at + 6], "big")
        for at in range(0, len(first.payload), 6)
    }
    assert found[MAX_CONCURRENT_STREAMS] == 100
    assert found[MAX_HEADER_LIST_SIZE] == 65536
    assert found[ENABLE_CONNECT_PROTOCOL] == 1
    assert found[NO_RFC7540_PRIORITIES] == 1
    assert more.kind == WINDOW_UPDATE
    script.send(GREETING)
    (ack,) = script.frames()
    assert (ack.kind, ack.flags) == (SETTINGS, ACK)


@pytest.mark.spec("H2-CONN-02")
def test_the_settings_come_first_when_the_client_is_faster():
    script = Script(greet=False)
    script.send(GREETING, headers(1, GET))
    assert [sent.flags for sent in script.frames() if sent.kind == SETTINGS] == [0, ACK]


def test_a_get_is_answered_in_two_frames():
    script = Script()
    exchange = script.one(headers(1, [*GET, (b"x-one", b"1")]))
    head = exchange.head
    assert (head.method, head.path, head.version, head.start.line) == ("GET", b"/", "2", b"GET / HTTP/2")
    assert head.fields == [(b"host", b"a.test"), (b"x-one", b"1")]
    assert exchange.inbound is Inbound.COMPLETE
    answer(exchange, b"hello", fields=[(b"content-type", b"text/plain")])
    first, second = script.frames()
    assert first.fields == [
        (b":status", b"200"),
        (b"content-type", b"text/plain"),
        (b"content-length", b"5"),
        (b"date", DATE),
    ]
    assert (first.kind, first.stream_id, first.ended) == (HEADERS, 1, False)
    assert (second.kind, second.payload, second.ended) == (DATA, b"hello", True)
    assert script.transport.over == [exchange]
    assert exchange.outbound is Outbound.ENDED
    assert not script.machine.streams


def test_every_answer_of_a_long_connection_says_the_same():
    script = Script()
    for number in range(200):
        exchange = script.one(headers(1 + 2 * number, GET))
        answer(exchange, b"x", fields=[(b"content-type", b"text/plain"), (b"x-odd", b"%d" % (number % 7))])
        first, second = script.frames()
        assert first.fields == [
            (b":status", b"200"),
            (b"content-type", b"text/plain"),
            (b"x-odd", b"%d" % (number % 7)),
            (b"content-length", b"1"),
            (b"date", DATE),
        ]
        assert second.payload == b"x"


@pytest.mark.parametrize("seed", range(6))
def test_any_cut_of_the_bytes_gives_the_same(seed):
    sent = b"".join(
        [
            PREFACE,
            raw(SETTINGS),
            headers(1, POST, end=False),
            headers(3, GET),
            data(1, b"a" * 100),
            data(1, b"b" * 50, end=True),
            SETTINGS_ACK,
        ]
    )
    script = Script(greet=False)
    for piece in cuts(sent, seed):
        script.send(piece)
    first, second = script.exchanges
    assert (first.head.method, second.head.method) == ("POST", "GET")
    assert first.take_body() == b"a" * 100 + b"b" * 50
    assert first.inbound is Inbound.COMPLETE
    answer(second, b"two")
    answer(first, b"one")
    frames = script.frames()
    assert (content(frames, 1), content(frames, 3)) == (b"one", b"two")


def test_a_body_streams_into_its_exchange():
    script = Script()
    exchange = script.one(headers(1, POST, end=False), data(1, b"one"))
    assert exchange.take_body() == b"one"
    assert exchange.inbound is Inbound.OPEN
    script.send(data(1, b"two"))
    assert news(exchange) == ["body"]
    script.send(data(1, b"", end=True))
    assert exchange.take_body() == b"two"
    assert exchange.inbound is Inbound.COMPLETE
    assert news(exchange) == ["body", "body"]


def test_many_streams_are_open_at_once_and_answered_in_any_order():
    script = Script()
    opened = script.send(*[headers(1 + 2 * each, GET) for each in range(100)])
    assert len(opened) == 100
    for exchange in reversed(opened):
        answer(exchange, b"%d" % opened.index(exchange))
    frames = script.frames()
    assert [content(frames, 1 + 2 * each) for each in range(100)] == [b"%d" % each for each in range(100)]


def test_a_head_request_gets_the_length_and_no_content():
    script = Script()
    exchange = script.one(headers(1, [(b":method", b"HEAD"), *GET[1:]]))
    answer(exchange, b"hello")
    (only,) = script.frames()
    assert only.ended
    assert (b"content-length", b"5") in only.fields


@pytest.mark.parametrize(("status", "length"), [(204, None), (304, None), (205, b"0")])
def test_what_has_no_content_is_one_frame(status, length):
    script = Script()
    answer(script.one(headers(1, GET)), b"ignored", status)
    (only,) = script.frames()
    assert only.ended
    assert dict(only.fields).get(b"content-length") == length


def test_a_streamed_response_ends_with_its_last_frame():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(b"one")
    exchange.write(b"two")
    exchange.end(b"")
    head, *rest = script.frames()
    assert b"content-length" not in dict(head.fields)
    assert [(sent.payload, sent.ended) for sent in rest] == [(b"one", False), (b"two", False), (b"", True)]


@pytest.mark.spec("H2-HDR-17")
def test_what_belongs_to_a_connection_is_left_out_of_a_response():
    script = Script()
    fields = [(b"X-Upper", b"1"), (b"Connection", b"close"), (b"Upgrade", b"x"), (b"Keep-Alive", b"5")]
    answer(script.one(headers(1, GET)), b"", 426, [*fields, (b"Transfer-Encoding", b"chunked")])
    (only,) = script.frames()
    assert [name for name, _ in only.fields] == [b":status", b"x-upper", b"content-length", b"date"]


@pytest.mark.spec("H2-HDR-20")
def test_secrets_are_never_indexed():
    script = Script()
    answer(script.one(headers(1, GET)), b"", fields=[(b"set-cookie", b"a=b")])
    written = bytes(script.transport.written)
    assert b"\x1f\x28" in written  # index 55, never indexed


@pytest.mark.spec("H2-HDR-17", "H2-HDR-19")
def test_an_interim_response_is_a_frame_of_its_own():
    script = Script()
    exchange = script.one(headers(1, GET))
    exchange.carrier.inform(exchange, 103, b"Link: </a>; rel=preload\r\n")
    exchange.carrier.inform(exchange, 101, b"")
    answer(exchange, b"ok")
    exchange.carrier.inform(exchange, 103, b"")
    first, second, _ = script.frames()
    assert first.fields == [(b":status", b"103"), (b"link", b"</a>; rel=preload")]
    assert not first.ended
    assert second.fields[0] == (b":status", b"200")


@pytest.mark.spec("H2-HDR-19")
def test_continue_is_sent_when_the_application_reads():
    script = Script()
    exchange = script.one(headers(1, [*POST, (b"expect", b"100-continue")], end=False))
    assert script.frames() == []
    exchange.carrier.want_body(exchange)
    exchange.carrier.want_body(exchange)
    (only,) = script.frames()
    assert (only.fields, only.ended) == ([(b":status", b"100")], False)
    script.send(data(1, b"x", end=True))
    answer(exchange, exchange.take_body())
    assert content(script.frames(), 1) == b"x"


@pytest.mark.spec("H2-STR-17")
def test_an_application_that_fails_early_is_a_500():
    script = Script()
    exchange = script.one(headers(1, GET))
    exchange.refuse(500)
    first, second = script.frames()
    assert first.fields[0] == (b":status", b"500")
    assert second.payload == b"Internal Server Error\n"
    assert second.ended
    assert exchange.status == 500
    assert script.alive()


@pytest.mark.spec("H2-STR-17")
def test_an_application_that_fails_late_resets_its_stream_alone():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(b"half")
    exchange.refuse(500)
    assert script.resets() == [(1, 2)]
    assert script.transport.over == [exchange]
    with pytest.raises(ClientDisconnected):
        exchange.write(b"more")
    assert script.alive()


def test_less_content_than_declared_resets_the_stream():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange, fields=[(b"content-length", b"10")])
    exchange.write(b"half")
    with pytest.raises(AppValueError):
        exchange.end(b"")
    assert script.resets() == [(1, 2)]


@pytest.mark.spec("H2-STR-13", "H2-STR-14")
def test_an_early_success_stops_the_upload_without_an_error():
    script = Script()
    exchange = script.one(headers(1, POST, end=False))
    answer(exchange, b"enough")
    frames = script.frames()
    assert [(sent.kind, sent.ended) for sent in frames] == [(HEADERS, False), (DATA, True), (RST_STREAM, False)]
    assert frames[-1].code == NO_ERROR
    for _ in range(200):  # more than the connection's window: what is dropped is credited
        script.send(data(1, bytes(16384)))
    assert {sent.kind for sent in script.frames()} == {WINDOW_UPDATE}
    assert exchange.body_bytes == 0
    assert script.alive()


@pytest.mark.spec("H2-STR-13", "H2-STR-14")
def test_an_early_error_can_be_read_before_the_upload_is_stopped():
    script = Script()
    exchange = script.one(headers(1, POST, end=False))
    start(exchange, 403)
    exchange.end(b"no")
    assert [(sent.kind, sent.ended) for sent in script.frames()] == [(HEADERS, False), (DATA, True)]
    for _ in range(200):  # more than both windows: who sends all before looking at the answer can do so
        script.send(data(1, bytes(16384)))
    assert {sent.kind for sent in script.frames()} == {WINDOW_UPDATE}
    assert script.transport.over == [exchange]
    assert script.linger() == [(1, NO_ERROR)]
    script.send(data(1, bytes(16384)))
    assert exchange.body_bytes == 0
    assert script.alive()


@pytest.mark.spec("H2-STR-13")
@pytest.mark.parametrize(
    "rest", [data(1, b"12345", end=True), headers(1, [(b"x-sum", b"1")])], ids=["data", "trailers"]
)
@pytest.mark.parametrize("status", [200, 413])
def test_a_client_that_ends_its_request_behind_the_answer_is_not_told_to_stop(rest, status):
    script = Script()
    exchange = script.one(headers(1, [*POST, (b"content-length", b"5")], end=False))
    start(exchange, status)
    exchange.end(b"early")
    script.send(rest)
    assert script.linger() == []
    assert (script.machine.streams, script.machine.lingering()) == ({}, 0)
    assert script.alive()


@pytest.mark.spec("H2-STR-13")
def test_too_many_trailers_behind_an_early_error_end_the_stream_and_are_not_answered():
    script = Script(message=MessageLimits(max_trailer_fields=1))
    trailers = headers(1, [(b"a", b"1"), (b"b", b"2")])
    script.one(headers(1, POST, end=False)).refuse(403)
    refused = [(b":method", b"CONNECT"), (b":authority", b"a.test:80")]
    script.send(headers(3, refused, end=False))
    script.frames()
    script.send(trailers, headers(3, [(b"a", b"1"), (b"b", b"2")]))
    assert script.frames() == []
    assert (script.machine.streams, script.machine.lingering()) == ({}, 0)
    assert script.alive()


def test_only_so_many_streams_linger():
    script = Script()
    for at in range(MAX_LINGERING + 1):
        script.one(headers(1 + 2 * at, POST, end=False)).refuse(403)
    assert script.resets() == [(1 + 2 * MAX_LINGERING, NO_ERROR)]
    script.send(reset(1))
    assert script.machine.lingering() == MAX_LINGERING - 1
    assert len(script.linger()) == MAX_LINGERING - 1
    assert script.machine.lingering() == 0


def test_trailers_end_a_response():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(b"x")
    exchange.carrier.send_trailers(exchange, [SentLine(b"Digest", b"abc"), SentLine(b"Content-Length", b"1")])
    *_, last = script.frames()
    assert (last.kind, last.flags & END_STREAM, last.fields) == (HEADERS, END_STREAM, [(b"digest", b"abc")])
    assert script.transport.over == [exchange]
