"""Frames of a WebSocket: every length, mask and cut, reserved bits and opcodes, lengths that lie."""

import random
import struct
from collections.abc import Iterator

import pytest
from socket_apps import Desk, open_desk
from socket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CUTS,
    PING,
    PONG,
    RESERVED_OPCODES,
    TEXT,
    close_frame,
    fragments,
    frame,
)

pytestmark = [pytest.mark.real, pytest.mark.spec("WS-ASGI-05")]

SMALL_LIMIT_BYTES = 1000
LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 124, 125, 126, 127, 128, 129, 255, 256, 1000]
LONG_LENGTHS = [4095, 4096, 32767, 32768, 65534, 65535, 65536, 65537, 131072]
KEYS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"\1\2\3\4", b"\x80\x00\x7f\xff"]
every_cut = pytest.mark.parametrize("cut", CUTS)
# 1 MiB byte by byte is a million system calls; those cases are cut at random only.
coarse_cut = pytest.mark.parametrize("cut", ["whole", "random"])


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with open_desk() as found:
        yield found


@pytest.fixture(scope="module")
def narrow() -> Iterator[Desk]:
    with open_desk(ws_max_size_bytes=SMALL_LIMIT_BYTES) as found:
        yield found


def sample(size: int) -> bytes:
    """Return bytes without a period that a mask could hide in."""
    return random.Random(size).randbytes(size)


def sample_text(size: int) -> str:
    """Return text of about `size` bytes in UTF-8, with characters of one to four bytes."""
    return ("aé€😀" * (size // 10 + 1)).encode()[:size].decode(errors="ignore")


@every_cut
@pytest.mark.spec("WS-FR-09", "WS-FR-10", "WS-FR-08", "WS-ASGI-03")
@pytest.mark.parametrize("length", LENGTHS)
def test_messages_of_every_length_are_echoed(desk: Desk, length: int, cut: str) -> None:
    text, data = "*" * length, sample(length)
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, text))
        guest.expect((TEXT, text))
        guest.send(frame(BINARY, data))
        guest.expect((BINARY, data))
        guest.ends(text, data)


@coarse_cut
@pytest.mark.spec("WS-FR-09", "WS-FR-10", "WS-FR-07")
@pytest.mark.parametrize("length", [*LONG_LENGTHS, 1 << 20, (1 << 20) + 1])
def test_long_messages_are_echoed(desk: Desk, length: int, cut: str) -> None:
    text, data = sample_text(length), sample(length)
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, text))
        guest.expect((TEXT, text))
        guest.send(frame(BINARY, data, mask=b"\x00\xff\x80\x01"))
        guest.expect((BINARY, data))
        guest.ends(text, data)


@pytest.mark.spec("WS-FR-09", "WS-LIM-01")
def test_the_largest_message_allowed_is_echoed_and_one_byte_more_is_not(desk: Desk) -> None:
    data = bytes(16 << 20)
    with desk.open() as guest:
        guest.send(frame(BINARY, data))
        guest.expect((BINARY, data))
        guest.send(frame(BINARY, length=len(data) + 1))
        guest.fails(1009, data)


@pytest.mark.spec("WS-FR-09", "WS-FR-08")
@pytest.mark.parametrize("chop", ["997", "64", "4096"])
def test_a_long_message_in_small_segments_is_echoed(desk: Desk, chop: str) -> None:
    text = "*" * 65536
    with desk.open(cut=chop) as guest:
        guest.send(frame(TEXT, text))
        guest.expect((TEXT, text))
        guest.send(frame(BINARY, text))
        guest.expect((BINARY, text))
        guest.ends(text, text.encode())


@pytest.mark.spec("WS-FR-09", "WS-FR-08")
@pytest.mark.parametrize("size", [0, 16, 64, 125, 126, 256, 1024, 4096, 16384])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_many_messages_one_after_the_other_are_echoed(desk: Desk, opcode: int, size: int) -> None:
    data = b"*" * size
    with desk.open() as guest:
        for _ in range(100):
            guest.send(frame(opcode, data))
            guest.expect((opcode, data))
        guest.ends(*[data.decode() if opcode == TEXT else data] * 100)


@pytest.mark.spec("WS-FR-08", "WS-FR-09")
def test_many_frames_in_one_segment_are_echoed_in_order(desk: Desk) -> None:
    chance = random.Random(5)
    messages = [sample(chance.choice((0, 1, 5, 125, 126, 300))) for _ in range(500)]
    with desk.open() as guest:
        for start in range(0, len(messages), 50):
            some = messages[start : start + 50]
            guest.send(*(frame(BINARY, each, mask=chance.randbytes(4)) for each in some))
            guest.expect(*((BINARY, each) for each in some))
        guest.ends(*messages)


@every_cut
@pytest.mark.spec("WS-FR-07")
@pytest.mark.parametrize("key", KEYS, ids=bytes.hex)
def test_any_masking_key_is_taken_off(desk: Desk, key: bytes, cut: str) -> None:
    messages = [sample(size) for size in range(40)]
    with desk.open(cut=cut) as guest:
        guest.send(*(frame(BINARY, each, mask=key) for each in messages[:20]))
        guest.expect(*((BINARY, each) for each in messages[:20]))
        guest.send(*(frame(BINARY, each, mask=key) for each in messages[20:]))
        guest.expect(*((BINARY, each) for each in messages[20:]))
        guest.ends(*messages)


@pytest.mark.spec("WS-FR-07", "WS-FR-08")
def test_a_payload_cut_anywhere_is_unmasked_alike(desk: Desk) -> None:
    data = sample(23)
    whole = frame(BINARY, data, mask=b"\x9c\x01\xe5\x7a")
    with desk.open() as guest:
        for place in range(1, len(whole)):
            guest.send(whole[:place])
            guest.send(whole[place:])
            guest.expect((BINARY, data))
        guest.ends(*[data] * (len(whole) - 1))


@every_cut
@pytest.mark.spec("WS-FR-08", "WS-FR-07")
def test_frames_that_come_with_the_handshake_are_kept(desk: Desk, cut: str) -> None:
    early = frame(TEXT, "early") + frame(PING, b"p") + frame(BINARY, b"\0\1")
    with desk.open(cut=cut, early=early + frame(TEXT, "half")[:5]) as guest:
        guest.send(frame(TEXT, "half")[5:])
        found = [guest.next() for _ in range(4)]
        assert [(each.opcode, each.payload) for each in found if each and each.opcode == PONG] == [(PONG, b"p")]
        data = [(each.opcode, each.payload) for each in found if each and each.opcode != PONG]
        assert data == [(TEXT, b"early"), (BINARY, b"\0\1"), (TEXT, b"half")]
        guest.ends("early", b"\0\1", "half")


# Unmasked frames.


@every_cut
@pytest.mark.spec("WS-FR-01", "WS-ASGI-01", "WS-ASGI-02")
@pytest.mark.parametrize("payload", [b"", b"hi"], ids=["empty", "filled"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG])
def test_an_unmasked_frame_fails(desk: Desk, opcode: int, payload: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, "before"))
        guest.expect((TEXT, "before"))
        guest.send(frame(opcode, payload, mask=None), frame(TEXT, "after"), close_frame(1000))
        guest.fails(1002, "before")


@pytest.mark.spec("WS-FR-01")
@pytest.mark.parametrize("size", [126, 65536])
def test_an_unmasked_frame_fails_before_its_payload_has_come(desk: Desk, size: int) -> None:
    with desk.open() as guest:
        guest.send(frame(BINARY, mask=None, length=size))
        guest.fails(1002)


@pytest.mark.spec("WS-FR-01")
def test_an_unmasked_continuation_fails_inside_a_message(desk: Desk) -> None:
    with desk.open() as guest:
        guest.send(frame(TEXT, "a", fin=False), frame(CONTINUATION, "b", mask=None))
        guest.fails(1002)


# Reserved bits: Autobahn 3.


@every_cut
@pytest.mark.spec("WS-FR-02", "WS-ASGI-01", "WS-ASGI-02")
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("rsv", range(1, 8))
def test_a_reserved_bit_fails(desk: Desk, rsv: int, opcode: int, cut: str) -> None:
    payload = struct.pack("!H", 1000) if opcode == CLOSE else b"hello"
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, "before"))
        guest.expect((TEXT, "before"))
        guest.send(frame(opcode, payload, rsv=rsv), frame(PING), frame(TEXT, "after"))
        guest.fails(1002, "before")


@every_cut
@pytest.mark.spec("WS-FR-02")
@pytest.mark.parametrize("rsv", range(1, 8))
def test_a_reserved_bit_on_a_continuation_fails(desk: Desk, rsv: int, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, "a", fin=False), frame(CONTINUATION, "b", rsv=rsv), frame(TEXT, "after"))
        guest.fails(1002)


@pytest.mark.spec("WS-FR-02", "WS-FR-03")
@pytest.mark.parametrize("head", [b"\xc1", b"\xa2", b"\x91", b"\x83", b"\x8b", b"\xf1"], ids=bytes.hex)
def test_a_first_byte_that_cannot_be_fails_with_the_head(desk: Desk, head: bytes) -> None:
    with desk.open() as guest:
        guest.send(head + b"\xfe\xff\xff")
        guest.fails(1002)


# Opcodes: Autobahn 4.


@every_cut
@pytest.mark.spec("WS-FR-03", "WS-ASGI-01", "WS-ASGI-02")
@pytest.mark.parametrize("payload", [b"", b"reserved opcode payload"], ids=["empty", "filled"])
@pytest.mark.parametrize("opcode", RESERVED_OPCODES)
def test_a_reserved_opcode_fails(desk: Desk, opcode: int, payload: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, "before"))
        guest.expect((TEXT, "before"))
        guest.send(frame(opcode, payload), frame(PING), frame(TEXT, "after"))
        guest.fails(1002, "before")


@pytest.mark.spec("WS-FR-03")
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
@pytest.mark.parametrize("opcode", RESERVED_OPCODES)
def test_a_reserved_opcode_fails_first_and_inside_a_message(desk: Desk, opcode: int, fin: bool) -> None:
    with desk.open() as guest:
        guest.send(frame(opcode, fin=fin))
        guest.fails(1002)
    with desk.open() as guest:
        guest.send(frame(TEXT, "a", fin=False), frame(opcode, b"x", fin=fin), frame(CONTINUATION, "b"))
        guest.fails(1002)


# Lengths.


@every_cut
@pytest.mark.spec("WS-FR-04")
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
@pytest.mark.parametrize(
    ("form", "length"),
    [
        (16, 0),
        (16, 1),
        (16, 124),
        (16, 125),
        (64, 0),
        (64, 1),
        (64, 125),
        (64, 126),
        (64, 127),
        (64, 65534),
        (64, 65535),
    ],
)
def test_a_length_that_is_not_minimal_fails(desk: Desk, form: int, length: int, opcode: int, cut: str) -> None:
    with desk.open(cut="whole" if length > 1000 else cut) as guest:
        guest.send(frame(opcode, b"a" * length, form=form), frame(TEXT, "after"))
        guest.fails(1002)


@pytest.mark.spec("WS-FR-04")
@pytest.mark.parametrize(("form", "length"), [(16, 125), (64, 126), (64, 65535)])
def test_a_length_that_is_not_minimal_fails_before_the_payload(desk: Desk, form: int, length: int) -> None:
    with desk.open() as guest:
        guest.send(frame(BINARY, form=form, length=length))
        guest.fails(1002)


@every_cut
@pytest.mark.spec("WS-FR-05")
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [1 << 63, (1 << 63) + 5, (1 << 64) - 1])
def test_a_length_with_the_top_bit_set_fails_at_once(desk: Desk, length: int, opcode: int, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(opcode, length=length))
        guest.fails(1002)


@pytest.mark.spec("WS-FR-05")
def test_a_length_with_the_top_bit_set_fails_without_the_mask(desk: Desk) -> None:
    with desk.open() as guest:
        guest.send(frame(BINARY, length=1 << 63)[:10])
        guest.fails(1002)


@every_cut
@pytest.mark.spec("WS-FR-06", "WS-LIM-01", "WS-ASGI-01")
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [SMALL_LIMIT_BYTES + 1, 65535, 65536, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1])
def test_a_length_above_the_limit_fails_with_the_head(narrow: Desk, length: int, opcode: int, cut: str) -> None:
    with narrow.open(cut=cut) as guest:
        guest.send(frame(opcode, length=length))
        guest.fails(1009)


@every_cut
@pytest.mark.spec("WS-FR-06", "WS-LIM-01")
def test_a_message_of_the_limit_is_taken(narrow: Desk, cut: str) -> None:
    data = sample(SMALL_LIMIT_BYTES)
    with narrow.open(cut=cut) as guest:
        guest.send(frame(BINARY, data))
        guest.expect((BINARY, data))
        guest.send(frame(BINARY, data + b"x"), frame(TEXT, "after"))
        guest.fails(1009, data)


@pytest.mark.spec("WS-FR-06", "WS-CLS-12")
def test_a_flood_behind_the_failure_is_thrown_away_and_the_close_frame_arrives(narrow: Desk) -> None:
    with narrow.open() as guest:
        guest.send(frame(BINARY, bytes(1 << 20)))
        guest.fails(1009)


@pytest.mark.spec("WS-FR-10", "WS-FRG-07")
def test_a_fragmented_message_comes_back_in_one_frame(desk: Desk) -> None:
    with desk.open() as guest:
        guest.send(*fragments(BINARY, [b"x" * 1300] * 50))
        guest.expect((BINARY, b"x" * 65000))
        guest.ends(b"x" * 65000)
