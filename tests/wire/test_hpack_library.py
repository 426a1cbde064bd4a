"""The same blocks through the `hpack` library: each side reads what the other wrote, and refuses what it refuses."""

import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trilithon.wire.hpack import Encoder, HpackError
from trilithon.wire.hpack_tables import STATIC_FIELDS
from trilithon.wire.huffman import decode_huffman, encode_huffman

from . import hpack_blocks
from .hpack_blocks import Pairs, new_decoder, pairs, table

BOUNDED = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
# Beyond what is made up here, so that no limit is met.
WIDE = {"max_fields": 10_000, "max_head_bytes": 10**7, "max_field_bytes": 10**6}
# Where this decoder is the stricter one, each time as RFC 7541 says: 4.2 and 5.1.
STRICTER = ("integer too long", "third", "lowest")

few_names = st.sampled_from([b"a", b"server", b"content-type", b"set-cookie", b"content-length", b"x-long-name" * 5])
names = few_names | st.binary(max_size=20)
values = st.sampled_from([b"", b"1", b"text/html", b"x" * 200]) | st.binary(max_size=60)
fields = st.tuples(names, values) | st.sampled_from(STATIC_FIELDS)
sections = st.lists(fields, max_size=12)
limits = st.sampled_from([0, 1, 33, 64, 100, 500, 2000, 4096])
# A section, and what the table is limited to before it: nothing new, a size, or one size and then a larger one. (Told
# the same size twice, the library forgets the update that it owes.)
steps = st.lists(st.tuples(sections, st.lists(limits, max_size=2, unique=True).map(sorted)), min_size=1, max_size=8)

representations = st.one_of(
    st.integers(0, 80).map(hpack_blocks.indexed),
    st.builds(hpack_blocks.incremental, st.integers(1, 75) | names, values),
    st.builds(hpack_blocks.unindexed, st.integers(1, 75) | names, values),
    st.builds(hpack_blocks.never, st.integers(1, 75) | names, values),
    limits.map(hpack_blocks.update),
    st.binary(max_size=4),
)
blocks = st.lists(representations, max_size=12).map(b"".join)


def read(decoder: hpack.Decoder, block: bytes) -> Pairs:
    """Decode with the library."""
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]


def entries(decoder: hpack.Decoder) -> Pairs:
    """Return the library's dynamic table, the newest first."""
    return [(bytes(name), bytes(value)) for name, value in decoder.header_table.dynamic_entries]


@BOUNDED
@given(steps, st.booleans())
def test_what_the_library_writes_is_read(made: list[tuple[Pairs, list[int]]], huffman: bool) -> None:
    encoder, ours = hpack.Encoder(), new_decoder(**WIDE)
    for section, sizes in made:
        for size in sizes:
            encoder.header_table_size = size
            ours.limit_table(size)
        assert pairs(ours, encoder.encode(section, huffman=huffman)) == section
        assert table(ours) == [(bytes(n), bytes(v)) for n, v in encoder.header_table.dynamic_entries]


@BOUNDED
@given(steps)
def test_what_is_written_the_library_reads(made: list[tuple[Pairs, list[int]]]) -> None:
    encoder, library, ours = Encoder(), hpack.Decoder(), new_decoder(**WIDE)
    for section, sizes in made:
        for size in sizes:
            encoder.limit_table(size)
            ours.limit_table(size)
        library.max_allowed_table_size = sizes[-1] if sizes else library.max_allowed_table_size
        block = encoder.encode(section)
        assert read(library, block) == section
        assert pairs(ours, block) == section
        assert table(ours) == entries(library)
        assert encoder.table.size == ours.table.size <= ours.table.max_size


@pytest.mark.spec("H2-HDR-01")
@BOUNDED
@given(st.lists(blocks, min_size=1, max_size=4))
def test_both_refuse_the_same_blocks(made: list[bytes]) -> None:
    library, ours = hpack.Decoder(), new_decoder(**WIDE)
    for block in made:
        try:
            expected: Pairs | None = read(library, block)
        except hpack.HPACKError:
            expected = None
        try:
            found: Pairs | None = pairs(ours, block)
        except HpackError as fault:
            assert expected is None or any(word in fault.reason for word in STRICTER), fault.reason
            return
        assert found == expected
        assert table(ours) == entries(library)


@BOUNDED
@given(st.binary(max_size=60))
def test_the_huffman_code_is_the_library_s(data: bytes) -> None:
    from hpack.huffman import HuffmanEncoder
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
    from hpack.huffman_table import decode_huffman as library_decode

    assert encode_huffman(data) == HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(data)
    try:
        expected = library_decode(data)
    except hpack.HPACKError:
        expected = None
    assert decode_huffman(data, 0, len(data)) == expected
