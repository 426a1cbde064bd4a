"""Frames of HTTP/2: what each kind brings, every rule that a frame can break on its own, and what is written."""

import random
import time
import tracemalloc
from collections.abc import Callable

import pytest

from trilithon.wire import h2_codes as h2
from trilithon.wire import h2_frames
from trilithon.wire.h2_frames import Frame, FrameReader, H2Error

from .h2_bytes import (
    GREETING,
    MAX_BLOCK,
    MAX_CONTINUATIONS,
    MAX_FRAME,
    PREFACE,
    cuts,
    drain,
    greeted,
    new_reader,
    number,
    raw,
)

END, WHOLE, PADDED, PRIORITIZED = h2.END_STREAM, h2.END_HEADERS, h2.PADDED, h2.PRIORITIZED
PRIORITY_FIELDS = number(11) + b"\x10"


def told(frame: Frame) -> dict[str, object]:
    """Return what a frame brings, without what it does not."""
    every = {
        "flags": frame.flags, "stream": frame.stream_id, "payload": frame.payload, "flow": frame.flow_bytes,
        "number": frame.number, "code": frame.code, "settings": frame.settings,
    }  # fmt: skip
    return {"kind": frame.kind, **{key: value for key, value in every.items() if value not in (0, b"", None)}}


def refuse(data: bytes, code: int, stream_id: int = 0, reader: FrameReader | None = None) -> FrameReader:
    """See that `data` is an error with this code, of this stream or with zero of the connection."""
    reader = reader or greeted()
    reader.feed(data)
    with pytest.raises(H2Error) as caught:
        drain(reader)
    assert (caught.value.code, caught.value.stream_id) == (code, stream_id), caught.value.reason
    return reader


# Each legal frame, and what it brings.
LEGAL = [
    (raw(h2.DATA, 0, 1, b"abc"), {"kind": 0, "stream": 1, "payload": b"abc", "flow": 3}),
    (raw(h2.DATA, END, 1), {"kind": 0, "stream": 1, "flags": END}),
    (raw(h2.DATA, PADDED, 5, b"\x02abc\0\0"), {"kind": 0, "flags": 8, "stream": 5, "payload": b"abc", "flow": 6}),
    (raw(h2.DATA, PADDED, 5, b"\x00"), {"kind": 0, "flags": 8, "stream": 5, "flow": 1}),
    (raw(h2.DATA, PADDED, 5, b"\x03\0\0\0"), {"kind": 0, "flags": 8, "stream": 5, "flow": 4}),
    (raw(h2.DATA, 0xF6, 1, b"a"), {"kind": 0, "stream": 1, "payload": b"a", "flow": 1}),
    (raw(h2.HEADERS, WHOLE, 3, b"\x82"), {"kind": 1, "flags": WHOLE, "stream": 3, "payload": b"\x82"}),
    (raw(h2.HEADERS, 0xD7, 3, b"\x82"), {"kind": 1, "flags": WHOLE | END, "stream": 3, "payload": b"\x82"}),
    (
        raw(h2.HEADERS, WHOLE | PADDED | PRIORITIZED, 3, b"\x02" + PRIORITY_FIELDS + b"\x82\0\0"),
        {"kind": 1, "flags": WHOLE, "stream": 3, "payload": b"\x82"},
    ),
    (raw(h2.HEADERS, WHOLE | PRIORITIZED, 3, PRIORITY_FIELDS), {"kind": 1, "flags": WHOLE, "stream": 3}),
    (raw(h2.HEADERS, WHOLE | PADDED, 3, b"\x02\0\0"), {"kind": 1, "flags": WHOLE, "stream": 3}),
    (raw(h2.PRIORITY, 0xFF, 7, PRIORITY_FIELDS), {"kind": 2, "stream": 7}),
    (raw(h2.RST_STREAM, 0xFF, 7, number(0xFFFFFFFE)), {"kind": 3, "stream": 7, "number": 0xFFFFFFFE}),
    (raw(h2.SETTINGS, 0xFF), {"kind": 4, "flags": 1, "settings": []}),
    (raw(h2.PING, 0xFE, 0, b"12345678"), {"kind": 6, "payload": b"12345678"}),
    (raw(h2.PING, h2.ACK, 0, b"12345678"), {"kind": 6, "flags": 1, "payload": b"12345678"}),
    (
        raw(h2.GOAWAY, 0, 0, number(0x80000005) + number(11) + b"why"),
        {"kind": 7, "number": 5, "code": 11, "payload": b"why"},
    ),
    (raw(h2.WINDOW_UPDATE, 0, 0, number(1)), {"kind": 8, "number": 1}),
    (raw(h2.WINDOW_UPDATE, 0, 9, number(0xFFFFFFFF)), {"kind": 8, "stream": 9, "number": 2**31 - 1}),
    (
        raw(h2.PRIORITY_UPDATE, 0, 0, number(0x80000009) + b"u=1, i"),
        {"kind": 16, "number": 9, "payload": b"u=1, i"},
    ),
    (raw(0x63, 0xFF, 9, b"whatever"), {"kind": 0x63, "stream": 9}),
    (raw(0xFF, 0, 0), {"kind": 0xFF}),
    (raw(h2.DATA, 0, 0x80000001, b"a"), {"kind": 0, "stream": 1, "payload": b"a", "flow": 1}),
]


@pytest.mark.spec("H2-CONN-05", "H2-STR-06", "H2-STR-07", "H2-STR-09", "H2-CONN-08", "H2-CONN-10", "H2-FLOW-01")
@pytest.mark.parametrize(("data", "expected"), LEGAL)
def test_what_a_frame_brings(data: bytes, expected: dict[str, object]) -> None:
    reader = greeted()
    reader.feed(data)
    assert [told(frame) for frame in drain(reader)] == [expected]


@pytest.mark.parametrize("seed", range(12))
def test_however_the_bytes_are_cut(seed: int) -> None:
    reader = new_reader()
    large = raw(h2.DATA, 0, 1, b"x" * MAX_FRAME)
    block = raw(h2.HEADERS, 0, 11, b"ab") + raw(h2.CONTINUATION, 0, 11) + raw(h2.CONTINUATION, WHOLE, 11, b"cd")
    frames: list[Frame] = []
    for piece in cuts(GREETING + b"".join(data for data, _ in LEGAL) + block + large + b"\0\0", seed):
        reader.feed(piece)
        frames += drain(reader)
    assert [told(frame) for frame in frames] == [
        {"kind": 4, "settings": []},
        *(expected for _, expected in LEGAL),
        {"kind": 1, "flags": WHOLE, "stream": 11, "payload": b"abcd"},
        {"kind": 0, "stream": 1, "payload": b"x" * MAX_FRAME, "flow": MAX_FRAME},
    ]


class TestPreface:
    @pytest.mark.spec("H2-CONN-01")
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize(
        "first", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", PREFACE[:-1] + b"\r", PREFACE[1:], b"\0"]
    )
    def test_anything_else_is_refused(self, first: bytes, seed: int) -> None:
        reader = new_reader()
        with pytest.raises(H2Error) as caught:
            for piece in cuts(first, seed):
                reader.feed(piece)
                drain(reader)
        assert (caught.value.code, caught.value.stream_id) == (h2.PROTOCOL_ERROR, 0)

    @pytest.mark.spec("H2-CONN-01")
    def test_it_is_refused_as_soon_as_it_differs(self) -> None:
        refuse(b"X", h2.PROTOCOL_ERROR, reader=new_reader())
        reader = new_reader()
        reader.feed(PREFACE[:10])
        assert reader.take() is None
        refuse(b"X", h2.PROTOCOL_ERROR, reader=reader)

    @pytest.mark.spec("H2-CONN-01")
    @pytest.mark.parametrize(
        "frame",
        [raw(h2.PING, 0, 0, b"12345678"), raw(h2.HEADERS, WHOLE, 1, b"\x82"), raw(0x63), raw(h2.SETTINGS, h2.ACK)],
    )
    def test_the_first_frame_is_settings(self, frame: bytes) -> None:
        refuse(PREFACE + frame, h2.PROTOCOL_ERROR, reader=new_reader())


class TestSizes:
    @pytest.mark.spec("H2-CONN-06", "H-LIM-09")
    @pytest.mark.parametrize("kind", [*range(10), 0x10, 0x63])
    def test_a_frame_above_the_limit_is_refused_by_its_header(self, kind: int) -> None:
        header = (MAX_FRAME + 1).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 1])
        refuse(header, h2.FRAME_SIZE_ERROR)

    @pytest.mark.spec("H2-CONN-06", "H-LIM-09")
    def test_the_limit_can_be_raised(self) -> None:
        reader = greeted()
        reader.max_frame_bytes = MAX_FRAME + 1
        reader.feed(raw(h2.DATA, 0, 1, b"x" * (MAX_FRAME + 1)))
        assert [frame.flow_bytes for frame in drain(reader)] == [MAX_FRAME + 1]

    @pytest.mark.spec("H2-STR-09", "H2-CONN-10", "H2-FLOW-01", "H2-CONN-08", "H-PRIO-03")
    @pytest.mark.parametrize(
        ("kind", "stream_id", "sizes"),
        [
            (h2.RST_STREAM, 1, (0, 3, 5)),
            (h2.PING, 0, (0, 7, 9)),
            (h2.WINDOW_UPDATE, 0, (0, 3, 5)),
            (h2.WINDOW_UPDATE, 1, (0, 3, 5)),
            (h2.GOAWAY, 0, (0, 7)),
            (h2.PRIORITY_UPDATE, 0, (0, 3)),
        ],
    )
    def test_a_length_that_the_kind_cannot_have(self, kind: int, stream_id: int, sizes: tuple[int, ...]) -> None:
        for size in sizes:
            refuse(raw(kind, 0, stream_id, b"\1" * size), h2.FRAME_SIZE_ERROR)

    @pytest.mark.spec("H2-STR-08")
    @pytest.mark.parametrize("size", [0, 4, 6])
    def test_the_length_of_priority_is_a_matter_of_its_stream(self, size: int) -> None:
        reader = refuse(raw(h2.PRIORITY, 0, 5, b"\0" * size) + raw(h2.DATA, 0, 1, b"x"), h2.FRAME_SIZE_ERROR, 5)
        assert [frame.payload for frame in drain(reader)] == [b"x"]

    @pytest.mark.spec("H2-STR-07")
    @pytest.mark.parametrize(
        ("flags", "payload"),
        [
            (PADDED, b""),
            (PRIORITIZED, b""),
            (PRIORITIZED, b"\0" * 4),
            (PADDED | PRIORITIZED, b"\0" * 5),
        ],
    )
    def test_too_small_for_its_flags(self, flags: int, payload: bytes) -> None:
        refuse(raw(h2.HEADERS, WHOLE | flags, 1, payload), h2.FRAME_SIZE_ERROR)
        if flags == PADDED:
            refuse(raw(h2.DATA, flags, 1, payload), h2.FRAME_SIZE_ERROR)


class TestStreams:
    @pytest.mark.spec("H2-STR-06", "H2-STR-07", "H2-STR-08", "H2-STR-09")
    @pytest.mark.parametrize(
        "frame",
        [
            raw(h2.DATA, 0, 0, b"x"),
            raw(h2.DATA, 0, 0x80000000, b"x"),
            raw(h2.HEADERS, WHOLE, 0, b"\x82"),
            raw(h2.PRIORITY, 0, 0, PRIORITY_FIELDS),
            raw(h2.RST_STREAM, 0, 0, number(0)),
        ],
    )
    def test_stream_zero_has_none_of_these(self, frame: bytes) -> None:
        refuse(frame, h2.PROTOCOL_ERROR)

    @pytest.mark.spec("H2-CONN-08", "H2-CONN-10", "H2-CONN-11", "H-PRIO-03")
    @pytest.mark.parametrize(
        "frame",
        [
            raw(h2.SETTINGS, 0, 1),
            raw(h2.PING, 0, 1, b"12345678"),
            raw(h2.GOAWAY, 0, 1, bytes(8)),
            raw(h2.PRIORITY_UPDATE, 0, 1, number(1)),
            raw(h2.PRIORITY_UPDATE, 0, 0, number(0)),
            raw(h2.PRIORITY_UPDATE, 0, 0, number(0x80000000)),
        ],
    )
    def test_a_stream_has_none_of_these(self, frame: bytes) -> None:
        refuse(frame, h2.PROTOCOL_ERROR)

    @pytest.mark.spec("H2-CONN-13")
    @pytest.mark.parametrize("stream_id", [0, 1, 2])
    def test_a_client_cannot_push(self, stream_id: int) -> None:
        refuse(raw(h2.PUSH_PROMISE, WHOLE, stream_id, number(2) + b"\x82"), h2.PROTOCOL_ERROR)

    @pytest.mark.spec("H2-FLOW-01")
    @pytest.mark.parametrize("increment", [0, 0x80000000])
    def test_a_window_is_not_updated_by_nothing(self, increment: int) -> None:
        refuse(raw(h2.WINDOW_UPDATE, 0, 0, number(increment)), h2.PROTOCOL_ERROR)
        reader = refuse(raw(h2.WINDOW_UPDATE, 0, 3, number(increment)) + raw(0x63), h2.PROTOCOL_ERROR, 3)
        assert len(drain(reader)) == 1

    @pytest.mark.spec("H2-STR-06", "H2-STR-07")
    @pytest.mark.parametrize(
        ("kind", "flags", "payload"),
        [
            (h2.DATA, PADDED, b"\x01"),
            (h2.DATA, PADDED, b"\x04abc"),
            (h2.DATA, PADDED, b"\xff" * 255),
            (h2.HEADERS, WHOLE | PADDED, b"\x01"),
            (h2.HEADERS, WHOLE | PADDED, b"\x03\x82\0"),
            (h2.HEADERS, WHOLE | PADDED | PRIORITIZED, b"\x01" + PRIORITY_FIELDS),
            (h2.HEADERS, WHOLE | PADDED | PRIORITIZED, b"\x03" + PRIORITY_FIELDS + b"\x82\0"),
        ],
    )
    def test_padding_beyond_the_payload(self, kind: int, flags: int, payload: bytes) -> None:
        refuse(raw(kind, flags, 1, payload), h2.PROTOCOL_ERROR)


class TestSettings:
    def test_they_come_in_order_and_unknown_ones_too(self) -> None:
        reader = greeted()
        sent = [
            (1, 0),
            (0xABCD, 2**32 - 1),
            (1, 4096),
            (4, 2**31 - 1),
            (5, 16384),
            (5, 2**24 - 1),
            (2, 1),
            (8, 1),
            (9, 0),
        ]
        reader.feed(raw(h2.SETTINGS, 0, 0, b"".join(number(key, 2) + number(value) for key, value in sent)))
        assert [frame.settings for frame in drain(reader)] == [sent]

    @pytest.mark.spec("H2-CONN-11")
    @pytest.mark.parametrize(("flags", "size"), [(0, 1), (0, 5), (0, 7), (h2.ACK, 6), (h2.ACK, 1)])
    def test_a_wrong_size(self, flags: int, size: int) -> None:
        refuse(raw(h2.SETTINGS, flags, 0, b"\0" * size), h2.FRAME_SIZE_ERROR)

    @pytest.mark.spec("H2-CONN-12")
    @pytest.mark.parametrize(
        ("identifier", "value", "code"),
        [
            (h2.ENABLE_PUSH, 2, h2.PROTOCOL_ERROR),
            (h2.ENABLE_CONNECT_PROTOCOL, 2, h2.PROTOCOL_ERROR),
            (h2.NO_RFC7540_PRIORITIES, 2**32 - 1, h2.PROTOCOL_ERROR),
            (h2.INITIAL_WINDOW_SIZE, 2**31, h2.FLOW_CONTROL_ERROR),
            (h2.MAX_FRAME_SIZE, 2**14 - 1, h2.PROTOCOL_ERROR),
            (h2.MAX_FRAME_SIZE, 2**24, h2.PROTOCOL_ERROR),
        ],
    )
    def test_a_value_out_of_range(self, identifier: int, value: int, code: int) -> None:
        refuse(raw(h2.SETTINGS, 0, 0, number(1, 2) + number(0) + number(identifier, 2) + number(value)), code)

    @pytest.mark.spec("H2-DOS-05", "H-LIM-09")
    def test_many_in_one_frame(self) -> None:
        reader = greeted()
        reader.feed(raw(h2.SETTINGS, 0, 0, (number(1, 2) + number(0)) * 32))
        assert len(drain(reader)) == 1
        refuse(raw(h2.SETTINGS, 0, 0, (number(1, 2) + number(0)) * 33), h2.ENHANCE_YOUR_CALM)


class TestFieldBlocks:
    @pytest.mark.spec("H2-STR-10")
    def test_a_block_in_several_frames_comes_as_one(self) -> None:
        reader = greeted()
        reader.feed(raw(h2.HEADERS, END | PADDED | PRIORITIZED, 5, b"\x01" + PRIORITY_FIELDS + b"ab\0"))
        assert reader.take() is None
        assert reader.block_stream == 5
        reader.feed(raw(h2.CONTINUATION, 0xFB, 5, b"cd") + raw(h2.CONTINUATION, WHOLE, 5, b"ef") + raw(0x63))
        assert [told(frame) for frame in drain(reader)] == [
            {"kind": 1, "flags": END | WHOLE, "stream": 5, "payload": b"abcdef"},
            {"kind": 0x63},
        ]
        assert reader.block_stream == 0

    @pytest.mark.spec("H2-STR-10", "H2-CONN-05")
    @pytest.mark.parametrize(
        "frame",
        [
            raw(h2.DATA, 0, 5, b"x"),
            raw(h2.HEADERS, WHOLE, 5, b"\x82"),
            raw(h2.HEADERS, WHOLE, 7, b"\x82"),
            raw(h2.CONTINUATION, WHOLE, 7, b"\x82"),
            raw(h2.CONTINUATION, WHOLE, 0, b"\x82"),
            raw(h2.PRIORITY, 0, 5, PRIORITY_FIELDS),
            raw(h2.PING, 0, 0, b"12345678"),
            raw(h2.SETTINGS),
            raw(h2.RST_STREAM, 0, 5, number(0)),
            raw(h2.WINDOW_UPDATE, 0, 0, number(1)),
            raw(h2.GOAWAY, 0, 0, bytes(8)),
            raw(0x63, 0, 0),
        ],
    )
    def test_nothing_comes_between(self, frame: bytes) -> None:
        refuse(raw(h2.HEADERS, 0, 5, b"\x82") + frame, h2.PROTOCOL_ERROR)

    @pytest.mark.spec("H2-STR-10")
    @pytest.mark.parametrize("before", [b"", raw(h2.HEADERS, WHOLE, 5, b"\x82")])
    @pytest.mark.parametrize("stream_id", [0, 5])
    def test_a_stray_continuation(self, before: bytes, stream_id: int) -> None:
        refuse(before + raw(h2.CONTINUATION, WHOLE, stream_id, b"\x82"), h2.PROTOCOL_ERROR)

    @pytest.mark.spec("H2-DOS-03", "H-LIM-09")
    @pytest.mark.parametrize("part", [b"", b"\x82"])
    def test_the_number_of_continuations_is_bounded(self, part: bytes) -> None:
        first = raw(h2.HEADERS, 0, 5, part)
        more = raw(h2.CONTINUATION, 0, 5, part)
        reader = greeted()
        reader.feed(first + more * (MAX_CONTINUATIONS - 1) + raw(h2.CONTINUATION, WHOLE, 5, part))
        assert [frame.payload for frame in drain(reader)] == [part * (MAX_CONTINUATIONS + 1)]
        refuse(first + more * (MAX_CONTINUATIONS + 1), h2.ENHANCE_YOUR_CALM)

    @pytest.mark.spec("H2-DOS-03", "H-LIM-09")
    def test_the_bytes_of_a_block_are_bounded(self) -> None:
        first = raw(h2.HEADERS, 0, 5, b"x" * MAX_FRAME) + raw(h2.CONTINUATION, 0, 5, b"x" * MAX_FRAME)
        rest = MAX_BLOCK - 2 * MAX_FRAME
        reader = greeted()
        reader.feed(first + raw(h2.CONTINUATION, WHOLE, 5, b"x" * rest))
        assert [len(frame.payload) for frame in drain(reader)] == [MAX_BLOCK]
        refuse(first + raw(h2.CONTINUATION, 0, 5, b"x" * (rest + 1)), h2.ENHANCE_YOUR_CALM)
        small = FrameReader(MAX_FRAME, 100, MAX_CONTINUATIONS)
        refuse(GREETING + raw(h2.HEADERS, WHOLE, 5, b"x" * 101), h2.ENHANCE_YOUR_CALM, reader=small)

    def test_a_block_does_not_leak_into_the_next(self) -> None:
        reader = greeted()
        for stream_id in (1, 3):
            reader.feed(raw(h2.HEADERS, 0, stream_id, b"a") + raw(h2.CONTINUATION, WHOLE, stream_id, b"b"))
        assert [(frame.stream_id, frame.payload) for frame in drain(reader)] == [(1, b"ab"), (3, b"ab")]


def test_mutated_frames_end_in_frames_or_in_an_error() -> None:
    legal = [data for data, _ in LEGAL] + [raw(h2.HEADERS, 0, 11, b"ab") + raw(h2.CONTINUATION, WHOLE, 11, b"cd")]
    outcomes = {"taken": 0, "connection": 0, "stream": 0}
    for seed in range(4000):
        chance = random.Random(seed)
        data = bytearray(b"".join(chance.choice(legal) for _ in range(chance.randrange(1, 6))))
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(data))
            if chance.randrange(3):
                data[place] = chance.choice((0, 1, 5, 8, 255, chance.randrange(256)))
            else:
                del data[place : place + chance.randrange(1, 9)]
            data += b"\0"
        reader = greeted()
        for piece in cuts(bytes(data), seed % 40):
            reader.feed(piece)
            try:
                outcomes["taken"] += len(drain(reader))
            except H2Error as fault:
                outcomes["stream" if fault.stream_id else "connection"] += 1
                if not fault.stream_id:
                    break
    assert min(outcomes.values()) > 10, outcomes


@pytest.mark.spec("H2-DOS-07")
@pytest.mark.parametrize(
    "unit",
    [raw(h2.DATA, 0, 1), raw(h2.PING, 0, 0, b"12345678"), raw(h2.DATA, 0, 1, b"x" * 3000)],
    ids=["empty", "ping", "large"],
)
@pytest.mark.parametrize("cut", [1, 7, 5000])
def test_the_time_grows_with_the_bytes(unit: bytes, cut: int) -> None:
    def make(size: int) -> Callable[[], None]:
        data = unit * (size // len(unit))
        pieces = [data[place : place + cut] for place in range(0, len(data), cut)]

        def run() -> None:
            reader = greeted()
            for piece in pieces:
                reader.feed(piece)
                drain(reader)

        return run

    def seconds(run: Callable[[], None]) -> float:
        start = time.thread_time()
        run()
        return time.thread_time() - start

    size = 30_000 * min(cut, 5)
    assert any(seconds(make(2 * size)) < 3 * seconds(make(size)) for _ in range(5))


def test_nothing_is_held_once_all_is_taken() -> None:
    reader = greeted()
    tracemalloc.start()
    try:
        reader.feed(raw(0x63, 0, 0, b"x" * 5000) * 20)
        drain(reader)
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()


class TestWriting:
    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            (h2_frames.write_data(1, b"abc", False), {"kind": 0, "stream": 1, "payload": b"abc", "flow": 3}),
            (h2_frames.write_data(2**31 - 1, b"", True), {"kind": 0, "flags": 1, "stream": 2**31 - 1}),
            (h2_frames.write_ping(b"12345678", True), {"kind": 6, "flags": 1, "payload": b"12345678"}),
            (h2_frames.write_ping(b"12345678", False), {"kind": 6, "payload": b"12345678"}),
            (h2_frames.write_goaway(7, 11, b"why"), {"kind": 7, "number": 7, "code": 11, "payload": b"why"}),
            (h2_frames.write_reset(5, 8), {"kind": 3, "stream": 5, "number": 8}),
            (h2_frames.write_window_update(0, 2**31 - 1), {"kind": 8, "number": 2**31 - 1}),
            (h2_frames.SETTINGS_ACK, {"kind": 4, "flags": 1, "settings": []}),
            (h2_frames.write_settings([(4, 2**20), (3, 100)]), {"kind": 4, "settings": [(4, 2**20), (3, 100)]}),
        ],
    )
    def test_what_is_written_is_read(self, written: bytes, expected: dict[str, object]) -> None:
        reader = greeted()
        reader.feed(written)
        assert [told(frame) for frame in drain(reader)] == [expected]

    def test_a_header_to_the_bit(self) -> None:
        assert h2_frames.write_header(0xABCDEF, 0x12, 0x34, 0x56789ABC).hex() == "abcdef123456789abc"

    @pytest.mark.parametrize("end_stream", [False, True])
    @pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 199, 200, 201, 850])
    def test_a_block_is_cut_to_what_the_peer_takes(self, size: int, end_stream: bool) -> None:
        block = bytes(place % 251 for place in range(size))
        written = h2_frames.write_field_block(3, block, end_stream, 100)
        reader = FrameReader(100, MAX_BLOCK, MAX_CONTINUATIONS)
        reader.feed(GREETING + written)
        frames = drain(reader)[1:]
        assert [(frame.kind, frame.flags, frame.stream_id, frame.payload) for frame in frames] == [
            (h2.HEADERS, WHOLE | (END if end_stream else 0), 3, block)
        ]
        assert len(written) == size + 9 * max(1, -(-size // 100))
