"""Mutated field blocks: whatever comes is decoded or refused with one of two errors, and a refusal is for cause."""

import random

import pytest

from trilithon.foundation.errors import PeerError
from trilithon.wire.hpack import Decoder, Encoder, HpackError

from .hpack_blocks import incremental, indexed, never, new_decoder, table, unindexed, update

ROUNDS = 3000
REQUEST = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"www.example.com"),
    (b":path", b"/index.html?a=b"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    (b"accept", b"text/html,*/*;q=0.8"),
    (b"cookie", b"session=0123456789abcdef"),
    (b"x-own", b"\x00\xff"),
]
# What decoders have stumbled over: prefixes that are all ones, endless integers, updates, indices out of the table.
INSERTS = [
    b"\x80", b"\xff", b"\x7f", b"\x3f", b"\x20", b"\x1f", b"\x0f", b"\x00", b"\x40", b"\xbe", b"\xff\xff\xff\xff\x0f",
    b"\x7f\x80\x80\x80\x80\x00", b"\x3f\xe1\x1f", b"\x00\x80\x80", b"\x40\xff", b"\x3f\xe2\x1f", b"\xff\x00",
]  # fmt: skip


def seeds() -> list[bytes]:
    """Return blocks that are well formed: of an encoder, and of every representation."""
    encoder = Encoder()
    made = [encoder.encode(REQUEST) for _ in range(4)]
    made.append(b"".join(indexed(index) for index in range(1, 62)))
    made.append(
        update(0) + update(4096) + incremental(b"name", b"value") + never(1, b"x") + unindexed(b"n", b"v" * 200)
    )
    return made


def mutate(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    """Change `data` in one place."""
    place = chance.randrange(len(data) + 1)
    kind = chance.randrange(6)
    if kind == 0 and place < len(data):
        data[place] ^= 1 << chance.randrange(8)
    elif kind == 1 and place < len(data):
        data[place] = chance.randrange(256)
    elif kind == 2:
        del data[place : place + chance.randrange(1, 9)]
    elif kind == 3:
        data[place:place] = data[place : place + chance.randrange(1, 9)] * chance.randrange(1, 4)
    elif kind == 4:
        other = chance.choice(corpus)
        start = chance.randrange(len(other))
        data[place:place] = other[start : start + chance.randrange(1, 30)]
    else:
        data[place:place] = chance.choice(INSERTS)


def weigh(decoder: Decoder) -> None:
    """See that the table is what it says it is, and within its size."""
    held = sum(len(name) + len(value) + 32 for name, value in table(decoder))
    assert held == decoder.table.size <= decoder.table.max_size <= 4096


@pytest.mark.spec("H2-HDR-01", "H2-HDR-16")
def test_a_mutated_block_is_decoded_or_refused() -> None:
    corpus = seeds()
    outcomes = {"decoded": 0, "broken": 0, "too large": 0}
    for number in range(ROUNDS):
        chance = random.Random(number)
        decoder = new_decoder(max_fields=40, max_field_bytes=150, max_head_bytes=3000)
        for _ in range(4):
            block = bytearray(chance.choice(corpus))
            for _ in range(chance.choice((0, 1, 1, 2, 4))):
                mutate(block, chance, corpus)
            try:
                fields = decoder.decode(bytes(block))
            except HpackError:
                outcomes["broken"] += 1
                break
            except PeerError as fault:
                assert fault.status == 431
                outcomes["too large"] += 1
            else:
                outcomes["decoded"] += 1
                assert sum(field.size for field in fields) <= 3000
        else:
            weigh(decoder)
    # The mutations reach every outcome, or they would prove nothing.
    assert min(outcomes.values()) > ROUNDS / 100, outcomes


@pytest.mark.spec("H2-HDR-01")
def test_a_block_cut_short_is_what_came_before_the_cut_or_an_error() -> None:
    for block in seeds()[:1] + seeds()[4:]:
        whole = new_decoder().decode(block)
        for size in range(len(block)):
            try:
                fields = new_decoder().decode(block[:size])
            except HpackError:
                continue
            assert [field.pair for field in fields] == [field.pair for field in whole[: len(fields)]]


@pytest.mark.spec("H2-HDR-01", "H2-DOS-04")
def test_noise() -> None:
    for number in range(ROUNDS):
        chance = random.Random(-1 - number)
        decoder = new_decoder()
        try:
            decoder.decode(chance.randbytes(chance.randrange(80)))
            weigh(decoder)
        except (HpackError, PeerError):
            pass
