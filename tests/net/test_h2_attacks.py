"""HTTP/2 under attack, over real connections: memory and running calls stay bounded, and others are served."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.wire.h2_bytes import PREFACE, number, raw
from tests.wire.h2_memory import GET, POST, Pairs, block, data, headers, ping, reset, settings, update
from tests.wire.hpack_blocks import incremental, indexed
from trilithon.foundation.limits import H2Limits
from trilithon.wire.h2_codes import (
    CONTINUATION,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    SETTINGS_TIMEOUT,
)

from .h2_peer import DEADLINE_S, Peer, alive, ponged, refused
from .h2_target import BLOCK, OPTIONS, Target

pytestmark = pytest.mark.real

MIB = 2**20
STREAMS = H2Limits().h2_max_streams
CONNECTIONS = 3
# What the process may grow by where nothing is to be kept: pages that the allocator does not give back.
SLACK_BYTES = 16 * MIB


def to(path: bytes, pairs: Pairs = GET) -> Pairs:
    """Return a request for another path."""
    return [(name, path if name == b":path" else value) for name, value in pairs]


HELD = to(b"/held")
LARGE = to(b"/large")


@pytest.fixture(scope="module", params=["asgi", "wsgi", "wsgi-mixed"])
def process(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Start a target, warmed up."""
    with Target(request.param) as running:
        for _ in range(3):
            with Peer(running.address) as peer:
                peer.send(*[headers(1 + 2 * at, GET) for at in range(STREAMS // 2)])
                peer.play(alive)
        yield running


@pytest.fixture
def target(process: Target) -> Iterator[Target]:
    """Attack the target: it must not grow, no call of it may stay behind, and it serves others after all."""
    before = process.ask("forget")
    yield process
    process.ask("release")
    until(lambda: not process.ask()["running"])
    after = process.ask()
    assert after["size"] - before["size"] < SLACK_BYTES
    with Peer(process.address) as other:
        alive(other)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "not in time"


def most_calls(target: Target, connections: int) -> int:
    """Return how many calls may run at once."""
    return STREAMS * connections if target.kind.startswith("asgi") else int(OPTIONS["threads"])


def flood(peer: Peer, frames: list[bytes]) -> None:
    """Send all frames, as far as they are taken by a server that answers and is not read."""
    peer.socket.settimeout(0.3)
    try:
        peer.socket.sendall(b"".join(frames))
    except (TimeoutError, BrokenPipeError, ConnectionResetError):
        pass  # enough
    peer.socket.settimeout(DEADLINE_S)


@pytest.mark.spec("H2-DOS-01")
def test_rapid_reset(target: Target) -> None:
    for _ in range(CONNECTIONS):
        with Peer(target.address) as peer:
            for at in range(0, 3000, 10):
                ids = range(1 + 2 * at, 21 + 2 * at, 2)
                peer.send(*[headers(stream_id, HELD) + reset(stream_id) for stream_id in ids])
            refused(ENHANCE_YOUR_CALM)(peer)
    assert target.ask()["most"] <= most_calls(target, CONNECTIONS)


@pytest.mark.spec("H2-DOS-01")
def test_rapid_reset_of_calls_that_run(target: Target) -> None:
    with Peer(target.address) as peer:
        for at in range(3000):
            peer.send(headers(1 + 2 * at, HELD))
            if at % 20 == 0 and at < 200:
                ponged(peer)
            peer.send(reset(1 + 2 * at))
        refused(ENHANCE_YOUR_CALM)(peer)
    assert target.ask()["most"] <= most_calls(target, 1)


@pytest.mark.spec("H2-DOS-01", "H2-STR-05", "H2-STR-16")
def test_cancelled_calls_keep_their_places_until_they_end(target: Target) -> None:
    most = most_calls(target, 1)
    with Peer(target.address) as peer:
        ids = range(1, 1 + 2 * STREAMS, 2)
        peer.send(*[headers(stream_id, HELD) for stream_id in ids])
        until(lambda: target.ask()["running"] == most)
        running = list(ids)[:most]
        peer.send(*[reset(stream_id) for stream_id in running])
        ponged(peer)
        peer.send(headers(2001, HELD))
        peer.until(lambda sent: sent.kind == RST_STREAM and sent.stream_id == 2001 and sent.code == REFUSED_STREAM)
        assert target.ask()["started"] == most
        target.ask("release")
        until(lambda: not target.ask()["running"])
        # Where a thread calls and a loop keeps the places, a place comes back a moment after the end of its call.
        taken = next(stream_id for stream_id in range(2003, 2103, 2) if is_taken(peer, stream_id))
        assert peer.response(taken) == (200, b"hello")


def is_taken(peer: Peer, stream_id: int) -> bool:
    """Send a request; returns whether it is answered, not refused."""
    ponged(peer)
    peer.send(headers(stream_id, GET))
    first = peer.until(lambda sent: sent.stream_id == stream_id and (sent.ended or sent.kind == RST_STREAM))
    return first.kind != RST_STREAM


PROVOCATIONS: dict[str, Callable[[int], bytes]] = {
    "window update by nothing": lambda at: update(at, 0),
    "window that overflows": lambda at: update(at, 2**31 - 1),
    "priority of a wrong size": lambda at: raw(PRIORITY, 0, at, bytes(4)),
    "priority of itself": lambda at: raw(PRIORITY, 0, at, number(at) + b"\xff"),
    "data behind the end": lambda at: data(at, b"x"),
    "headers behind the end": lambda at: headers(at, GET),
}


@pytest.mark.spec("H2-DOS-02")
@pytest.mark.parametrize("name", PROVOCATIONS)
def test_resets_provoked_from_us(target: Target, name: str) -> None:
    provoke = PROVOCATIONS[name]
    with Peer(target.address) as peer:
        peer.send(*[headers(stream_id, HELD) + provoke(stream_id) for stream_id in range(1, 2000, 2)])
        refused(ENHANCE_YOUR_CALM)(peer)
        resets = [sent for sent in peer.seen if sent.kind == RST_STREAM]
        assert len(resets) < 200
    assert target.ask()["most"] <= most_calls(target, 1)


FLOODS: dict[str, list[bytes]] = {
    "CONTINUATION": [raw(HEADERS, 1, 1, block(GET)), *[raw(CONTINUATION, 0, 1, block([(b"x", b"y" * 999)]))] * 20_000],
    "empty CONTINUATION": [raw(HEADERS, 1, 1), *[raw(CONTINUATION, 0, 1)] * 100_000],
    "SETTINGS": [settings((4, 65535), (1, 4096))] * 20_000,
    "SETTINGS of the table size": [settings((1, at)) for at in range(20_000)],
    "PING": [ping()] * 100_000,
    "empty DATA": [headers(1, POST, end=False), *[data(1, b"")] * 100_000],
    "DATA of padding": [headers(1, POST, end=False), *[raw(0, 8, 1, b"\x00")] * 60_000],
    "empty HEADERS": [headers(1 + 2 * at, []) for at in range(20_000)],
    "fields without names": [headers(1 + 2 * at, [*GET, *[(b"", b"")] * 20]) for at in range(2000)],
    "requests refused": [headers(1 + 2 * at, HELD) for at in range(20_000)],
    "WINDOW_UPDATE": [update(0, 1)] * 100_000,
    "WINDOW_UPDATE of a stream": [headers(1, POST, end=False), *[update(1, 1)] * 100_000],
    "PRIORITY": [raw(PRIORITY, 0, 1 + 2 * at, number(0x80000001 + 2 * (at - 1)) + b"\xff") for at in range(1, 50_000)],
    "PRIORITY_UPDATE": [raw(PRIORITY_UPDATE, 0, 0, number(1) + b"u=%d, i" % (at % 8)) for at in range(50_000)],
    "unknown frames": [raw(0x42, 0xFF, 3, bytes(8))] * 50_000,
    "trailers that do not end": [
        headers(1 + 2 * at, POST, end=False) + headers(1 + 2 * at, [(b"x", b"y")], end=False) for at in range(5000)
    ],
}


@pytest.mark.spec("H2-DOS-03", "H2-DOS-05", "H2-DOS-06", "H2-DOS-07", "H2-DOS-10", "H2-DOS-13")
@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("name", FLOODS)
def test_flood(target: Target, name: str, reads: bool) -> None:
    with Peer(target.address, receive=0 if reads else 4096) as peer:
        flood(peer, FLOODS[name])
        frames = peer.to_end()
        assert [sent.code for sent in frames if sent.kind == GOAWAY] == [ENHANCE_YOUR_CALM]
        assert len(frames) < 2000
    assert target.ask()["most"] <= most_calls(target, 1)


@pytest.mark.spec("H-PRIO-03", "H2-DOS-13")
def test_priorities_of_streams_that_never_come(target: Target) -> None:
    with Peer(target.address) as peer:
        flood(peer, [raw(PRIORITY_UPDATE, 0, 0, number(1 + 2 * at) + b"u=1") for at in range(50_000)])
        refused(PROTOCOL_ERROR)(peer)


@pytest.mark.spec("H2-DOS-04")
def test_hpack_bomb(target: Target) -> None:
    head = block(GET) + incremental(b"x", b"b" * 4000)
    with Peer(target.address) as peer:
        for at in range(40):
            size = 14_000 - len(head)
            peer.send(raw(HEADERS, 5, 1 + 2 * at, head + indexed(62) * size))
            head = block(GET)
        peer.play(alive)
        assert {peer.response(1 + 2 * at)[0] for at in range(40)} == {431}
    assert target.ask()["started"] <= 1


@pytest.mark.spec("H2-DOS-08", "H2-FLOW-07")
def test_windows_that_stay_closed(target: Target) -> None:
    peers = [Peer(target.address) for _ in range(10)]
    before = target.ask()["size"]
    try:
        for peer in peers:
            peer.send(settings((4, 0)), *[headers(1 + 2 * at, LARGE) for at in range(STREAMS)])
        for peer in peers:
            ponged(peer)
        calls = target.ask()
        held = len(peers) * STREAMS * (65536 + 2 * BLOCK)
        assert calls["most"] <= most_calls(target, len(peers))
        assert calls["size"] - before < held + SLACK_BYTES
        if target.kind == "asgi":
            # The time-out of writing ends them all.
            until(lambda: target.ask()["running"] == 0)
            assert target.ask()["started"] == len(peers) * STREAMS
    finally:
        for peer in peers:
            peer.socket.close()


@pytest.mark.spec("H2-DOS-08")
def test_a_client_that_does_not_read(target: Target) -> None:
    with Peer(target.address, receive=4096) as peer:
        peer.send(settings((4, 2**31 - 1)), update(0, 2**30))
        peer.send(*[headers(1 + 2 * at, LARGE) for at in range(STREAMS)])
        until(lambda: target.ask()["started"] >= min(8, most_calls(target, 1)))
        until(lambda: target.ask()["running"] == 0 or target.kind != "asgi")


@pytest.mark.spec("H2-DOS-08", "H2-DOS-10")
def test_dribble(target: Target) -> None:
    with Peer(target.address) as peer:
        peer.send(settings((4, 0)), headers(1, LARGE))
        ponged(peer)
        flood(peer, [update(1, 1)] * 50_000)
        refused(ENHANCE_YOUR_CALM)(peer)


@pytest.mark.spec("H2-DOS-09", "H2-DOS-03")
@pytest.mark.parametrize("rest", [b"", block(GET)[20:]])
def test_slow_headers(target: Target, rest: bytes) -> None:
    with Peer(target.address) as peer:
        peer.send(raw(HEADERS, 1, 1, block(GET)[:20]))
        deadline = time.monotonic() + DEADLINE_S
        for octet in rest:
            # Whatever comes meanwhile, the block is not complete.
            peer.send(raw(CONTINUATION, 0, 1, bytes([octet]))[: 9 if octet % 2 else 10])
            peer.socket.settimeout(0.1)
            try:
                while peer.take() is not None:
                    pass
                break
            except TimeoutError:
                assert time.monotonic() < deadline
        peer.socket.settimeout(DEADLINE_S)
        peer.to_end()
        assert peer.seen[-1].kind == GOAWAY
    assert target.ask()["started"] == 0


@pytest.mark.spec("H2-CONN-14")
def test_settings_that_are_never_acknowledged(target: Target) -> None:
    with Peer(target.address, acknowledges=False) as peer:
        refused(SETTINGS_TIMEOUT)(peer)


@pytest.mark.spec("H2-DOS-12")
def test_identifiers_run_out(target: Target) -> None:
    with Peer(target.address) as peer:
        peer.send(headers(2**31 - 1, GET))
        frames = peer.to_end()
        assert {sent.code for sent in frames if sent.kind == GOAWAY} == {NO_ERROR}
        assert [sent.ended for sent in frames if sent.stream_id == 2**31 - 1][-1]


@pytest.mark.spec("H2-DOS-09", "H2-STR-15")
@pytest.mark.parametrize("declared", [b"100", b"10000000"])
def test_bodies_that_never_come(target: Target, declared: bytes) -> None:
    peers = [Peer(target.address) for _ in range(CONNECTIONS)]
    try:
        for peer in peers:
            ponged(peer)
            pairs = [*POST, (b"content-length", declared)]
            peer.send(*[headers(1 + 2 * at, pairs, end=False) for at in range(STREAMS)])
        for peer in peers:
            statuses = {peer.response(1 + 2 * at)[0] for at in range(STREAMS)}
            assert statuses <= {408, 503}
            alive(peer)
    finally:
        for peer in peers:
            peer.socket.close()
    assert target.ask()["most"] <= most_calls(target, CONNECTIONS)


@pytest.mark.spec("H2-STR-11", "H-LIM-09")
def test_trailers_larger_than_allowed(target: Target) -> None:
    with Peer(target.address) as peer:
        for at in range(20):
            peer.send(headers(1 + 2 * at, POST, end=False), data(1 + 2 * at, b"x"))
            peer.send(headers(1 + 2 * at, [(b"x-%d" % field, b"y" * 400) for field in range(35)]))
            assert peer.response(1 + 2 * at)[0] == 431
        peer.play(alive)


@pytest.mark.spec("H2-CONN-08")
def test_clients_that_end_their_side(target: Target) -> None:
    for _ in range(20):
        with Peer(target.address) as peer:
            peer.send(*[headers(1 + 2 * at, GET) for at in range(20)], headers(41, POST, end=False))
            ponged(peer)
            peer.socket.shutdown(1)
            assert {peer.response(1 + 2 * at) for at in range(20)} == {(200, b"hello")}
            peer.to_end()


@pytest.mark.spec("H2-CONN-01", "H2-DOS-13")
def test_connections_that_say_the_preface_only(target: Target) -> None:
    peers = [Peer(target.address, greeting=PREFACE) for _ in range(100)]
    for peer in peers:
        peer.to_end()
        assert [sent.kind for sent in peer.seen][:1] == [SETTINGS]
        peer.socket.close()
