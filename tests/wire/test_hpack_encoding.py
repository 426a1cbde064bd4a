"""Encoding of field blocks: which representation a field gets, when it is indexed, and how the table changes size."""

import itertools

import pytest

from trilithon.wire.hpack import Decoder, Encoder, code_field
from trilithon.wire.hpack_tables import STATIC_FIELDS

from .hpack_blocks import indexed, new_decoder, pairs, update

# Every test sends fields that nobody has sent before: what repeats is coded otherwise than what does not.
numbers = itertools.count()


def fresh(name: bytes = b"x-fresh-%d") -> tuple[bytes, bytes]:
    """Return a field that no encoder has met."""
    number = next(numbers)
    return (name % number if b"%d" in name else name, b"fresh-value-%d" % number)


def kinds(block: bytes) -> str:
    """Name the representation of the first field of a block."""
    first = block[0]
    if first & 0x80:
        return "indexed"
    if first & 0x40:
        return "incremental"
    return "never" if first & 0x10 else "without"


def warm(*fields: tuple[bytes, bytes]) -> None:
    """Let somebody send the fields, so that they are not new any more."""
    Encoder().encode(fields)


class TestRepresentations:
    @pytest.mark.parametrize("place", range(1, 62))
    def test_a_static_entry_is_its_index(self, place: int) -> None:
        name, value = STATIC_FIELDS[place - 1]
        if value:
            assert Encoder().encode([(name, value)]) == indexed(place)

    @pytest.mark.parametrize(
        "name", [b"content-type", b"server", b"cache-control", b"vary", b"content-encoding", b"accept-ranges"]
    )
    def test_what_is_known_to_repeat_is_indexed_at_once(self, name: bytes) -> None:
        encoder = Encoder()
        field = fresh(name)
        assert [kinds(encoder.encode([field])) for _ in range(3)] == ["incremental", "indexed", "indexed"]
        assert encoder.encode([field]) == indexed(62)

    @pytest.mark.parametrize("name", [b"x-own-%d", b"date", b"expires", b"retry-after"])
    def test_anything_else_when_it_repeats(self, name: bytes) -> None:
        encoder = Encoder()
        field = fresh(name)
        assert [kinds(encoder.encode([field])) for _ in range(3)] == ["without", "incremental", "indexed"]
        # Whoever sends it next knows already.
        assert kinds(Encoder().encode([field])) == "incremental"

    @pytest.mark.parametrize("name", [b"content-length", b"etag", b"last-modified", b"location", b"age", b":path"])
    def test_what_varies_is_not_indexed(self, name: bytes) -> None:
        encoder = Encoder()
        field = fresh(name)
        assert {kinds(encoder.encode([field])) for _ in range(4)} == {"without"}
        assert len(encoder.table) == 0

    @pytest.mark.spec("H2-HDR-20")
    @pytest.mark.parametrize("name", [b"set-cookie", b"authorization", b"proxy-authorization", b"cookie"])
    @pytest.mark.parametrize("value", [b"s=1", b"s=" + b"x" * 500])
    def test_secrets_are_never_indexed(self, name: bytes, value: bytes) -> None:
        encoder = Encoder()
        assert {kinds(encoder.encode([(name, value)])) for _ in range(4)} == {"never"}
        assert len(encoder.table) == 0

    @pytest.mark.spec("H2-HDR-20")
    def test_secrets_are_not_kept(self) -> None:
        secret = (b"set-cookie", b"id=1")
        assert code_field(secret) is not code_field(secret)
        field = fresh()
        assert code_field(field) is code_field(field)

    @pytest.mark.parametrize("value", [b"\xff\xfe", b"\x00", b"~", b"1"])
    def test_huffman_only_where_it_is_shorter(self, value: bytes) -> None:
        assert Encoder().encode([(b"content-length", value)]) == b"\x0f\x0d" + bytes([len(value)]) + value

    def test_a_large_field_does_not_empty_the_table(self) -> None:
        encoder = Encoder()
        for size, kind in ((4096 // 4 - 33, "indexed"), (4096 // 4 - 32, "without"), (5000, "without")):
            field = (b"x", b"y" * size)
            warm(field)
            assert [kinds(encoder.encode([field])) for _ in range(3)][2] == kind
        assert len(encoder.table) == 1

    def test_a_quarter_of_a_small_table_is_large(self) -> None:
        encoder = Encoder(400)
        fields = [(b"server", b"y" * 62), (b"server", b"y" * 63)]
        said = len(update(400))
        assert kinds(encoder.encode(fields[:1])[said:]) == "incremental"
        assert {kinds(encoder.encode(fields[1:])) for _ in range(3)} == {"without"}

    @pytest.mark.parametrize("bad", [("server", "text"), (b"server", None), (b"server",), (b"server", 1)])
    def test_what_is_no_pair_of_bytes_changes_nothing(self, bad) -> None:
        encoder = Encoder()
        with pytest.raises((TypeError, ValueError, AttributeError)):
            encoder.encode([fresh(b"server"), bad])
        assert len(encoder.table) == 0

    def test_nothing_is_an_empty_block(self) -> None:
        assert Encoder().encode([]) == b""


class TestTable:
    def test_a_response_that_repeats_is_a_few_octets(self) -> None:
        fields = [
            (b":status", b"200"),
            (b"content-type", b"application/json"),
            (b"content-length", b"13"),
            (b"server", b"trilithon"),
            (b"date", b"Sun, 22 Nov 2026 21:00:00 GMT"),
            (b"x-frame-options", b"deny"),
        ]
        warm(*fields)
        encoder = Encoder()
        decoder = new_decoder()
        blocks = [encoder.encode(fields) for _ in range(3)]
        assert [pairs(decoder, block) for block in blocks] == [fields] * 3
        assert len(blocks[1]) == len(blocks[2]) == 4 + 1 + 5

    @pytest.mark.spec("H2-DOS-04")
    def test_the_table_stays_within_its_size_for_ever(self) -> None:
        encoder = Encoder()
        decoder = new_decoder()
        for number in range(3000):
            field = (b"content-type", b"a/%d" % (number * 7 % 501))
            assert pairs(decoder, encoder.encode([field, (b":status", b"200")]))[0] == field
            assert encoder.table.size <= 4096
            assert len(encoder.table) == len(encoder.table.numbers) == len(decoder.table)
        assert encoder.table.size == decoder.table.size > 3900

    def test_indices_above_127(self) -> None:
        encoder = Encoder()
        decoder = new_decoder()
        fields = [(b"vary", b"%d" % number) for number in range(100)]
        assert pairs(decoder, encoder.encode(fields)) == fields
        assert pairs(decoder, encoder.encode(fields)) == fields
        assert encoder.encode(fields[:1]) == indexed(62 + 99)

    def test_indices_above_255(self) -> None:
        encoder = Encoder(65536)
        encoder.limit_table(65536)
        decoder = new_decoder(max_fields=1000)
        decoder.limit_table(65536)
        fields = [(b"vary", b"%d" % number) for number in range(400)]
        assert pairs(decoder, encoder.encode(fields)) == fields
        assert pairs(decoder, encoder.encode(fields)) == fields
        assert encoder.encode(fields[:1]) == indexed(62 + 399)


class TestSizeUpdates:
    FIELD = (b"server", b"x")

    @pytest.mark.parametrize(
        ("limits", "updates"),
        [
            ([], b""),
            ([4096], b""),
            ([65536], b""),
            ([100], update(100)),
            ([0], update(0)),
            ([100, 50], update(50)),
            ([100, 4096], update(100) + update(4096)),
            ([0, 65536], update(0) + update(4096)),
            ([50, 100], update(50) + update(100)),
            ([2000, 10, 3000, 1000], update(10) + update(1000)),
            ([65536, 100], update(100)),
        ],
    )
    def test_what_a_block_begins_with(self, limits: list[int], updates: bytes) -> None:
        encoder = Encoder()
        for limit in limits:
            encoder.limit_table(limit)
        assert encoder.encode([(b":status", b"200")]) == updates + indexed(8)
        # Said once.
        assert encoder.encode([(b":status", b"200")]) == indexed(8)

    def test_a_table_of_ones_own_size(self) -> None:
        assert Encoder(0).encode([self.FIELD]).startswith(update(0))
        assert Encoder(100).encode([self.FIELD]).startswith(update(100))
        large = Encoder(8192)
        assert not large.encode([(b":status", b"200")]).startswith(update(8192))
        large.limit_table(65536)
        assert large.encode([(b":status", b"200")]) == update(8192) + indexed(8)

    def test_without_a_table_nothing_is_indexed(self) -> None:
        encoder = Encoder(0)
        encoder.encode([self.FIELD])
        assert [kinds(encoder.encode([self.FIELD])) for _ in range(3)] == ["without"] * 3

    @pytest.mark.parametrize("limits", [[100], [0, 4096], [70, 1000], [4096], [33]])
    def test_the_peer_follows(self, limits: list[int]) -> None:
        encoder = Encoder()
        decoder: Decoder = new_decoder()
        fields = [(b"server", b"a"), (b"vary", b"b"), (b"content-type", b"c")]
        for _ in range(3):
            assert pairs(decoder, encoder.encode(fields)) == fields
        for limit in limits:
            encoder.limit_table(limit)
            decoder.limit_table(limit)
        for _ in range(3):
            assert pairs(decoder, encoder.encode(fields)) == fields
        assert encoder.table.size == decoder.table.size
        assert encoder.table.max_size == decoder.table.max_size == limits[-1]


class TestGeneration:
    def test_it_stays_while_the_same_fields_give_the_same_block(self) -> None:
        encoder = Encoder()
        fields = [(b":status", b"200"), fresh(), fresh(b"content-type"), fresh(b"etag"), (b"set-cookie", b"a=b")]
        blocks = []
        for _ in range(8):
            before = encoder.generation
            blocks.append((encoder.encode(fields), encoder.generation == before))
        assert [same for _, same in blocks] == [False, False] + [True] * 6
        assert len({block for block, same in blocks if same}) == 1

    def test_it_changes_when_a_field_turns_out_to_repeat(self) -> None:
        encoder = Encoder()
        before = encoder.generation
        encoder.encode([fresh()])
        assert encoder.generation != before

    def test_it_changes_with_the_limit_and_with_the_update(self) -> None:
        encoder = Encoder()
        seen = {encoder.generation}
        encoder.limit_table(0)
        seen.add(encoder.generation)
        encoder.encode([])
        seen.add(encoder.generation)
        assert len(seen) == 3
