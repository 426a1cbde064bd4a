"""Bombs and cost: what a block can make the decoder keep, and how the time grows with what is sent."""

import time
import tracemalloc
from collections.abc import Callable

import pytest

from trilithon.foundation.errors import PeerError
from trilithon.wire.hpack import Encoder, code_field

from .hpack_blocks import incremental, indexed, integer, new_decoder, unindexed, update

# Twice the input may cost twice the time; three times is noise, four times is a rescan.
GROWTH = 3.0


def seconds(run: Callable[[], object]) -> float:
    """Return the least processor time of three runs."""
    best = float("inf")
    for _ in range(3):
        start = time.thread_time()
        run()
        best = min(best, time.thread_time() - start)
    return best


def grows_linearly(make: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Tell whether twice the size costs no more than a little over twice the time; noise gets four chances."""
    return any(seconds(make(2 * size)) < GROWTH * seconds(make(size)) for _ in range(4))


def peak_bytes(run: Callable[[], object]) -> int:
    """Return the most memory that a run held at once."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(block: bytes) -> Callable[[], None]:
    """Return a run that sees `block` refused with 431, by a decoder with default limits."""

    def run() -> None:
        decoder = new_decoder()
        with pytest.raises(PeerError) as caught:
            decoder.decode(block)
        assert caught.value.status == 431
        assert decoder.table.size <= 4096

    return run


HUFFMAN = b"\x00" + integer(1, 7) + b"n"


@pytest.mark.spec("H2-DOS-04", "H2-DOS-07", "H2-HDR-16")
@pytest.mark.parametrize(
    "block",
    [
        # CVE-2016-6581: one large entry, then an octet for each repetition; 1.6 GB of header list.
        incremental(b"n", b"v" * 4000) + indexed(62) * 400_000,
        # The same with entries of the size that is let through.
        incremental(b"n", b"v" * 600) + indexed(62) * 400_000,
        # Names and values without any octet (CVE-2019-9516).
        unindexed(b"", b"") * 60_000,
        # Each insertion evicts all that is there.
        incremental(b"n", b"v" * 4000) * 200,
        incremental(b"", b"") * 30_000,
        # Huffman code that grows by eight fifths.
        (HUFFMAN + integer(10_000, 7, 0x80) + b"\x00" * 9_999 + b"\x07") * 12,
    ],
    ids=["indexed", "small entry", "empty fields", "evictions", "empty entries", "huffman"],
)
def test_a_bomb_is_refused_in_bounded_memory(block: bytes) -> None:
    # The limits are 64 KiB of section and 4 KiB of table; what an object costs beside its octets is in the rest.
    assert peak_bytes(refused(block)) < 400_000


@pytest.mark.spec("H2-DOS-04")
@pytest.mark.parametrize("size", [2**20, 2**27])
def test_a_declared_length_reserves_nothing(size: int) -> None:
    def run() -> None:
        with pytest.raises(Exception, match="inside a string"):
            new_decoder().decode(b"\x00" + integer(size, 7, 0x80) + b"\x00" * 100)

    assert peak_bytes(run) < 100_000


@pytest.mark.spec("H2-DOS-04")
@pytest.mark.parametrize(
    ("unit", "size"),
    [
        (indexed(2), 30_000),
        (incremental(b"name", b"value"), 8_000),
        (incremental(b"", b""), 8_000),
        (unindexed(b"name", b"value"), 8_000),
        (unindexed(1, b"v" * 5_000), 400),
        (HUFFMAN + integer(500, 7, 0x80) + b"\x00" * 499 + b"\x07", 150),
    ],
)
def test_the_time_grows_with_the_block(unit: bytes, size: int) -> None:
    def make(count: int) -> Callable[[], object]:
        return refused(incremental(b"a", b"b") + unit * count)

    assert grows_linearly(make, size)


@pytest.mark.spec("H2-DOS-04")
@pytest.mark.parametrize("limit", [4096, 1_000_000])
def test_inserting_costs_the_same_however_large_the_table(limit: int) -> None:
    def make(count: int) -> Callable[[], object]:
        def run() -> None:
            decoder = new_decoder()
            decoder.limit_table(limit)
            decoder.decode(update(limit))
            block = incremental(b"n", b"v") * 100
            for _ in range(count):
                decoder.decode(block)

        return run

    assert grows_linearly(make, 300)


def test_the_time_grows_with_the_section_that_is_encoded() -> None:
    def make(count: int) -> Callable[[], object]:
        fields = [(b"name-%d" % number, b"value" * 4) for number in range(count)]
        return lambda: [Encoder().encode(fields) for _ in range(2)]

    assert grows_linearly(make, 3000)


@pytest.mark.parametrize(
    ("count", "size", "allowed"), [(2000, 200, 1_500_000), (60, 4000, 300_000)], ids=["many", "large"]
)
def test_what_is_kept_of_coded_fields_is_bounded(count: int, size: int, allowed: int) -> None:
    # Kept for ever, the many would take two megabytes and the large ones 700 kB: a value is held three times.
    def code_many() -> None:
        for number in range(count):
            code_field((b"x-request-id", b"%08d" % number + b"\xff" * (size - 8)))

    assert peak_bytes(code_many) < allowed
