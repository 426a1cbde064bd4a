"""Cases of HTTP/2 about connections: the preface, frames as such, SETTINGS, PING, GOAWAY, unknown frames."""

import pytest

from tests.wire.h2_bytes import PREFACE, number, raw
from tests.wire.h2_memory import GET, POST, SETTINGS_ACK, block, data, headers, ping, settings
from trilithon.wire.h2_codes import (
    ACK,
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    NO_ERROR,
    PING,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    SETTINGS,
)

from .h2_peer import Case, Peer, Step, alive, answered, closed, headed, ponged, refused, was_reset, whole
from .h2_site import GREETING

mark = pytest.mark
ODD_FLAGS = 0b11010010


def first_is_settings(peer: Peer) -> None:
    """The server speaks first, with SETTINGS, and acknowledges ours behind them."""
    alive(peer)
    kinds = [(sent.kind, sent.flags & ACK) for sent in peer.seen if sent.kind == SETTINGS]
    assert peer.seen[0].kind == SETTINGS
    assert kinds == [(SETTINGS, 0), (SETTINGS, ACK)]


def echoed(payload: bytes) -> Step:
    """A PING comes back, once, with its payload."""

    def judge(peer: Peer) -> None:
        alive(peer)
        found = [sent for sent in peer.seen if sent.kind == PING and sent.payload == payload]
        assert [sent.flags for sent in found] == [ACK]

    return judge


def unanswered(payload: bytes) -> Step:
    """A PING does not come back."""

    def judge(peer: Peer) -> None:
        alive(peer)
        assert not [sent for sent in peer.seen if sent.kind == PING and sent.payload == payload]

    return judge


def acknowledged(times: int) -> Step:
    """Our SETTINGS are acknowledged so often, the first ones with them."""

    def judge(peer: Peer) -> None:
        alive(peer)
        assert len([sent for sent in peer.seen if sent.kind == SETTINGS and sent.flags & ACK]) == times

    return judge


def ended_politely(peer: Peer) -> None:
    """The server has no more to do here: it says so without an error and closes."""
    frames = peer.to_end()
    assert [sent.code for sent in frames if sent.kind == GOAWAY] in ([], [NO_ERROR])


def one_setting(identifier: int, value: int) -> bytes:
    """Return SETTINGS with one value, legal or not."""
    return raw(SETTINGS, 0, 0, number(identifier, 2) + number(value))


GOING = raw(GOAWAY, 0, 0, number(0) + number(NO_ERROR))
CONNECTION = [
    # RFC 9113 3.4
    Case("3.4 a valid preface", mark.spec("H2-CONN-01", "H2-CONN-02"), [first_is_settings]),
    Case("3.4 no preface at all", mark.spec("H2-CONN-01"), [closed], b"INVALID CONNECTION PREFACE\r\n\r\n"),
    Case("3.4 an invalid preface", mark.spec("H2-CONN-01"), [closed], PREFACE[:-8] + b"INVALID\r\n\r\n"),
    Case("3.4 no SETTINGS first", mark.spec("H2-CONN-01"), [refused(PROTOCOL_ERROR)], PREFACE + headers(1, GET)),
    Case("3.4 a PING first", mark.spec("H2-CONN-01"), [refused(PROTOCOL_ERROR)], PREFACE + ping()),
    Case("3.4 an acknowledgement first", mark.spec("H2-CONN-01"), [refused(PROTOCOL_ERROR)], PREFACE + SETTINGS_ACK),
    Case("3.4 a request with the preface", mark.spec("H2-CONN-01"), [headers(1, GET), answered(1, GREETING)]),
    # RFC 9113 4.1, 5.5
    Case("4.1 an unknown frame type", mark.spec("H2-CONN-05"), [raw(0xFF, 0, 0, bytes(8)), alive]),
    Case("4.1 an unknown type on a stream", mark.spec("H2-CONN-05"), [raw(0x42, 0xFF, 1, b"?" * 100), alive]),
    Case(
        "4.1 undefined flags of PING",
        mark.spec("H2-CONN-05"),
        [raw(PING, ODD_FLAGS, 0, b"flagged!"), echoed(b"flagged!")],
    ),
    Case(
        "4.1 undefined flags of HEADERS", mark.spec("H2-CONN-05"), [raw(HEADERS, 0xD7 & ~8, 1, block(GET)), answered(1)]
    ),
    Case("4.1 the reserved bit", mark.spec("H2-CONN-05"), [raw(PING, 0, 0x80000000, b"reserved"), echoed(b"reserved")]),
    Case(
        "5.5 an unknown frame within a field block",
        mark.spec("H2-CONN-05"),
        [raw(HEADERS, 1, 1, block(GET)), raw(0xFF, 0, 1, bytes(8)), refused(PROTOCOL_ERROR)],
    ),
    # RFC 9113 4.2
    Case(
        "4.2 DATA of 2^14 octets",
        mark.spec("H2-CONN-06"),
        [headers(1, POST, end=False), data(1, b"d" * 16384, end=True), answered(1, b"d" * 16384)],
    ),
    Case(
        "4.2 DATA larger than allowed",
        mark.spec("H2-CONN-06"),
        [headers(1, POST, end=False), data(1, bytes(16385), end=True), refused(FRAME_SIZE_ERROR)],
    ),
    Case(
        "4.2 HEADERS larger than allowed",
        mark.spec("H2-CONN-06"),
        [raw(HEADERS, 5, 1, block([*GET, (b"x", b"y" * 16384)])), refused(FRAME_SIZE_ERROR)],
    ),
    Case(
        "4.2 CONTINUATION larger than allowed",
        mark.spec("H2-CONN-06"),
        [raw(HEADERS, 1, 1, block(GET)), raw(CONTINUATION, 4, 1, bytes(16385)), refused(FRAME_SIZE_ERROR)],
    ),
    Case(
        "4.2 SETTINGS larger than allowed",
        mark.spec("H2-CONN-06"),
        [raw(SETTINGS, 0, 0, bytes(16386)), refused(FRAME_SIZE_ERROR)],
    ),
    Case(
        "4.2 an unknown type too large",
        mark.spec("H2-CONN-06"),
        [raw(0x42, 0, 0, bytes(16385)), refused(FRAME_SIZE_ERROR)],
    ),
    # RFC 9113 5.4.1
    Case(
        "5.4.1 an error ends the connection",
        mark.spec("H2-CONN-07"),
        [headers(1, GET), whole(1), raw(PING, 0, 0, bytes(6)), refused(FRAME_SIZE_ERROR)],
    ),
    Case(
        "5.4.1 an error while a body comes in",
        mark.spec("H2-CONN-07"),
        [
            headers(1, POST, end=False),
            data(1, b"x"),
            ponged,
            raw(DATA, 0, 0, b"x"),
            data(1, b"y"),
            refused(PROTOCOL_ERROR),
        ],
    ),
    Case(
        "5.4.1 an error while an answer waits",
        mark.spec("H2-CONN-07"),
        [settings((4, 0)), headers(1, GET), headed(1), raw(PING, 0, 0, bytes(9)), refused(FRAME_SIZE_ERROR)],
    ),
    # RFC 9113 6.5
    Case("6.5 SETTINGS", mark.spec("H2-CONN-11"), [settings((1, 4096), (3, 100), (4, 65535)), acknowledged(2)]),
    Case("6.5 empty SETTINGS", mark.spec("H2-CONN-11"), [settings(), acknowledged(2)]),
    Case("6.5 an acknowledgement out of turn", mark.spec("H2-CONN-11"), [SETTINGS_ACK, acknowledged(1)]),
    Case(
        "6.5 an acknowledgement with a payload",
        mark.spec("H2-CONN-11"),
        [raw(SETTINGS, ACK, 0, bytes(6)), refused(FRAME_SIZE_ERROR)],
    ),
    Case("6.5 SETTINGS on a stream", mark.spec("H2-CONN-11"), [raw(SETTINGS, 0, 1, bytes(6)), refused(PROTOCOL_ERROR)]),
    Case("6.5 an odd size", mark.spec("H2-CONN-11"), [raw(SETTINGS, 0, 0, bytes(3)), refused(FRAME_SIZE_ERROR)]),
    Case("6.5 seven octets", mark.spec("H2-CONN-11"), [raw(SETTINGS, 0, 0, bytes(7)), refused(FRAME_SIZE_ERROR)]),
    Case("6.5.2 ENABLE_PUSH of 2", mark.spec("H2-CONN-12"), [one_setting(2, 2), refused(PROTOCOL_ERROR)]),
    Case("6.5.2 ENABLE_PUSH of 0", mark.spec("H2-CONN-12"), [one_setting(2, 0), acknowledged(2)]),
    Case(
        "6.5.2 INITIAL_WINDOW_SIZE above the most",
        mark.spec("H2-CONN-12"),
        [one_setting(INITIAL_WINDOW_SIZE, 2**31), refused(FLOW_CONTROL_ERROR)],
    ),
    Case(
        "6.5.2 MAX_FRAME_SIZE below the least",
        mark.spec("H2-CONN-12"),
        [one_setting(MAX_FRAME_SIZE, 16383), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "6.5.2 MAX_FRAME_SIZE above the most",
        mark.spec("H2-CONN-12"),
        [one_setting(MAX_FRAME_SIZE, 2**24), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "6.5.2 MAX_FRAME_SIZE at the most",
        mark.spec("H2-CONN-12"),
        [one_setting(MAX_FRAME_SIZE, 2**24 - 1), acknowledged(2)],
    ),
    Case("6.5.2 ENABLE_CONNECT_PROTOCOL of 2", mark.spec("H2-CONN-12"), [one_setting(8, 2), refused(PROTOCOL_ERROR)]),
    Case("6.5.2 NO_RFC7540_PRIORITIES of 2", mark.spec("H2-CONN-12"), [one_setting(9, 2), refused(PROTOCOL_ERROR)]),
    Case("6.5.2 an unknown setting", mark.spec("H2-CONN-11"), [one_setting(0xFF, 1), acknowledged(2)]),
    Case("6.5.2 a reserved setting", mark.spec("H2-CONN-11"), [one_setting(0, 2**32 - 1), acknowledged(2)]),
    Case("6.5 too many settings", mark.spec("H2-DOS-05"), [settings(*[(0xFF, 0)] * 33), refused(ENHANCE_YOUR_CALM)]),
    Case("6.5.3 each is acknowledged", mark.spec("H2-CONN-11"), [settings((4, 1)), settings((4, 2)), acknowledged(3)]),
    # RFC 9113 6.7
    Case("6.7 PING", mark.spec("H2-CONN-10"), [ping(b"h2judge!"), echoed(b"h2judge!")]),
    Case("6.7 an acknowledgement", mark.spec("H2-CONN-10"), [ping(b"h2judge!", ack=True), unanswered(b"h2judge!")]),
    Case("6.7 PING on a stream", mark.spec("H2-CONN-10"), [raw(PING, 0, 1, bytes(8)), refused(PROTOCOL_ERROR)]),
    Case("6.7 PING too short", mark.spec("H2-CONN-10"), [raw(PING, 0, 0, bytes(6)), refused(FRAME_SIZE_ERROR)]),
    Case("6.7 PING too long", mark.spec("H2-CONN-10"), [raw(PING, 0, 0, bytes(9)), refused(FRAME_SIZE_ERROR)]),
    # RFC 9113 6.8, 7
    Case("6.8 GOAWAY", mark.spec("H2-CONN-08"), [GOING, ended_politely]),
    Case(
        "6.8 GOAWAY with streams open",
        mark.spec("H2-CONN-08"),
        [headers(1, POST, end=False), GOING, data(1, b"last", end=True), whole(1), ended_politely],
    ),
    Case("6.8 GOAWAY on a stream", mark.spec("H2-CONN-08"), [raw(GOAWAY, 0, 1, bytes(8)), refused(PROTOCOL_ERROR)]),
    Case("6.8 GOAWAY too short", mark.spec("H2-CONN-08"), [raw(GOAWAY, 0, 0, bytes(7)), refused(FRAME_SIZE_ERROR)]),
    Case(
        "7 GOAWAY of an unknown code",
        mark.spec("H2-CONN-08"),
        [raw(GOAWAY, 0, 0, number(0) + number(255)), ended_politely],
    ),
    # RFC 9113 8.4
    Case(
        "8.4 PUSH_PROMISE",
        mark.spec("H2-CONN-13"),
        [raw(PUSH_PROMISE, 4, 1, number(2) + block(GET)), refused(PROTOCOL_ERROR)],
    ),
    # RFC 9218
    Case(
        "9218 PRIORITY is no news",
        mark.spec("H-PRIO-01"),
        [raw(PRIORITY, 0, 1, number(3) + b"\xff"), headers(1, GET), answered(1)],
    ),
    Case(
        "9218 PRIORITY_UPDATE ahead of its stream",
        mark.spec("H-PRIO-03"),
        [raw(PRIORITY_UPDATE, 0, 0, number(1) + b"u=0"), headers(1, GET), answered(1)],
    ),
    Case(
        "9218 PRIORITY_UPDATE of a closed stream",
        mark.spec("H-PRIO-03"),
        [headers(1, GET), whole(1), raw(PRIORITY_UPDATE, 0, 0, number(1) + b"u=0"), alive],
    ),
    Case(
        "9218 PRIORITY_UPDATE on a stream",
        mark.spec("H-PRIO-03"),
        [raw(PRIORITY_UPDATE, 0, 1, number(1)), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "9218 PRIORITY_UPDATE of stream 0",
        mark.spec("H-PRIO-03"),
        [raw(PRIORITY_UPDATE, 0, 0, number(0)), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "9218 PRIORITY_UPDATE too short",
        mark.spec("H-PRIO-03"),
        [raw(PRIORITY_UPDATE, 0, 0, bytes(3)), refused(FRAME_SIZE_ERROR)],
    ),
    Case(
        "9218 a priority field that means nothing",
        mark.spec("H-PRIO-02"),
        [headers(1, [*GET, (b"priority", b"u=9")]), answered(1)],
    ),
    Case(
        "9218 PRIORITY of a wrong size",
        mark.spec("H2-STR-08"),
        [headers(1, POST, end=False), raw(PRIORITY, 0, 1, bytes(4)), was_reset(1, FRAME_SIZE_ERROR)],
    ),
]
