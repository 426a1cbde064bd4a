"""Mutations of the corpus: bytes flipped, cut out, doubled, put in and spliced from one case into another."""

import random
from collections.abc import Iterator

from .corpus import read_groups

# What parsers have stumbled over: line ends, blanks of every kind, signs, digits of other scripts, names that frame.
INSERTS = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\0", b" ", b"\t", b"\x0b", b"\x0c", b"\x1c", b"\x7f",
    b"\x80", b"\x85", b"\xa0", b"\xff", b":", b";", b",", b"=", b'"', b"\\", b"#", b"?", b"/", b"*", b"%",
    b"%00", b"@", b"[", b"]", b"+", b"-", b"_", b"0", b"1", b"9", b"f", b"0x", b"K", b"\xe2\x84\xaa",
    b"HTTP/1.1", b"HTTP/1.0", b"Host: a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"chunked", b"GET / HTTP/1.1\r\n", b"0\r\n\r\n",
    b"5\r\nhello\r\n", b"http://", b"CONNECT ", b"HEAD ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01",
]  # fmt: skip
MOST_BYTES = 1500


def seeds() -> list[bytes]:
    """Return the bytes of every case that is not long."""
    return [case.data for group in read_groups() for case in group.cases if len(case.data) <= MOST_BYTES]


def mutations(count: int, seed: int) -> Iterator[tuple[bytes, random.Random]]:
    """Yield `count` mutated cases, always the same for a `seed`, each with the source of chance for its cuts."""
    corpus = seeds()
    for number in range(count):
        chance = random.Random(seed * 1_000_003 + number)
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
            mutate(data, chance, corpus)
        yield bytes(data[: 2 * MOST_BYTES]), chance


def mutate(data: bytearray, chance: random.Random, corpus: list[bytes]) -> None:
    """Change `data` in one place."""
    place = chance.randrange(len(data) + 1)
    span = chance.randrange(1, 12)
    kind = chance.randrange(7)
    if kind == 0 and place < len(data):
        data[place] ^= 1 << chance.randrange(8)
    elif kind == 1 and place < len(data):
        data[place] = chance.randrange(256)
    elif kind == 2:
        del data[place : place + span]
    elif kind == 3:
        data[place:place] = data[place : place + span] * chance.randrange(1, 4)
    elif kind == 4:
        other = chance.choice(corpus)
        start = chance.randrange(len(other))
        data[place : place + chance.randrange(20)] = other[start : start + chance.randrange(1, 60)]
    else:
        data[place:place] = chance.choice(INSERTS)


def cuts(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut `data` at up to eight random places."""
    if len(data) < 2:
        return [data]
    places = sorted({chance.randrange(1, len(data)) for _ in range(chance.randrange(1, 9))})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
