"""One WebSocket as a state machine over a stream of bytes (RFC 6455): octets in, messages and answers out."""

from codecs import getincrementaldecoder
from enum import Enum
from typing import Any

from trilithon.foundation.errors import SocketFault
from trilithon.foundation.limits import SocketLimits
from trilithon.foundation.masking import unmask
from trilithon.wire.deflate import Deflate
from trilithon.wire.frame import (
    BAD_DATA,
    BINARY,
    CLOSE,
    COMPRESSED,
    CONTINUATION,
    FIN,
    LOST_CODE,
    NO_CODE,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    close_frame,
    frame_head,
    may_be_sent,
)


class Stance(Enum):
    """Where a WebSocket stands."""

    OPEN = "open"
    CLOSING = "closing"  # our close frame is out, the client's is awaited
    CLOSED = "closed"  # nothing is parsed any more


OPEN = Stance.OPEN
CLOSING = Stance.CLOSING
CLOSED = Stance.CLOSED

PING_FRAME = frame_head(FIN | PING, 4) + b"beat"
Utf8 = getincrementaldecoder("utf-8")

# So much is inflated in one go; a small message can stand for megabytes, and other connections wait meanwhile.
SLICE_BYTES = 262144
TURN_BYTES = 1048576
# Pieces of a message are put together in lots, so that a message of tiny fragments costs little more than its bytes.
LOT = 1024
# What is still parsed for the sake of pings and closes when the application does not take its messages.
MAX_EXCESS_BYTES = 65536
# Messages that together are larger than this fill the queue whatever their number.
MAX_WAITING_BYTES = 1048576


class WebSocket:
    """One socket after its handshake: `receive` takes bytes, `take` gives messages, `out` holds frames to be sent.

    The caller sends and clears `out` after each call. When the client closed or broke a rule, the answer waits in
    `farewell`: the caller calls `leave` once the application has had its say to the messages before. While
    `unfinished` a call of `receive` with b"" goes on with what was too much for one go, and nothing else should be
    fed. `code` is what the application is told once the messages are taken, 0 while the socket is open; `reason` goes
    with it. `heard` is set by whatever comes in.
    """

    def __init__(self, limits: SocketLimits, deflate: Deflate | None) -> None:
        self.max_size = limits.ws_max_size_bytes
        self.max_queue = limits.ws_max_queue
        self.deflate = deflate
        self.stance = OPEN
        self.code = 0
        self.reason = ""
        self.own_code = 0
        self.farewell: bytes | None = None
        self.messages: list[str | bytes] = []
        self.taken = 0
        self.waiting_bytes: int = 0
        self.excess = 0
        self.out: list[bytes] = []
        self.heard = True
        # Between reads: the beginning of a frame head, or what waits for the inflating.
        self.rest = b""
        self.inflating = False
        self.ending = False
        self.budget: int = 0
        self.unfinished = False
        # The frame at hand; `left` is -1 between frames.
        self.left: int = -1
        self.opcode = 0
        self.final = False
        self.key = b""
        self.phase = 0
        self.control = b""
        # The message at hand; `kind` is its opcode, 0 between messages.
        self.kind = 0
        self.compressed = False
        self.size: int = 0
        self.wire_size: int = 0
        self.pieces: list[Any] | None = None
        self.lots = 0
        self.decoder: Any = None

    # Messages out of it.

    def take(self) -> str | bytes | None:
        """Return the next message, None when there is none."""
        messages = self.messages
        taken = self.taken
        if taken == len(messages):
            return None
        message = messages[taken]
        messages[taken] = ""
        self.waiting_bytes -= len(message)
        taken += 1
        if taken == len(messages):
            messages.clear()
            taken = 0
        elif taken >= LOT:
            del messages[:taken]
            taken = 0
        self.taken = taken
        return message

    def is_empty(self) -> bool:
        """Tell whether no message waits."""
        return self.taken == len(self.messages)

    def may_send(self) -> bool:
        """Tell whether messages may still be sent: also in answer to what came before the client's close."""
        return self.stance is OPEN or self.farewell is not None

    def has_room(self) -> bool:
        """Tell whether more should be fed: the queue has room, or control frames may lie behind its end."""
        if not self.is_full():
            self.excess = 0
            return True
        # What is compressed may be a thousand times larger than it looks.
        return self.deflate is None and self.excess < MAX_EXCESS_BYTES

    def is_full(self) -> bool:
        """Tell whether as many messages wait as may."""
        return len(self.messages) - self.taken >= self.max_queue or self.waiting_bytes > MAX_WAITING_BYTES

    # Bytes in.

    def receive(self, data: bytes) -> None:
        """Take bytes off the stream; never raises for what a client sent."""
        if self.stance is CLOSED:
            return
        self.heard = True
        if self.rest:
            data = self.rest + data
            self.rest = b""
        if self.excess or self.is_full():
            self.excess += len(data)
        self.budget = TURN_BYTES
        self.unfinished = False
        try:
            used = self.parse(data)
        except SocketFault as fault:
            self.fail(fault.code, fault.reason)
            return
        except UnicodeDecodeError:
            self.fail(BAD_DATA, "text that is not UTF-8")
            return
        if self.stance is not CLOSED:
            if used < len(data):
                self.rest = data[used:]
            self.unfinished = self.inflating or (self.budget <= 0 and used < len(data))

    def receive_end(self) -> None:
        """Take the end of what the client sends; an answer that waits can still be sent. Idempotent."""
        if self.stance is not CLOSED:
            self.stance = CLOSED
            self.forget_message()
        if not self.code:
            self.code = LOST_CODE

    def lose(self) -> None:
        """Take the loss of the stream in both directions; idempotent."""
        self.receive_end()
        self.farewell = None

    def parse(self, data: bytes) -> int:
        """Parse frames; returns how many bytes were used. Raises SocketFault and UnicodeDecodeError."""
        end = len(data)
        at = 0
        if self.inflating and not self.inflate():
            return 0
        while self.stance is not CLOSED:
            if self.left < 0:
                begin = self.read_head(data, at, end)
                if begin < 0:
                    return at
                at = begin
            left = self.left
            stop = at + left
            if stop > end:
                if at == end:
                    return at
                self.left = left - (end - at)
                piece = unmask(data, at, end, self.key, self.phase)
                self.phase = (self.phase + end - at) & 3
                self.take_payload(piece, False)
                return end
            self.left = -1
            piece = unmask(data, at, stop, self.key, self.phase)
            at = stop
            self.take_payload(piece, True)
            if self.inflating or self.budget <= 0:
                return at
        return end

    def read_head(self, data: bytes, at: int, end: int) -> int:
        """Read a frame head at `at`; returns where its payload begins, -1 when it is not whole. Raises SocketFault."""
        if end - at < 2:
            return -1
        first = data[at]
        second = data[at + 1]
        size = second & 127
        opcode = first & 15
        self.check_head(first, second, opcode)
        begin = at + 6
        if size == 126:
            begin += 2
            if end < at + 4:
                return -1
            size = data[at + 2] << 8 | data[at + 3]
            if size < 126:
                raise SocketFault(PROTOCOL_ERROR, "a length that is not in its shortest form")
        elif size == 127:
            begin += 8
            if end > at + 2 and data[at + 2] & 128:
                raise SocketFault(PROTOCOL_ERROR, "a length with its top bit set")
            if end < at + 10:
                return -1
            size = int.from_bytes(data[at + 2 : at + 10], "big")
            if size < 65536:
                raise SocketFault(PROTOCOL_ERROR, "a length that is not in its shortest form")
        if opcode < 8:
            self.check_size(size, bool(first & COMPRESSED))
        if end < begin:
            return -1
        self.key = data[begin - 4 : begin]
        self.phase = 0
        self.left = size
        self.opcode = opcode
        self.final = first & FIN != 0
        if opcode < 8:
            self.wire_size += size
            if opcode:
                self.kind = opcode
                self.compressed = first & COMPRESSED != 0
        return begin

    def check_head(self, first: int, second: int, opcode: int) -> None:
        """Check what the first two bytes of a frame say (RFC 6455 5.2-5.5); raises SocketFault."""
        if not second & 128:
            raise SocketFault(PROTOCOL_ERROR, "a frame that is not masked")
        if first & 112:
            if first & 48 or self.deflate is None:
                raise SocketFault(PROTOCOL_ERROR, "a reserved bit without a meaning")
            if opcode == CONTINUATION or opcode >= 8:
                raise SocketFault(PROTOCOL_ERROR, "a compression bit on other than a first data frame")
        if opcode >= 8:
            if opcode > PONG:
                raise SocketFault(PROTOCOL_ERROR, "an unknown opcode")
            if not first & FIN:
                raise SocketFault(PROTOCOL_ERROR, "a fragmented control frame")
            if second & 127 > 125:
                raise SocketFault(PROTOCOL_ERROR, "a control frame above 125 bytes")
        elif opcode > BINARY:
            raise SocketFault(PROTOCOL_ERROR, "an unknown opcode")
        elif opcode == CONTINUATION:
            if not self.kind:
                raise SocketFault(PROTOCOL_ERROR, "a continuation of no message")
        elif self.kind:
            raise SocketFault(PROTOCOL_ERROR, "a new message inside another")

    def check_size(self, size: int, compressed: bool) -> None:
        """Hold a data frame against the limit before its payload is there; raises SocketFault."""
        limit = self.max_size
        if limit:
            if compressed or self.compressed:
                limit += limit // 1000 + 64  # what does not compress grows a little
            if self.wire_size + size > limit:
                raise SocketFault(TOO_BIG, "a message above the limit")

    def take_payload(self, piece: bytes, whole: bool) -> None:
        """Take a piece of the payload of the frame at hand, its last one when `whole`."""
        opcode = self.opcode
        if opcode >= 8:
            if self.control:
                piece = self.control + piece
            if whole:
                self.control = b""
                self.take_control(opcode, piece)
            else:
                self.control = piece
            return
        final = whole and self.final
        if self.stance is not OPEN:
            if final:
                self.forget_message()
        elif self.compressed and self.deflate is not None:
            self.deflate.feed(piece)
            if final:
                self.deflate.end()
            if final or piece:
                self.inflating = True
                self.ending = final
                self.inflate()
        elif final or piece:
            self.add(piece, final)

    def inflate(self) -> bool:
        """Take out what the compressed input at hand stands for; returns False when that is too much for one go."""
        deflate = self.deflate
        if deflate is None:
            return True
        held: bytes | None = None
        while self.budget > 0:
            room = SLICE_BYTES
            if self.max_size and self.max_size - self.size < room:
                room = self.max_size - self.size + 1
            piece = deflate.take(room)
            if not piece:
                self.inflating = False
                if self.ending:
                    self.add(held if held is not None else b"", True)
                elif held is not None:
                    self.add(held, False)
                return True
            if held is not None:
                self.add(held, False)
            held = piece
            self.budget -= len(piece)
            self.size += len(piece)
            if self.max_size and self.size > self.max_size:
                raise SocketFault(TOO_BIG, "a message that inflates above the limit")
        if held is not None:
            self.add(held, False)
        return False

    def add(self, piece: bytes, final: bool) -> None:
        """Add plain payload to the message at hand; raises UnicodeDecodeError as soon as text is seen to be none."""
        part: Any = piece
        if self.kind == TEXT:
            if final and self.decoder is None:
                part = piece.decode("utf-8")
            else:
                if self.decoder is None:
                    self.decoder = Utf8("strict")
                part = self.decoder.decode(piece, final)
                held = self.decoder.getstate()[0]
                if held[:1] == b"\xed" and held[1:2] >= b"\xa0":
                    # Half a surrogate: Python's decoder would wait for its last byte.
                    raise SocketFault(BAD_DATA, "text that is not UTF-8")
        if final:
            if self.pieces is not None:
                self.pieces.append(part)
                part = part[:0].join(self.pieces)
            self.messages.append(part)
            self.waiting_bytes += len(part)
            self.forget_message()
            return
        if self.pieces is None:
            self.pieces = []
        self.pieces.append(part)
        if len(self.pieces) - self.lots >= LOT:
            lot = part[:0].join(self.pieces[self.lots :])
            del self.pieces[self.lots :]
            self.pieces.append(lot)
            self.lots += 1

    def forget_message(self) -> None:
        """Stand between two messages."""
        self.kind = 0
        self.compressed = False
        self.inflating = False
        self.size = 0
        self.wire_size = 0
        if self.pieces is not None:
            self.pieces = None
            self.lots = 0
            self.decoder = None
        elif self.decoder is not None:
            self.decoder = None

    def take_control(self, opcode: int, payload: bytes) -> None:
        """Take a whole control frame (RFC 6455 5.5); raises SocketFault and UnicodeDecodeError."""
        if opcode == PING:
            if self.stance is OPEN:
                self.out.append(frame_head(FIN | PONG, len(payload)) + payload)
        elif opcode == CLOSE:
            self.take_close(payload)

    def take_close(self, payload: bytes) -> None:
        """Take the client's close frame and answer it (RFC 6455 5.5.1, 7.4); raises as `take_control`."""
        code = NO_CODE
        reason = ""
        if payload:
            if len(payload) == 1:
                raise SocketFault(PROTOCOL_ERROR, "a close code of one byte")
            code = int.from_bytes(payload[:2], "big")
            if not may_be_sent(code):
                raise SocketFault(PROTOCOL_ERROR, "a close code that must not be sent")
            reason = payload[2:].decode("utf-8")
        if self.stance is OPEN:
            self.farewell = close_frame(code, b"")
        self.stance = CLOSED
        self.forget_message()
        if not self.code:
            self.code = code
            self.reason = reason

    # What this side does.

    def fail(self, code: int, reason: str) -> None:
        """Fail the connection (RFC 6455 7.1.7): say why if nothing was said yet, and parse nothing more."""
        if self.stance is OPEN:
            self.farewell = close_frame(code, reason.encode("utf-8"))
            self.code = code
            self.reason = reason
        elif self.stance is CLOSING and not self.code:
            self.code = self.own_code
        self.stance = CLOSED
        self.forget_message()

    def leave(self) -> None:
        """Send what was held back for the application's last answers; nothing may be sent behind it."""
        if self.farewell is not None:
            self.out.append(self.farewell)
            self.farewell = None

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        if self.stance is OPEN:
            self.out.append(PING_FRAME)

    def close(self, code: int, reason: bytes) -> None:
        """Begin the closing handshake; does nothing once it has begun."""
        if self.stance is OPEN:
            self.out.append(close_frame(code, reason))
            self.own_code = code
            self.stance = CLOSING

    def give_up_closing(self) -> None:
        """The client did not answer the close frame in time."""
        self.stance = CLOSED
        if not self.code:
            self.code = self.own_code

    def thin(self) -> None:
        """Keep only the latest answer of those that cannot be sent now (RFC 6455 5.5.3)."""
        if len(self.out) > 1:
            del self.out[:-1]
