"""Responses of HTTP/2: heads, interim answers and trailers as field blocks."""

from trilithon.wire.fields import UPGRADE
from trilithon.wire.hpack import CodedField, Encoder, code_field
from trilithon.wire.response import ResponseHead, SentLine
from trilithon.wire.terms import Terms

MAX_KEPT_BLOCKS = 64
DATE_NAME_BYTES = len(b"Date: ")
SERVER_NAME_BYTES = len(b"Server: ")
STATUSES: dict[int, CodedField] = {}


def code_status(status: int) -> CodedField:
    """Return the :status field of a response, coded."""
    coded = STATUSES.get(status)
    if coded is None:
        coded = STATUSES[status] = code_field((b":status", b"%d" % status))
    return coded


def declared_length(response: ResponseHead, bodiless: bool, sized: int) -> int:
    """Return the Content-Length that a response states, -1 for none (RFC 9110 8.6).

    `sized` is the length of a body that is whole, or -1. A response without content states what a GET would get.
    """
    status = response.status
    if status == 204 or status < 200:
        return -1
    if status == 205:
        return 0
    if response.length >= 0:
        return int(response.length)
    if bodiless and (sized <= 0 or status == 304):
        return -1
    return sized


def read_lines(block: bytes) -> list[tuple[bytes, bytes]]:
    """Return the pairs of fields that come as lines of HTTP/1, names in lower case."""
    pairs = []
    for line in block.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b":")
            pairs.append((name.lower(), value.strip(b" ")))
    return pairs


class ResponseCoder:
    """Codes the response heads of one connection; a head that was coded before costs one look-up.

    Every block must be sent, in the order coded: see Encoder.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.encoder = Encoder()
        self.kept: dict[tuple[object, ...], bytes] = {}
        self.generation: int = 0

    def code_head(self, response: ResponseHead, length: int) -> bytes:
        """Return the block of a response head that states `length`, none for -1.

        :status comes first and alone of its kind; what belongs to a connection of HTTP/1 is left out (RFC 9113 8.2.2,
        8.3.2).
        """
        encoder = self.encoder
        if encoder.generation != self.generation:
            self.kept.clear()
            self.generation = encoder.generation
        stamp = self.terms.stamp.line
        # Lines that repeat are the same objects each time.
        key = (response.status, length, stamp, *response.lines)
        block = self.kept.get(key)
        if block is None:
            block = self.code_fields(response, length, stamp)
            if encoder.generation == self.generation:
                if len(self.kept) >= MAX_KEPT_BLOCKS:
                    self.kept.clear()
                self.kept[key] = block
        return block

    def code_fields(self, response: ResponseHead, length: int, stamp: bytes) -> bytes:
        """Code a response head in full."""
        encoder = self.encoder
        pieces = encoder.begin()
        pieces.append(encoder.put(code_status(response.status)))
        for line in response.lines:
            if line.role != UPGRADE:
                pieces.append(encoder.put(code_line(line)))
        if length >= 0:
            pieces.append(encoder.put(code_field((b"content-length", b"%d" % length))))
        if not response.dated and stamp:
            pieces.append(encoder.put(code_field((b"date", stamp[DATE_NAME_BYTES:-2]))))
        server = self.terms.server_line
        if server and not response.named:
            pieces.append(encoder.put(code_field((b"server", server[SERVER_NAME_BYTES:-2]))))
        return b"".join(pieces)

    def code_own(self, status: int, extra: bytes, length: int) -> bytes:
        """Return the block of an answer that the server makes itself; `extra` are lines of HTTP/1."""
        pairs = [(b":status", b"%d" % status)]
        if length:
            pairs.append((b"content-type", b"text/plain; charset=utf-8"))
        pairs.append((b"content-length", b"%d" % length))
        pairs += read_lines(extra + self.terms.stamp.line + self.terms.server_line)
        return self.encoder.encode(pairs)

    def code_interim(self, status: int, lines: bytes) -> bytes:
        """Return the block of an interim (1xx) response; `lines` are those of HTTP/1."""
        return self.encoder.encode([(b":status", b"%d" % status), *read_lines(lines)])

    def code_trailers(self, lines: list[SentLine]) -> bytes:
        """Return the block of a trailer section: checked fields, none of them known to the server (RFC 9110 6.5.1)."""
        return self.encoder.encode([(line.name, line.value) for line in lines if not line.role])


def code_line(line: SentLine) -> CodedField:
    """Return a field of an application, coded."""
    return code_field((line.name, line.value))
