"""Frames of HTTP/2 (RFC 9113 4, 6), read from bytes and written: each checked as far as it can be on its own."""

from struct import Struct

from trilithon.foundation.errors import TrilithonError
from trilithon.wire.h2_codes import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    NO_RFC7540_PRIORITIES,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
# What a peer may send until we allow more, and the most that can be allowed (RFC 9113 4.2).
MIN_MAX_FRAME_BYTES = 2**14
MAX_MAX_FRAME_BYTES = 2**24 - 1
MAX_WINDOW_BYTES = 2**31 - 1
MAX_SETTINGS = 32

# Where the reader stands.
PREFACE_DUE = 0
HEADER_DUE = 1
PAYLOAD_DUE = 2

# Frames that belong to a stream, and those that belong to the connection; for WINDOW_UPDATE both will do.
OF_STREAM = frozenset({DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION})
OF_CONNECTION = frozenset({SETTINGS, PING, GOAWAY, PRIORITY_UPDATE})
# A length other than this is a connection error. That of PRIORITY is one of its stream (RFC 9113 6.3).
EXACT_BYTES = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
LEAST_BYTES = {GOAWAY: 8, PRIORITY_UPDATE: 4}
KNOWN_FLAGS = {
    DATA: END_STREAM | PADDED,
    HEADERS: END_STREAM | END_HEADERS | PADDED | PRIORITIZED,
    SETTINGS: ACK,
    PING: ACK,
    CONTINUATION: END_HEADERS,
}
NAMES = {
    DATA: "DATA",
    HEADERS: "HEADERS",
    PRIORITY: "PRIORITY",
    RST_STREAM: "RST_STREAM",
    SETTINGS: "SETTINGS",
    PUSH_PROMISE: "PUSH_PROMISE",
    PING: "PING",
    GOAWAY: "GOAWAY",
    WINDOW_UPDATE: "WINDOW_UPDATE",
    CONTINUATION: "CONTINUATION",
    PRIORITY_UPDATE: "PRIORITY_UPDATE",
}


class H2Error(TrilithonError):
    """The client broke HTTP/2: an error of the stream `stream_id`, or with zero one that ends the connection.

    `code` goes into RST_STREAM or GOAWAY (RFC 9113 5.4), `reason` is one line for the log.
    """

    def __init__(self, code: int, reason: str, stream_id: int = 0) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.stream_id = stream_id


class Frame:
    """One frame received. Which fields hold something depends on `kind`; `flags` are those that the kind has.

    * DATA: `payload` without padding; `flow_bytes`, what it counts for flow control, with padding.
    * HEADERS: `payload` is the whole field block, whatever CONTINUATION frames it came in. Priority is dropped; where
      it makes the stream depend on itself `code` is the error of the stream that this is, once the block is decoded.
    * RST_STREAM: `number` is the error code. WINDOW_UPDATE: `number` is the increment, which is not zero.
    * SETTINGS: `settings` are the (identifier, value) pairs, in order, each legal by itself.
    * PING: `payload` is what an acknowledgement repeats.
    * GOAWAY: `number` is the last stream identifier, `code` the error code, `payload` the debug data.
    * PRIORITY_UPDATE: `number` is the prioritized stream, `payload` the priority field value.
    * PRIORITY and unknown kinds: nothing else; to be ignored, and counted.
    """

    def __init__(self) -> None:
        self.kind: int = DATA
        self.flags: int = 0
        self.stream_id: int = 0
        self.payload = b""
        self.flow_bytes: int = 0
        self.number: int = 0
        self.code: int = 0
        self.settings: list[tuple[int, int]] | None = None


class FrameReader:
    """Turns the bytes that a client sends into frames, from the connection preface on.

    Feed it, then take frames until there is none. It raises H2Error: one with a stream identifier is the stream's
    alone, the frame is behind and the next one can be taken; after any other the connection is to be closed. What it
    holds is one frame and one field block at most, each bounded. `block_stream` is the stream whose field block waits
    for CONTINUATION frames, zero for none.
    """

    def __init__(self, max_frame_bytes: int, max_block_bytes: int, max_continuations: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        self.max_block_bytes = max_block_bytes
        self.max_continuations = max_continuations
        self.state: int = PREFACE_DUE
        self.wanted: int = 1
        self.data = b""
        self.position: int = 0
        self.pending = bytearray()
        self.greeted = False
        self.length: int = 0
        self.kind: int = DATA
        self.flags: int = 0
        self.stream_id: int = 0
        self.block_stream: int = 0
        self.block_flags: int = 0
        self.block_code: int = 0
        self.block: list[bytes] = []
        self.block_bytes: int = 0

    def feed(self, data: bytes) -> None:
        """Take bytes off the wire, once all frames among those before are taken.

        Each is copied a bounded number of times, however the stream is cut: what does not complete anything yet is
        gathered where adding to it costs no copy of the rest.
        """
        left = len(self.data) - self.position
        if not self.pending:
            if left <= 0:
                self.data = data
                self.position = 0
                return
            if left + len(data) >= self.wanted:
                self.data = self.data[self.position :] + data
                self.position = 0
                return
            self.pending += self.data[self.position :]
            self.data = b""
            self.position = 0
        self.pending += data

    def take(self) -> Frame | None:
        """Return the next frame, None when more bytes are needed; raises H2Error."""
        while len(self.data) - self.position + len(self.pending) >= self.wanted:
            if self.pending:
                self.data = bytes(self.pending)
                self.pending = bytearray()
            if self.state == PAYLOAD_DUE:
                frame = self.finish_frame()
                if frame is not None:
                    return frame
            elif self.state == HEADER_DUE:
                self.begin_frame()
            else:
                self.read_preface()
        if self.position >= len(self.data):
            # Not to hold on to what was received last for as long as the connection idles.
            self.data = b""
            self.position = 0
        return None

    def waits_for_head(self) -> bool:
        """Tell whether a field block has begun and is not complete: what a header time-out needs to know.

        A frame that is not known yet counts, or eight octets of its header could be left so for ever.
        """
        if self.block_stream:
            return True
        if self.state == PAYLOAD_DUE:
            return self.kind == HEADERS
        return self.position < len(self.data) or len(self.pending) > 0

    def read_preface(self) -> None:
        """Compare what there is of the connection preface; a client of another protocol is refused at once."""
        start = self.position
        have = min(len(self.data) - start, len(PREFACE))
        if self.data[start : start + have] != PREFACE[:have]:
            raise H2Error(PROTOCOL_ERROR, "no connection preface")
        if have < len(PREFACE):
            self.wanted = have + 1
            return
        self.position += have
        self.state = HEADER_DUE
        self.wanted = HEADER_BYTES

    def begin_frame(self) -> None:
        """Read a frame header and check it before any of the payload is waited for; raises H2Error."""
        data = self.data
        start = self.position
        self.length = (data[start] << 16) | (data[start + 1] << 8) | data[start + 2]
        self.kind = data[start + 3]
        self.flags = data[start + 4]
        # The reserved bit is ignored (RFC 9113 4.1).
        self.stream_id = (
            (data[start + 5] & 0x7F) << 24 | (data[start + 6] << 16) | (data[start + 7] << 8) | data[start + 8]
        )
        if self.length > self.max_frame_bytes:
            raise H2Error(FRAME_SIZE_ERROR, "frame larger than allowed")
        if not self.greeted:
            if self.kind != SETTINGS or self.flags & ACK:
                raise H2Error(PROTOCOL_ERROR, "the connection does not begin with SETTINGS")
            self.greeted = True
        if self.block_stream:
            if self.kind != CONTINUATION or self.stream_id != self.block_stream:
                raise H2Error(PROTOCOL_ERROR, "field block interrupted")
        elif self.kind > HEADERS or not self.stream_id:
            self.check_header()
        self.state = PAYLOAD_DUE
        self.wanted = HEADER_BYTES + self.length

    def check_header(self) -> None:
        """Check type, stream and length of a frame outside of a field block; raises H2Error."""
        kind = self.kind
        name = NAMES.get(kind)
        if name is None:
            return
        if kind == CONTINUATION or kind == PUSH_PROMISE:
            raise H2Error(PROTOCOL_ERROR, f"{name} where none is allowed")
        if kind in OF_STREAM and not self.stream_id:
            raise H2Error(PROTOCOL_ERROR, f"{name} on stream zero")
        if kind in OF_CONNECTION and self.stream_id:
            raise H2Error(PROTOCOL_ERROR, f"{name} on a stream")
        length = self.length
        if length != EXACT_BYTES.get(kind, length) or length < LEAST_BYTES.get(kind, 0):
            raise H2Error(FRAME_SIZE_ERROR, f"{name} of a wrong size")
        if kind == SETTINGS:
            if length % 6 or (self.flags & ACK and length):
                raise H2Error(FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
            if length > 6 * MAX_SETTINGS:
                raise H2Error(ENHANCE_YOUR_CALM, "too many settings in one frame")

    def finish_frame(self) -> Frame | None:
        """Read the payload that is now there; returns None for a part of a field block. Raises H2Error."""
        start = self.position + HEADER_BYTES
        end = start + self.length
        # The frame is behind before anything can be raised: after a stream error the connection goes on.
        self.position = end
        self.state = HEADER_DUE
        self.wanted = HEADER_BYTES
        kind = self.kind
        if kind == CONTINUATION:
            return self.extend_block(start, end)
        frame = Frame()
        frame.kind = kind
        frame.stream_id = self.stream_id
        if kind == DATA:
            frame.flags = self.flags & (END_STREAM | PADDED)
            frame.flow_bytes = self.length
            if self.flags & PADDED:
                end = self.strip_padding(start, end, 0)
                start += 1
            frame.payload = self.data[start:end]
            return frame
        if kind == HEADERS:
            return self.begin_block(frame, start, end)
        frame.flags = self.flags & KNOWN_FLAGS.get(kind, 0)
        self.read_control(frame, start, end)
        return frame

    def strip_padding(self, start: int, end: int, fixed: int) -> int:
        """Return where the payload of a padded frame ends, `fixed` more bytes being its own; raises H2Error."""
        if end - start < 1 + fixed:
            raise H2Error(FRAME_SIZE_ERROR, "frame too small for what its flags announce")
        padding = self.data[start]
        if padding > end - start - 1 - fixed:
            raise H2Error(PROTOCOL_ERROR, "more padding than payload")
        return end - padding

    def begin_block(self, frame: Frame, start: int, end: int) -> Frame | None:
        """Read a HEADERS frame: whole it is returned, otherwise its block is kept; raises H2Error."""
        fixed = 5 if self.flags & PRIORITIZED else 0
        if self.flags & PADDED:
            end = self.strip_padding(start, end, fixed)
            start += 1
        elif end - start < fixed:
            raise H2Error(FRAME_SIZE_ERROR, "frame too small for what its flags announce")
        if fixed and read_number(self.data, start) & 0x7FFFFFFF == self.stream_id:
            frame.code = PROTOCOL_ERROR
        start += fixed
        frame.flags = self.flags & (END_STREAM | END_HEADERS)
        if end - start > self.max_block_bytes:
            raise H2Error(ENHANCE_YOUR_CALM, "field block too large")
        if self.flags & END_HEADERS:
            frame.payload = self.data[start:end]
            return frame
        self.block_stream = self.stream_id
        self.block_flags = frame.flags
        self.block_code = frame.code
        self.block.append(self.data[start:end])
        self.block_bytes = end - start
        return None

    def extend_block(self, start: int, end: int) -> Frame | None:
        """Read a CONTINUATION frame: the last one returns the HEADERS frame; raises H2Error.

        Blocks are bounded in bytes and in frames before they are complete, or a client could send them without end
        (CVE-2024-27316): empty frames cost no bytes.
        """
        self.block.append(self.data[start:end])
        self.block_bytes += end - start
        if self.block_bytes > self.max_block_bytes or len(self.block) > 1 + self.max_continuations:
            raise H2Error(ENHANCE_YOUR_CALM, "field block without an end")
        if not self.flags & END_HEADERS:
            return None
        frame = Frame()
        frame.kind = HEADERS
        frame.flags = self.block_flags | END_HEADERS
        frame.stream_id = self.block_stream
        frame.code = self.block_code
        frame.payload = b"".join(self.block)
        self.block_stream = 0
        self.block = []
        return frame

    def read_control(self, frame: Frame, start: int, end: int) -> None:
        """Read the payload of a frame that carries neither data nor fields; raises H2Error."""
        kind = frame.kind
        data = self.data
        if kind == WINDOW_UPDATE:
            frame.number = read_number(data, start) & 0x7FFFFFFF
            if not frame.number:
                raise H2Error(PROTOCOL_ERROR, "window update by nothing", self.stream_id)
        elif kind == RST_STREAM:
            frame.number = read_number(data, start)
        elif kind == SETTINGS:
            frame.settings = read_settings(data, start, end)
        elif kind == PING:
            frame.payload = data[start:end]
        elif kind == PRIORITY:
            if self.length != 5:
                raise H2Error(FRAME_SIZE_ERROR, "PRIORITY of a wrong size", self.stream_id)
            if read_number(data, start) & 0x7FFFFFFF == self.stream_id:
                # Priority is ignored, but peers test for this and RFC 7540 5.3.1 asked for it.
                raise H2Error(PROTOCOL_ERROR, "stream depends on itself", self.stream_id)
        elif kind == GOAWAY:
            frame.number = read_number(data, start) & 0x7FFFFFFF
            frame.code = read_number(data, start + 4)
            frame.payload = data[start + 8 : end]
        elif kind == PRIORITY_UPDATE:
            frame.number = read_number(data, start) & 0x7FFFFFFF
            if not frame.number:
                raise H2Error(PROTOCOL_ERROR, "PRIORITY_UPDATE of stream zero")
            frame.payload = data[start + 4 : end]


def read_number(data: bytes, start: int) -> int:
    """Return the four octets at `start` as a number."""
    first = data[start]
    return (first << 24) | (data[start + 1] << 16) | (data[start + 2] << 8) | data[start + 3]


def read_settings(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Return the settings of a frame, whose size is checked; raises H2Error for a value that is not allowed."""
    settings = []
    for place in range(start, end, 6):
        identifier = (data[place] << 8) | data[place + 1]
        value = read_number(data, place + 2)
        check_setting(identifier, value)
        settings.append((identifier, value))
    return settings


def check_setting(identifier: int, value: int) -> None:
    """Raise H2Error for a value that the setting cannot have; any value of an unknown setting will do."""
    if identifier in (ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES):
        if value > 1:
            raise H2Error(PROTOCOL_ERROR, f"setting {identifier} is neither 0 nor 1")
    elif identifier == INITIAL_WINDOW_SIZE:
        if value > MAX_WINDOW_BYTES:
            raise H2Error(FLOW_CONTROL_ERROR, "initial window too large")
    elif identifier == MAX_FRAME_SIZE and not MIN_MAX_FRAME_BYTES <= value <= MAX_MAX_FRAME_BYTES:
        raise H2Error(PROTOCOL_ERROR, "maximum frame size out of range")


pack_header = Struct(">BHBBL").pack
NUMBER = Struct(">L")
SETTING = Struct(">HL")


def write_header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Return the header of a frame; the caller sends `length` bytes of payload behind it."""
    return pack_header(length >> 16, length & 0xFFFF, kind, flags, stream_id)


def write_field_block(stream_id: int, block: bytes, end_stream: bool, max_frame_bytes: int) -> bytes:
    """Return HEADERS, and CONTINUATION frames as far as the peer's SETTINGS_MAX_FRAME_SIZE makes them needed.

    Nothing else may be sent between them (RFC 9113 6.10), which is why they come as one.
    """
    flags = END_STREAM if end_stream else 0
    size = len(block)
    if size <= max_frame_bytes:
        return write_header(size, HEADERS, flags | END_HEADERS, stream_id) + block
    pieces = [write_header(max_frame_bytes, HEADERS, flags, stream_id), block[:max_frame_bytes]]
    for place in range(max_frame_bytes, size, max_frame_bytes):
        part = block[place : place + max_frame_bytes]
        flags = END_HEADERS if place + max_frame_bytes >= size else 0
        pieces.append(write_header(len(part), CONTINUATION, flags, stream_id))
        pieces.append(part)
    return b"".join(pieces)


def write_data(stream_id: int, payload: bytes, end_stream: bool) -> bytes:
    """Return a DATA frame; the caller keeps to the windows and to the peer's SETTINGS_MAX_FRAME_SIZE."""
    return write_header(len(payload), DATA, END_STREAM if end_stream else 0, stream_id) + payload


def write_settings(settings: list[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join([SETTING.pack(identifier, value) for identifier, value in settings])
    return write_header(len(payload), SETTINGS, 0, 0) + payload


def write_ping(payload: bytes, ack: bool) -> bytes:
    """Return a PING frame; `payload` is eight octets."""
    return write_header(8, PING, ACK if ack else 0, 0) + payload


def write_goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """Return a GOAWAY frame."""
    payload = NUMBER.pack(last_stream_id) + NUMBER.pack(code) + debug
    return write_header(len(payload), GOAWAY, 0, 0) + payload


def write_reset(stream_id: int, code: int) -> bytes:
    """Return a RST_STREAM frame."""
    return write_header(4, RST_STREAM, 0, stream_id) + NUMBER.pack(code)


def write_window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame, of the connection for stream zero; the increment is 1 to 2**31 - 1."""
    return write_header(4, WINDOW_UPDATE, 0, stream_id) + NUMBER.pack(increment)


SETTINGS_ACK = write_header(0, SETTINGS, ACK, 0)
