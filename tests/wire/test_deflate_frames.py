"""permessage-deflate in the frames of a socket: which frames may be compressed, what is, and where the limits lie."""

import random
import struct
import zlib
from collections.abc import Iterable

import pytest

from trilithon.foundation.limits import SocketLimits
from trilithon.wire.deflate import negotiate
from trilithon.wire.fanout import Fanout
from trilithon.wire.frame import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT
from trilithon.wire.handshake import read_offers
from trilithon.wire.websocket import WebSocket

RSV1, RSV2, RSV3 = 64, 32, 16
HELLO = bytes.fromhex("f248cdc9c90700")
AGAIN = bytes.fromhex("f200110000")
TAIL = b"\x00\x00\xff\xff"
KEY = b"\x12\x34\x56\x78"


def socket(offer: str | None = "permessage-deflate", **limits: int) -> WebSocket:
    """Return a socket behind a handshake with this offer."""
    held = SocketLimits(**limits)
    return WebSocket(held, negotiate(read_offers([offer.encode()] if offer else []), held))


def frame(first: int, payload: bytes = b"") -> bytes:
    """Build a client's frame; `first` is its whole first byte."""
    size = len(payload)
    length = bytes([128 | size]) if size < 126 else struct.pack("!BH", 254, size)
    if size > 65535:
        length = struct.pack("!BQ", 255, size)
    masked = bytes(octet ^ KEY[place & 3] for place, octet in enumerate(payload))
    return bytes([first]) + length + KEY + masked


def squeezed(message: bytes, level: int = 9) -> bytes:
    """Compress a message as clients do."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def fragments(opcode: int, parts: list[bytes], rsv: int = RSV1) -> list[bytes]:
    """Build the frames of a fragmented message."""
    last = len(parts) - 1
    return [
        frame((FIN if place == last else 0) | (CONTINUATION if place else opcode | rsv), part)
        for place, part in enumerate(parts)
    ]


def messages(found: WebSocket, *data: bytes) -> list[str | bytes]:
    """Feed bytes, going on with what is too much for one go; return the messages that came of them."""
    taken: list[str | bytes] = []
    for piece in data:
        found.receive(piece)
        while True:
            while (message := found.take()) is not None:
                taken.append(message)
            if not found.unfinished:
                break
            found.receive(b"")
    return taken


def failure(found: WebSocket, *data: bytes) -> int:
    """Feed bytes that fail the socket; return the code, which the close frame carries too."""
    assert messages(found, *data) == []
    assert found.farewell is not None
    assert found.farewell[0] == FIN | CLOSE
    assert int.from_bytes(found.farewell[2:4], "big") == found.code
    return found.code


@pytest.mark.spec("WS-PMD-08", "WS-PMD-10", "WS-PMD-11")
def test_compressed_and_plain_messages_may_alternate():
    data = [
        frame(FIN | RSV1 | TEXT, HELLO),
        frame(FIN | TEXT, b"plain"),
        frame(FIN | RSV1 | BINARY, AGAIN),
        frame(FIN | BINARY, HELLO),
        *fragments(TEXT, [b"two ", b"parts"], rsv=0),
        *fragments(TEXT, [AGAIN[:2], AGAIN[2:]]),
        frame(FIN | RSV1 | TEXT, b"\x00"),
        frame(FIN | TEXT),
        frame(FIN | RSV1 | TEXT, bytes.fromhex("f300110000")),
        frame(FIN | RSV1 | TEXT, AGAIN),
    ]
    expected = ["Hello", "plain", b"Hello", HELLO, "two parts", "Hello", "", "", "Hello", "Hello"]
    whole = b"".join(data)
    assert messages(socket(), whole) == expected
    assert messages(socket(), *[whole[place : place + 1] for place in range(len(whole))]) == expected


@pytest.mark.spec("WS-PMD-08")
@pytest.mark.parametrize("final", [0, FIN])
@pytest.mark.parametrize("first", [RSV1 | BINARY, BINARY])
def test_the_bit_on_a_continuation_fails(first, final):
    assert failure(socket(), frame(first, HELLO[:3]) + frame(final | RSV1 | CONTINUATION, HELLO[3:])) == 1002


@pytest.mark.spec("WS-PMD-08", "WS-PMD-01")
@pytest.mark.parametrize(
    "offer", [None, "foo", "permessage-deflate; foo", "permessage-deflate; server_max_window_bits=8"]
)
def test_the_bit_means_nothing_without_an_agreement(offer):
    assert failure(socket(offer), frame(FIN | RSV1 | TEXT, HELLO)) == 1002


@pytest.mark.spec("WS-PMD-08")
@pytest.mark.parametrize("bits", [RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV1 | RSV2 | RSV3])
def test_the_other_bits_still_mean_nothing(bits):
    assert failure(socket(), frame(FIN | bits | TEXT, HELLO)) == 1002


@pytest.mark.spec("WS-PMD-17", "WS-CTL-09")
@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_the_bit_on_a_control_frame_fails(opcode):
    assert failure(socket(), frame(FIN | RSV1 | opcode)) == 1002
    begun = socket()
    assert messages(begun, frame(RSV1 | TEXT, HELLO[:3])) == []
    assert failure(begun, frame(FIN | RSV1 | opcode)) == 1002


@pytest.mark.spec("WS-PMD-17", "WS-PMD-10")
def test_control_frames_between_compressed_fragments_are_plain():
    found = socket()
    first, second, third = fragments(TEXT, [HELLO[:2], b"", HELLO[2:]])
    assert messages(found, first, frame(FIN | PING, HELLO), second, frame(FIN | PONG), third) == ["Hello"]
    assert found.out == [bytes([FIN | PONG, len(HELLO)]) + HELLO]


@pytest.mark.spec("WS-UTF-09", "WS-UTF-01")
@pytest.mark.parametrize("cut", [None, 1, 3])
def test_text_is_judged_inflated(cut):
    good, bad = squeezed("Grüße".encode()), squeezed(b"abc\xff")
    assert messages(socket(), *fragments(TEXT, [good[:cut], good[cut:]] if cut else [good])) == ["Grüße"]
    assert failure(socket(), *fragments(TEXT, [bad[:cut], bad[cut:]] if cut else [bad])) == 1007
    assert messages(socket(), frame(FIN | RSV1 | BINARY, bad)) == [b"abc\xff"]


@pytest.mark.spec("WS-PMD-13")
@pytest.mark.parametrize("payload", [b"\xff\xff", HELLO[:-1], HELLO[:3], HELLO + TAIL, b"\x05"])
def test_corrupt_data_fails_the_socket_with_1007(payload):
    assert failure(socket(), frame(FIN | RSV1 | BINARY, payload)) == 1007


@pytest.mark.spec("WS-PMD-13")
def test_corrupt_data_fails_before_the_message_is_complete():
    assert failure(socket(), frame(RSV1 | BINARY, b"\xff\xff")) == 1007


@pytest.mark.spec("WS-PMD-12", "WS-PMD-14")
def test_the_limit_is_that_of_the_inflated_message():
    limit = 100_000
    assert messages(socket(ws_max_size_bytes=limit), frame(FIN | RSV1 | BINARY, squeezed(bytes(limit)))) == [
        bytes(limit)
    ]
    assert failure(socket(ws_max_size_bytes=limit), frame(FIN | RSV1 | BINARY, squeezed(bytes(limit + 1)))) == 1009


@pytest.mark.spec("WS-PMD-14")
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_message_at_the_limit_may_be_larger_compressed(level):
    noise = random.Random(1).randbytes(50_000)
    payload = squeezed(noise, level)
    assert len(payload) > len(noise)
    assert messages(socket(ws_max_size_bytes=50_000), frame(FIN | RSV1 | BINARY, payload)) == [noise]


@pytest.mark.spec("WS-PMD-14", "WS-PMD-12")
@pytest.mark.parametrize("block", [b"\x00\x00\x00\xff\xff", b"\x02\x00\x00\x00\xff\xff"])
def test_what_stands_for_nothing_is_limited_on_the_wire(block):
    found = socket(ws_max_size_bytes=50_000)
    part = block * (8000 // len(block))
    assert failure(found, frame(RSV1 | BINARY, part), *[frame(CONTINUATION, part)] * 20) == 1009


@pytest.mark.spec("WS-PMD-12")
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_limit_counts_across_fragments(size):
    payload = squeezed(bytes(2_000_000))
    parts = [payload[place : place + size] for place in range(0, len(payload), size)]
    limited = socket(ws_max_size_bytes=1_000_000)
    assert failure(limited, *fragments(BINARY, parts)) == 1009
    # A window of zeros stands for less than 1,032 times its size: no more than needed was inflated.
    assert messages(socket(ws_max_size_bytes=2_000_000), *fragments(BINARY, parts)) == [bytes(2_000_000)]


@pytest.mark.spec("WS-PMD-19", "WS-PMD-12")
def test_a_large_message_is_inflated_in_turns():
    found = socket(ws_max_size_bytes=16 << 20)
    found.receive(frame(FIN | RSV1 | BINARY, squeezed(bytes(16 << 20))))
    turns = 1
    while found.unfinished:
        assert found.take() is None
        found.receive(b"")
        turns += 1
    assert found.take() == bytes(16 << 20)
    assert 8 <= turns <= 64


def sent(parts: Iterable[bytes]) -> tuple[int, bytes]:
    """Return the first byte and the payload of a frame that the server sends."""
    data = b"".join(parts)
    head = {126: 4, 127: 10}.get(data[1], 2)
    return data[0], data[head:]


@pytest.mark.spec("WS-PMD-16", "WS-PMD-09")
@pytest.mark.parametrize("threshold", [0, 1, 128, 5000])
def test_messages_below_the_threshold_are_sent_as_they_are(threshold):
    found, fanout = socket(), Fanout(threshold)
    client = zlib.decompressobj(-12)
    for size in (0, 1, 2, 127, 128, 4999, 5000, 6000):
        text = "ab " * (size // 3) + "x" * (size % 3)
        first, payload = sent(fanout.frame(found, text))
        if size >= threshold:
            assert first == FIN | RSV1 | TEXT
            assert client.decompress(payload + TAIL) == text.encode()
            assert payload
        else:
            assert (first, payload) == (FIN | TEXT, text.encode())


@pytest.mark.spec("WS-PMD-01", "WS-PMD-18")
def test_nothing_is_compressed_without_an_agreement():
    assert sent(Fanout(0).frame(socket(None), "x" * 5000)) == (FIN | TEXT, b"x" * 5000)


@pytest.mark.spec("WS-PMD-06", "WS-PMD-09")
def test_every_client_of_a_broadcast_reads_all_that_it_is_sent():
    chance = random.Random(7)
    fanout = Fanout(0)
    offers = [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
        None,
    ]
    ends = [(socket(offer), zlib.decompressobj(-12)) for offer in offers * 3]
    words = [b"alpha ", b"beta ", b"gamma ", b"{'price': ", b"}, "]
    for _ in range(150):
        message = b"".join(chance.choice(words) for _ in range(chance.randrange(40)))
        told = chance.sample(ends, chance.choice([1, 1, 2, len(ends)]))
        for found, client in told:
            first, payload = sent(fanout.frame(found, message))
            assert first == FIN | BINARY | (RSV1 if found.deflate else 0)
            assert (client.decompress(payload + TAIL) if found.deflate else payload) == message
