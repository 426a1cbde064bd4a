"""HTTP/2 under attack: memory, answers and running calls stay bounded whatever the client does."""

import pytest

from trilithon.foundation.limits import H2Limits
from trilithon.wire.exchange import Exchange
from trilithon.wire.h2_codes import CONTINUATION, DATA, ENHANCE_YOUR_CALM, HEADERS, PRIORITY, WINDOW_UPDATE
from trilithon.wire.h2_guard import BUDGETS, DRIBBLES, PINGS, PROVOKED, RESETS, SETTINGS_FRAMES, WINDOW_FRAMES

from .h2_bytes import number, raw
from .h2_memory import (
    GET,
    POST,
    Script,
    answer,
    block,
    content,
    data,
    headers,
    ping,
    release,
    reset,
    settings,
    start,
    update,
)


def calls(script: Script, returned: list[Exchange]) -> int:
    """Return how many calls of the application are running."""
    return len(script.exchanges) - len(returned)


def flood(script: Script, frames: list[bytes]) -> int:
    """Send frames one by one until the connection is closed; returns how many it took."""
    for count, frame in enumerate(frames):
        script.send(frame)
        if script.transport.closed:
            return count
    return len(frames)


def burst(kind: int) -> int:
    """Return how many of a kind are allowed at once."""
    return int(BUDGETS[kind][1])


@pytest.mark.spec("H2-DOS-01", "H2-STR-16")
def test_rapid_reset_ends_the_connection_and_runs_no_more_calls_than_streams():
    script = Script(H2Limits(h2_max_streams=10))
    most = 0
    sent = 0
    while not script.transport.closed and sent < 2000:
        script.send(headers(1 + 2 * sent, GET))
        script.send(reset(1 + 2 * sent))
        sent += 1
        most = max(most, calls(script, []))
    assert most == 10
    assert len(script.machine.cancelled) <= 10
    assert not script.machine.streams
    assert script.transport.closed
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM


@pytest.mark.spec("H2-DOS-01", "H-LIM-09")
def test_so_many_cancelled_requests_are_allowed_and_not_one_more():
    script = Script()
    frames = []
    for at in range(burst(RESETS) + 1):
        frames += [headers(1 + 2 * at, GET), reset(1 + 2 * at)]
    script.send(*frames[:-2])
    assert not script.transport.closed
    script.send(*frames[-2:])
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM
    assert script.exchanges == []


@pytest.mark.spec("H2-DOS-01")
def test_a_client_that_cancels_now_and_then_is_served():
    script = Script()
    for at in range(3 * burst(RESETS)):
        script.now += 0.1
        exchange = script.one(headers(1 + 2 * at, GET))
        script.send(reset(1 + 2 * at))
        release(exchange)
    assert script.alive()


@pytest.mark.spec("H2-DOS-01")
def test_a_cancelled_call_keeps_its_place_until_it_has_returned():
    script = Script(H2Limits(h2_max_streams=2))
    first, second = script.send(headers(1, GET), headers(3, GET))
    script.send(reset(1), reset(3))
    assert script.send(headers(5, GET)) == []
    assert script.resets() == [(5, 7)]
    release(first)
    assert len(script.send(headers(7, GET))) == 1
    release(second)
    assert len(script.send(headers(9, GET))) == 1


PROVOCATIONS = {
    "window update by nothing": lambda at: update(at, 0),
    "window that overflows": lambda at: update(at, 2**31 - 1),
    "priority of a wrong size": lambda at: raw(PRIORITY, 0, at, bytes(4)),
    "priority of itself": lambda at: raw(PRIORITY, 0, at, number(at) + b"\x00"),
    "data behind the end": lambda at: data(at, b"x"),
    "headers behind the end": lambda at: headers(at, GET),
    "less than declared": lambda at: headers(at + 2, [*POST, (b"content-length", b"1")]),
    "malformed": lambda at: headers(at + 2, [*GET, (b"A", b"b")]),
}


@pytest.mark.spec("H2-DOS-02", "H-LIM-09")
@pytest.mark.parametrize("name", PROVOCATIONS)
def test_resets_that_are_provoked_from_us_are_counted(name):
    script = Script(H2Limits(h2_max_streams=10))
    provoke = PROVOCATIONS[name]
    provoked = 0
    while not script.transport.closed and provoked < 1000:
        stream_id = 1 + 4 * provoked
        script.send(headers(stream_id, GET))
        script.send(provoke(stream_id))
        provoked += 1
        assert calls(script, []) <= 10
        if len(script.machine.streams) + len(script.machine.cancelled) >= 10:
            for exchange in script.exchanges:
                release(exchange)
            for stream in list(script.machine.streams.values()):
                answer(stream.exchange, b"")
            script.exchanges.clear()
    assert burst(PROVOKED) < provoked < 2 * burst(PROVOKED)  # some meet the limit of streams first
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM


@pytest.mark.spec("H2-DOS-03", "H-LIM-09")
@pytest.mark.parametrize("piece", [b"", bytes([0, 1, 0x61, 1, 0x62])])
def test_a_field_block_may_have_so_many_continuations(piece):
    for extra, opened in ((0, 1), (1, 0)):
        script = Script(H2Limits(h2_max_continuations=4))
        frames = [raw(HEADERS, 1, 1, block(GET))] + [raw(CONTINUATION, 0, 1, piece)] * (3 + extra)
        assert len(script.send(*frames, raw(CONTINUATION, 4, 1))) == opened
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM


@pytest.mark.spec("H2-DOS-03")
def test_a_field_block_may_be_so_large():
    script = Script(H2Limits(h2_max_continuations=100))
    pieces = [raw(HEADERS, 1, 1, b"\x00\x01a\x7f" + b"x" * 100)]
    count = flood(script, pieces + [raw(CONTINUATION, 0, 1, bytes(16384))] * 20)
    assert count <= 8
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM


@pytest.mark.spec("H2-DOS-05")
def test_settings_are_taken_so_often():
    script = Script()
    assert flood(script, [settings((4, 70000 + at)) for at in range(1000)]) <= burst(SETTINGS_FRAMES)
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM
    script = Script()
    script.send(settings(*[(0xFF00, 1)] * 33))
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM


@pytest.mark.spec("H2-DOS-06")
def test_pings_are_answered_so_often():
    script = Script()
    assert flood(script, [ping()] * 1000) == burst(PINGS)
    assert len(script.transport.written) < 100 + 20 * burst(PINGS)
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM
    script = Script()
    for _ in range(10 * burst(PINGS)):
        script.now += 0.1
        script.send(ping())
    assert script.alive()


EMPTY = {
    "data": [data(1, b"")],
    "padding": [raw(0, 8, 1, b"\x00")],
    "priority": [raw(PRIORITY, 0, 1, bytes(5))],
    "unknown": [raw(0x42)],
    "reset": [reset(3)],
    "update": [update(0, 1)],
    "goaway": [raw(7, 0, 0, number(0) * 2)],
    "priority update": [raw(0x10, 0, 0, number(1) + b"u=1")],
}


@pytest.mark.spec("H2-DOS-06")
def test_patience_does_not_save_up():
    script = Script()
    script.send(ping())
    script.now += 1e6
    assert flood(script, [ping()] * 1000) == burst(PINGS)


@pytest.mark.spec("H2-DOS-07", "H2-DOS-10")
@pytest.mark.parametrize("name", EMPTY)
def test_frames_that_do_nothing_are_taken_so_often(name):
    script = Script()
    script.one(headers(1, POST, end=False))
    answer(script.one(headers(3, GET)), b"")
    script.frames()
    assert flood(script, EMPTY[name] * 3000) <= 2000
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM
    assert len(script.transport.written) < 1000


@pytest.mark.spec("H2-DOS-07")
def test_fields_without_a_name_are_malformed_and_counted():
    script = Script()
    frames = [headers(1 + 2 * at, [*GET, (b"", b"")]) for at in range(1000)]
    assert flood(script, frames) == burst(PROVOKED)
    assert script.exchanges == []


@pytest.mark.spec("H2-DOS-10")
def test_window_updates_for_what_was_sent_are_no_flood():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    for _ in range(5000):
        exchange.write(b"x")
        script.send(update(1, 1), update(0, 1))
    exchange.end(b"")
    assert script.alive()


@pytest.mark.spec("H2-DOS-08", "H2-DOS-10")
@pytest.mark.parametrize(("window", "stream_id"), [(0, 1), (255, 1), (0, 0)])
def test_a_response_dribbles_out_so_fast_and_no_faster(window, stream_id):
    script = Script()
    exchange = script.one(settings((4, window)), headers(1, GET))
    start(exchange)
    exchange.write(bytes(100_000))
    if not stream_id:
        script.send(update(1, 90_000))
    assert flood(script, [update(stream_id, 1)] * 3000) == burst(DRIBBLES)
    assert script.goodbye()[1] == ENHANCE_YOUR_CALM


@pytest.mark.spec("H2-DOS-08", "H2-DOS-10")
@pytest.mark.parametrize("stream_id", [0, 1])
@pytest.mark.parametrize("window", [256, 65535])
def test_octets_are_not_sent_one_by_one_where_windows_were_larger(window, stream_id):
    script = Script()
    exchange = script.one(settings((4, window)), headers(1, GET))
    start(exchange)
    exchange.write(bytes(1_000_000))
    if not stream_id:
        script.send(settings((4, 2**20)))
    script.frames()
    assert flood(script, [update(stream_id, 1)] * 5000) < 2000 + burst(WINDOW_FRAMES)
    sizes = [len(sent.payload) for sent in script.frames() if sent.kind == DATA]
    assert all(size >= 64 for size in sizes)


@pytest.mark.spec("H2-DOS-10")
def test_a_client_that_credits_each_frame_is_served_at_any_speed_in_frames_of_a_size():
    script = Script()
    exchange = script.one(settings((4, 4000)), headers(1, GET))
    start(exchange)
    # Four whole pieces and a little fit into the window.
    pieces = 6 * burst(DRIBBLES)
    for _ in range(pieces):
        exchange.write(b"x" * 990)
    sizes = []
    while sum(sizes) < 990 * pieces:
        fresh = [len(sent.payload) for sent in script.frames() if sent.kind == DATA]
        assert fresh, "nothing comes any more"
        sizes += fresh
        for size in fresh:
            script.send(update(0, size), update(1, size))
    assert len(sizes) <= pieces + 4000 / 256
    assert not script.transport.closed


@pytest.mark.spec("H2-FLOW-03")
@pytest.mark.parametrize("stream_id", [0, 1])
def test_the_last_octets_of_a_window_are_sent_when_no_larger_one_comes(stream_id):
    script = Script()
    exchange = script.one(settings((4, 65000 if stream_id else 100_000)), headers(1, GET))
    start(exchange)
    exchange.write(b"x" * 65000)
    for _ in range(100):
        exchange.write(b"x" * 100)
    script.frames()
    script.send(update(stream_id, 110))
    assert script.frames() == []
    script.machine.look(1000.0)
    assert len(content(script.frames(), 1)) == 110
    # And from then on as before.
    script.send(update(stream_id, 120))
    assert script.frames() == []
    script.send(update(stream_id, 200))
    assert content(script.frames(), 1)


@pytest.mark.spec("H2-DOS-10")
def test_small_windows_are_served_at_their_pace():
    script = Script()
    exchange = script.one(settings((4, 0)), headers(1, GET))
    start(exchange)
    exchange.end(b"x" * 2 * burst(DRIBBLES))
    for _ in range(2 * burst(DRIBBLES)):
        script.now += 0.05
        script.send(update(1, 1))
    assert script.frames()[-1].ended
    assert not script.transport.closed


@pytest.mark.spec("H2-DOS-06", "H2-DOS-08")
def test_a_client_that_does_not_read_is_not_read_either():
    script = Script()
    script.transport.full = True
    sent = 0
    while not script.transport.paused and sent < 10_000:
        for exchange in script.send(headers(1 + 2 * sent, GET)):
            answer(exchange, b"", fields=[(b"x", bytes([0x61]) * 100)])
        sent += 1
    assert sent < 10_000
    assert len(script.transport.written) < 100_000
    assert not script.transport.closed
    script.transport.full = False
    script.machine.drained()
    assert not script.transport.paused
    assert script.alive()


@pytest.mark.spec("H2-DOS-08")
def test_what_a_client_may_have_under_way_is_bounded():
    limits = H2Limits()
    script = Script(limits)
    for at in range(limits.h2_max_streams):
        script.send(headers(1 + 2 * at, POST, end=False))
    for _ in range(8):
        for at in range(limits.h2_max_streams):
            script.send(data(1 + 2 * at, bytes(16384)))
    held = sum(exchange.body_bytes for exchange in script.exchanges)
    assert held == limits.h2_max_streams * limits.h2_stream_window_bytes
    credit = [sent.stream_id for sent in script.frames() if sent.kind == WINDOW_UPDATE]
    assert set(credit) == {0}
