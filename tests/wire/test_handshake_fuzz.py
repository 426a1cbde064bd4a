"""Handshakes made up by chance and mutated: offers are read as written, and nothing but a refusal comes of the rest."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import MessageLimits, SocketLimits
from trilithon.wire.deflate import negotiate
from trilithon.wire.handshake import HandshakeError, is_handshake, read_handshake, read_offers, switching_head
from trilithon.wire.head import parse_head

from .mutation import mutate
from .test_property import BOUNDED, TOKEN, texts

SEEDS = [
    b"GET /chat HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + more
    for more in (
        b"Origin: https://example.org\r\nSec-WebSocket-Protocol: chat, superchat",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        b'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits="10", x;y="\\z"; z',
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9\r\nSec-WebSocket-Extensions: foo",
    )
]
OUTCOMES = (101, 400, 405, 426)


def outcome(data: bytes) -> int:
    """Return the status that a handshake comes to, 0 for what is no handshake; any other error is a defect."""
    try:
        head = parse_head(data, MessageLimits(), False)
    except PeerError:
        return 0
    if not is_handshake(head):
        return 0
    try:
        handshake = read_handshake(head)
    except HandshakeError as refused:
        assert not refused.lines or refused.lines.endswith(b"\r\n")
        return refused.status
    agreed = negotiate(handshake.offers, SocketLimits())
    protocol = handshake.protocols[0] if handshake.protocols else None
    answer = switching_head(handshake, protocol, agreed.reply if agreed else b"", [])
    assert answer.count(b"\r\n\r\n") == 1
    assert answer.endswith(b"\r\n\r\n")
    return 101


@pytest.mark.spec("WS-HS-06", "WS-HS-12", "WS-HS-13")
def test_mutated_handshakes_are_accepted_or_refused_and_nothing_else():
    met: dict[int, int] = {}
    for number in range(6000):
        chance = random.Random(number)
        data = bytearray(chance.choice(SEEDS))
        for _ in range(chance.randrange(1, 4)):
            mutate(data, chance, SEEDS)
        status = outcome(bytes(data))
        met[status] = met.get(status, 0) + 1
    assert set(met) <= {0, *OUTCOMES}
    assert all(met[status] > 50 for status in (0, 101, 400, 426)), met


@pytest.mark.spec("WS-HS-13")
@given(value=st.text(alphabet='ab=;,"\\ \t1é', max_size=60))
@BOUNDED
def test_any_extension_field_can_be_read(value):
    for offer in read_offers([value.encode("latin-1")]):
        assert offer.name
        assert all(name and (value is None or value) for name, value in offer.parameters)


tokens = texts(TOKEN, 1, 8)
parameters = st.lists(st.tuples(tokens, st.none() | tokens), max_size=4)


@st.composite
def elements(draw: st.DrawFn) -> tuple[str, tuple[str, list[tuple[str, str | None]]]]:
    """Make up one extension: how it is written, and what it says."""
    blank = texts(" \t", 0, 2)
    name = draw(tokens)
    said = draw(parameters)
    text = name
    for key, value in said:
        text += draw(blank) + ";" + draw(blank) + key
        if value is not None:
            text += draw(blank) + "=" + draw(blank)
            if draw(st.booleans()):
                text += '"' + "".join(draw(st.sampled_from(["", "\\"])) + octet for octet in value) + '"'
            else:
                text += value
    return draw(blank) + text + draw(blank), (name, said)


@pytest.mark.spec("WS-HS-13")
@given(lines=st.lists(st.lists(elements(), max_size=3), max_size=3))
@BOUNDED
def test_offers_are_read_as_they_were_written(lines):
    values = [",".join(text for text, _ in line).encode() for line in lines]
    said = [
        (name.encode(), [(key.encode(), None if value is None else value.encode()) for key, value in keys])
        for line in lines
        for _, (name, keys) in line
    ]
    assert [(offer.name, offer.parameters) for offer in read_offers(values)] == said


@pytest.mark.spec("WS-HS-13")
@pytest.mark.parametrize(
    "part", [b",", b"a,", b"a;x=1,", b'"', b'a;x="', b'a;x="1",', b"\\", b'a;x="\\', b";", b"a;", b" ", b"a b", b'""']
)
def test_the_cost_of_extensions_is_linear_in_their_size(part):
    def cost_s(size: int) -> float:
        value = part * (size // len(part))
        costs = []
        for _ in range(5):
            start = time.thread_time()
            read_offers([value])
            costs.append(time.thread_time() - start)
        return min(costs)

    # Sixteen times the size: a quadratic reader takes 256 times as long, and far more than the second half allows.
    assert cost_s(65536) < 60 * cost_s(4096) + 0.01
