"""Cases of HTTP/2 about streams: their states, bodies, resets, priorities and flow control."""

import pytest

from tests.wire.h2_bytes import number, raw
from tests.wire.h2_memory import GET, POST, block, data, headers, reset, settings, update
from trilithon.wire.h2_codes import (
    CONTINUATION,
    DATA,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEADERS,
    MAX_CONCURRENT_STREAMS,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    STREAM_CLOSED,
    WINDOW_UPDATE,
)

from .h2_peer import HEAD, Case, Peer, Step, alive, answered, headed, ponged, refused, was_reset, whole
from .h2_site import GREETING

mark = pytest.mark

MAX_WINDOW = 2**31 - 1
# An answer that cannot leave keeps its stream half-closed (remote) for as long as a case needs it to be.
HELD = [settings((4, 0)), headers(1, GET), headed(1)]
OPEN = headers(1, POST, end=False)
GONE = [headers(1, GET), whole(1)]
CUT = [OPEN, reset(1), ponged]


def priority(stream_id: int, on: int, weight: int = 255) -> bytes:
    """Return a PRIORITY frame."""
    return raw(PRIORITY, 0, stream_id, number(on) + bytes([weight]))


def headers_with(on: int, weight: int = 255) -> bytes:
    """Return HEADERS of stream 1 with a priority."""
    return raw(HEADERS, 0x25, 1, number(on) + bytes([weight]) + block(GET))


def padded(kind: int, flags: int, payload: bytes, padding: int, announced: int = -1) -> bytes:
    """Return a padded frame of stream 1 that may announce more padding than it has."""
    size = padding if announced < 0 else announced
    return raw(kind, flags | 0x8, 1, bytes([size]) + payload + bytes(padding))


def came(stream_id: int, size: int) -> Step:
    """Exactly so much of a body has come when everything sent is worked off."""

    def judge(peer: Peer) -> None:
        while sum(len(sent.payload) for sent in peer.seen if sent.kind == DATA and sent.stream_id == stream_id) < size:
            assert peer.take() is not None, peer.told()
        ponged(peer)
        got = [len(sent.payload) for sent in peer.seen if sent.kind == DATA and sent.stream_id == stream_id]
        assert sum(got) == size

    return judge


def too_many(peer: Peer) -> None:
    """One stream more than the server allows is refused; those that wait are served."""
    peer.send(settings((4, 0)))
    ponged(peer)
    most = peer.settings[MAX_CONCURRENT_STREAMS]
    peer.send(*[headers(1 + 2 * at, GET) for at in range(most + 1)])
    peer.until(lambda sent: sent.kind == RST_STREAM and sent.stream_id == 1 + 2 * most and sent.code == REFUSED_STREAM)
    peer.send(settings((4, 65535)))
    for at in range(most):
        assert peer.response(1 + 2 * at) == (200, GREETING)
    alive(peer)


STREAMS = [
    # RFC 9113 5.1, idle
    Case("5.1 idle: DATA", mark.spec("H2-STR-02"), [data(1, b"x", end=True), refused(PROTOCOL_ERROR)]),
    Case("5.1 idle: RST_STREAM", mark.spec("H2-STR-02", "H2-STR-09"), [reset(1), refused(PROTOCOL_ERROR)]),
    Case("5.1 idle: WINDOW_UPDATE", mark.spec("H2-STR-02"), [update(1, 100), refused(PROTOCOL_ERROR)]),
    Case(
        "5.1 idle: CONTINUATION", mark.spec("H2-STR-02"), [raw(CONTINUATION, 4, 1, block(GET)), refused(PROTOCOL_ERROR)]
    ),
    Case("5.1 idle: PRIORITY", mark.spec("H2-STR-02"), [priority(1, 3), headers(1, GET), answered(1)]),
    Case("5.1 idle, even: DATA", mark.spec("H2-STR-02"), [data(2, b"x"), refused(PROTOCOL_ERROR)]),
    # half-closed (remote)
    Case(
        "5.1 half-closed: DATA", mark.spec("H2-STR-03"), [*HELD, data(1, b"x", end=True), was_reset(1, STREAM_CLOSED)]
    ),
    Case("5.1 half-closed: HEADERS", mark.spec("H2-STR-03"), [*HELD, headers(1, GET), was_reset(1, STREAM_CLOSED)]),
    Case(
        "5.1 half-closed: CONTINUATION",
        mark.spec("H2-STR-03", "H2-STR-10"),
        [*HELD, raw(CONTINUATION, 4, 1, block(GET)), refused(PROTOCOL_ERROR)],
    ),
    Case("5.1 half-closed: WINDOW_UPDATE", mark.spec("H2-STR-03"), [*HELD, update(1, 100), answered(1, GREETING)]),
    Case(
        "5.1 half-closed: PRIORITY",
        mark.spec("H2-STR-03"),
        [*HELD, priority(1, 3), update(1, 100), answered(1, GREETING)],
    ),
    Case("5.1 half-closed: RST_STREAM", mark.spec("H2-STR-03"), [*HELD, reset(1), alive]),
    # closed
    Case("5.1 closed by a reset: DATA", mark.spec("H2-STR-04"), [*CUT, data(1, b"x"), refused(STREAM_CLOSED)]),
    Case("5.1 closed by a reset: HEADERS", mark.spec("H2-STR-04"), [*CUT, headers(1, GET), refused(STREAM_CLOSED)]),
    Case(
        "5.1 closed by a reset: CONTINUATION",
        mark.spec("H2-STR-04"),
        [*CUT, raw(CONTINUATION, 4, 1), refused(PROTOCOL_ERROR)],
    ),
    Case("5.1 closed by its end: DATA", mark.spec("H2-STR-04"), [*GONE, data(1, b"x"), refused(STREAM_CLOSED)]),
    Case(
        "5.1 closed by its end: HEADERS",
        mark.spec("H2-STR-01", "H2-STR-04"),
        [*GONE, headers(1, GET), refused(STREAM_CLOSED)],
    ),
    Case(
        "5.1 closed by its end: CONTINUATION",
        mark.spec("H2-STR-04"),
        [*GONE, raw(CONTINUATION, 4, 1), refused(PROTOCOL_ERROR)],
    ),
    Case("5.1 closed by its end: PRIORITY", mark.spec("H2-STR-04"), [*GONE, priority(1, 3), alive]),
    Case("5.1 closed by its end: WINDOW_UPDATE", mark.spec("H2-STR-04"), [*GONE, update(1, 100), alive]),
    Case("5.1 closed by its end: RST_STREAM", mark.spec("H2-STR-04"), [*GONE, reset(1), alive]),
    Case(
        "5.1 closed by us: DATA",
        mark.spec("H2-STR-04"),
        [OPEN, update(1, 0), was_reset(1, PROTOCOL_ERROR), data(1, b"x"), alive],
    ),
    Case(
        "5.1 closed by us: trailers",
        mark.spec("H2-STR-04"),
        [OPEN, update(1, 0), was_reset(1, PROTOCOL_ERROR), headers(1, [(b"x", b"y")]), alive],
    ),
    Case(
        "5.1 closed by both: DATA",
        mark.spec("H2-STR-04"),
        [OPEN, update(1, 0), was_reset(1, PROTOCOL_ERROR), reset(1), data(1, b"x"), refused(STREAM_CLOSED)],
    ),
    Case(
        "5.1 closed by both: HEADERS",
        mark.spec("H2-STR-04"),
        [OPEN, update(1, 0), was_reset(1, PROTOCOL_ERROR), reset(1), headers(1, GET), refused(STREAM_CLOSED)],
    ),
    Case(
        "5.1 closed by both: RST_STREAM, twice",
        mark.spec("H2-STR-04"),
        [OPEN, update(1, 0), was_reset(1, PROTOCOL_ERROR), reset(1), reset(1), alive],
    ),
    # RFC 9113 5.1.1, 5.1.2
    Case("5.1.1 an even identifier", mark.spec("H2-STR-01"), [headers(2, GET), refused(PROTOCOL_ERROR)]),
    Case(
        "5.1.1 a smaller identifier",
        mark.spec("H2-STR-01"),
        [headers(5, GET), headers(3, GET), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "5.1.1 identifiers may be left out",
        mark.spec("H2-STR-01"),
        [headers(9, GET), whole(9), headers(77, GET), answered(77)],
    ),
    Case("5.1.2 more streams than allowed", mark.spec("H2-STR-05"), [too_many]),
    # RFC 7540 5.3.1
    Case(
        "5.3.1 HEADERS that depend on themselves",
        mark.spec("H2-STR-08"),
        [headers_with(1), was_reset(1, PROTOCOL_ERROR)],
    ),
    Case(
        "5.3.1 PRIORITY that depends on itself",
        mark.spec("H2-STR-08"),
        [*HELD, priority(1, 1), was_reset(1, PROTOCOL_ERROR)],
    ),
    Case("5.3.1 the same, idle", mark.spec("H2-STR-08"), [priority(1, 1), refused(PROTOCOL_ERROR)]),
    Case("5.3.1 exclusive", mark.spec("H2-STR-07"), [headers_with(0x80000003, 15), answered(1, GREETING)]),
    Case("6.3 weight 1", mark.spec("H2-STR-07"), [priority(1, 0, 0), headers(1, GET), answered(1)]),
    Case("6.3 weight 256", mark.spec("H2-STR-07"), [priority(1, 0, 255), headers(1, GET), answered(1)]),
    Case(
        "6.3 of an idle stream, then a lower one",
        mark.spec("H2-STR-08"),
        [priority(7, 0), headers(1, GET), answered(1)],
    ),
    Case("6.3 PRIORITY on stream 0", mark.spec("H2-STR-08"), [raw(PRIORITY, 0, 0, bytes(5)), refused(PROTOCOL_ERROR)]),
    Case(
        "6.3 PRIORITY too short",
        mark.spec("H2-STR-08"),
        [*HELD, raw(PRIORITY, 0, 1, bytes(4)), was_reset(1, FRAME_SIZE_ERROR)],
    ),
    Case(
        "6.3 PRIORITY too short, idle",
        mark.spec("H2-STR-08"),
        [raw(PRIORITY, 0, 1, bytes(4)), refused(FRAME_SIZE_ERROR)],
    ),
    # RFC 9113 6.1
    Case("6.1 DATA", mark.spec("H2-STR-06"), [OPEN, data(1, b"body", end=True), answered(1, b"body")]),
    Case(
        "6.1 several DATA",
        mark.spec("H2-STR-06"),
        [OPEN, data(1, b"bo"), data(1, b"dy"), data(1, b"", end=True), answered(1, b"body")],
    ),
    Case("6.1 padded DATA", mark.spec("H2-STR-06"), [OPEN, padded(DATA, 1, b"body", 250), answered(1, b"body")]),
    Case("6.1 DATA of padding only", mark.spec("H2-STR-06"), [OPEN, padded(DATA, 1, b"", 9), answered(1, b"")]),
    Case("6.1 DATA on stream 0", mark.spec("H2-STR-06"), [raw(DATA, 1, 0, b"x"), refused(PROTOCOL_ERROR)]),
    Case(
        "6.1 more padding than payload",
        mark.spec("H2-STR-06"),
        [OPEN, padded(DATA, 1, b"body", 0, 5), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "6.1 padding as long as the frame",
        mark.spec("H2-STR-06"),
        [OPEN, raw(DATA, 9, 1, b"\x05test!"[:5]), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "6.1 padded without a length",
        mark.spec("H2-STR-06"),
        [OPEN, raw(DATA, 9, 1), refused(FRAME_SIZE_ERROR, PROTOCOL_ERROR)],
    ),
    # RFC 9113 6.2
    Case(
        "6.2 HEADERS with padding", mark.spec("H2-STR-07"), [padded(HEADERS, 5, block(GET), 99), answered(1, GREETING)]
    ),
    Case("6.2 HEADERS with priority", mark.spec("H2-STR-07"), [headers_with(0), answered(1, GREETING)]),
    Case("6.2 HEADERS on stream 0", mark.spec("H2-STR-07"), [raw(HEADERS, 5, 0, block(GET)), refused(PROTOCOL_ERROR)]),
    Case(
        "6.2 more padding than payload",
        mark.spec("H2-STR-07"),
        [padded(HEADERS, 5, block(GET), 0, 255), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "6.2 a PRIORITY within the block",
        mark.spec("H2-STR-10"),
        [raw(HEADERS, 1, 1, block(GET)), priority(1, 3), raw(CONTINUATION, 4, 1), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "6.2 HEADERS of another stream within the block",
        mark.spec("H2-STR-10"),
        [raw(HEADERS, 1, 1, block(GET)), headers(3, GET), refused(PROTOCOL_ERROR)],
    ),
    # RFC 9113 6.4, 7
    Case("6.4 RST_STREAM", mark.spec("H2-STR-09"), [OPEN, reset(1), alive]),
    Case(
        "6.4 RST_STREAM on stream 0", mark.spec("H2-STR-09"), [raw(RST_STREAM, 0, 0, bytes(4)), refused(PROTOCOL_ERROR)]
    ),
    Case(
        "6.4 RST_STREAM too short",
        mark.spec("H2-STR-09"),
        [OPEN, raw(RST_STREAM, 0, 1, bytes(3)), refused(FRAME_SIZE_ERROR)],
    ),
    Case(
        "6.4 RST_STREAM too long",
        mark.spec("H2-STR-09"),
        [OPEN, raw(RST_STREAM, 0, 1, bytes(5)), refused(FRAME_SIZE_ERROR)],
    ),
    Case("7 RST_STREAM of an unknown code", mark.spec("H2-STR-09"), [OPEN, reset(1, 0xFF), alive]),
    # RFC 9113 6.9
    Case(
        "6.9 WINDOW_UPDATE",
        mark.spec("H2-FLOW-01"),
        [update(0, 1), headers(1, GET), update(1, 1), answered(1, GREETING)],
    ),
    Case("6.9 by nothing, connection", mark.spec("H2-FLOW-01"), [update(0, 0), refused(PROTOCOL_ERROR)]),
    Case("6.9 by nothing, stream", mark.spec("H2-FLOW-01"), [*HELD, update(1, 0), was_reset(1, PROTOCOL_ERROR)]),
    Case("6.9 the reserved bit alone", mark.spec("H2-FLOW-01"), [update(0, 2**31), refused(PROTOCOL_ERROR)]),
    Case("6.9 too short", mark.spec("H2-FLOW-01"), [raw(WINDOW_UPDATE, 0, 0, bytes(3)), refused(FRAME_SIZE_ERROR)]),
    Case(
        "6.9 too long, stream",
        mark.spec("H2-FLOW-01"),
        [*HELD, raw(WINDOW_UPDATE, 0, 1, bytes(5)), refused(FRAME_SIZE_ERROR)],
    ),
    Case("6.9.1 too much, connection", mark.spec("H2-FLOW-02"), [update(0, MAX_WINDOW), refused(FLOW_CONTROL_ERROR)]),
    Case(
        "6.9.1 too much, stream",
        mark.spec("H2-FLOW-02"),
        [OPEN, update(1, MAX_WINDOW - 65535), update(1, 1), was_reset(1, FLOW_CONTROL_ERROR)],
    ),
    Case("6.9.1 the most, connection", mark.spec("H2-FLOW-02"), [update(0, MAX_WINDOW - 65535), alive]),
    Case("6.9.1 the most, stream", mark.spec("H2-FLOW-02"), [*HELD, update(1, MAX_WINDOW), answered(1, GREETING)]),
    Case(
        "6.9.1 a window of one octet",
        mark.spec("H2-FLOW-03"),
        [settings((4, 1)), headers(1, GET), came(1, 1), update(1, 2), came(1, 3)],
    ),
    Case("6.9.1 a window of nothing", mark.spec("H2-FLOW-03"), [settings((4, 0)), headers(1, HEAD), answered(1, b"")]),
    Case(
        "6.9.2 windows change with the setting",
        mark.spec("H2-FLOW-04"),
        [*HELD, settings((4, 1)), came(1, 1), settings((4, 3)), came(1, 3), settings((4, 100)), answered(1, GREETING)],
    ),
    Case(
        "6.9.2 a negative window",
        mark.spec("H2-FLOW-04"),
        [settings((4, 3)), headers(1, GET), came(1, 3), settings((4, 2)), update(1, 2), came(1, 4)],
    ),
    Case(
        "6.9.2 a window that overflows by the setting",
        mark.spec("H2-FLOW-04"),
        [
            settings((4, 1)),
            headers(1, POST),
            headers(3, POST, end=False),
            update(3, MAX_WINDOW - 1),
            ponged,
            settings((4, 2)),
            refused(FLOW_CONTROL_ERROR),
        ],
    ),
]
