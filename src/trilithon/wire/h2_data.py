"""DATA frames out of larger blocks at C speed (RFC 9113 6.1); this twin serves where `h2_data.pyx` is not compiled."""

from trilithon.wire.h2_codes import DATA, END_STREAM
from trilithon.wire.h2_frames import write_header

# Every client takes frames of this size (RFC 9113 4.2); larger ones keep other streams waiting.
FRAME_BYTES = 16384


def cut_frames(head: bytes, stream_id: int, data: bytes, start: int, stop: int, last: bool) -> bytes:
    """Return `head`, and behind it `data[start:stop]` in frames of at most FRAME_BYTES, the last maybe the stream's.

    Nothing makes one empty frame. Raises ValueError for bounds outside the data. Linear, one copy.
    """
    if not 0 <= start <= stop <= len(data):
        raise ValueError("bounds outside the data")
    view = memoryview(data)
    parts: list[bytes | memoryview] = [head]
    while True:
        end = min(stop, start + FRAME_BYTES)
        size = end - start
        flags = END_STREAM if last and end == stop else 0
        parts.append(write_header(size, DATA, flags, stream_id))
        parts.append(view[start:end])
        start = end
        if start == stop:
            return b"".join(parts)
