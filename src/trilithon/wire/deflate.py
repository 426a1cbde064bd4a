"""permessage-deflate: its negotiation, and the compression of both directions of one socket (RFC 7692 7)."""

import zlib

from trilithon.foundation.errors import InternalError, SocketFault
from trilithon.foundation.limits import SocketLimits
from trilithon.wire.handshake import Offer

NAME = b"permessage-deflate"
WINDOW_BITS = {b"%d" % bits: bits for bits in range(8, 16)}
MAX_BITS = 15
# zlib's raw deflate knows no window of 256 bytes (RFC 7692 7.1.2.1).
LEAST_BITS = 9

EMPTY_MESSAGE = b"\x00"
STRIPPED_BYTES = 4
# What the sender stripped, and a final empty block behind it: the stream is over exactly when the message ended where
# a block ends, so that a truncated message is noticed, not delivered with garbage.
ENDING = b"\x00\x00\xff\xff" + b"\x01\x00\x00\xff\xff"

# zlib copies the input that it leaves over; in slices, a large message of many final blocks stays linear.
SLICE_BYTES = 16384
# Each final block costs a new inflater (microseconds for two bytes), so there may be but one to so many bytes.
BYTES_TO_A_FINAL = 64
FREE_BYTES = 4096


class Terms:
    """What was agreed for one socket: the same object for all sockets with the same agreement.

    `shape` is (level, window bits, memory level) of the server's direction, `client_bits` the client's window.
    """

    __slots__ = ("client_bits", "client_takeover", "reply", "server_takeover", "shape")

    def __init__(self, shape: tuple[int, int, int], client_bits: int, takeovers: tuple[bool, bool]) -> None:
        self.reply = NAME
        self.shape = shape
        self.client_bits = client_bits
        self.server_takeover, self.client_takeover = takeovers


class Deflate:
    """permessage-deflate of one socket as negotiated.

    Nothing is held before the first message of a direction; afterwards the client's direction holds its window and
    the server's a compressor, with no context takeover neither. After a SocketFault only the server's may be used.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.reply = terms.reply
        self.shape = terms.shape
        self.compressor: zlib._Compress | None = None
        self.inflater: zlib._Decompress | None = None
        # The last output of the client's direction: what the next block may refer to.
        self.window: bytearray | None = None
        self.fed: list[bytes] = []
        self.input: bytes = b""
        self.place = 0
        self.slice: bytes = b""
        self.full = False
        self.ended = False
        self.volume = 0
        self.finals = 0

    def compress(self, data: bytes) -> bytes:
        """Return the payload of a whole message, which refers to earlier ones where that was agreed."""
        if not data:
            return EMPTY_MESSAGE
        compressor = self.compressor
        if compressor is None:
            compressor = new_compressor(self.shape)
            if self.terms.server_takeover:
                self.compressor = compressor
        return deflate(compressor, data)

    def compress_alone(self, data: bytes) -> bytes:
        """Return the payload of a whole message that refers to nothing else; good for all sockets of this shape.

        Each socket that it is sent to must `forget`.
        """
        return deflate(new_compressor(self.shape), data) if data else EMPTY_MESSAGE

    def forget(self) -> None:
        """Let the next message refer to nothing before it; frees the memory of the server's direction.

        Owed when the client is sent a compressed payload of another's making: it moves the client's window on, and
        distances counted here would be wrong. Good at any time, as for a socket that has been idle.
        """
        self.compressor = None

    def feed(self, data: bytes) -> None:
        """Take in a piece of the current message's payload, however cut; `take` inflates it."""
        if data:
            self.fed.append(data)
            self.volume += len(data)

    def end(self) -> None:
        """Say that the payload of the current message is complete; owed then: `take` until b"".

        A payload of no bytes at all, which some clients send for an empty message, is one.
        """
        if self.volume:
            self.fed.append(ENDING)
            self.ended = True

    def take(self, max_bytes: int) -> bytes:
        """Return at most `max_bytes` (at least 1) of inflated output, b"" when all that was fed is consumed.

        Raises SocketFault: 1007 for what is no deflate stream, 1008 for a stream of hardly more than final blocks.
        """
        if max_bytes < 1:
            raise InternalError("inflating without a bound")
        while True:
            if not self.slice and not self.full:
                self.slice = self.next_slice()
                if not self.slice:
                    if self.ended:
                        raise SocketFault(1007, "compressed message ends inside a block")
                    return b""
            inflater = self.inflater
            if inflater is None:
                inflater = self.inflater = self.new_inflater()
            try:
                output = inflater.decompress(self.slice, max_bytes)
            except zlib.error:
                raise SocketFault(1007, "corrupt compressed message") from None
            self.volume += len(output)
            if inflater.eof:
                self.full = False
                self.slice = inflater.unused_data
                self.conclude_stream(output)
            else:
                # With its output full the inflater may hold more than its input shows.
                self.full = len(output) == max_bytes
                self.slice = inflater.unconsumed_tail
                self.remember(output)
            if output:
                return output

    def next_slice(self) -> bytes:
        """Return the next input for zlib, b"" when there is none."""
        if self.place >= len(self.input):
            self.place = 0
            if not self.fed:
                self.input = b""
                return b""
            self.input = b"".join(self.fed) if len(self.fed) > 1 else self.fed[0]
            self.fed.clear()
        start = self.place
        self.place = start + SLICE_BYTES
        return self.input if start == 0 and len(self.input) <= SLICE_BYTES else self.input[start : start + SLICE_BYTES]

    def conclude_stream(self, output: bytes) -> None:
        """Go on behind a final block: with the next message, or with more blocks of this one (RFC 7692 7.2.3.4)."""
        self.inflater = None
        if self.ended and not self.slice and self.place >= len(self.input) and not self.fed:
            self.ended = False
            self.volume = self.finals = 0
            self.input = b""
            self.place = 0
            if not self.terms.client_takeover:
                self.window = None
                return
        else:
            self.finals += 1
            if self.finals * BYTES_TO_A_FINAL > self.volume + FREE_BYTES:
                raise SocketFault(1008, "too many final blocks in a compressed message")
        self.remember(output)

    def remember(self, output: bytes) -> None:
        """Keep the end of the output as the window for the next stream."""
        size = 1 << self.terms.client_bits
        window = self.window
        if window is None:
            self.window = bytearray(output[-size:])
        elif len(output) >= size:
            window[:] = output[-size:]
        elif output:
            excess = len(window) + len(output) - size
            if excess > 0:
                # Before it grows: a bytearray keeps the room it once had.
                del window[:excess]
            window += output

    def new_inflater(self) -> "zlib._Decompress":
        """Return an inflater that knows what the client's next block may refer to."""
        window = self.window
        if window:
            return zlib.decompressobj(-self.terms.client_bits, window)
        return zlib.decompressobj(-self.terms.client_bits)


def new_compressor(shape: tuple[int, int, int]) -> "zlib._Compress":
    """Return a raw deflate compressor of a shape."""
    level, bits, memory_level = shape
    return zlib.compressobj(level, zlib.DEFLATED, -bits, memory_level)


def deflate(compressor: "zlib._Compress", data: bytes) -> bytes:
    """Compress a message up to a byte boundary and strip what every message would end with (RFC 7692 7.2.1)."""
    first = compressor.compress(data)
    last = compressor.flush(zlib.Z_SYNC_FLUSH)[:-STRIPPED_BYTES]
    return first + last if first else last


def negotiate(offers: list[Offer], limits: SocketLimits) -> Deflate | None:
    """Accept the first offer that can be kept; returns None when compression is off or none can."""
    if limits.ws_deflate:
        for offer in offers:
            if offer.name == NAME:
                terms = agree(offer.parameters, limits)
                if terms is not None:
                    return Deflate(terms)
    return None


# There are but so many agreements; sockets with equal ones share them, and so their idle memory.
AGREEMENTS: dict[tuple[object, ...], Terms] = {}
MAX_AGREEMENTS = 1024


def agree(parameters: list[tuple[bytes, bytes | None]], limits: SocketLimits) -> Terms | None:
    """Return the terms that answer one offer; None for an unknown, repeated or invalid parameter (RFC 7692 5, 7.1)."""
    asked: dict[bytes, int] = {}
    for name, value in parameters:
        bits = read_parameter(name, value)
        if bits < 0 or name in asked:
            return None
        asked[name] = bits
    server_bits = min(asked.get(b"server_max_window_bits", MAX_BITS), limits.ws_deflate_window_bits)
    if server_bits < LEAST_BITS:
        return None
    client_bits = asked.get(b"client_max_window_bits", 0)
    if client_bits:
        client_bits = min(client_bits, limits.ws_deflate_window_bits)
    takeovers = (
        limits.ws_deflate_takeover and b"server_no_context_takeover" not in asked,
        limits.ws_deflate_takeover and b"client_no_context_takeover" not in asked,
    )
    shape = (limits.ws_deflate_level, server_bits, limits.ws_deflate_memory_level)
    key = (shape, client_bits, takeovers, b"server_max_window_bits" in asked)
    terms = AGREEMENTS.get(key)
    if terms is None:
        terms = Terms(shape, client_bits or MAX_BITS, takeovers)
        if server_bits < MAX_BITS or b"server_max_window_bits" in asked:
            terms.reply += b"; server_max_window_bits=%d" % server_bits
        if client_bits:
            terms.reply += b"; client_max_window_bits=%d" % client_bits
        if not takeovers[0]:
            terms.reply += b"; server_no_context_takeover"
        if not takeovers[1]:
            terms.reply += b"; client_no_context_takeover"
        if len(AGREEMENTS) < MAX_AGREEMENTS:
            AGREEMENTS[key] = terms
    return terms


def read_parameter(name: bytes, value: bytes | None) -> int:
    """Return the window bits that a parameter says, 0 for a flag, -1 for what is unknown or invalid."""
    if name == b"server_no_context_takeover" or name == b"client_no_context_takeover":
        return 0 if value is None else -1
    if name == b"client_max_window_bits" and value is None:
        return MAX_BITS
    if name == b"client_max_window_bits" or name == b"server_max_window_bits":
        return WINDOW_BITS.get(value, -1) if value is not None else -1
    return -1
