"""Cases of HTTP/2 about HPACK (RFC 7541): every representation, and every error."""

import pytest

from tests.wire.h2_bytes import raw
from tests.wire.h2_memory import GET, block, settings
from tests.wire.hpack_blocks import incremental, indexed, never, unindexed, update
from trilithon.wire.h2_codes import COMPRESSION_ERROR, CONTINUATION, HEADERS

from .h2_peer import Case, answered, ponged, refused, whole
from .h2_site import GREETING

mark = pytest.mark

# :method GET, :scheme http, :path /, and :authority a literal with an indexed name.
INDEXED = indexed(2) + indexed(6) + indexed(4) + unindexed(1, b"a.test")
HUFFMAN = bytes.fromhex("418cf1e3c2e5f23a6ba0ab90f4ff")  # www.example.com (RFC 7541 C.4.1)


def request(field_block: bytes, stream_id: int = 1) -> bytes:
    """Return HEADERS of a whole request."""
    return raw(HEADERS, 0x5, stream_id, field_block)


LEGAL = {
    "6.1 indexed fields": INDEXED,
    "6.2.1 literal with indexing, indexed name": INDEXED + incremental(58, b"judge"),
    "6.2.1 literal with indexing, new name": INDEXED + incremental(b"x-judge", b"yes"),
    "6.2.1 literal with indexing, then indexed": INDEXED + incremental(b"x-judge", b"yes") + indexed(62),
    "6.2.1 literal with an indexed name from the table": INDEXED
    + incremental(b"x-judge", b"a")
    + incremental(62, b"b"),
    "6.2.2 literal without indexing, indexed name": INDEXED + unindexed(58, b"judge"),
    "6.2.2 literal without indexing, new name": INDEXED + unindexed(b"x-judge", b"yes"),
    "6.2.3 literal never indexed, indexed name": INDEXED + never(58, b"judge"),
    "6.2.3 literal never indexed, new name": INDEXED + never(b"x-judge", b"yes"),
    "5.2 Huffman": indexed(2) + indexed(6) + indexed(4) + HUFFMAN,
    "5.2 an empty value": INDEXED + unindexed(b"x-judge", b""),
    "6.3 a size update": update(128) + INDEXED,
    "6.3 several size updates": update(0) + update(4096) + INDEXED,
    "6.3 a size update to nothing": update(0) + INDEXED + incremental(b"x-judge", b"yes"),
    "4.1 an entry larger than the table": update(64) + INDEXED + incremental(b"x-judge", b"y" * 100),
}
BROKEN = {
    "2.3.3 an index beyond both tables": INDEXED + indexed(70),
    "2.3.3 an index far beyond": INDEXED + indexed(2**30),
    "2.3.3 the name of a literal beyond both tables": INDEXED + incremental(70, b"empty"),
    "2.3.3 the name of an unindexed literal beyond": INDEXED + unindexed(70, b"empty"),
    "4.2 a size update at the end": INDEXED + update(1024),
    "4.2 a size update between fields": indexed(2) + update(1024) + INDEXED[1:],
    "5.1 an integer without an end": INDEXED + b"\xff" + b"\xff" * 20,
    "5.1 an integer too large": INDEXED + b"\xff\xff\xff\xff\xff\xff\x0f",
    "5.1 an integer cut off": INDEXED + b"\xff\x80",
    "5.2 a string longer than the block": INDEXED + b"\x00\x03abc\x7f\x10short",
    "5.2 a string cut off": INDEXED + b"\x00\x05ab",
    "5.2 a value missing": INDEXED + b"\x00\x03abc",
    "5.2 Huffman padding of more than 7 bits": INDEXED + b"\x00\x82\x1f\xff\x01x",
    "5.2 Huffman padding of more than 7 bits in a value": INDEXED + b"\x00\x01x\x82\x1f\xff",
    "5.2 Huffman padding of zeros": INDEXED + b"\x00\x01x\x81\x18",
    "5.2 Huffman padding of zeros and ones": INDEXED + b"\x00\x01x\x81\x1d",
    "5.2 Huffman with EOS": INDEXED + b"\x00\x01x\x84\xff\xff\xff\xff",
    "5.2 Huffman with EOS between letters": INDEXED + b"\x00\x01x\x85\x1f\xff\xff\xff\xe3",
    "6.1 index zero": INDEXED + indexed(0),
    "6.3 a size update above our limit": update(4097) + INDEXED,
    "6.3 a size update far above our limit": update(2**31) + INDEXED,
}
HPACK = [
    *(
        Case(f"7541 {name}", mark.spec("H2-HDR-01"), [request(code), answered(1, GREETING)])
        for name, code in LEGAL.items()
    ),
    *(
        Case(f"7541 {name}", mark.spec("H2-HDR-01"), [request(code), refused(COMPRESSION_ERROR)])
        for name, code in BROKEN.items()
    ),
    Case(
        "7541 an error in a later CONTINUATION",
        mark.spec("H2-HDR-01"),
        [raw(HEADERS, 1, 1, INDEXED), raw(CONTINUATION, 4, 1, indexed(70)), refused(COMPRESSION_ERROR)],
    ),
    Case(
        "7541 the table lasts from one request to the next",
        mark.spec("H2-HDR-01"),
        [request(INDEXED + incremental(b"x-judge", b"yes")), whole(1), request(INDEXED + indexed(62), 3), answered(3)],
    ),
    Case(
        "7541 an entry that was evicted",
        mark.spec("H2-HDR-01"),
        [
            request(INDEXED + incremental(b"x-judge", b"yes")),
            whole(1),
            request(update(0) + INDEXED, 3),
            whole(3),
            request(INDEXED + indexed(62), 5),
            refused(COMPRESSION_ERROR),
        ],
    ),
    Case(
        "7541 our own table follows the client's limit",
        mark.spec("H2-HDR-01"),
        [settings((1, 0)), ponged, request(INDEXED), whole(1), request(INDEXED, 3), answered(3, GREETING)],
    ),
    Case(
        "7541 the client's limit goes down and up",
        mark.spec("H2-HDR-01"),
        [
            settings((1, 0), (1, 65536)),
            ponged,
            request(block(GET)),
            whole(1),
            request(INDEXED, 3),
            answered(3, GREETING),
        ],
    ),
]
