"""permessage-deflate against zlib: messages made up by chance in both directions, and mutated streams."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilithon.foundation.errors import SocketFault
from trilithon.foundation.limits import SocketLimits
from trilithon.wire.deflate import Deflate, negotiate
from trilithon.wire.handshake import read_offers

from .mutation import mutate
from .test_property import BOUNDED

TAIL = b"\x00\x00\xff\xff"

words = st.sampled_from([b"alpha ", b"beta ", b'{"a": ', b"}, ", b"\x00" * 40, b"0123456789" * 30, bytes(range(256))])
messages = st.lists(words | st.binary(max_size=60), max_size=8).map(b"".join)


def agreed(offer: bytes, limits: SocketLimits | None = None) -> Deflate:
    """Return one side as the server has it after a handshake."""
    deflate = negotiate(read_offers([offer]), limits or SocketLimits(ws_deflate_window_bits=15))
    assert deflate is not None
    return deflate


@pytest.mark.spec("WS-PMD-03", "WS-PMD-06", "WS-PMD-09")
@given(
    bits=st.integers(9, 15),
    level=st.integers(1, 9),
    memory=st.integers(1, 9),
    takeover=st.booleans(),
    steps=st.lists(st.tuples(st.sampled_from(["own", "own", "own", "alone", "idle"]), messages), max_size=12),
)
@BOUNDED
def test_a_client_reads_all_that_is_sent(bits, level, memory, takeover, steps):
    limits = SocketLimits(
        ws_deflate_level=level,
        ws_deflate_window_bits=bits,
        ws_deflate_memory_level=memory,
        ws_deflate_takeover=takeover,
    )
    deflate, other = agreed(b"permessage-deflate", limits), agreed(b"permessage-deflate", limits)
    client = zlib.decompressobj(-bits)
    for kind, message in steps:
        if kind == "idle":
            deflate.forget()
            continue
        if kind == "alone":
            payload = other.compress_alone(message)
            deflate.forget()
        else:
            payload = deflate.compress(message)
        assert payload
        assert not payload.endswith(TAIL)
        if not takeover:
            client = zlib.decompressobj(-bits)
        assert client.decompress(payload + TAIL) == message
        assert not client.unused_data


@pytest.mark.spec("WS-PMD-05", "WS-PMD-07", "WS-PMD-10", "WS-PMD-11")
@given(
    bits=st.integers(9, 15),
    level=st.integers(0, 9),
    memory=st.integers(1, 9),
    strategy=st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE]),
    takeover=st.booleans(),
    said=st.lists(st.tuples(messages, st.booleans()), max_size=8),
    chance=st.randoms(use_true_random=False),
)
@BOUNDED
def test_all_that_a_client_sends_is_read(bits, level, memory, strategy, takeover, said, chance):
    offer = b"permessage-deflate; client_max_window_bits=%d" % bits
    deflate = agreed(offer if takeover else offer + b"; client_no_context_takeover")
    compressor = None
    window = b""
    for message, final in said:
        if compressor is None or not takeover:
            dictionary = window[-(1 << bits) :] if takeover else b""
            compressor = zlib.compressobj(level, zlib.DEFLATED, -bits, memory, strategy, zdict=dictionary)
        cut = chance.randrange(len(message) + 1)
        payload = compressor.compress(message[:cut])
        payload += compressor.flush(
            chance.choice([zlib.Z_NO_FLUSH, zlib.Z_BLOCK, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH])
        )
        payload += compressor.compress(message[cut:])
        if final:
            payload += compressor.flush(zlib.Z_FINISH) + b"\x00"
            compressor = None
        else:
            payload += compressor.flush(zlib.Z_SYNC_FLUSH)
            payload = payload[:-4] if payload.endswith(TAIL) else payload + b"\x00"
        assert receive(deflate, payload, chance) == message
        window += message


def receive(deflate: Deflate, payload: bytes, chance: random.Random) -> bytes:
    """Feed a payload in pieces, take in pieces, sometimes late."""
    bound = chance.choice([3, 100, 65536])
    parts = []
    place = 0
    while place < len(payload):
        size = chance.choice([4, 50, 100_000])
        deflate.feed(payload[place : place + size])
        place += size
        if chance.random() < 0.7:
            while piece := deflate.take(bound):
                parts.append(piece)
    deflate.end()
    while piece := deflate.take(bound):
        assert len(piece) <= bound
        parts.append(piece)
    return b"".join(parts)


def plain(payload: bytes) -> bytes | None:
    """Inflate a lone message the way zlib's manual says; None when it is corrupt, unfinished or has final blocks."""
    inflater = zlib.decompressobj(-15)
    try:
        message = inflater.decompress(payload + TAIL)
        whole = not inflater.eof
        inflater.decompress(b"\x01" + TAIL)
    except zlib.error:
        return None
    return message if whole and inflater.eof and not inflater.unused_data else None


SEEDS = [
    bytes.fromhex(text)
    for text in ("f248cdc9c90700", "000500faff48656c6c6f00", "f348cdc9c9070000", "f24805000000ffffcac9c90700", "00")
]


def more_seeds() -> list[bytes]:
    """Return payloads with dynamic, fixed and stored blocks, final or not."""
    found = []
    for number in range(12):
        chance = random.Random(number)
        text = b" ".join(
            chance.choice([b"alpha", b"beta", b"gamma", b"%d" % chance.randrange(999)]) for _ in range(150)
        )
        strategy = [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY][number % 3]
        compressor = zlib.compressobj(number % 4 * 3, zlib.DEFLATED, -15, 1 + number % 9, strategy)
        payload = compressor.compress(text)
        if number % 4 == 3:
            found.append(payload + compressor.flush(zlib.Z_FINISH) + b"\x00")
        else:
            found.append((payload + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4])
    return found


@pytest.mark.spec("WS-PMD-12", "WS-PMD-13")
def test_mutated_streams_are_read_as_zlib_reads_them_or_fail():
    seeds = SEEDS + more_seeds()
    outcomes = {"read": 0, "failed": 0}
    for number in range(3000):
        chance = random.Random(number)
        payload = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 4)):
            mutate(payload, chance, seeds)
        if not payload:
            continue
        deflate = agreed(b"permessage-deflate")
        try:
            message = receive(deflate, bytes(payload), chance)
        except SocketFault as fault:
            assert fault.code in (1007, 1008)
            assert plain(payload) is None
            outcomes["failed"] += 1
            continue
        outcomes["read"] += 1
        # No block says more than 258 bytes in two bits.
        assert len(message) <= 1032 * (len(payload) + len(TAIL))
        expected = plain(payload)
        assert expected is None or expected == message
        deflate.feed(bytes.fromhex("f248cdc9c90700"))
        deflate.end()
        assert deflate.take(100) == b"Hello"
        assert deflate.take(100) == b""
    assert min(outcomes.values()) > 100, outcomes


@pytest.mark.spec("WS-PMD-13")
@given(payloads=st.lists(st.binary(max_size=60), max_size=4), bound=st.integers(1, 5000))
@BOUNDED
def test_any_bytes_are_read_or_fail(payloads, bound):
    deflate = agreed(b"permessage-deflate")
    try:
        for payload in payloads:
            deflate.feed(payload)
            deflate.end()
            while piece := deflate.take(bound):
                assert len(piece) <= bound
    except SocketFault as fault:
        assert fault.code in (1007, 1008)


offer_texts = st.lists(
    st.sampled_from(
        [
            "permessage-deflate",
            ";",
            ",",
            "=",
            '"',
            " ",
            "server_max_window_bits",
            "client_max_window_bits",
            "server_no_context_takeover",
            "client_no_context_takeover",
            "8",
            "9",
            "10",
            "12",
            "15",
            "16",
            "\\",
            "x",
        ]
    ),
    max_size=24,
).map("".join)


@pytest.mark.spec("WS-PMD-02", "WS-HS-13")
@given(value=offer_texts, bits=st.integers(9, 15), takeover=st.booleans())
@BOUNDED
def test_any_offer_is_declined_or_kept(value, bits, takeover):
    limits = SocketLimits(ws_deflate_window_bits=bits, ws_deflate_takeover=takeover)
    deflate = negotiate(read_offers([value.encode()]), limits)
    if deflate is not None:
        (answer,) = read_offers([deflate.reply])
        told = dict(answer.parameters)
        window = int(told.get(b"server_max_window_bits") or 15)
        assert 9 <= window <= bits
        text = bytes(range(256)) * 200
        assert zlib.decompressobj(-window).decompress(deflate.compress(text) + TAIL) == text
