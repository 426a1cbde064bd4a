"""Fragmented messages: put together in every way they can be cut, refused when out of order, bounded in size."""

import asyncio
import itertools
import random
import tracemalloc
from collections.abc import Iterator

import pytest
from asgi_apps import Notes, Receive, Scope, Send
from socket_apps import Desk, accepted, message, open_desk, read_on, sockets_only
from socket_client import (
    BINARY,
    CONTINUATION,
    CUTS,
    PING,
    PONG,
    TEXT,
    SocketClient,
    close_frame,
    fragments,
    frame,
)

from trilithon.testing import serve

pytestmark = [pytest.mark.real, pytest.mark.spec("WS-ASGI-05")]

LIMIT_BYTES = 1000
every_cut = pytest.mark.parametrize("cut", CUTS)
either_kind = pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with open_desk() as found:
        yield found


@pytest.fixture(scope="module")
def narrow() -> Iterator[Desk]:
    with open_desk(ws_max_size_bytes=LIMIT_BYTES) as found:
        yield found


def as_told(opcode: int, data: bytes) -> str | bytes:
    """Return what the application is given for a message."""
    return data.decode() if opcode == TEXT else data


def compositions(data: bytes) -> Iterator[list[bytes]]:
    """Yield every way to cut `data` into parts that are not empty."""
    for chosen in itertools.product((False, True), repeat=len(data) - 1):
        places = [0, *(place for place, cuts in enumerate(chosen, 1) if cuts), len(data)]
        yield [data[start:end] for start, end in itertools.pairwise(places)]


@every_cut
@either_kind
@pytest.mark.spec("WS-FRG-03", "WS-CTL-06")
def test_a_message_in_all_chops_is_put_together(desk: Desk, opcode: int, cut: str) -> None:
    data = b"frag5"
    chops = list(compositions(data))
    with desk.open(cut=cut) as guest:
        for parts in chops:
            guest.send(*fragments(opcode, parts))
            guest.expect((opcode, data))
            for number, piece in enumerate(fragments(opcode, parts)):
                guest.send(piece)
                if number < len(parts) - 1:
                    guest.send(frame(PING, parts[number]))
                    guest.expect((PONG, parts[number]))
            guest.expect((opcode, data))
        guest.ends(*[as_told(opcode, data)] * 2 * len(chops))


@every_cut
@either_kind
@pytest.mark.spec("WS-FRG-03", "WS-UTF-02")
def test_a_character_in_all_chops_is_put_together(desk: Desk, opcode: int, cut: str) -> None:
    data = "€😀".encode()
    chops = list(compositions(data))
    with desk.open(cut=cut) as guest:
        for parts in chops:
            guest.send(*fragments(opcode, parts))
            guest.expect((opcode, data))
        guest.ends(*[as_told(opcode, data)] * len(chops))


@every_cut
@either_kind
@pytest.mark.spec("WS-FRG-03", "WS-ASGI-03")
@pytest.mark.parametrize(
    "parts",
    [
        [b"", b""],
        [b"", b"", b""],
        [b"", b"middle", b""],
        [b"first", b"", b"last"],
        [b"", b"last"],
        [b"first", b""],
        [b""] * 100 + [b"x"] + [b""] * 100,
        [b"x"] * 300,
        [b"a" * 125, b"b" * 126, b"c" * 127, b"d" * 200],
    ],
    ids=lambda parts: "+".join(str(len(each)) for each in parts[:5]),
)
def test_empty_and_many_fragments_are_legal(desk: Desk, parts: list[bytes], opcode: int, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(*fragments(opcode, parts), frame(TEXT, "next"))
        guest.expect((opcode, b"".join(parts)), (TEXT, "next"))
        guest.ends(as_told(opcode, b"".join(parts)), "next")


@either_kind
@pytest.mark.spec("WS-FRG-03", "WS-FR-09")
@pytest.mark.parametrize(("total", "size"), [(65536, 1300), (1 << 18, 64), (1 << 20, 1024), (4 << 20, 65536)])
def test_a_long_message_in_fragments_is_put_together(desk: Desk, opcode: int, total: int, size: int) -> None:
    data = b"*" * total if opcode == TEXT else random.Random(total).randbytes(total)
    parts = [data[start : start + size] for start in range(0, total, size)]
    with desk.open() as guest:
        guest.send(*fragments(opcode, parts))
        guest.expect((opcode, data))
        guest.ends(as_told(opcode, data))


@pytest.mark.spec("WS-FRG-03")
@pytest.mark.parametrize("seed", range(4))
def test_fragmented_and_whole_messages_may_follow_each_other(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    sent, expected = [], []
    for _ in range(60):
        opcode = chance.choice((TEXT, BINARY))
        data = bytes(chance.randrange(32, 127) for _ in range(chance.choice((0, 1, 20, 126, 400))))
        places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(5)))
        cuts = [0, *places, len(data)]
        sent += fragments(opcode, [data[start:end] for start, end in itertools.pairwise(cuts)])
        expected.append((opcode, data))
    with desk.open(cut="random") as guest:
        guest.send(*sent)
        guest.expect(*expected)
        guest.ends(*(as_told(opcode, data) for opcode, data in expected))


# Out of order: Autobahn 5.9 to 5.18.


@every_cut
@pytest.mark.spec("WS-FRG-01", "WS-ASGI-01", "WS-ASGI-02")
@pytest.mark.parametrize("payload", [b"", b"non-continuation payload"], ids=["empty", "filled"])
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
def test_a_continuation_of_nothing_fails(desk: Desk, fin: bool, payload: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(CONTINUATION, payload, fin=fin), frame(TEXT, "Hello, world!"))
        guest.fails(1002)


@every_cut
@either_kind
@pytest.mark.spec("WS-FRG-01", "WS-ASGI-02")
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
def test_a_continuation_behind_a_whole_message_fails(desk: Desk, fin: bool, opcode: int, cut: str) -> None:
    for frames in ([frame(opcode, b"whole")], fragments(opcode, [b"wh", b"ole"])):
        with desk.open(cut=cut) as guest:
            guest.send(*frames)
            guest.expect((opcode, b"whole"))
            guest.send(frame(CONTINUATION, b"more", fin=fin), frame(TEXT, "after"))
            guest.fails(1002, as_told(opcode, b"whole"))


@pytest.mark.spec("WS-FRG-01")
def test_a_stray_continuation_fails_again_and_again(desk: Desk) -> None:
    stray = [frame(CONTINUATION, b"fragment", fin=False), *fragments(TEXT, [b"fragment2", b"fragment3"])]
    with desk.open() as guest:
        guest.send(*stray, *stray)
        guest.fails(1002)


@every_cut
@pytest.mark.spec("WS-FRG-02", "WS-ASGI-01", "WS-ASGI-02")
@pytest.mark.parametrize("first", [TEXT, BINARY])
@pytest.mark.parametrize("second", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
def test_a_message_inside_another_fails(desk: Desk, first: int, second: int, fin: bool, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(first, b"fragment1", fin=False), frame(second, b"fragment2", fin=fin), frame(PING))
        guest.fails(1002)


@pytest.mark.spec("WS-FRG-02")
def test_a_message_inside_another_fails_behind_empty_fragments_and_pings(desk: Desk) -> None:
    with desk.open() as guest:
        guest.send(frame(BINARY, fin=False), frame(CONTINUATION, fin=False), frame(PING, b"p"))
        guest.expect((PONG, b"p"))
        guest.send(frame(TEXT))
        guest.fails(1002)


# A message that ends too early, or never.


@every_cut
@either_kind
@pytest.mark.spec("WS-FRG-06", "WS-CLS-01")
def test_a_close_inside_a_message_is_an_orderly_close(desk: Desk, opcode: int, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(opcode, b"part", fin=False), close_frame(1001, "going"), frame(CONTINUATION, b"rest"))
        guest.expect_close(1001)
        guest.expect_end()
        guest.told(code=1001, reasons=("going",))


@pytest.mark.spec("WS-FRG-06", "WS-CLS-13")
@pytest.mark.parametrize("part", [frame(TEXT, "part", fin=False), frame(TEXT, "part")[:-1], frame(TEXT, "part")[:3]])
def test_a_connection_that_ends_inside_a_message_delivers_nothing_of_it(desk: Desk, part: bytes) -> None:
    with desk.open() as guest:
        guest.send(part)
        guest.half_close()
        guest.told(code=1006)


@every_cut
@either_kind
@pytest.mark.spec("WS-FRG-05", "WS-LIM-01", "WS-ASGI-01")
@pytest.mark.parametrize(
    "sizes",
    [[LIMIT_BYTES, 1], [LIMIT_BYTES // 2 + 1] * 2, [100] * 11, [1, LIMIT_BYTES], [0, LIMIT_BYTES + 1]],
    ids=str,
)
def test_fragments_that_pass_the_limit_together_fail(narrow: Desk, sizes: list[int], opcode: int, cut: str) -> None:
    with narrow.open(cut=cut) as guest:
        frames = [frame(opcode, b"x" * sizes[0], fin=False)]
        frames += [frame(CONTINUATION, b"x" * size, fin=False) for size in sizes[1:-1]]
        guest.send(*frames)
        guest.expect_alive()
        # The last head alone says that it is too much.
        guest.send(frame(CONTINUATION, length=sizes[-1]))
        guest.fails(1009)


@either_kind
@pytest.mark.spec("WS-FRG-05", "WS-LIM-01")
def test_fragments_of_the_limit_together_are_taken(narrow: Desk, opcode: int) -> None:
    with narrow.open() as guest:
        for _ in range(3):
            guest.send(*fragments(opcode, [b"x" * 100] * (LIMIT_BYTES // 100)))
            guest.expect((opcode, b"x" * LIMIT_BYTES))
        guest.ends(*[as_told(opcode, b"x" * LIMIT_BYTES)] * 3)


@pytest.mark.spec("WS-FRG-04")
def test_many_empty_fragments_are_cheap(desk: Desk) -> None:
    empty = frame(CONTINUATION, fin=False) * 2000
    with desk.open() as guest:
        guest.send(frame(BINARY, b"<", fin=False))
        tracemalloc.start()
        try:
            for _ in range(20):
                guest.send(empty)
            guest.expect_alive()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1 << 20, f"{peak >> 10} KiB are held for fragments of nothing"
        guest.send(frame(CONTINUATION, b">"))
        guest.expect((BINARY, b"<>"))
        guest.ends(b"<>")


@either_kind
@pytest.mark.spec("WS-FRG-04", "WS-FR-11")
def test_tiny_fragments_cost_little_more_than_their_bytes(desk: Desk, opcode: int) -> None:
    count = 40_000
    tiny = frame(CONTINUATION, b"xy", fin=False) * 2000
    with desk.open() as guest:
        tracemalloc.start()
        try:
            guest.send(frame(opcode, fin=False))
            for _ in range(count // 2000):
                guest.send(tiny)
            guest.expect_alive()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1 << 20, f"{peak >> 10} KiB are held for {2 * count >> 10} KiB"
        guest.send(frame(CONTINUATION))
        guest.expect((opcode, b"xy" * count))
        guest.ends(as_told(opcode, b"xy" * count))


# What the server sends.


@pytest.mark.spec("WS-FRG-07", "WS-FR-10")
def test_messages_sent_at_once_from_many_tasks_are_not_interleaved() -> None:
    notes = Notes()
    data = [bytes([number]) * (200_000 + number) for number in range(8)]

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        await asyncio.gather(*(send(message(each)) for each in data))
        await read_on(receive, notes)

    with serve(app) as site, SocketClient(site) as client:
        found = {}
        while len(found) < len(data):
            each = client.next()
            assert each is not None and each.opcode == BINARY and each.fin
            found[each.payload[0]] = each.payload
        assert [found[number] for number in range(len(data))] == data
        client.shake()
    assert notes.next() == ("disconnect", 1000, "")
