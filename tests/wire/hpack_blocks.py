"""Field blocks written by hand for the tests: every representation, nothing of the code under test."""

from trilithon.foundation.limits import MessageLimits
from trilithon.wire.hpack import Decoder

Pairs = list[tuple[bytes, bytes]]


def integer(value: int, prefix: int, first: int = 0) -> bytes:
    """Return an integer behind a prefix of so many bits (RFC 7541 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    out = [first | most]
    value -= most
    while value > 127:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def plain(text: bytes) -> bytes:
    """Return a string that is not Huffman coded."""
    return integer(len(text), 7) + text


def indexed(index: int) -> bytes:
    """Return an indexed field."""
    return integer(index, 7, 0x80)


def incremental(name: bytes | int, value: bytes) -> bytes:
    """Return a literal that goes into the table; the name as an index or as itself."""
    return named(name, 6, 0x40) + plain(value)


def unindexed(name: bytes | int, value: bytes) -> bytes:
    """Return a literal that does not go into the table."""
    return named(name, 4, 0x00) + plain(value)


def never(name: bytes | int, value: bytes) -> bytes:
    """Return a literal that no table may take in."""
    return named(name, 4, 0x10) + plain(value)


def update(size: int) -> bytes:
    """Return a table size update."""
    return integer(size, 5, 0x20)


def named(name: bytes | int, prefix: int, first: int) -> bytes:
    """Return the beginning of a literal."""
    return integer(name, prefix, first) if isinstance(name, int) else bytes([first]) + plain(name)


def new_decoder(**limits: int) -> Decoder:
    """Return a decoder with default limits, save those given."""
    return Decoder(MessageLimits(**limits))


def pairs(decoder: Decoder, block: bytes) -> Pairs:
    """Decode a block to pairs."""
    return [field.pair for field in decoder.decode(block)]


def table(decoder: Decoder) -> Pairs:
    """Return what the decoder's dynamic table holds, the newest first, by asking for each entry."""
    return [pairs(decoder, indexed(62 + place))[0] for place in range(len(decoder.table))]
