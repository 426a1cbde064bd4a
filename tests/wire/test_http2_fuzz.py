"""HTTP/2 against a client that sends anything: no error but those of the protocol, and the accounts always balance."""

import random

import pytest

from trilithon.foundation.limits import Buffers, H2Limits
from trilithon.wire.exchange import Inbound, Outbound
from trilithon.wire.h2_session import Standing
from trilithon.wire.h2_stream import StreamState

from .h2_bytes import GREETING, raw
from .h2_memory import GET, POST, SETTINGS_ACK, Script, block, data, headers, ping, release, reset, settings, start
from .h2_memory import update as window_update

LIMITS = H2Limits(h2_max_streams=6, h2_stream_window_bytes=65536, h2_connection_window_bytes=131072)
BUFFERS = Buffers(write_high_water_bytes=2000)


def wild_frame(chance: random.Random, stream_id: int) -> bytes:
    """Return a frame that may or may not be legal now."""
    frames = [
        lambda: headers(stream_id, [(b"trailer-field", b"1")]),
        lambda: data(stream_id, bytes(chance.randrange(16384))),
        lambda: reset(stream_id, chance.randrange(20)),
        lambda: window_update(stream_id, chance.choice((0, 2**31 - 1))),
        lambda: raw(2, 0, stream_id, bytes(chance.choice((4, 5)))),
        lambda: raw(chance.randrange(12), chance.randrange(256), chance.choice((0, stream_id)), chance.randbytes(9)),
    ]
    return chance.choice(frames)()


def next_frame(chance: random.Random, script: Script) -> bytes:
    """Return a frame that is mostly legal for a client that knows what the server knows."""
    streams = script.machine.streams
    new = (script.machine.last_id + 2) | 1
    live = chance.choice(list(streams) or [new])
    sending = [each for each, stream in streams.items() if stream.state is StreamState.OPEN]
    if chance.random() < 0.01:
        return wild_frame(chance, chance.choice((live, new)))
    frames = [
        lambda: headers(new, GET),
        lambda: headers(new, POST, end=False),
        lambda: settings((4, chance.choice((0, 10, 65535, 100_000))), (1, chance.choice((0, 100, 4096)))),
        lambda: window_update(0, chance.choice((1, 70_000))),
        lambda: raw(0x10, 0, 0, live.to_bytes(4, "big") + b"u=%d, i" % chance.randrange(8)),
        lambda: ping(ack=chance.random() < 0.5),
    ]
    weights = [4, 4, 1, 3, 1, 1]
    if streams:
        frames += [lambda: window_update(live, chance.choice((1, 1000, 30_000))), lambda: reset(live)]
        weights += [5, 1]
    if sending:
        target = chance.choice(sending)
        room = min(16384, streams[target].window_in, script.machine.window_in)
        frames += [
            lambda: data(target, bytes(chance.randrange(room + 1)), end=chance.random() < 0.3),
            lambda: raw(0, 8, target, bytes((min(room, 100),)) + bytes(min(room, 100))),
            lambda: headers(target, [(b"trailer-field", b"1")]),
        ]
        weights += [10, 2, 1]
    return chance.choices(frames, weights)[0]()


def act(chance: random.Random, script: Script) -> None:
    """Let one application do something that is allowed to it."""
    if not script.exchanges:
        return
    exchange = chance.choice(script.exchanges)
    if exchange.outbound in (Outbound.ENDED, Outbound.LOST):
        release(exchange)
        script.exchanges.remove(exchange)
        return
    deed = chance.randrange(6)
    if deed == 0:
        exchange.take_body()
    elif deed == 1 and exchange.outbound is Outbound.FRESH:
        start(exchange, fields=[(b"x", b"%d" % chance.randrange(3))])
    elif deed == 2 and exchange.outbound is not Outbound.FRESH:
        exchange.write(bytes(chance.randrange(5000)))
        exchange.carrier.congested()
    elif deed == 3 and exchange.outbound is not Outbound.FRESH:
        exchange.end(bytes(chance.randrange(5000)))
    elif deed == 4:
        exchange.carrier.inform(exchange, 103, b"Link: </a>\r\n")
    elif deed == 5 and chance.random() < 0.2:
        chance.choice((exchange.abort, lambda: exchange.refuse(500)))()


def balance(script: Script) -> None:
    """Check what holds at any time."""
    machine = script.machine
    sender = machine.sender
    assert len(machine.streams) <= LIMITS.h2_max_streams
    assert len(machine.streams) + len(machine.cancelled) <= 2 * LIMITS.h2_max_streams
    assert sender.schedule.count == sum(len(level) for level in sender.schedule.levels)
    assert all(stream.stream_id in machine.streams for level in sender.schedule.levels for stream in level)
    if machine.standing not in (Standing.NEW, Standing.OVER):
        assert machine.window_in + machine.taken == LIMITS.h2_connection_window_bytes
    for stream_id, stream in machine.streams.items():
        assert stream.stream_id == stream_id
        assert stream.state is not StreamState.CLOSED
        if stream.state is StreamState.HALF_CLOSED_LOCAL:
            assert stream.exchange is None and not stream.queued
            continue
        assert stream.exchange is not None
        assert stream.exchange.body_bytes <= LIMITS.h2_stream_window_bytes
        assert stream.window_in + stream.taken in (0, LIMITS.h2_stream_window_bytes)
        assert stream.queued == sum(len(piece) for piece in stream.queue or ()) - stream.offset
        held = sender.holding and 0 < stream.window_out < sender.least_bytes
        assert stream.ready == (stream.queued > 0 and stream.window_out > 0) or (held and not stream.ready)
        assert (stream.exchange.inbound is Inbound.COMPLETE) == (stream.state is StreamState.HALF_CLOSED_REMOTE)
    for exchange in script.transport.over:
        assert exchange.outbound in (Outbound.ENDED, Outbound.LOST)


@pytest.mark.spec("H-LIM-09", "H2-DOS-08")
@pytest.mark.parametrize("seed", range(60))
def test_anything_may_come(seed):
    chance = random.Random(seed)
    script = Script(LIMITS, buffers=BUFFERS)
    for _ in range(300):
        script.now += chance.random()
        for _ in range(chance.randrange(1, 4)):
            script.send(next_frame(chance, script))
        for _ in range(chance.randrange(4)):
            act(chance, script)
        if chance.random() < 0.1:
            script.transport.full = not script.transport.full
            if not script.transport.full:
                script.machine.drained()
        if chance.random() < 0.05:
            script.machine.look(script.now)
        balance(script)
        if script.transport.closed:
            break
    script.frames()
    script.machine.lose()
    assert not script.machine.streams
    assert all(exchange.outbound in (Outbound.ENDED, Outbound.LOST) for exchange in script.exchanges)


@pytest.mark.parametrize("seed", range(40))
def test_any_bytes_may_come(seed):
    chance = random.Random(seed)
    good = GREETING + SETTINGS_ACK + headers(1, POST, end=False) + data(1, b"x") + ping() + headers(3, GET)
    spoilt = bytearray(good)
    for _ in range(chance.randrange(1, 6)):
        spoilt[chance.randrange(24, len(spoilt))] = chance.randrange(256)
    script = Script(LIMITS, greet=False)
    for piece in (bytes(spoilt), chance.randbytes(400), raw(1, 5, 101, block(GET))):
        script.send(piece)
        balance(script)
    script.frames()
