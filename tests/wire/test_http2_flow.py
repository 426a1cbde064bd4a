"""HTTP/2: flow control both ways (RFC 9113 5.2, 6.9), and whose turn it is (RFC 9218)."""

import pytest

from trilithon.foundation.limits import H2Limits, Timeouts
from trilithon.wire.exchange import Exchange, Outbound
from trilithon.wire.h2_codes import (
    CANCEL,
    DATA,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEADERS,
    NO_ERROR,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    RST_STREAM,
    WINDOW_UPDATE,
)
from trilithon.wire.h2_priority import DEFAULT_PRIORITY, pack_priority, read_priority
from trilithon.wire.response import SentLine

from .h2_bytes import number, raw
from .h2_memory import GET, POST, Script, Sent, answer, content, data, headers, news, reset, settings, start, update

LARGEST = 2**31 - 1


def priority_update(stream_id: int, value: bytes, on: int = 0) -> bytes:
    """Return a PRIORITY_UPDATE frame."""
    return raw(PRIORITY_UPDATE, 0, on, number(stream_id) + value)


def order(frames: list[Sent]) -> list[int]:
    """Return the streams of the DATA frames."""
    return [sent.stream_id for sent in frames if sent.kind == DATA]


def credited(frames: list[Sent], stream_id: int) -> int:
    """Return what the window updates for one stream amount to, zero for the connection."""
    found = [sent for sent in frames if sent.kind == WINDOW_UPDATE and sent.stream_id == stream_id]
    return sum(int.from_bytes(sent.payload, "big") for sent in found)


# Sending.


@pytest.mark.spec("H2-FLOW-01")
@pytest.mark.parametrize("size", [3, 5])
def test_a_window_update_of_a_wrong_size_ends_the_connection(size):
    script = Script()
    script.send(raw(WINDOW_UPDATE, 0, 0, bytes(size)))
    assert script.goodbye()[1] == FRAME_SIZE_ERROR


@pytest.mark.spec("H2-FLOW-01")
def test_a_window_update_by_nothing_is_an_error_of_whose_it_is():
    script = Script()
    script.one(headers(1, GET))
    script.send(update(1, 0))
    assert script.resets() == [(1, PROTOCOL_ERROR)]
    script.send(update(0, 0))
    assert script.goodbye() == (1, PROTOCOL_ERROR)


@pytest.mark.spec("H2-FLOW-02")
def test_a_window_that_grows_too_large_is_an_error_of_whose_it_is():
    script = Script()
    script.one(headers(1, GET))
    script.send(update(1, LARGEST - 65535))
    assert script.frames() == []
    script.send(update(1, 1))
    assert script.resets() == [(1, FLOW_CONTROL_ERROR)]
    script.send(update(0, LARGEST - 65535), update(0, 1))
    assert script.goodbye() == (1, FLOW_CONTROL_ERROR)


@pytest.mark.spec("H2-FLOW-03", "H2-FLOW-07")
def test_neither_window_is_overdrawn():
    script = Script()
    body = bytes(range(256)) * 1024
    answer(script.one(headers(1, GET)), body)
    sent = script.frames()
    got = content(sent, 1)
    assert len(got) == 65535
    assert max(len(each.payload) for each in sent if each.kind == DATA) == 16384
    script.send(update(1, 1000))
    assert script.frames() == []
    script.send(update(0, 600))
    got += content(script.frames(), 1)
    assert len(got) == 66135
    script.send(update(0, 2**20))
    got += content(script.frames(), 1)
    assert len(got) == 66535
    assert script.transport.over == []
    script.send(update(1, 2**20))
    last = script.frames()
    assert got + content(last, 1) == body
    assert [each.ended for each in last][-1]
    assert len(script.transport.over) == 1


@pytest.mark.spec("H2-FLOW-03")
def test_the_end_needs_no_window():
    script = Script()
    script.send(settings((4, 0)))
    script.frames()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(b"")
    exchange.end(b"")
    assert [(sent.kind, sent.ended) for sent in script.frames()] == [(HEADERS, False), (DATA, True)]


@pytest.mark.spec("H2-FLOW-04")
def test_a_smaller_initial_window_may_make_windows_negative():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(bytes(60_000))
    script.send(settings((4, 10_000)))
    assert script.machine.streams[1].window_out == 10_000 - 60_000
    exchange.end(b"rest")
    script.send(update(0, 1000))
    assert b"rest" not in content(script.frames(), 1)
    script.send(update(1, 50_000))
    assert content(script.frames(), 1) == b""
    script.send(update(1, 3))
    script.machine.look(script.now)
    assert content(script.frames(), 1) == b"res"
    script.send(settings((4, 10_001)))
    last = script.frames()
    assert content(last, 1) == b"t"
    assert any(sent.ended for sent in last)


@pytest.mark.spec("H2-FLOW-04")
def test_an_initial_window_that_overflows_a_stream_ends_the_connection():
    script = Script()
    script.one(headers(1, GET))
    script.send(update(1, 65536), settings((4, LARGEST)))
    assert script.goodbye() == (1, FLOW_CONTROL_ERROR)


@pytest.mark.spec("H2-FLOW-07", "H2-DOS-08")
def test_a_stream_that_cannot_send_holds_its_application_up_and_is_given_up():
    script = Script(timeouts=Timeouts(write_timeout_s=60))
    stuck, other = script.send(headers(1, GET), headers(3, GET))
    start(stuck)
    script.send(update(0, 2**20))
    stuck.write(bytes(65535))
    assert not stuck.carrier.congested()
    stuck.write(bytes(65537))
    assert stuck.carrier.congested()
    assert not other.carrier.congested()
    script.frames()
    script.machine.look(1000.0)
    script.machine.look(1059.0)
    assert script.frames() == []
    script.machine.look(1060.0)
    assert script.resets() == [(1, CANCEL)]
    assert (stuck.outbound, other.outbound) == (Outbound.LOST, Outbound.FRESH)


def test_a_stream_that_sends_a_little_is_not_given_up():
    script = Script(timeouts=Timeouts(write_timeout_s=60))
    exchange = script.one(headers(1, GET))
    answer(exchange, bytes(100_000))
    for now in range(1000, 1200, 50):
        script.machine.look(float(now))
        script.send(update(1, 1), update(0, 1))
    script.frames()
    assert exchange.outbound is Outbound.ENDED
    assert 1 in script.machine.streams


def test_an_application_goes_on_when_its_stream_has_sent_enough():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(bytes(65535))
    exchange.write(bytes(65537))
    assert exchange.carrier.congested()
    script.send(update(0, 2**20), update(1, 40_000))
    assert "drained" not in news(exchange)
    script.send(update(1, 10_000))
    assert news(exchange) == ["drained"]


@pytest.mark.spec("H2-DOS-08")
def test_a_transport_that_is_full_gets_no_more_data():
    script = Script()
    first, second = script.send(headers(1, GET), headers(3, GET))
    script.send(update(0, 2**20))
    script.transport.full = True
    answer(first, bytes(1000))
    start(second)
    second.write(b"x")
    assert second.carrier.congested()
    assert order(script.frames()) == []
    script.transport.full = False
    script.machine.drained()
    frames = script.frames()
    assert (len(content(frames, 1)), content(frames, 3)) == (1000, b"x")
    assert news(second) == ["drained"]
    assert script.transport.over == [first]


def test_trailers_wait_for_what_is_queued():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(bytes(65536))
    exchange.carrier.send_trailers(exchange, [SentLine(b"digest", b"abc")])
    assert [sent.kind for sent in script.frames()] == [HEADERS, *[DATA] * 4]
    script.send(update(1, 10), update(0, 10))
    last, trailers = script.frames()
    assert (last.kind, last.ended) == (DATA, False)
    assert (trailers.fields, trailers.ended) == ([(b"digest", b"abc")], True)


def test_a_thread_that_waits_for_room_reads_meanwhile():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(bytes(65535))
    exchange.write(bytes(70_000))
    pulls = []

    def pull() -> None:
        pulls.append(1)
        script.send(update(0, 3000), update(1, 3000))

    script.transport.on_pull = pull
    exchange.carrier.push(exchange, True)
    assert len(pulls) == 2
    assert not exchange.carrier.congested()


def test_a_thread_that_waits_for_room_goes_on_when_its_stream_is_over():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    exchange.write(bytes(65535))
    exchange.write(bytes(70_000))
    script.transport.on_pull = lambda: script.send(reset(1))
    exchange.carrier.push(exchange, True)
    assert exchange.outbound is Outbound.LOST
    exchange.carrier.push(exchange, True)


def test_what_is_small_does_not_overtake_what_is_queued():
    script = Script()
    first, second = script.send(headers(1, GET), headers(3, GET))
    script.transport.full = True
    answer(first, bytes(40_000))
    script.transport.full = False
    answer(second, b"x")
    assert order(script.frames()) == [1, 1, 1, 3]


def test_a_stream_that_is_reset_sends_nothing_of_its_queue():
    script = Script()
    queue(script, [b"u=0", b"u=1"])
    script.send(reset(1))
    script.machine.drained()
    assert set(order(script.frames())) == {3}


# Receiving.


@pytest.mark.spec("H2-FLOW-05")
def test_a_client_that_overdraws_its_stream_is_reset():
    script = Script(H2Limits(h2_stream_window_bytes=65536))
    exchange = script.one(headers(1, POST, end=False), *[data(1, bytes(16384))] * 4)
    assert exchange.body_bytes == 65536
    script.send(data(1, b"x"))
    assert script.resets() == [(1, FLOW_CONTROL_ERROR)]
    assert script.alive()


@pytest.mark.spec("H2-FLOW-05")
def test_a_client_that_overdraws_the_connection_is_shut_out():
    script = Script(H2Limits(h2_connection_window_bytes=65535))
    script.send(headers(1, POST, end=False), *[data(1, bytes(16384))] * 4)
    assert script.goodbye() == (1, FLOW_CONTROL_ERROR)


@pytest.mark.spec("H2-FLOW-06")
def test_a_stream_is_credited_as_its_application_reads():
    script = Script(H2Limits(h2_stream_window_bytes=65536))
    exchange = script.one(headers(1, POST, end=False), *[data(1, bytes(16384))] * 3)
    assert credited(script.frames(), 1) == 0
    exchange.carrier.want_body(exchange)
    assert credited(script.frames(), 1) == 0
    assert len(exchange.take_body()) == 3 * 16384
    assert credited(script.frames(), 1) == 3 * 16384
    script.send(data(1, bytes(10)))
    assert exchange.take_body() == bytes(10)
    assert script.frames() == []


@pytest.mark.spec("H2-FLOW-06", "H2-DOS-08")
def test_an_application_that_does_not_read_holds_up_no_other():
    script = Script(H2Limits(h2_stream_window_bytes=65536, h2_connection_window_bytes=131072))
    stuck = [script.one(headers(1 + 2 * each, POST, end=False)) for each in range(8)]
    for each in range(8):
        script.send(*[data(1 + 2 * each, bytes(16384))] * 4)
    assert [exchange.body_bytes for exchange in stuck] == [65536] * 8
    reading = script.one(headers(17, POST, end=False))
    total = 0
    for _ in range(32):
        script.send(*[data(17, bytes(16384))] * 2)
        total += len(reading.take_body())
    assert total == 2**20
    assert not script.transport.closed


def test_a_body_whose_rest_fits_the_window_is_not_credited():
    script = Script(H2Limits(h2_stream_window_bytes=65536))
    exchange = script.one(headers(1, [*POST, (b"content-length", b"90152")], end=False), *[data(1, bytes(16384))] * 3)
    exchange.take_body()
    assert credited(script.frames(), 1) == 3 * 16384
    script.send(*[data(1, bytes(10_000))] * 4)
    exchange.take_body()
    assert credited(script.frames(), 1) == 0


def test_content_behind_an_answer_that_waits_for_its_window_is_dropped():
    script = Script()
    exchange = script.one(headers(1, POST, end=False))
    answer(exchange, bytes(70_000))
    script.send(data(1, b"late"))
    assert exchange.body_bytes == 0
    script.frames()
    script.send(update(1, 10_000), update(0, 10_000))
    last, stop = script.frames()
    assert (last.ended, stop.kind, stop.code) == (True, RST_STREAM, NO_ERROR)


@pytest.mark.spec("H2-DOS-07")
def test_a_body_in_tiny_pieces_takes_no_more_memory_than_a_whole_one():
    script = Script()
    exchange = script.one(headers(1, POST, end=False))
    script.send(*[data(1, b"ab")] * 5000)
    assert len(exchange.body) <= 64
    assert exchange.take_body() == b"ab" * 5000


# Whose turn it is.


@pytest.mark.spec("H-PRIO-02")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", (3, False)),
        (b"u=0", (0, False)),
        (b"u=7, i", (7, True)),
        (b"i", (3, True)),
        (b"i=?1;x=1,u=5;a", (5, True)),
        (b"i=?0", (3, False)),
        (b"u=8", (3, False)),
        (b"u=-1, i", (3, True)),
        (b"u=1.5", (3, False)),
        (b'u="1"', (3, False)),
        (b"i=1", (3, False)),
        (b"u=1, u=2", (2, False)),
        (b'x=(a "b" 1;q=1), u=2', (2, False)),
        (b"x=:YWJj:, y=tok/en, u=2", (2, False)),
        (b"u=2,", (3, False)),
        (b"u=2 i", (3, False)),
        (b"U=2", (3, False)),
        (b"u=2, \xff", (3, False)),
        (b"u=2" + b", a=1" * 100, (3, False)),
    ],
)
def test_priorities_are_read(value, expected):
    assert read_priority(value) == read_priority(value) == pack_priority(*expected)
    script = Script()
    if value.strip() == value:
        exchange = script.one(headers(1, [*GET, (b"priority", value)]))
        assert exchange.carrier.priority == pack_priority(*expected)


def queue(script: Script, priorities: list[bytes], size: int = 40_000) -> list[Exchange]:
    """Open a stream for each priority and answer all with nothing on the wire yet; then open the windows."""
    script.transport.full = True
    opened = script.send(
        *[headers(1 + 2 * at, [*GET, (b"priority", value)]) for at, value in enumerate(priorities)],
        update(0, 2**24),
    )
    for exchange in opened:
        answer(exchange, bytes(size))
    script.transport.full = False
    script.frames()
    return opened


@pytest.mark.spec("H-PRIO-05")
def test_the_most_urgent_is_sent_first_and_one_after_the_other():
    script = Script()
    queue(script, [b"u=5", b"u=1", b"u=1", b"u=0"])
    script.machine.drained()
    assert order(script.frames()) == [7, 7, 7, 3, 3, 3, 5, 5, 5, 1, 1, 1]


@pytest.mark.spec("H-PRIO-05")
def test_incremental_responses_take_turns():
    script = Script()
    queue(script, [b"i", b"i", b"i"])
    script.machine.drained()
    assert order(script.frames()) == [1, 3, 5] * 3


@pytest.mark.spec("H-PRIO-05")
def test_responses_that_may_never_end_take_turns_whatever_was_asked():
    script = Script()
    script.transport.full = True
    opened = script.send(headers(1, GET), headers(3, GET), headers(5, [*GET, (b"priority", b"u=3")]), update(0, 2**24))
    for exchange in opened:
        start(exchange)
        exchange.write(bytes(40_000))
    script.transport.full = False
    script.frames()
    script.machine.drained()
    assert order(script.frames()) == [1, 3, 5] * 3


@pytest.mark.spec("H-PRIO-05")
def test_an_urgent_stream_without_a_window_holds_up_no_other():
    script = Script()
    queue(script, [b"u=0", b"u=7"], 70_000)
    script.machine.drained()
    frames = script.frames()
    assert [len(content(frames, 1)), len(content(frames, 3))] == [65535, 65535]
    script.send(update(3, 70_000))
    assert len(content(script.frames(), 3)) == 70_000 - 65535


@pytest.mark.spec("H-PRIO-03")
def test_a_priority_can_be_changed_before_and_after_the_request():
    script = Script()
    script.send(priority_update(5, b"u=0"))
    queue(script, [b"u=2", b"u=1", b"u=6"])
    script.send(priority_update(1, b"u=7"), priority_update(99, b"u=3"), update(0, 1))
    assert order(script.frames()) == [5, 5, 5, 3, 3, 3, 1, 1, 1]
    script.send(priority_update(1, b"u=0"))
    assert script.frames() == []


@pytest.mark.spec("H-PRIO-03")
@pytest.mark.parametrize(
    "sent", [priority_update(1, b"u=1", on=1), priority_update(0, b"u=1"), priority_update(2, b"")]
)
def test_a_priority_of_no_request_ends_the_connection(sent):
    script = Script()
    script.send(sent)
    assert script.goodbye() == (0, PROTOCOL_ERROR)


@pytest.mark.spec("H-PRIO-03", "H-LIM-09")
def test_priorities_of_too_many_idle_streams_end_the_connection():
    script = Script(H2Limits(h2_max_streams=3))
    script.send(*[priority_update(1 + 2 * at, b"u=1") for at in range(3)], priority_update(1, b"u=2"))
    assert script.frames() == []
    script.send(priority_update(7, b"u=1"))
    assert script.goodbye() == (0, PROTOCOL_ERROR)


@pytest.mark.spec("H-PRIO-01")
def test_priorities_of_the_older_kind_are_ignored():
    script = Script()
    exchange = script.one(headers(1, GET), raw(2, 0, 1, b"\x80\x00\x00\x03\x00"))
    assert exchange.carrier.priority == DEFAULT_PRIORITY
    assert script.frames() == []
