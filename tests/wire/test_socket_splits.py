"""The WebSocket state machine in memory: every state meets every frame, and no cut changes what comes of a stream."""

import itertools
import random
import time
from collections.abc import Iterator

import pytest

from tests.gateway.socket_client import close_frame, fragments, frame, masked
from trilithon.foundation.limits import SocketLimits
from trilithon.wire.deflate import Deflate, negotiate
from trilithon.wire.handshake import read_offers
from trilithon.wire.websocket import WebSocket

from .socket_oracle import SENDABLE, Verdict, drive, every_cut, judge, may_go_on

LIMIT_BYTES = 300
HELLO = bytes.fromhex("f248cdc9c90700")
# How a stream may begin before the frame in question comes.
BEGINNINGS = {
    "fresh": b"",
    "behind a message": frame(1, "one") + frame(2, b"\xff"),
    "inside text": frame(1, b"caf\xc3", fin=False),
    "inside binary": frame(2, b"\xc3", fin=False) + frame(0, b"", fin=False),
    "behind a ping inside text": frame(1, "a", fin=False) + frame(9, b"p"),
    "near the limit": frame(2, b"x" * (LIMIT_BYTES - 3), fin=False),
    "behind a close": close_frame(3000, "bye"),
    "behind a failure": frame(3),
}
PAYLOADS = [b"", b"\xa9", b"\x03\xe8", b"\x03\xee", b"\xe2\x82", b"text", b"\x03\xe8\xff", b"y" * 125, b"y" * 126]
DEFLATED = SocketLimits(ws_deflate_window_bits=15)


def inputs() -> Iterator[bytes]:
    """Yield a frame of every opcode with every flag, and of every sort of payload and length."""
    for opcode, fin, rsv, mask in itertools.product(range(16), (True, False), range(8), (b"\1\2\3\4", None)):
        for payload in PAYLOADS if rsv in (0, 4) and mask else PAYLOADS[2:3]:
            yield frame(opcode, payload, fin=fin, rsv=rsv, mask=mask)
    for opcode, form, length in itertools.product((0, 1, 2, 8, 9), (16, 64), (0, 2, 125, 126, 65535, 65536, 1 << 63)):
        if form == 64 or length < 65536:
            yield frame(opcode, b"ab", form=form, length=length)


def new_deflate() -> Deflate:
    """Return the compression of a socket that agreed to all defaults."""
    deflate = negotiate(read_offers([b"permessage-deflate"]), DEFLATED)
    assert deflate is not None
    return deflate


@pytest.mark.spec("WS-FR-01", "WS-FR-02", "WS-FR-03", "WS-FR-04", "WS-FR-05", "WS-FR-06", "WS-CTL-01", "WS-CTL-02")
@pytest.mark.spec(
    "WS-FRG-01", "WS-FRG-02", "WS-FRG-05", "WS-CTL-07", "WS-CLS-03", "WS-CLS-04", "WS-CLS-10", "WS-UTF-01"
)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_every_state_meets_every_frame(beginning: str) -> None:
    limits = SocketLimits(ws_max_size_bytes=LIMIT_BYTES)
    rest = frame(9, b"then") + frame(0, b"\xa9") + frame(1, "on") + close_frame(1000)
    count = 0
    for each in inputs():
        data = BEGINNINGS[beginning] + each + rest
        expected = judge(data, limit=LIMIT_BYTES)
        assert drive([data], limits=limits) == expected, each
        assert drive([data[place : place + 1] for place in range(len(data))], limits=limits) == expected, each
        count += 1
    assert count > 1000


@pytest.mark.spec("WS-CLS-07", "WS-CLS-08", "WS-CLS-10", "WS-CLS-11")
def test_behind_our_own_close_every_frame_is_discarded_or_the_end() -> None:
    for each in inputs():
        verdict = drive([each + frame(9, b"then"), close_frame(3333)], closing=4000)
        assert verdict.messages == [] and verdict.pongs == [] and verdict.sent_close is None, each
        alone = judge(each)
        if alone.code == alone.sent_close and alone.code in (1002, 1007):
            assert verdict.code in (4000, 3333, alone.code), each
        elif alone.code:
            assert verdict.code == alone.code, each


@pytest.mark.spec("WS-FR-08", "WS-FR-07", "WS-CTL-06", "WS-UTF-02")
@pytest.mark.parametrize("seed", range(8))
def test_no_cut_changes_what_comes_of_a_stream(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        data = b"".join(random_frame(chance) for _ in range(chance.randrange(1, 12)))
        expected = judge(data, limit=LIMIT_BYTES)
        for how, pieces in every_cut(data, chance):
            found = drive(pieces, limits=SocketLimits(ws_max_size_bytes=LIMIT_BYTES))
            assert found == expected, f"{data.hex()} {how}: {found} instead of {expected}"


def random_frame(chance: random.Random) -> bytes:
    """Return frames of one legal message or control, and now and then of something illegal."""
    kind = chance.randrange(12)
    mask = chance.randbytes(4)
    text = "".join(chance.choices("aé€😀\0\uffff", k=chance.randrange(60))).encode()
    if kind < 5:
        places = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(4)))
        cuts = [0, *places, len(text)]
        frames = fragments(chance.choice((1, 2)), [text[start:end] for start, end in itertools.pairwise(cuts)])
        return b"".join(each + (frame(9, mask) if chance.random() < 0.3 else b"") for each in frames)
    if kind < 9:
        return frame(
            chance.choice((1, 2, 9, 10)), text[: chance.choice((0, 5, 125))].decode(errors="ignore"), mask=mask
        )
    if kind == 9:
        return frame(
            chance.randrange(16), chance.randbytes(chance.randrange(130)), mask=mask, rsv=chance.choice((0, 0, 4))
        )
    if kind == 10:
        return frame(1, text + chance.randbytes(chance.randrange(3)), mask=mask, fin=chance.random() < 0.8)
    return close_frame(chance.choice((1000, 1005, 3000, 4999, 5000)), text[:123]) if chance.random() < 0.3 else b""


@pytest.mark.spec("WS-FR-08", "WS-PMD-10", "WS-PMD-17")
def test_no_cut_changes_a_compressed_stream() -> None:
    chance = random.Random(1)
    big = b"".join(fragments(1, [HELLO[:2], b"", HELLO[2:]], rsv=4)) + frame(9, b"p") + frame(2, HELLO, rsv=4)
    for data, messages, code in (
        (big, ["Hello", b"Hello"], 0),
        (
            big + frame(1, "plain") + frame(1, HELLO, rsv=4) + close_frame(1000),
            ["Hello", b"Hello", "plain", "Hello"],
            1000,
        ),
        (big + frame(1, b"\x06", rsv=4) + frame(1, "no"), ["Hello", b"Hello"], 1007),
        (big + frame(1, HELLO[:2], rsv=4, fin=False) + frame(0, HELLO[2:], rsv=4), ["Hello", b"Hello"], 1002),
        (big + frame(9, b"", rsv=4), ["Hello", b"Hello"], 1002),
    ):
        expected = Verdict(messages, [b"p"], code, code or None)
        for how, pieces in every_cut(data, chance):
            assert drive(pieces, deflate=new_deflate()) == expected, how
        for place in range(len(data)):
            assert drive([data[:place], data[place:]], deflate=new_deflate()) == expected, place


@pytest.mark.spec("WS-CLS-04", "WS-CLS-09", "WS-CLS-06")
def test_of_all_codes_exactly_those_of_the_rfc_are_taken() -> None:
    for code in range(65536):
        verdict = drive([close_frame(code)])
        wanted = code if code in SENDABLE else 1002
        assert (verdict.code, verdict.sent_close) == (wanted, wanted), code
    assert len(SENDABLE) == 2012


@pytest.mark.spec("WS-UTF-01", "WS-UTF-03", "WS-UTF-05")
@pytest.mark.parametrize("first", range(0x80, 0x100), ids=hex)
def test_every_pair_of_bytes_fails_at_once_or_may_go_on(first: int) -> None:
    begin = frame(1, bytes([first]), fin=False)
    for second in range(0x100):
        pair = bytes((first, second))
        seen = drive([begin + frame(0, pair[1:], fin=False)])
        assert seen.code == (0 if may_go_on(pair, False) else 1007), pair
        ended = drive([frame(1, pair)])
        assert ended.code == (0 if may_go_on(pair, True) else 1007), pair


@pytest.mark.spec("WS-UTF-01", "WS-UTF-03", "WS-UTF-05")
def test_triples_and_quadruples_at_the_boundaries_fail_at_once_or_may_go_on() -> None:
    edges = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)
    for first in (0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5):
        for others in itertools.product(edges, edges, edges):
            data = bytes((first, *others))
            assert (drive([frame(1, data)]).code == 0) == may_go_on(data, True), data
            pieces = fragments(1, [data[place : place + 1] for place in range(4)] + [b""])[:4]
            assert (drive([b"".join(pieces)]).code == 0) == may_go_on(data, False), data


@pytest.mark.spec("WS-FR-11", "WS-FR-07")
@pytest.mark.parametrize("text", ["a", "é", "😀"])
def test_unmasking_and_checking_text_costs_no_loop_over_its_bytes(text: str) -> None:
    data = (text * (16 << 20)).encode()[: 16 << 20]
    wire = frame(1, data, mask=b"\x9a\x01\xff\x42")
    pieces = [wire[place : place + 65536] for place in range(0, len(wire), 65536)]
    spent = []
    for _ in range(2):
        socket = WebSocket(SocketLimits(ws_max_size_bytes=0), None)
        begun = time.thread_time()
        for piece in pieces:
            socket.receive(piece)
        spent.append(time.thread_time() - begun)
        assert socket.take() == data.decode()
    # A loop in Python takes above a second for so many bytes on any machine of today.
    assert min(spent) < 0.5


@pytest.mark.spec("WS-FR-07")
def test_every_key_at_every_offset_is_taken_off() -> None:
    chance = random.Random(2)
    for size in range(140):
        data, key = chance.randbytes(size), chance.randbytes(4)
        assert masked(masked(data, key), key) == data
        wire = frame(2, data, mask=key)
        for place in range(len(wire) + 1):
            assert drive([wire[:place], wire[place:]]).messages == [data]
