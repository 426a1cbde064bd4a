"""Decoding of field blocks: what is refused as an HPACK error, what as too large, and what the table holds after."""

import pytest

from trilithon.foundation.errors import PeerError
from trilithon.wire.hpack import Decoder, HpackError
from trilithon.wire.hpack_tables import STATIC_FIELDS
from trilithon.wire.huffman import encode_huffman

from .hpack_blocks import (
    incremental,
    indexed,
    integer,
    never,
    new_decoder,
    pairs,
    plain,
    table,
    unindexed,
    update,
)

A, B, C = (b"a", b"1"), (b"b", b"2"), (b"c", b"3")


def refuse(block: bytes, match: str, decoder: Decoder | None = None) -> None:
    """See that `block` is an HPACK error."""
    with pytest.raises(HpackError, match=match) as caught:
        (decoder or new_decoder()).decode(block)
    assert caught.value.reason == str(caught.value)


def refuse_size(decoder: Decoder, block: bytes, trailers: bool = False) -> None:
    """See that `block` is refused with 431."""
    with pytest.raises(PeerError) as caught:
        decoder.decode(block, trailers)
    assert caught.value.status == 431


class TestIndices:
    def test_every_static_entry(self) -> None:
        block = b"".join(indexed(index) for index in range(1, 62))
        assert pairs(new_decoder(), block) == list(STATIC_FIELDS)

    @pytest.mark.spec("H2-HDR-01")
    @pytest.mark.parametrize("index", [0, 62, 63, 126, 127, 128, 300, 2**20])
    def test_no_entry_there(self, index: int) -> None:
        refuse(indexed(index), "index")

    def test_zero_as_a_name_means_that_it_follows(self) -> None:
        assert pairs(new_decoder(), incremental(b"", b"v")) == [(b"", b"v")]

    @pytest.mark.spec("H2-HDR-01")
    @pytest.mark.parametrize("make", [incremental, unindexed, never])
    def test_a_name_beyond_the_table(self, make) -> None:
        decoder = new_decoder()
        decoder.decode(incremental(*A))
        assert pairs(decoder, make(62, b"x")) == [(b"a", b"x")]
        refuse(make(62 + len(decoder.table), b"x"), "beyond", decoder)

    @pytest.mark.spec("H2-HDR-01")
    def test_an_evicted_entry_is_gone(self) -> None:
        decoder = new_decoder()
        decoder.decode(update(68) + incremental(*A) + incremental(*B) + incremental(*C))
        assert table(decoder) == [C, B]
        refuse(indexed(64), "beyond", decoder)

    def test_indices_above_127(self) -> None:
        decoder = new_decoder()
        sent = [(b"n%d" % number, b"") for number in range(100)]
        decoder.decode(b"".join(incremental(*pair) for pair in sent))
        assert table(decoder) == sent[::-1]

    def test_the_name_of_an_entry_that_its_own_insertion_evicts(self) -> None:
        # RFC 7541 4.4: the name is taken before anything is evicted.
        decoder = new_decoder()
        decoder.decode(update(40) + incremental(b"name", b"v"))
        assert pairs(decoder, incremental(62, b"wxyz")) == [(b"name", b"wxyz")]
        assert table(decoder) == [(b"name", b"wxyz")]


class TestTable:
    @pytest.mark.parametrize("size", [0, 31, 32, 33])
    def test_an_entry_larger_than_the_table_empties_it(self, size: int) -> None:
        decoder = new_decoder()
        decoder.decode(update(size) + incremental(*A))
        assert pairs(decoder, incremental(*A)) == [A]
        assert (len(decoder.table), decoder.table.size) == (0, 0)
        refuse(indexed(62), "beyond", decoder)

    def test_an_entry_as_large_as_the_table_is_all_of_it(self) -> None:
        decoder = new_decoder()
        decoder.decode(update(34) + incremental(*A) + incremental(*B))
        assert table(decoder) == [B]

    def test_what_is_not_indexed_stays_out(self) -> None:
        decoder = new_decoder()
        assert pairs(decoder, never(*A) + unindexed(*B) + never(1, b"x")) == [A, B, (b":authority", b"x")]
        assert len(decoder.table) == 0

    def test_the_same_pair_twice_is_two_entries(self) -> None:
        decoder = new_decoder()
        decoder.decode(incremental(*A) * 2)
        assert table(decoder) == [A, A]

    def test_a_long_life(self) -> None:
        decoder = new_decoder()
        sent = []
        for number in range(5000):
            pair = (b"name-%d" % (number % 7), b"v" * (number % 60))
            sent.append(pair)
            assert pairs(decoder, incremental(*pair) + indexed(62)) == [pair, pair]
            assert decoder.table.size <= 4096
        held = table(decoder)
        assert held == sent[: -len(held) - 1 : -1]
        assert sum(len(name) + len(value) + 32 for name, value in held) == decoder.table.size


class TestSizeUpdates:
    @pytest.mark.spec("H2-HDR-01")
    @pytest.mark.parametrize("size", [4097, 5000, 2**24])
    def test_above_the_limit(self, size: int) -> None:
        refuse(update(size), "above the limit")

    def test_up_to_the_limit(self) -> None:
        decoder = new_decoder()
        assert pairs(decoder, update(0) + update(4096) + indexed(2)) == [(b":method", b"GET")]

    def test_a_block_of_nothing_else(self) -> None:
        decoder = new_decoder()
        decoder.decode(incremental(*A))
        assert pairs(decoder, update(0)) == []
        assert len(decoder.table) == 0

    @pytest.mark.spec("H2-HDR-01")
    @pytest.mark.parametrize("field", [indexed(2), incremental(*A), unindexed(*A), never(*A)])
    def test_behind_a_field(self, field: bytes) -> None:
        refuse(field + update(100), "not at the start")

    @pytest.mark.spec("H2-HDR-01")
    def test_a_third_one(self) -> None:
        refuse(update(1) + update(2) + update(3), "third")

    @pytest.mark.spec("H2-HDR-01")
    @pytest.mark.parametrize("block", [b"", indexed(2), incremental(*A), update(101), update(4096) + update(100)])
    def test_after_a_reduction_the_next_block_begins_with_one(self, block: bytes) -> None:
        decoder = new_decoder()
        decoder.decode(incremental(*A))
        decoder.limit_table(100)
        refuse(block, "table size update", decoder)

    def test_a_reduction_that_the_peer_keeps_to(self) -> None:
        decoder = new_decoder()
        decoder.decode(b"".join(incremental(*pair) for pair in (A, B, C)))
        decoder.limit_table(100)
        assert pairs(decoder, update(68) + update(100) + indexed(63)) == [B]
        assert table(decoder) == [C, B]
        refuse(update(101), "above the limit", decoder)

    def test_a_reduction_below_which_the_peer_is_already(self) -> None:
        decoder = new_decoder()
        decoder.decode(update(50) + incremental(*A))
        decoder.limit_table(100)
        assert pairs(decoder, indexed(62)) == [A]

    @pytest.mark.spec("H2-HDR-01")
    def test_lowered_and_raised_the_lowest_must_be_passed(self) -> None:
        def lowered() -> Decoder:
            decoder = new_decoder()
            decoder.decode(incremental(*A))
            decoder.limit_table(0)
            decoder.limit_table(4096)
            return decoder

        refuse(indexed(62), "no table size update", lowered())
        refuse(update(4096), "lowest", lowered())
        decoder = lowered()
        assert pairs(decoder, update(0) + update(4096) + incremental(*B)) == [B]
        assert table(decoder) == [B]

    def test_raised_the_peer_may_use_more_or_not(self) -> None:
        decoder = new_decoder()
        decoder.limit_table(8192)
        assert pairs(decoder, indexed(2)) == [(b":method", b"GET")]
        assert pairs(decoder, update(8192) + incremental(b"a", b"x" * 5000)) == [(b"a", b"x" * 5000)]
        assert decoder.table.size == 5033


class TestIntegers:
    @pytest.mark.spec("H2-HDR-01")
    @pytest.mark.parametrize("first", [0xFF, 0x7F, 0x3F, 0x0F, 0x1F])
    @pytest.mark.parametrize("tail", [b"\x80" * 5 + b"\x00", b"\xff" * 8 + b"\x01", b"\x80" * 4 + b"\x01", b"\xff" * 4])
    def test_more_octets_than_any_integer_needs(self, first: int, tail: bytes) -> None:
        refuse(bytes([first]) + tail + b"\x00" * 9, "integer too long")

    @pytest.mark.spec("H2-HDR-01")
    @pytest.mark.parametrize("first", [0xFF, 0x7F, 0x3F, 0x0F, 0x1F])
    @pytest.mark.parametrize("tail", [b"", b"\x80", b"\xff\xff"])
    def test_an_integer_without_an_end(self, first: int, tail: bytes) -> None:
        refuse(bytes([first]) + tail, "inside an integer")

    def test_the_longest_form_of_a_small_one(self) -> None:
        # RFC 7541 5.1 does not ask for the shortest form; only its length is bounded.
        decoder = new_decoder()
        decoder.decode(incremental(*A) + incremental(*B))
        assert pairs(decoder, b"\x7f\x80\x80\x00" + plain(b"x")) == [(b"a", b"x")]

    def test_all_sizes_of_strings(self) -> None:
        for size in (0, 1, 126, 127, 128, 254, 255, 256, 16383, 16384, 16500):
            text = b"x" * size
            decoder = new_decoder(max_field_bytes=20_000)
            assert pairs(decoder, unindexed(b"a", text)) == [(b"a", text)]


class TestStrings:
    @pytest.mark.spec("H2-HDR-01")
    @pytest.mark.parametrize("make", [incremental, unindexed, never])
    def test_cut_short_anywhere(self, make) -> None:
        block = make(b"some-name", b"value" * 30)
        for size in range(1, len(block)):
            refuse(block[:size], "ends|due")

    @pytest.mark.spec("H2-HDR-01", "H2-DOS-04")
    def test_a_length_far_beyond_the_block(self) -> None:
        refuse(b"\x00" + integer(2**27, 7) + b"x", "inside a string")

    @pytest.mark.spec("H2-HDR-01")
    @pytest.mark.parametrize(
        "code", [b"\xff", b"\x00", b"\x06", b"\xff\xff\xff\xff", encode_huffman(b"abc") + b"\xff"], ids=bytes.hex
    )
    def test_a_broken_huffman_code(self, code: bytes) -> None:
        coded = integer(len(code), 7, 0x80) + code
        refuse(b"\x00" + coded + plain(b"v"), "Huffman")
        refuse(b"\x00" + plain(b"n") + coded, "Huffman")

    def test_huffman_in_name_and_value(self) -> None:
        name, value = encode_huffman(b"some-name"), encode_huffman(b"some value")
        block = b"\x40" + integer(len(name), 7, 0x80) + name + integer(len(value), 7, 0x80) + value
        assert pairs(new_decoder(), block) == [(b"some-name", b"some value")]

    def test_no_octet_is_refused_or_changed(self) -> None:
        # What a name or a value may hold is for the HTTP/2 layer to say (H2-HDR-02 to 04).
        every = bytes(range(256))
        assert pairs(new_decoder(), unindexed(every, every) + unindexed(b"", b"")) == [(every, every), (b"", b"")]


class TestLimits:
    @pytest.mark.spec("H2-HDR-16", "H-LIM-09")
    def test_the_size_of_a_section(self) -> None:
        # RFC 9113 6.5.2: name, value and 32 octets a field.
        fields = 5
        block = unindexed(b"name", b"v" * 64) * fields
        assert len(pairs(new_decoder(max_head_bytes=100 * fields), block)) == fields
        refuse_size(new_decoder(max_head_bytes=100 * fields - 1), block)

    @pytest.mark.spec("H2-HDR-16", "H-LIM-09")
    def test_the_number_of_fields(self) -> None:
        assert len(pairs(new_decoder(max_fields=7), indexed(58) * 7)) == 7
        refuse_size(new_decoder(max_fields=7), indexed(58) * 8)

    @pytest.mark.spec("H-LIM-09", "H2-DOS-04")
    def test_pseudo_fields_do_not_count_but_weigh(self) -> None:
        pseudo = indexed(2) + indexed(4) + indexed(6) + unindexed(b":authority", b"a.test")
        assert len(pairs(new_decoder(max_fields=2), pseudo + indexed(58) * 2)) == 6
        refuse_size(new_decoder(max_fields=2), pseudo + indexed(58) * 3)
        refuse_size(new_decoder(max_fields=2, max_head_bytes=42 * 50 - 1), indexed(2) * 50)

    @pytest.mark.spec("H2-HDR-16", "H-LIM-09")
    def test_the_size_of_a_field(self) -> None:
        assert pairs(new_decoder(max_field_bytes=10), unindexed(b"name", b"123456")) == [(b"name", b"123456")]
        refuse_size(new_decoder(max_field_bytes=10), unindexed(b"name", b"1234567"))

    @pytest.mark.spec("H-LIM-09")
    def test_trailers_have_limits_of_their_own(self) -> None:
        decoder = new_decoder(max_trailer_fields=2, max_trailer_bytes=80)
        assert len(decoder.decode(unindexed(*A) * 3)) == 3
        assert len(decoder.decode(unindexed(*A) * 2, True)) == 2
        refuse_size(decoder, unindexed(*A) * 3, True)
        refuse_size(decoder, unindexed(b"a", b"x" * 15) + unindexed(*A), True)

    def test_the_crumbs_of_a_cookie_do_not_count_but_weigh(self) -> None:
        crumb = unindexed(32, b"a=b")
        assert len(pairs(new_decoder(max_fields=1), indexed(58) + crumb * 50)) == 51
        refuse_size(new_decoder(max_fields=1, max_head_bytes=2000), indexed(58) + crumb * 50)

    @pytest.mark.spec("H2-HDR-16")
    @pytest.mark.parametrize(
        "limits",
        [{"max_fields": 2}, {"max_head_bytes": 80}, {"max_field_bytes": 20}],
        ids=lambda limits: next(iter(limits)),
    )
    def test_the_table_is_right_after_a_section_that_was_refused(self, limits: dict[str, int]) -> None:
        decoder = new_decoder(**limits)
        large = (b"large", b"x" * 40)
        refuse_size(decoder, incremental(*A) + incremental(*large) + incremental(*B) + unindexed(*C) + incremental(*C))
        assert decoder.decode(indexed(62))[0].pair == C
        assert decoder.decode(indexed(63))[0].pair == B
        assert decoder.decode(indexed(65))[0].pair == A
        assert len(decoder.table) == 4

    @pytest.mark.spec("H2-HDR-01", "H2-HDR-16")
    def test_an_error_behind_the_limit_is_still_an_error(self) -> None:
        refuse(indexed(58) * 9 + indexed(70), "beyond", new_decoder(max_fields=3))

    def test_the_next_section_is_measured_afresh(self) -> None:
        decoder = new_decoder(max_fields=2)
        for _ in range(3):
            refuse_size(decoder, indexed(58) * 3)
            assert len(decoder.decode(indexed(58) * 2)) == 2


class TestFields:
    def test_entries_are_the_same_object_each_time(self) -> None:
        decoder = new_decoder()
        (first,) = decoder.decode(incremental(*A))
        first.meaning = "worked out"
        (again,) = decoder.decode(indexed(62))
        assert again is first
        assert again.meaning == "worked out"
        assert new_decoder().decode(indexed(2))[0] is decoder.decode(indexed(2))[0]

    def test_a_name_from_the_table_brings_no_meaning(self) -> None:
        decoder = new_decoder()
        decoder.decode(incremental(*A))[0].meaning = "worked out"
        (other,) = decoder.decode(incremental(62, b"2"))
        assert (other.name, other.value, other.size, other.meaning) == (b"a", b"2", 34, None)

    @pytest.mark.parametrize("block", [indexed(2), unindexed(*A), never(1, b"x"), indexed(62) * 3, b""])
    def test_the_generation_stays_while_the_table_does(self, block: bytes) -> None:
        decoder = new_decoder()
        decoder.decode(incremental(*B))
        before = decoder.generation
        first = pairs(decoder, block)
        assert decoder.generation == before
        assert pairs(decoder, block) == first

    @pytest.mark.parametrize("block", [incremental(*A), update(0), update(4096), indexed(2) + incremental(1, b"")])
    def test_the_generation_changes_with_the_table(self, block: bytes) -> None:
        decoder = new_decoder()
        before = decoder.generation
        decoder.decode(block)
        assert decoder.generation != before

    def test_the_generation_changes_with_the_limit(self) -> None:
        # What was decoded without a size update would now be an error.
        decoder = new_decoder()
        before = decoder.generation
        decoder.limit_table(0)
        assert decoder.generation != before
