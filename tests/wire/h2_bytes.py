"""Frames of HTTP/2 written by hand for the tests, legal or not, and a reader to feed them to."""

import random

from trilithon.wire.h2_codes import SETTINGS
from trilithon.wire.h2_frames import Frame, FrameReader

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16384
MAX_BLOCK = 40_000
MAX_CONTINUATIONS = 8


def raw(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame with exactly this header and payload."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def number(value: int, size: int = 4) -> bytes:
    """Return a number in network order."""
    return value.to_bytes(size, "big")


GREETING = PREFACE + raw(SETTINGS)


def new_reader() -> FrameReader:
    """Return a reader that still expects the preface."""
    return FrameReader(MAX_FRAME, MAX_BLOCK, MAX_CONTINUATIONS)


def greeted() -> FrameReader:
    """Return a reader that has the preface and the client's first SETTINGS behind it."""
    reader = new_reader()
    reader.feed(GREETING)
    assert reader.take() is not None
    assert reader.take() is None
    return reader


def drain(reader: FrameReader) -> list[Frame]:
    """Take every frame there is."""
    frames = []
    while (frame := reader.take()) is not None:
        frames.append(frame)
    return frames


def cuts(data: bytes, seed: int) -> list[bytes]:
    """Cut `data`: whole for seed 0, into single bytes for seed 1, at random places for any other."""
    if seed == 0:
        return [data]
    if seed == 1:
        return [data[place : place + 1] for place in range(len(data))]
    chance = random.Random(seed)
    places = sorted({chance.randrange(len(data)) for _ in range(chance.randrange(1, 12))})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
