"""DATA frames cut out of larger blocks: every octet once and in order, no frame too large, bounds kept."""

import pytest

from trilithon.wire.h2_codes import DATA, END_STREAM
from trilithon.wire.h2_data import FRAME_BYTES, cut_frames
from trilithon.wire.h2_frames import write_data

BLOCK = bytes(range(256)) * 520  # 130 KiB, in which no two frames are alike
SIZES = [0, 1, 255, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 4 * FRAME_BYTES, 4 * FRAME_BYTES + 7, len(BLOCK) - 3]


def one_by_one(stream_id: int, data: bytes, last: bool) -> bytes:
    """Return the same frames, each written by itself."""
    pieces = [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)] or [b""]
    ends = [False] * (len(pieces) - 1) + [last]
    return b"".join(write_data(stream_id, piece, end) for piece, end in zip(pieces, ends, strict=True))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("head", [b"", b"a head in front"])
@pytest.mark.parametrize("last", [False, True])
def test_a_block_is_cut_into_frames(size: int, head: bytes, last: bool) -> None:
    for start in (0, 3):
        wanted = head + one_by_one(2**31 - 1, BLOCK[start : start + size], last)
        assert cut_frames(head, 2**31 - 1, BLOCK, start, start + size, last) == wanted


def test_the_end_is_said_once() -> None:
    frames = cut_frames(b"", 1, BLOCK, 0, 2 * FRAME_BYTES, True)
    flags = [frames[place + 4] for place in (0, 9 + FRAME_BYTES)]
    assert [frames[place + 3] for place in (0, 9 + FRAME_BYTES)] == [DATA, DATA]
    assert flags == [0, END_STREAM]


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, len(BLOCK) + 1), (len(BLOCK) + 1, len(BLOCK) + 1)])
def test_nothing_outside_the_data_is_read(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="bounds outside the data"):
        cut_frames(b"", 1, BLOCK, start, stop, False)
