"""The chunked transfer coding, decoded (RFC 9112 7.1): strict, in linear time, in bounded memory."""

import re

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.fields import learn
from trilithon.wire.framing import CHUNK_SIZE
from trilithon.wire.octets import VALUE_BYTES
from trilithon.wire.response import SentLine

# RFC 9112 7.1.1. A quoted string ends in its own line: a parser that let it span two would see another body (HS-41).
NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
EXTENSIONS = re.compile(rb"(?:[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?+)++" % (NAME, NAME, QUOTED))

# Where the decoder stands.
SIZE = 0
DATA = 1
DATA_END = 2
TRAILER = 3
DONE = 4

# A body this small is copied behind its head into one piece; a larger one is sent from where it is.
MAX_JOINED_BYTES = 16384


class ChunkedDecoder:
    """Turns chunked bytes into content; trailers are checked and dropped.

    Feed it until `done`; what was fed beyond the end is in `rest`. Raises PeerError (400, 413, 431), after which
    the connection cannot be resynchronised and must be closed.
    """

    def __init__(self, limits: MessageLimits) -> None:
        self.limits = limits
        self.state = SIZE
        self.left = 0
        self.pending = b""
        self.extension_bytes = 0
        self.trailer_bytes = 0
        self.trailer_fields = 0
        self.rest = b""

    @property
    def done(self) -> bool:
        """Whether the last chunk and the trailer section have been read."""
        return self.state == DONE

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the wire and return the content among them; raises PeerError."""
        if self.pending:
            data = self.pending + data
            self.pending = b""
        content: list[bytes] = []
        position = 0
        size = len(data)
        while position < size:
            if self.state == DATA:
                if self.left <= size - position:
                    content.append(data[position : position + self.left])
                    position += self.left
                    self.state = DATA_END
                else:
                    content.append(data[position:])
                    self.left -= size - position
                    position = size
            elif self.state == DATA_END:
                if data[position] != 13 or (size - position > 1 and data[position + 1] != 10):
                    raise PeerError(400, "chunk data not followed by CRLF", "RFC 9112 7.1")
                if size - position < 2:
                    self.pending = data[position:]
                    break
                position += 2
                self.state = SIZE
            else:
                position = self.read_line(data, position)
                if position < 0:
                    break
                if self.state == DONE:
                    self.rest = data[position:]
                    break
        return content[0] if len(content) == 1 else b"".join(content)

    def read_line(self, data: bytes, position: int) -> int:
        """Read one size or trailer line from `position`; returns the place behind it, -1 when it is not whole yet."""
        end = data.find(b"\n", position)
        if end < 0:
            self.keep_partial_line(data[position:])
            return -1
        line = data[position : end - 1]
        if end == position or data[end - 1] != 13:
            if self.state == TRAILER:
                self.check_trailer_size(data[position:end])
            raise PeerError(400, "bare LF in chunked framing", "RFC 9112 7.1")
        if self.state == SIZE:
            self.read_size(line)
        else:
            self.read_trailer(line)
        return end + 1

    def keep_partial_line(self, line: bytes) -> None:
        """Hold an unfinished line until its rest comes; raises PeerError when it cannot become a good one."""
        if self.state == TRAILER:
            self.check_trailer_size(line[:-1] if line.endswith(b"\r") else line)
        elif len(line) > self.limits.max_chunk_extension_bytes + 20:
            raise PeerError(400, "line too long in chunked framing", "RFC 9112 7.1.1")
        else:
            digits = line.split(b";", 1)[0].rstrip(b" \t\r")
            if digits and CHUNK_SIZE.fullmatch(digits) is None:
                raise PeerError(400, "invalid chunk size", "RFC 9112 7.1")
        if b"\r" in line[:-1]:
            raise PeerError(400, "bare CR in chunked framing", "RFC 9112 7.1")
        self.pending = line

    def read_size(self, line: bytes) -> None:
        """Read a chunk-size line with its extensions, which are ignored but counted (CVE-2023-39326)."""
        digits = line
        if b";" in line:
            digits = line[: line.index(b";")].rstrip(b" \t")
            self.read_extensions(line[len(digits) :])
        if CHUNK_SIZE.fullmatch(digits) is None:
            raise PeerError(400, "invalid chunk size", "RFC 9112 7.1")
        self.left = int(digits, 16)
        self.state = DATA if self.left else TRAILER

    def read_extensions(self, extensions: bytes) -> None:
        """Check the extensions of one chunk, which mean nothing here; raises PeerError."""
        limits = self.limits
        size = len(extensions)
        self.extension_bytes += size
        if size > limits.max_chunk_extension_bytes or self.extension_bytes > limits.max_chunk_extensions_bytes:
            raise PeerError(400, "chunk extensions too long", "RFC 9112 7.1.1")
        if EXTENSIONS.fullmatch(extensions) is None:
            raise PeerError(400, "invalid chunk extension", "RFC 9112 7.1.1")

    def read_trailer(self, line: bytes) -> None:
        """Check a line of the trailer section; no trailer is merged into the fields (RFC 9112 7.1.2)."""
        if not line:
            self.state = DONE
            return
        self.check_trailer_size(line)
        self.trailer_bytes += len(line) + 2
        self.trailer_fields += 1
        name, colon, value = line.partition(b":")
        if not colon or value.translate(None, VALUE_BYTES):
            raise PeerError(400, "invalid trailer field", "RFC 9112 7.1.2")
        learn(name)

    def check_trailer_size(self, line: bytes) -> None:
        """Hold a trailer, which may lack its end, against the limits of the section; raises PeerError."""
        if not line:
            return
        if self.trailer_fields >= self.limits.max_trailer_fields:
            raise PeerError(431, "too many trailers", "RFC 9112 7.1.2")
        room = self.limits.max_trailer_bytes - self.trailer_bytes - 2
        if b"\r" in line[: max(room, 0)]:
            raise PeerError(400, "bare CR in chunked framing", "RFC 9112 7.1")
        if len(line) > room:
            raise PeerError(431, "trailer section too large", "RFC 9112 7.1.2")


def chunk_pieces(data: bytes, final: bool) -> list[bytes]:
    """Return a piece of a body as a chunk, with the last chunk behind it when `final` (RFC 9112 7.1)."""
    if not data:
        return [b"0\r\n\r\n"] if final else []
    if len(data) <= MAX_JOINED_BYTES:
        return [b"%x\r\n%b\r\n%b" % (len(data), data, b"0\r\n\r\n" if final else b"")]
    return [b"%x\r\n" % len(data), data, b"\r\n0\r\n\r\n" if final else b"\r\n"]


def last_chunk(trailers: list[SentLine]) -> bytes:
    """Return the last chunk with a trailer section behind it (RFC 9112 7.1.2)."""
    return b"0\r\n%b\r\n" % b"".join([line.octets for line in trailers])
