"""permessage-deflate: the payloads of messages in both directions, their limits and what a socket holds."""

import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest

from trilithon.foundation.errors import InternalError, SocketFault
from trilithon.foundation.limits import SocketLimits
from trilithon.wire.deflate import SLICE_BYTES, Deflate, negotiate
from trilithon.wire.handshake import read_offers

HELLO = bytes.fromhex("f248cdc9c90700")
AGAIN = bytes.fromhex("f200110000")
FINAL_HELLO = bytes.fromhex("f348cdc9c9070000")
TAIL = b"\x00\x00\xff\xff"
PIECE_BYTES = 65536


def socket(offer: bytes = b"permessage-deflate", limits: SocketLimits | None = None) -> Deflate:
    """Return one side as the server has it after a handshake."""
    deflate = negotiate(read_offers([offer]), limits or SocketLimits())
    assert deflate is not None
    return deflate


def receive(deflate: Deflate, fragments: Iterable[bytes], piece_bytes: int = PIECE_BYTES) -> bytes:
    """Feed a message fragment by fragment and take its output in pieces."""
    parts: list[bytes] = []
    for fragment in fragments:
        deflate.feed(fragment)
        drain(deflate, parts, piece_bytes)
    deflate.end()
    drain(deflate, parts, piece_bytes)
    return b"".join(parts)


def receive_whole(deflate: Deflate, payload: bytes, piece_bytes: int = PIECE_BYTES) -> bytes:
    """Feed a whole message before anything is taken."""
    parts: list[bytes] = []
    deflate.feed(payload)
    deflate.end()
    drain(deflate, parts, piece_bytes)
    return b"".join(parts)


def drain(deflate: Deflate, parts: list[bytes], piece_bytes: int) -> None:
    while piece := deflate.take(piece_bytes):
        assert len(piece) <= piece_bytes
        parts.append(piece)


def fault(deflate: Deflate, payload: bytes) -> int:
    """Return the close code that a payload fails with."""
    with pytest.raises(SocketFault) as caught:
        receive(deflate, [payload])
    return caught.value.code


def squeeze(compressor: "zlib._Compress", message: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """Compress a message as clients do."""
    payload = compressor.compress(message) + compressor.flush(flush)
    assert payload.endswith(TAIL)
    return payload[:-4]


def octets(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.spec("WS-PMD-09")
def test_messages_are_sent_as_in_the_rfc():
    deflate = socket()
    assert deflate.compress(b"Hello") == HELLO
    assert deflate.compress(b"Hello") == AGAIN
    assert deflate.compress_alone(b"Hello") == HELLO


@pytest.mark.spec("WS-PMD-09")
def test_an_empty_message_is_one_zero_byte_wherever_it_comes():
    deflate = socket()
    assert deflate.compress(b"") == deflate.compress_alone(b"") == b"\x00"
    assert deflate.compressor is None, "nothing is held for it"
    assert deflate.compress(b"Hello") == HELLO
    assert deflate.compress(b"") == deflate.compress(b"") == b"\x00"
    assert deflate.compress(b"Hello") == AGAIN


@pytest.mark.spec("WS-PMD-09")
@pytest.mark.parametrize("size", [1, 2, 5, 64, 125, 126, 1000, 4096, 16383, 16384, 16385, 65535, 65536, 200_000])
@pytest.mark.parametrize("kind", ["noise", "text", "zeros"])
def test_no_payload_ends_with_what_is_to_be_stripped_and_every_one_can_be_read(size, kind):
    message = {"noise": octets(size), "text": b"{'a': 'some text'}, " * size, "zeros": bytes(size)}[kind][:size]
    deflate = socket()
    client = zlib.decompressobj(-12)
    for payload in (deflate.compress(message), deflate.compress(b""), deflate.compress(message)):
        assert client.decompress(payload + TAIL) == (b"" if payload == b"\x00" else message)
        assert not client.eof
    assert zlib.decompressobj(-12).decompress(deflate.compress_alone(message) + TAIL) == message


@pytest.mark.spec("WS-PMD-10", "WS-PMD-11")
@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("f248cdc9c90700", b"Hello"),
        ("000500faff48656c6c6f00", b"Hello"),
        ("f348cdc9c9070000", b"Hello"),
        ("f248050000 00ffffcac9c90700", b"Hello"),
        ("00", b""),
        ("0000000000ffff00", None),
        ("0000 00ffff00", b""),
        ("0200", b""),
        ("020000", None),
        ("030000", b""),
        ("0100 00ffff00", b""),
        ("010500faff48656c6c6f00", b"Hello"),
        ("010500faff48656c6c6f 010500faff48656c6c6f 00", b"HelloHello"),
        ("f348cdc9c90700 f348cdc9c90700 00", b"HelloHello"),
        ("f348cdc9c90700 f3001100 00", b"HelloHello"),
    ],
)
def test_blocks_of_every_kind_however_cut(payload, message):
    data = bytes.fromhex(payload)
    cuts = [[data], [data[i : i + 1] for i in range(len(data))], [data, b""], [b"", data]]
    cuts += [[data[:place], data[place:]] for place in range(1, len(data))]
    for fragments in cuts:
        for piece_bytes in (1, 2, 3, PIECE_BYTES):
            deflate = socket()
            if message is None:
                with pytest.raises(SocketFault) as caught:
                    receive(deflate, fragments, piece_bytes)
                assert caught.value.code == 1007
            else:
                assert receive(deflate, fragments, piece_bytes) == message
                assert receive(deflate, [HELLO], piece_bytes) == b"Hello"


@pytest.mark.spec("WS-PMD-11")
@pytest.mark.parametrize("before", [[], [b""], [b"\x00"], [HELLO], [FINAL_HELLO, HELLO]])
def test_what_follows_a_final_block_still_refers_back(before):
    deflate = socket()
    for payload in before:
        receive(deflate, [payload])
    assert receive(deflate, [FINAL_HELLO]) == b"Hello"
    assert receive(deflate, [AGAIN]) == b"Hello"
    assert receive(deflate, [b"\x03\x00\x00"]) == b""
    assert receive(deflate, [AGAIN]) == b"Hello"


@pytest.mark.spec("WS-PMD-11")
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_final_blocks_keep_the_whole_window(bits):
    deflate = socket(b"permessage-deflate; client_max_window_bits=%d" % bits, SocketLimits(ws_deflate_window_bits=15))
    window = b""
    for number in range(12):
        message = octets((1 << bits) // 3) + bytes([number]) * number
        dictionary = window[-(1 << bits) :]
        compressor = zlib.compressobj(9, zlib.DEFLATED, -bits, 9, zdict=dictionary)
        payload = compressor.compress(message) + compressor.flush(zlib.Z_FINISH) + b"\x00"
        assert receive(deflate, [payload[:50], payload[50:]], 100) == message
        window += message
    assert len(payload) < len(message), "the last message refers back"


@pytest.mark.spec("WS-PMD-07", "WS-PMD-11")
def test_inside_a_message_blocks_refer_back_even_without_takeover():
    deflate = socket(b"permessage-deflate; client_no_context_takeover")
    for _ in range(2):
        assert receive(deflate, [bytes.fromhex("f348cdc9c90700 f2001100"), b"\x00"]) == b"HelloHello"


@pytest.mark.spec("WS-PMD-10")
def test_a_payload_of_no_bytes_is_an_empty_message():
    deflate = socket()
    assert receive(deflate, [HELLO]) == b"Hello"
    assert receive(deflate, []) == receive(deflate, [b"", b""]) == b""
    assert receive(deflate, [AGAIN]) == b"Hello"


@pytest.mark.spec("WS-PMD-10")
@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK])
def test_a_message_flushed_in_its_middle(flush):
    deflate = socket()
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    for _ in range(3):
        first = compressor.compress(b"one " * 100) + compressor.flush(flush)
        second = compressor.compress(b"two " * 100) + compressor.flush(flush)
        assert (
            receive(deflate, [first, second, squeeze(compressor, b"three")]) == b"one " * 100 + b"two " * 100 + b"three"
        )


@pytest.mark.spec("WS-PMD-10")
@pytest.mark.parametrize("bound", [1, 64, 258, PIECE_BYTES])
def test_all_that_has_come_of_a_message_is_given_at_once(bound):
    payload = squeeze(zlib.compressobj(9, zlib.DEFLATED, -15), b"ab" * 500 + bytes(700) + b"the end")
    for size in range(len(payload)):
        deflate, parts = socket(), []
        deflate.feed(payload[:size])
        drain(deflate, parts, bound)
        assert b"".join(parts) == zlib.decompressobj(-15).decompress(payload[:size])


@pytest.mark.spec("WS-PMD-11")
@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("slices", [1, 2])
def test_a_final_block_that_ends_where_a_slice_of_the_input_does(off, slices):
    first = octets(slices * SLICE_BYTES - 5 * slices + off - 5) + b"Hello"
    blocks = [first[place : place + SLICE_BYTES - 5] for place in range(0, len(first), SLICE_BYTES - 5)]
    payload = b"".join(b"\x01" + struct.pack("<HH", len(block), len(block) ^ 0xFFFF) + block for block in blocks)
    # "Hello" in the last five bytes is referred to, so that it matters that the message goes on.
    deflate = socket(b"permessage-deflate; client_no_context_takeover")
    for _ in range(2):
        assert receive_whole(deflate, payload + AGAIN) == first + b"Hello"


@pytest.mark.spec("WS-PMD-11")
def test_a_final_block_that_ends_where_a_fragment_does():
    deflate = socket(b"permessage-deflate; client_no_context_takeover")
    deflate.feed(FINAL_HELLO[:-1])
    parts = [deflate.take(1)]
    deflate.feed(AGAIN)
    deflate.end()
    drain(deflate, parts, PIECE_BYTES)
    assert b"".join(parts) == b"HelloHello"


@pytest.mark.spec("WS-PMD-15")
@pytest.mark.parametrize("bound", [1, 4, 5, 6])
def test_no_inflater_is_held_between_messages(bound):
    deflate = socket()
    assert receive_whole(deflate, HELLO, bound) == b"Hello"
    assert deflate.take(bound) == deflate.take(bound) == b""
    assert deflate.inflater is None


@pytest.mark.spec("WS-PMD-13")
@pytest.mark.parametrize("final", [False, True])
def test_every_truncated_message_fails(final):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12)
    message = b"".join(b'{"number": %d, "squared": %d}, ' % (number, number * number) for number in range(40))
    if final:
        payload = compressor.compress(message) + compressor.flush() + b"\x00"
    else:
        payload = squeeze(compressor, message)
    assert receive(socket(), [payload]) == message
    assert {fault(socket(), payload[:size]) for size in range(1, len(payload))} == {1007}


@pytest.mark.spec("WS-PMD-13")
@pytest.mark.parametrize(
    "payload",
    [
        "07",
        "0600",
        "ff",
        "ffffffffffff",
        "000500fbff48656c6c6f00",
        "f200110000",
        "000100feff",
        "05",
        "f248cdc9c907",
        "0400",
    ],
)
def test_corrupt_data_fails_with_1007(payload):
    assert fault(socket(), bytes.fromhex(payload)) == 1007


@pytest.mark.spec("WS-PMD-13")
def test_a_payload_that_kept_what_is_to_be_stripped_fails():
    assert fault(socket(), HELLO + TAIL) == 1007


@pytest.mark.spec("WS-PMD-13")
def test_the_servers_direction_survives_the_clients_fault():
    deflate = socket()
    assert deflate.compress(b"Hello") == HELLO
    assert fault(deflate, b"\xff\xff") == 1007
    assert deflate.compress(b"Hello") == AGAIN


@pytest.mark.spec("WS-PMD-12", "WS-PMD-19")
@pytest.mark.parametrize("final", [False, True])
def test_a_bomb_comes_out_in_pieces_and_in_little_memory(final):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    size = 16 * 1024 * 1024
    payload = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(size >> 20))
    payload += compressor.flush(zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH)
    payload = payload + b"\x00" if final else payload[:-4]
    assert len(payload) < 20000
    deflate = socket()
    tracemalloc.start()
    try:
        deflate.feed(payload)
        deflate.end()
        taken = 0
        while piece := deflate.take(PIECE_BYTES):
            assert len(piece) <= PIECE_BYTES
            taken += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken == size
    assert peak < 500_000


@pytest.mark.spec("WS-PMD-12")
def test_a_bomb_need_not_be_taken_to_its_end():
    deflate = socket()
    deflate.feed(squeeze(zlib.compressobj(9, zlib.DEFLATED, -15), bytes(20_000_000)))
    start = time.thread_time()
    assert len(deflate.take(1001)) == 1001
    assert time.thread_time() - start < 0.05


@pytest.mark.spec("WS-PMD-12")
def test_a_flood_of_final_blocks_is_cut_short():
    deflate = socket()
    start = time.thread_time()
    assert fault(deflate, b"\x03\x00" * 1_000_000) == 1008
    assert time.thread_time() - start < 1.0


@pytest.mark.spec("WS-PMD-11", "WS-PMD-12")
@pytest.mark.parametrize("message", [octets(100), octets(5000), bytes(500)], ids=["small", "large", "zeros"])
def test_a_message_of_many_final_blocks_is_legal(message):
    compressor = zlib.compressobj(1, zlib.DEFLATED, -12)
    block = compressor.compress(message) + compressor.flush(zlib.Z_FINISH)
    deflate = socket()
    for _ in range(3):
        assert receive(deflate, [block * 300, b"\x00"]) == message * 300


@pytest.mark.spec("WS-PMD-12")
@pytest.mark.parametrize("block", ["000000ffff", "02000000ffff", "000100feff58", "010000ffff004000bfff" + "58" * 64])
def test_the_cost_of_small_blocks_is_linear(block):
    def cost_s(count: int) -> float:
        payload = bytes.fromhex(block) * count + b"\x00"
        costs = []
        for _ in range(3):
            deflate = socket()
            start = time.thread_time()
            receive(deflate, [payload])
            costs.append(time.thread_time() - start)
        return min(costs)

    assert cost_s(40_000) < 60 * cost_s(2_500) + 0.05


@pytest.mark.spec("WS-PMD-10", "WS-PMD-12")
@pytest.mark.parametrize("at_once", [True, False])
def test_the_cost_of_a_large_message_is_linear(at_once):
    def cost_s(size: int) -> float:
        payload = squeeze(zlib.compressobj(1, zlib.DEFLATED, -15), octets(size))
        fragments = [payload] if at_once else [payload[i : i + 100] for i in range(0, len(payload), 100)]
        deflate = socket()
        start = time.thread_time()
        for fragment in fragments:
            deflate.feed(fragment)
        deflate.end()
        taken = 0
        while piece := deflate.take(1024):
            taken += len(piece)
        assert taken == size
        return time.thread_time() - start

    assert min(cost_s(2_000_000) for _ in range(2)) < 60 * min(cost_s(125_000) for _ in range(3)) + 0.05


@pytest.mark.spec("WS-PMD-15")
@pytest.mark.parametrize("takeover", [True, False])
def test_what_a_socket_holds(takeover):
    limits = SocketLimits(ws_deflate_takeover=takeover)
    offer = b"permessage-deflate; client_max_window_bits"
    client = zlib.compressobj(6, zlib.DEFLATED, -12)
    payloads = [squeeze(client, octets(3000, number)) for number in range(3)]
    socket(offer, limits)

    def growth(act) -> int:
        before = tracemalloc.get_traced_memory()[0]
        act()
        return tracemalloc.get_traced_memory()[0] - before

    def take_messages() -> None:
        for payload in payloads[: 3 if takeover else 1]:
            receive(deflate, [payload])

    tracemalloc.start()
    try:
        deflates = [socket(offer, limits) for _ in range(100)]
        idle = growth(lambda: deflates.extend([socket(offer, limits) for _ in range(100)]))
        deflate = deflates[0]
        receiving = growth(take_messages)
        sending = growth(lambda: deflate.compress(octets(5000)))
        resting = growth(deflate.forget)
    finally:
        tracemalloc.stop()
    assert idle < 100 * 1000, "nothing is held before the first message"
    assert receiving < (5500 if takeover else 200), "between messages the client's direction is its window"
    assert sending < (42_000 if takeover else 200)
    assert sending + resting < 200


def test_a_payload_of_anothers_making_may_be_sent_in_between():
    first, second = socket(), socket()
    client = zlib.decompressobj(-12)
    text = octets(300)
    assert client.decompress(first.compress(text) + TAIL) == text
    shared = second.compress_alone(b"to all " * 40)
    assert client.decompress(shared + TAIL) == b"to all " * 40
    first.forget()
    alone = first.compress(text)
    assert alone == first.compress_alone(text)
    assert client.decompress(alone + TAIL) == text
    assert len(first.compress(text)) < 40, "the context is kept again"


def test_taking_without_a_bound_is_refused():
    deflate = socket()
    deflate.feed(HELLO)
    for bound in (0, -1):
        with pytest.raises(InternalError):
            deflate.take(bound)
