"""Compressed WebSocket messages (RFC 7692) over real connections: offers, blocks of every kind, bombs, corruption."""

import itertools
import random
import re
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_apps import error_records
from socket_apps import Desk, open_desk
from socket_client import (
    BINARY,
    CONTINUATION,
    CUTS,
    DEFLATE,
    PING,
    PONG,
    RSV1,
    TAIL,
    TEXT,
    Squeezed,
    close_frame,
    fragments,
    frame,
    parameters,
)
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

pytestmark = [pytest.mark.real, pytest.mark.spec("WS-ASGI-05")]

every_cut = pytest.mark.parametrize("cut", CUTS)
HELLO = bytes.fromhex("f248cdc9c90700")
LIMIT_BYTES = 1000
SIZES = [0, 1, 16, 64, 127, 128, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072]
PLAIN_PARAMETERS = {"server_no_context_takeover", "client_no_context_takeover"}


def offering(*values: str) -> dict[str, Any]:
    """Return the keywords that make a client offer this, a field line each."""
    return {"fields": [("Sec-WebSocket-Extensions", value) for value in values]}


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with open_desk() as found:
        yield found


@pytest.fixture(scope="module")
def eager() -> Iterator[Desk]:
    with open_desk(ws_deflate_threshold_bytes=0) as found:
        yield found


@pytest.fixture(scope="module")
def narrow() -> Iterator[Desk]:
    with open_desk(ws_max_size_bytes=LIMIT_BYTES) as found:
        yield found


def sample(size: int) -> bytes:
    """Return text that compresses somewhat, with repetitions at many distances."""
    chance = random.Random(size)
    words = [bytes(chance.choices(b"abcdefghij ", k=chance.randrange(2, 12))) for _ in range(400)]
    return b" ".join(chance.choices(words, k=size // 3 + 1))[:size]


# Offers: Autobahn 13.

ACCEPTED = [
    DEFLATE,
    "permessage-deflate; client_max_window_bits",
    *(f"permessage-deflate; client_max_window_bits={bits}" for bits in range(8, 16)),
    *(f"permessage-deflate; server_max_window_bits={bits}" for bits in range(9, 16)),
    'permessage-deflate; server_max_window_bits="10"',
    'permessage-deflate;client_max_window_bits="9";server_max_window_bits="15"',
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits=9",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
    "  permessage-deflate ;\tserver_max_window_bits = 11 ; client_max_window_bits  ",
]
DECLINED = [
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=8",
    *(f"permessage-deflate; server_max_window_bits={value}" for value in ("7", "16", "0", "09", "-9", "+9", "a", '""')),
    *(f"permessage-deflate; client_max_window_bits={value}" for value in ("7", "16", "0", "08", "1e1", "x", '" 9"')),
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; client_no_context_takeover=true",
    'permessage-deflate; client_no_context_takeover=""',
    "permessage-deflate; unknown",
    "permessage-deflate; server_max_window_bits=10; unknown=3",
    "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
    "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    "x-webkit-deflate-frame",
    "permessage-bzip2; client_max_compress_level=9",
    "permessage-deflated",
    "deflate",
]
MALFORMED = [";", ",", "=", "@", "a" * 4000, 'permessage-deflate "']
MALFORMED += [
    f"{DEFLATE};{rest}" for rest in ("", " =", ' a="', ' server_max_window_bits="1', " client_max_window_bits=1 0")
]
TAKEN_OF_SEVERAL = [
    (["permessage-deflate; unknown", "permessage-deflate; server_max_window_bits=10"], 10),
    (["permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9"], 9),
    (["permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=11"], 9),
    (['x-unknown; a=1; b="c,d;e", permessage-deflate; server_max_window_bits=10'], 10),
    (["permessage-bzip2", "permessage-deflate; server_max_window_bits=11, other"], 11),
    (["permessage-deflate; server_max_window_bits; a, permessage-deflate; server_max_window_bits=9, " + DEFLATE], 9),
]


def check_agreement(offer: str, reply: str | None) -> None:
    """Check that a reply is one that its offer allows (RFC 7692 5.1, 7.1)."""
    assert reply is not None and re.fullmatch(r"[\x20-\x7e]+", reply) and "," not in reply
    asked, agreed = parameters(offer), parameters(reply)
    assert set(agreed) <= PLAIN_PARAMETERS | {"server_max_window_bits", "client_max_window_bits"}
    assert all((agreed[name] is None) == (name in PLAIN_PARAMETERS) for name in agreed), reply
    if "server_no_context_takeover" in asked:
        assert "server_no_context_takeover" in agreed
    if "server_max_window_bits" in asked:
        assert "server_max_window_bits" in agreed
    for name in ("server_max_window_bits", "client_max_window_bits"):
        if name in agreed:
            assert re.fullmatch("[89]|1[0-5]", agreed[name] or ""), reply
            assert int(agreed[name] or 0) <= int(asked.get(name) or 15)
    if "client_max_window_bits" not in asked:
        assert "client_max_window_bits" not in agreed


@pytest.mark.spec("WS-PMD-01", "WS-PMD-03", "WS-PMD-05", "WS-PMD-06", "WS-PMD-07", "WS-HS-13")
@pytest.mark.parametrize("offer", ACCEPTED)
def test_an_offer_is_accepted_within_its_terms_and_they_are_kept(desk: Desk, offer: str) -> None:
    with desk.open(**offering(offer)) as guest:
        check_agreement(offer, guest.extension)
        squeezed = Squeezed(guest)
        messages = [sample(size) for size in SIZES for _ in range(3)]
        for data in messages:
            squeezed.send(TEXT, data)
            assert squeezed.expect(TEXT, data) or len(data) < 128
        squeezed.send(BINARY, bytes(range(256)) * 400)
        squeezed.expect(BINARY, bytes(range(256)) * 400)
        guest.ends(*(data.decode() for data in messages), bytes(range(256)) * 400)


@pytest.mark.spec("WS-PMD-02", "WS-PMD-03", "WS-PMD-04", "WS-HS-13", "WS-PMD-01")
@pytest.mark.parametrize("offer", DECLINED)
def test_an_offer_that_cannot_be_kept_is_declined_and_the_socket_opens(desk: Desk, offer: str) -> None:
    with desk.open(**offering(offer)) as guest:
        assert guest.extension is None
        data = sample(1000)
        guest.send(frame(TEXT, data))
        guest.expect((TEXT, data))
        guest.send(frame(TEXT, HELLO, rsv=RSV1))
        guest.fails(1002, data.decode())


@pytest.mark.spec("WS-PMD-01", "WS-PMD-02", "WS-PMD-04", "WS-HS-13")
@pytest.mark.parametrize(("lines", "bits"), TAKEN_OF_SEVERAL)
def test_the_first_offer_that_can_be_kept_is_taken(desk: Desk, lines: list[str], bits: int) -> None:
    with desk.open(**offering(*lines)) as guest:
        squeezed = Squeezed(guest)
        assert squeezed.server_bits == bits
        squeezed.send(TEXT, sample(5000))
        assert squeezed.expect(TEXT, sample(5000))
        guest.ends(sample(5000).decode())


@pytest.mark.spec("WS-HS-13", "WS-PMD-02")
@pytest.mark.parametrize("value", MALFORMED)
def test_a_malformed_offer_harms_nothing(desk: Desk, value: str) -> None:
    with desk.open(**offering(value)) as guest:
        guest.expect_alive()
        guest.ends()


@pytest.mark.spec("WS-PMD-01", "WS-PMD-15", "WS-PMD-18")
def test_compression_is_not_used_unless_offered_and_allowed(desk: Desk) -> None:
    with desk.open() as guest:
        assert guest.extension is None
        guest.send(frame(TEXT, HELLO, rsv=RSV1))
        guest.fails(1002)
    with open_desk(ws_deflate=False) as plain, plain.open(**offering(DEFLATE)) as guest:
        assert guest.extension is None
        guest.send(frame(TEXT, sample(1000)))
        guest.expect((TEXT, sample(1000)))
        guest.send(frame(TEXT, HELLO, rsv=RSV1))
        guest.fails(1002, sample(1000).decode())


# Messages: Autobahn 12 and the examples of RFC 7692 7.2.3.


@every_cut
@pytest.mark.spec("WS-PMD-09", "WS-PMD-06", "WS-PMD-16")
@pytest.mark.parametrize("offer", [DEFLATE, f"{DEFLATE}; server_no_context_takeover"])
def test_the_server_sends_what_the_rfc_shows(eager: Desk, offer: str, cut: str) -> None:
    kept = offer == DEFLATE
    with eager.open(cut=cut, **offering(offer)) as guest:
        for wanted in (HELLO, bytes.fromhex("f200110000") if kept else HELLO):
            guest.send(frame(TEXT, "Hello"))
            found = guest.next()
            assert found is not None and (found.rsv, found.payload) in ((RSV1, wanted), (RSV1, HELLO))
        for _ in range(2):
            guest.send(frame(TEXT, b""))
            found = guest.next()
            assert found is not None and (found.rsv, found.payload) in ((RSV1, b"\0"), (0, b""))
        guest.ends("Hello", "Hello", "", "")


@pytest.mark.spec("WS-PMD-16")
def test_small_messages_are_sent_as_they_are_and_large_ones_compressed(desk: Desk) -> None:
    with desk.open(**offering(DEFLATE)) as guest:
        squeezed = Squeezed(guest)
        for size, compressed in ((1, False), (127, False), (128, True), (5000, True)):
            squeezed.send(TEXT, b"a" * size)
            assert squeezed.expect(TEXT, b"a" * size) is compressed
        guest.ends("a", "a" * 127, "a" * 128, "a" * 5000)


BLOCKS = {
    "fixed": ("f248cdc9c90700", b"Hello"),
    "kept": ("f200110000", b"Hello"),
    "stored": ("000500faff48656c6c6f00", b"Hello"),
    "final": ("f348cdc9c9070000", b"Hello"),
    "two blocks": ("f24805000000ffffcac9c90700", b"Hello"),
    "empty": ("00", b""),
    "empty fixed": ("0200", b""),
    "final stored": ("010500faff48656c6c6f00", b"Hello"),
    "empty final": ("030000", b""),
    "many empty": ("000000ffff" * 5 + "f248cdc9c90700", b"Hello"),
}


@every_cut
@pytest.mark.spec("WS-PMD-11", "WS-PMD-10", "WS-PMD-08")
@pytest.mark.parametrize("offer", [DEFLATE, f"{DEFLATE}; client_no_context_takeover"])
def test_blocks_of_every_kind_are_inflated_and_the_next_message_too(desk: Desk, offer: str, cut: str) -> None:
    names = [name for name in BLOCKS if name != "kept"]
    with desk.open(cut=cut, **offering(offer)) as guest:
        told = []
        for name, other in itertools.product(names, names):
            for each in (name, other):
                payload, message = bytes.fromhex(BLOCKS[each][0]), BLOCKS[each][1]
                guest.send(frame(TEXT, payload, rsv=RSV1))
                guest.expect((TEXT, message))
                told.append(message.decode())
        if offer == DEFLATE:
            for each in ("final", "kept", "kept"):
                guest.send(frame(BINARY, bytes.fromhex(BLOCKS[each][0]), rsv=RSV1))
                guest.expect((BINARY, b"Hello"))
                told.append(b"Hello")
        guest.ends(*told)


@pytest.mark.spec("WS-PMD-11", "WS-PMD-10")
def test_dynamic_blocks_and_every_level_are_inflated(desk: Desk) -> None:
    data = sample(20000)
    with desk.open(**offering(DEFLATE)) as guest:
        squeezed = Squeezed(guest)
        told = []
        for level, strategy in itertools.product(
            (0, 1, 6, 9), (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
        ):
            for flush, strip in ((zlib.Z_SYNC_FLUSH, 4), (zlib.Z_FULL_FLUSH, 4), (zlib.Z_FINISH, 0)):
                packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
                payload = packer.compress(data) + packer.flush(flush)
                payload = payload[:-strip] if strip else payload + b"\0"
                guest.send(*fragments(BINARY, [payload[:700], payload[700:]], rsv=RSV1))
                squeezed.expect(BINARY, data)
                told.append(data)
        guest.ends(*told)


@every_cut
@pytest.mark.spec("WS-PMD-10", "WS-PMD-08", "WS-PMD-17")
def test_a_compressed_message_may_be_cut_anywhere(desk: Desk, cut: str) -> None:
    size = len(HELLO)
    count = 0
    with desk.open(cut=cut, **offering(f"{DEFLATE}; client_no_context_takeover")) as guest:
        for chosen in itertools.product((False, True), repeat=size - 1):
            places = [0, *(place for place, cuts in enumerate(chosen, 1) if cuts), size]
            parts = [HELLO[start:end] for start, end in itertools.pairwise(places)]
            guest.send(*fragments(TEXT, [*parts, b""] if count % 2 else [b"", *parts], rsv=RSV1))
            count += 1
        guest.expect(*[(TEXT, "Hello")] * count)
        first, *others = fragments(TEXT, [HELLO[:3], HELLO[3:5], HELLO[5:]], rsv=RSV1)
        guest.send(first, frame(PING, b"one"), others[0], frame(PING, b"two"))
        guest.expect((PONG, b"one"), (PONG, b"two"))
        guest.send(others[1])
        guest.expect((TEXT, "Hello"))
        guest.ends(*["Hello"] * (count + 1))


@every_cut
@pytest.mark.spec("WS-PMD-08", "WS-FR-02")
def test_the_bit_belongs_on_the_first_frame_only(desk: Desk, cut: str) -> None:
    for first in (RSV1, 0):
        with desk.open(cut=cut, **offering(DEFLATE)) as guest:
            guest.send(frame(TEXT, HELLO[:3], rsv=first, fin=False) if first else frame(TEXT, "a", fin=False))
            guest.send(frame(CONTINUATION, HELLO[3:], rsv=RSV1))
            guest.fails(1002)
    for other in (1, 2, 3, 5, 6, 7):
        with desk.open(cut=cut, **offering(DEFLATE)) as guest:
            guest.send(frame(TEXT, HELLO, rsv=other))
            guest.fails(1002)


@every_cut
@pytest.mark.spec("WS-PMD-08")
def test_plain_messages_between_compressed_ones_are_taken(desk: Desk, cut: str) -> None:
    with desk.open(cut=cut, **offering(DEFLATE)) as guest:
        for payload in (HELLO, bytes.fromhex("f200110000")):
            guest.send(frame(TEXT, "plain"), *fragments(BINARY, [b"\xff", b"\xfe"]), frame(TEXT, payload, rsv=RSV1))
            guest.expect((TEXT, "plain"), (BINARY, b"\xff\xfe"), (TEXT, "Hello"))
        guest.ends(*["plain", b"\xff\xfe", "Hello"] * 2)


# Limits and faults.


def bomb(size: int) -> bytes:
    """Compress `size` zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(bytes(size)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.spec("WS-PMD-12", "WS-PMD-14", "WS-LIM-01", "WS-ASGI-01")
@pytest.mark.parametrize("chop", [0, 1, 100])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_what_inflates_above_the_limit_fails(narrow: Desk, opcode: int, chop: int) -> None:
    sound, over = bomb(LIMIT_BYTES), bomb(LIMIT_BYTES + 1)
    with narrow.open(**offering(f"{DEFLATE}; client_no_context_takeover")) as guest:
        squeezed = Squeezed(guest)
        guest.send(frame(opcode, sound, rsv=RSV1))
        squeezed.expect(opcode, bytes(LIMIT_BYTES))
        parts = [over[place : place + chop] for place in range(0, len(over), chop)] if chop else [over]
        guest.send(*fragments(opcode, parts, rsv=RSV1), frame(TEXT, "after"))
        guest.fails(1009, bytes(LIMIT_BYTES).decode() if opcode == TEXT else bytes(LIMIT_BYTES))


@pytest.mark.spec("WS-PMD-12", "WS-PMD-14", "WS-PMD-19")
@pytest.mark.parametrize("in_fragments", [False, True])
def test_a_bomb_is_stopped_while_it_inflates(in_fragments: bool) -> None:
    payload = bomb(200 << 20)
    parts = [payload[place : place + 1000] for place in range(0, len(payload), 1000)] if in_fragments else [payload]
    with open_desk(ws_max_size_bytes=1 << 20) as desk, desk.open(**offering(DEFLATE)) as guest:
        stream = b"".join(fragments(BINARY, parts, rsv=RSV1))
        tracemalloc.start()
        try:
            guest.send(stream)
            guest.fails(1009)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8 << 20, f"{peak >> 20} MiB were held"


@pytest.mark.spec("WS-PMD-14", "WS-FR-06")
def test_a_compressed_frame_longer_than_the_limit_fails_before_its_payload(narrow: Desk) -> None:
    with narrow.open(**offering(DEFLATE)) as guest:
        guest.send(frame(BINARY, rsv=RSV1, length=1 << 40))
        guest.fails(1009)


@pytest.mark.spec("WS-PMD-14")
def test_what_does_not_compress_may_still_be_as_long_as_the_limit(narrow: Desk) -> None:
    data = random.Random(1).randbytes(LIMIT_BYTES)
    with narrow.open(**offering(DEFLATE)) as guest:
        squeezed = Squeezed(guest)
        for _ in range(3):
            squeezed.send(BINARY, data)
            squeezed.expect(BINARY, data)
        guest.ends(data, data, data)


@every_cut
@pytest.mark.spec("WS-PMD-13", "WS-ASGI-01", "WS-ASGI-02")
@pytest.mark.parametrize(
    "payload",
    [
        "06",
        "07",
        "ff" * 10,
        "000500fafe48656c6c6f00",
        "f2480f",
        "f248cd",
        "00050000",
        "04c0" + "ff" * 9,
    ],
)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_corrupt_data_fails(desk: Desk, opcode: int, payload: str, cut: str, caplog: pytest.LogCaptureFixture) -> None:
    with desk.open(cut=cut, **offering(DEFLATE)) as guest:
        guest.send(frame(TEXT, HELLO, rsv=RSV1), frame(opcode, bytes.fromhex(payload), rsv=RSV1), frame(TEXT, "after"))
        guest.expect((TEXT, "Hello"))
        guest.fails(1007, "Hello")
    assert error_records(caplog) == []


@every_cut
@pytest.mark.spec("WS-UTF-09", "WS-UTF-03", "WS-UTF-05")
@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"ok \xf4\x90", b"\xc0\xaf" * 100], ids=bytes.hex)
def test_inflated_text_that_is_not_utf_8_fails_before_the_message_ends(desk: Desk, bad: bytes, cut: str) -> None:
    with desk.open(cut=cut, **offering(DEFLATE)) as guest:
        squeezed = Squeezed(guest)
        squeezed.send(BINARY, bad)
        squeezed.expect(BINARY, bad)
        guest.send(frame(TEXT, squeezed.payload(bad) + TAIL, rsv=RSV1, fin=False))
        guest.fails(1007, bad)


@every_cut
@pytest.mark.spec("WS-UTF-09", "WS-UTF-02", "WS-UTF-05")
def test_characters_are_split_by_compressed_fragments(desk: Desk, cut: str) -> None:
    data = "é€😀".encode()
    with desk.open(cut=cut, **offering(DEFLATE)) as guest:
        squeezed = Squeezed(guest)
        parts = [squeezed.payload(bytes([each])) + TAIL for each in data]
        guest.send(*fragments(TEXT, [*parts, b"\0"], rsv=RSV1))
        guest.expect((TEXT, data))
        squeezed.send(TEXT, data[:-1])
        guest.fails(1007, data.decode())


@pytest.mark.spec("WS-FRG-06", "WS-PMD-10")
def test_a_close_inside_a_compressed_message_is_an_orderly_close(desk: Desk) -> None:
    with desk.open(**offering(DEFLATE)) as guest:
        guest.send(frame(TEXT, HELLO[:4], rsv=RSV1, fin=False), close_frame(1001, "away"))
        guest.expect_close(1001)
        guest.expect_end()
        guest.told(code=1001, reasons=("away",))


@pytest.mark.spec("WS-PMD-01", "WS-PMD-03", "WS-PMD-05", "WS-PMD-06", "WS-PMD-07", "WS-PMD-09", "WS-PMD-10")
@pytest.mark.parametrize("bits", [None, 9, 15])
@pytest.mark.parametrize("takeover", [True, False])
def test_the_websockets_client_compresses(desk: Desk, bits: int | None, takeover: bool) -> None:
    factory = ClientPerMessageDeflateFactory(
        server_no_context_takeover=not takeover,
        client_no_context_takeover=not takeover,
        server_max_window_bits=bits,
        client_max_window_bits=bits or True,
    )
    url = f"ws://{desk.site.host}:{desk.site.port}/library/{bits}/{takeover}"
    with connect(url, extensions=[factory], compression=None, max_size=None, proxy=None) as client:
        assert client.protocol.extensions
        for size in (*SIZES, 1 << 20):
            for each in (sample(size), sample(size).decode(), b"\0" * size):
                client.send(each)
                assert client.recv(timeout=5) == each
