"""HPACK (RFC 7541): field sections of HTTP/2 as bytes, both ways, in bounded memory and linear time."""

from collections.abc import Iterable
from typing import Any

from trilithon.foundation.errors import PeerError, TrilithonError
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.hpack_tables import STATIC_FIELDS
from trilithon.wire.huffman import decode_huffman, encode_huffman, measure_huffman
from trilithon.wire.memo import Memo

# What an entry costs besides its octets, in the dynamic table (RFC 7541 4.1) as in a field section (RFC 9113 6.5.2).
ENTRY_OVERHEAD = 32
DEFAULT_TABLE_BYTES = 4096
# The first index that is not the static table's (RFC 7541 2.3.3).
FIRST_DYNAMIC = len(STATIC_FIELDS) + 1
# An integer may follow its prefix with this many octets at most: 28 bits, far more than any block is long.
MAX_CONTINUATIONS = 4
# Evicted entries are cut off the front of a table when there are this many, so that evicting costs O(1).
MAX_EVICTED = 64
COOKIE = b"cookie"
COLON = 0x3A

# The representations, by their first octet (RFC 7541 6).
INDEXED = 0x80
INCREMENTAL = 0x40
SIZE_UPDATE = 0x20
NEVER_INDEXED = 0x10
WITHOUT_INDEXING = 0x00
HUFFMAN = 0x80

# Fields that hold secrets: a table on the way must not learn them, nor an attacker guess them (RFC 7541 7.1.3).
SECRET = frozenset({b"set-cookie", b"cookie", b"authorization", b"proxy-authorization"})
# What differs from one response to the next would only push what does not out of the table.
VARYING = frozenset(
    {b"content-length", b"content-range", b"content-location", b"location", b"etag", b"last-modified", b"age", b":path"}
)
# Worth an entry the first time they are seen; any other field from the second time on, see `CodedField`.
STEADY = frozenset(
    name
    for name, _ in STATIC_FIELDS
    if name not in SECRET and name not in VARYING and name not in (b"date", b"expires", b"link", b"retry-after")
)
# Pairs above this size are coded anew each time.
MAX_KEPT_BYTES = 1024
KEPT_FIELDS = 512


class HpackError(TrilithonError):
    """The peer broke HPACK: a connection error COMPRESSION_ERROR (RFC 9113 4.3); the decoder is of no use any more."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Entry:
    """What a dynamic table can hold; `size` is what it counts for there (RFC 7541 4.1)."""

    def __init__(self) -> None:
        self.size: int = ENTRY_OVERHEAD


class HeaderField(Entry):
    """One decoded field.

    Entries of the static and the dynamic table come out as the same object each time. `meaning` is the caller's: what
    it worked out from name and value, and from nothing else, since the static entries are everybody's. None at first.
    """

    def __init__(self) -> None:
        self.size: int = ENTRY_OVERHEAD
        self.name = b""
        self.value = b""
        self.meaning: Any = None

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """Name and value."""
        return (self.name, self.value)


def new_field(name: bytes, value: bytes) -> HeaderField:
    """Return a field that is in no table yet."""
    field = HeaderField()
    field.name = name
    field.value = value
    field.size = len(name) + len(value) + ENTRY_OVERHEAD
    return field


STATIC = [new_field(b"", b"")] + [new_field(name, value) for name, value in STATIC_FIELDS]


class DynamicTable:
    """The dynamic table of one direction (RFC 7541 2.3.2), the newest entry last.

    `inserted` counts the entries ever put in. Inserting and evicting cost O(1) on average.
    """

    def __init__(self) -> None:
        self.entries: list[Entry | None] = []
        self.first: int = 0
        self.inserted: int = 0
        self.size: int = 0
        self.max_size: int = DEFAULT_TABLE_BYTES

    def resize(self, max_size: int) -> None:
        """Change the maximum size, evicting what has no room any more (RFC 7541 4.3)."""
        self.max_size = max_size
        self.make_room(0)

    def insert(self, entry: Entry) -> None:
        """Put an entry in; one larger than the table only empties it (RFC 7541 4.4)."""
        size = entry.size
        self.make_room(size)
        if size <= self.max_size:
            self.entries.append(entry)
            self.inserted += 1
            self.size += size

    def make_room(self, size: int) -> None:
        """Evict the oldest entries until `size` bytes are free or the table is empty."""
        entries = self.entries
        while self.size > 0 and self.size + size > self.max_size:
            entry = entries[self.first]
            assert entry is not None, "only what was evicted is None"
            entries[self.first] = None
            self.first += 1
            self.size -= entry.size
            self.forget(entry)
        if self.first >= MAX_EVICTED and self.first * 2 >= len(entries):
            del entries[: self.first]
            self.first = 0

    def forget(self, entry: Entry) -> None:
        """Learn that an entry was evicted."""

    def __len__(self) -> int:
        """Return how many entries the table holds."""
        return len(self.entries) - self.first


class Decoder:
    """Decodes the field blocks of one connection, in the order received.

    `generation` changes with the table: a block that left it as it was decodes to the same as long as it stays so.
    For one thread at a time.
    """

    def __init__(self, limits: MessageLimits) -> None:
        self.max_list_bytes = limits.max_head_bytes
        self.max_fields = limits.max_fields
        self.max_field_bytes = limits.max_field_bytes
        self.max_trailer_bytes = limits.max_trailer_bytes
        self.max_trailer_fields = limits.max_trailer_fields
        self.table = DynamicTable()
        self.table_limit: int = DEFAULT_TABLE_BYTES
        self.lowest_limit: int = DEFAULT_TABLE_BYTES
        self.generation: int = 0
        self.position: int = 0

    def limit_table(self, max_bytes: int) -> None:
        """Hold the peer to a SETTINGS_HEADER_TABLE_SIZE of ours; call it when the peer has acknowledged that.

        When that is less than the peer uses, its next block has to begin with a size update (RFC 9113 4.3.1).
        """
        self.table_limit = max_bytes
        self.lowest_limit = min(self.lowest_limit, max_bytes)
        self.generation += 1

    def decode(self, block: bytes, trailers: bool = False) -> list[HeaderField]:
        """Decode one whole field block; the cost is linear in its size, and so is what is kept meanwhile.

        Raises HpackError, which ends the connection, and PeerError (431) for a section above the limits: in size
        (RFC 9113 6.5.2), in fields (pseudo fields and the crumbs of a cookie are none) or in the size of one field. A
        block that is refused so is decoded to its end with nothing of it kept but the table; the connection goes on.
        """
        room = self.max_trailer_bytes if trailers else self.max_list_bytes
        fields_left = self.max_trailer_fields if trailers else self.max_fields
        end = len(block)
        fields: list[HeaderField] = []
        refused = False
        self.position = 0
        self.read_size_updates(block)
        while self.position < end:
            octet = block[self.position]
            if octet & INDEXED:
                if octet == 0xFF:
                    field = self.find(self.read_integer(block, 0x7F))
                else:
                    self.position += 1
                    field = self.find(octet & 0x7F)
            elif octet & INCREMENTAL:
                field = self.read_literal(block, 0x3F)
                self.table.insert(field)
                self.generation += 1
            elif octet & SIZE_UPDATE:
                raise HpackError("table size update not at the start of a block, or a third one")
            else:
                field = self.read_literal(block, 0x0F)
            if refused:
                continue
            room -= field.size
            name = field.name
            if not name or (name[0] != COLON and name != COOKIE):
                fields_left -= 1
            if room < 0 or fields_left < 0 or field.size - ENTRY_OVERHEAD > self.max_field_bytes:
                refused = True
                fields = []
            else:
                fields.append(field)
        if refused:
            raise PeerError(431, "field section too large", "RFC 9113 10.5.1")
        return fields

    def read_size_updates(self, block: bytes) -> None:
        """Read the table size updates that a block begins with: two at most, the lowest first (RFC 7541 4.2)."""
        updates = 0
        end = len(block)
        while updates < 2 and self.position < end and block[self.position] & 0xE0 == SIZE_UPDATE:
            size = self.read_integer(block, 0x1F)
            if size > self.table_limit:
                raise HpackError("table size update above the limit")
            if updates == 0 and size > self.lowest_limit and self.table.max_size > self.lowest_limit:
                raise HpackError("table size update above the lowest limit since the last block")
            self.table.resize(size)
            self.generation += 1
            updates += 1
        if updates == 0 and self.table.max_size > self.lowest_limit:
            raise HpackError("no table size update after the limit was reduced")
        self.lowest_limit = self.table_limit

    def read_integer(self, block: bytes, mask: int) -> int:
        """Read an integer whose prefix is what `mask` covers (RFC 7541 5.1); the position moves behind it."""
        end = len(block)
        position = self.position
        if position >= end:
            raise HpackError("block ends where an integer was due")
        value = block[position] & mask
        position += 1
        if value == mask:
            shift = 0
            octet = 0x80
            while octet & 0x80:
                if position >= end:
                    raise HpackError("block ends inside an integer")
                if shift >= 7 * MAX_CONTINUATIONS:
                    raise HpackError("integer too long")
                octet = block[position]
                position += 1
                value += (octet & 0x7F) << shift
                shift += 7
        self.position = position
        return value

    def read_string(self, block: bytes) -> bytes:
        """Read a string (RFC 7541 5.2); the position moves behind it."""
        place = self.position
        size = self.read_integer(block, 0x7F)
        start = self.position
        if size > len(block) - start:
            raise HpackError("block ends inside a string")
        self.position = start + size
        if not block[place] & HUFFMAN:
            return block[start : start + size]
        text = decode_huffman(block, start, start + size)
        if text is None:
            raise HpackError("string breaks the Huffman code")
        return text

    def read_literal(self, block: bytes, mask: int) -> HeaderField:
        """Read a literal field, the index of its name in what `mask` covers (RFC 7541 6.2)."""
        index = self.read_integer(block, mask)
        name = self.find(index).name if index else self.read_string(block)
        return new_field(name, self.read_string(block))

    def find(self, index: int) -> HeaderField:
        """Return the entry with this index in the joint table (RFC 7541 2.3.3); raises HpackError for none."""
        if index < FIRST_DYNAMIC:
            if index == 0:
                raise HpackError("index zero")
            return STATIC[index]
        entries = self.table.entries
        place = len(entries) - 1 - (index - FIRST_DYNAMIC)
        if place < self.table.first:
            raise HpackError("index beyond the table")
        field = entries[place]
        assert isinstance(field, HeaderField)
        return field


class CodedField(Entry):
    """A field to send, coded: what stays the same on every connection.

    `place` is the index of a static entry that says all of it, else zero. `worth` tells whether it is worth an entry
    in the dynamic table: never for a secret or what varies, at once for what is known to repeat, and for anything
    else from its second time on, so that a request's own identifier does not push out what all responses share.
    """

    def __init__(self) -> None:
        self.size: int = ENTRY_OVERHEAD
        self.place: int = 0
        self.once = False
        self.worth = False
        self.octets = b""
        self.indexing = b""


def write_integer(value: int, mask: int, first: int) -> bytes:
    """Return an integer coded behind the bits of `first`, with a prefix that `mask` covers (RFC 7541 5.1)."""
    if value < mask:
        return bytes((first | value,))
    octets = [first | mask]
    value -= mask
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def write_string(text: bytes) -> bytes:
    """Return a string coded (RFC 7541 5.2), by Huffman where that is shorter."""
    size = measure_huffman(text)
    if size < len(text):
        return write_integer(size, 0x7F, HUFFMAN) + encode_huffman(text)
    return write_integer(len(text), 0x7F, 0) + text


# Of several static entries with one name, the first stands for the name.
STATIC_NAMES = {field.name: place for place, field in reversed(list(enumerate(STATIC))) if place}
STATIC_PLACES = {field.pair: place for place, field in enumerate(STATIC) if place}
INDEXED_OCTETS = [write_integer(place, 0x7F, INDEXED) for place in range(256)]

# The coded lines of every connection. No secret is kept here.
CODED = Memo(KEPT_FIELDS)


def code_field(pair: tuple[bytes, bytes]) -> CodedField:
    """Return a (lower-case name, value) pair coded; what repeats is coded once for all connections.

    A caller that sends the same field often may keep the result and hand it to `Encoder.put`.
    """
    coded: CodedField | None = CODED.find(pair)
    if coded is None:
        coded = new_coded(pair)
        if coded.size <= MAX_KEPT_BYTES and pair[0] not in SECRET:
            CODED.keep(pair, coded)
    return coded


def new_coded(pair: tuple[bytes, bytes]) -> CodedField:
    """Code a pair, in full."""
    name, value = pair
    coded = CodedField()
    coded.size = len(name) + len(value) + ENTRY_OVERHEAD
    coded.place = STATIC_PLACES.get(pair, 0)
    if coded.place:
        coded.octets = INDEXED_OCTETS[coded.place]
        return coded
    index = STATIC_NAMES.get(name, 0)
    text = write_string(value) if index else write_string(name) + write_string(value)
    if name in SECRET:
        coded.once = True
        coded.octets = write_integer(index, 0x0F, NEVER_INDEXED) + text
        return coded
    coded.once = name in VARYING
    coded.worth = name in STEADY
    coded.octets = write_integer(index, 0x0F, WITHOUT_INDEXING) + text
    if not coded.once:
        coded.indexing = write_integer(index, 0x3F, INCREMENTAL) + text
    return coded


class SendTable(DynamicTable):
    """The dynamic table of an encoder: knows the number of the insertion that put a coded field in."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[Entry, int] = {}

    def forget(self, entry: Entry) -> None:
        """Learn that an entry was evicted."""
        del self.numbers[entry]


class Encoder:
    """Encodes the field blocks of one connection, which must be sent in the order encoded, each of them.

    The table takes `max_table_bytes` at most, whatever the peer allows. `generation` changes with the table, and the
    same fields give the same block as long as it stays. For one thread at a time.
    """

    def __init__(self, max_table_bytes: int = DEFAULT_TABLE_BYTES) -> None:
        self.max_table_bytes = max_table_bytes
        self.table = SendTable()
        self.numbers = self.table.numbers
        self.lowest: int = DEFAULT_TABLE_BYTES
        self.target: int = DEFAULT_TABLE_BYTES
        self.generation: int = 0
        self.limit_table(DEFAULT_TABLE_BYTES)

    def limit_table(self, max_bytes: int) -> None:
        """Keep to a SETTINGS_HEADER_TABLE_SIZE of the peer; call it before its settings are acknowledged."""
        self.target = min(max_bytes, self.max_table_bytes)
        self.lowest = min(self.lowest, self.target)
        self.generation += 1

    def encode(self, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the block of a field section; names in lower case, pseudo fields first. The block must be sent.

        What is no pair of bytes raises before anything is changed.
        """
        section = [code_field(pair) for pair in fields]
        pieces = self.begin()
        for coded in section:
            pieces.append(self.put(coded))
        return b"".join(pieces)

    def begin(self) -> list[bytes]:
        """Start a block: returns the size updates that it owes (RFC 7541 4.2), mostly none."""
        pieces: list[bytes] = []
        table = self.table
        if self.lowest == self.target == table.max_size:
            return pieces
        if self.lowest < table.max_size:
            pieces.append(write_integer(self.lowest, 0x1F, SIZE_UPDATE))
            table.resize(self.lowest)
        if self.target != table.max_size:
            pieces.append(write_integer(self.target, 0x1F, SIZE_UPDATE))
            table.resize(self.target)
        self.lowest = self.target
        self.generation += 1
        return pieces

    def put(self, coded: CodedField) -> bytes:
        """Return the next piece of a block, and take the field into the table if it is worth it."""
        if coded.place:
            return coded.octets
        number = self.numbers.get(coded, 0)
        if number:
            place = FIRST_DYNAMIC + self.table.inserted - number
            return INDEXED_OCTETS[place] if place < 256 else write_integer(place, 0x7F, INDEXED)
        if coded.once:
            return coded.octets
        if not coded.worth:
            coded.worth = True
            self.generation += 1
            return coded.octets
        # An entry that takes up most of the table would push everything else out of it.
        if coded.size * 4 > self.table.max_size:
            return coded.octets
        self.table.insert(coded)
        self.numbers[coded] = self.table.inserted
        self.generation += 1
        return coded.indexing
