"""PROXY headers mutated and made up by chance: refused, or read exactly as a plain reference reads them."""

import random
import time

import pytest

from trilithon.foundation.errors import PeerError
from trilithon.wire.proxy_header import ProxyHeader

from .proxy_bytes import (
    DGRAM_V4,
    UNIX,
    V4,
    V6,
    block_4,
    block_6,
    block_unix,
    extra,
    header,
    line,
    reference,
    sealed,
    tls_extra,
)

ROUNDS = 12000
SEEDS = [
    line("TCP4", "192.0.2.7", "198.51.100.1", 56324, 443),
    line("TCP4", "1.2.3.4", "5.6.7.8", 1, 2),
    line("TCP6", "2001:db8::7", "::ffff:1.2.3.4", 56324, 443),
    line("TCP6", "::1", "::", 0, 65535),
    line("UNKNOWN"),
    line("UNKNOWN", "::1", "::1", 1, 2),
    header(V4, block_4()),
    header(V6, block_6()),
    header(UNIX, block_unix(b"/a", b"/b")),
    header(0, b"", command=0),
    header(0, extra(4, b"xyz")),
    header(DGRAM_V4, block_4() + extra(1, b"h2")),
    sealed(V4, block_4()),
    sealed(V6, block_6(), extra(1, b"h2"), tls_extra(1, extra(0x21, b"TLSv1.2"))),
]
INSERTS = [
    b"\r", b"\n", b"\r\n", b" ", b"  ", b"\t", b"\0", b"0", b"1", b"9", b"+", b"-", b"_", b":", b"::", b".", b"%",
    b"/", b"\xff", b"\x80", b"\xd9\xa3", b"PROXY ", b"TCP4", b"TCP6", b"UNKNOWN", b"65536", b"ffff", b"\x03\0\x04",
    b"\x20\0\x05",
]  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """Return a header changed in up to three places, with or without something behind it."""
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[place : place + chance.randrange(1, 6)]
        elif kind == 2:
            data[place:place] = chance.choice(INSERTS)
        elif kind == 3:
            other = chance.choice(SEEDS)
            start = chance.randrange(len(other))
            data[place : place + chance.randrange(10)] = other[start : start + chance.randrange(1, 20)]
        elif len(data) > 16:
            data[14:16] = chance.choice((0, 1, 11, 12, 13, 36, 216, 4080, 4081, 65535)).to_bytes(2, "big")
    return bytes(data) + chance.choice((b"", b"", b"GET / HTTP/1.1\r\n\r\n", b"\r\n", bytes(300)))


def outcome(pieces: list[bytes]) -> object:
    """Return what a reader makes of the pieces: its addresses and the rest, None for more to come, or "refused"."""
    reader = ProxyHeader("any")
    for number, piece in enumerate(pieces):
        try:
            rest = reader.feed(piece)
        except PeerError as error:
            assert error.status == 400
            return "refused"
        if rest is not None:
            return reader.client, reader.server, rest + b"".join(pieces[number + 1 :])
    return None


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut `data` at up to six places."""
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(7)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.spec("H-PP-03", "H-PP-04", "H-PP-05", "H-PP-06", "H-PP-07", "H-PP-08", "H-PP-09", "H-PP-10")
def test_mutated_headers_are_read_as_the_reference_reads_them():
    taken = refused = 0
    for number in range(ROUNDS):
        chance = random.Random(number)
        data = mutated(chance)
        expected = reference(data)
        found = outcome([data])
        if expected is not None:
            assert found == expected.said, data
            taken += 1
        else:
            assert found in (None, "refused"), data
            refused += found == "refused"
        assert outcome(cut(data, chance)) == found, data
        assert outcome([data[place : place + 1] for place in range(len(data))]) == found, data
    assert taken > ROUNDS / 8 and refused > ROUNDS / 8


def test_random_bytes_behind_each_signature():
    for number in range(3000):
        chance = random.Random(number)
        data = chance.choice((b"PROXY ", SEEDS[6][:12], SEEDS[6][:13], SEEDS[6][:14])) + chance.randbytes(300)
        expected = reference(data)
        found = outcome([data])
        assert found == expected.said if expected is not None else found in (None, "refused")


@pytest.mark.spec("H-PP-08", "H-PP-10")
def test_the_largest_header_in_single_bytes_costs_no_more_than_bytes_cost():
    def seconds(size: int) -> float:
        data = header(V4, block_4() + extra(4, bytes(size - 31)))
        reader = ProxyHeader("v2")
        # The time of this process alone: other work on the machine is not to be judged.
        begun = time.process_time()
        for place in range(len(data) - 1):
            reader.feed(data[place : place + 1])
        assert reader.feed(data[-1:]) == b""
        return time.process_time() - begun

    rounds = [(seconds(512), seconds(4096)) for _ in range(15)]
    assert min(large for _, large in rounds) < 24 * min(small for small, _ in rounds), "eight times the bytes"
