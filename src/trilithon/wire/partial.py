"""A head that has not arrived whole: gathered once, scanned once, refused as soon as it is known to be wrong."""

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.octets import TOKEN_BYTES, VALUE_BYTES
from trilithon.wire.start import RequestStart, check_method


class PartialHead:
    """The bytes of one head so far."""

    def __init__(self, limits: MessageLimits, secure: bool) -> None:
        self.limits = limits
        self.secure = secure
        self.gathered = bytearray()
        self.scanned = 0
        self.line_end = -1
        self.last_line_end = -1
        self.line_ends = 0
        self.method_checked = False

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take more bytes; returns (head, rest) when the head is whole, None while not; raises PeerError."""
        gathered = self.gathered
        gathered += data
        start = max(0, self.scanned - 3)
        end = gathered.find(b"\r\n\r\n", start)
        if end >= 0:
            head = bytes(gathered[:end])
            rest = bytes(gathered[end + 4 :])
            gathered.clear()
            return head, rest
        self.check_line_ends(max(0, self.scanned - 1))
        if self.line_end < 0:
            self.check_request_line(start)
        limits = self.limits
        # Up to three bytes of the closing CRLF CRLF may be there already, and one CR of a line's own.
        if self.line_end >= 0 and (
            len(gathered) - self.line_end > limits.max_head_bytes + 3
            or len(gathered) - self.last_line_end > limits.max_field_bytes + 2
            or self.line_ends - 1 > limits.max_fields
        ):
            self.refuse()
        self.scanned = len(gathered)
        return None

    def refuse(self) -> None:
        """Raise PeerError for what is wrong in what was gathered."""
        raise_first_fault(bytes(self.gathered), self.limits, self.secure)

    def check_line_ends(self, start: int) -> None:
        """Refuse a bare LF, a bare CR or a control character in what is new (RFC 9112 2.2)."""
        fresh = bytes(self.gathered[start:])
        ends = fresh.count(b"\r\n")
        if ends:
            self.line_ends += ends
            self.last_line_end = start + fresh.rfind(b"\n")
        odd = len(fresh.translate(None, VALUE_BYTES)) - 2 * ends
        # A CR at the very end may still meet its LF; an LF at the start of the overlap has met its CR before.
        if fresh.endswith(b"\r"):
            odd -= 1
        if start and fresh.startswith(b"\n"):
            odd -= 1
        if odd:
            self.refuse()

    def check_request_line(self, start: int) -> None:
        """Refuse a bad request line before the rest of the head comes (RFC 9112 3)."""
        gathered = self.gathered
        limits = self.limits
        self.line_end = gathered.find(b"\r\n", start)
        if self.line_end >= 0:
            RequestStart().read(bytes(gathered[: self.line_end]), limits, self.secure)
            return
        if not self.method_checked:
            method, space, _ = bytes(gathered[: limits.max_method_bytes + 1]).partition(b" ")
            if space or len(method) > limits.max_method_bytes:
                check_method(method, limits)
                self.method_checked = True
            elif method[:1].translate(None, TOKEN_BYTES):
                # RFC 9112 3; a TLS hello (16 03) on a plain port is answered at once, too.
                raise PeerError(400, "invalid method", "RFC 9110 9.1")
        if len(gathered) > limits.max_request_line_bytes + 1:
            self.refuse()


def strip_empty_lines(data: bytes, seen: int) -> tuple[bytes, int]:
    """Drop the empty lines before a request line, at most two of them (RFC 9112 2.2); raises PeerError (400).

    `seen` counts the line ends dropped before; returns what is left and the new count. A lone CR at the end stays.
    """
    while data.startswith(b"\r\n"):
        seen += 1
        if seen > 2:
            raise PeerError(400, "too many empty lines", "RFC 9112 2.2")
        data = data[2:]
    if data[:1] == b"\n" or (data[:1] == b"\r" and len(data) > 1):
        raise PeerError(400, "bare line end before the request", "RFC 9112 2.2")
    return data, seen


def raise_first_fault(data: bytes, limits: MessageLimits, secure: bool) -> None:
    """Raise PeerError for the first thing wrong in the bytes of a head, whole or not, that is known to be wrong.

    The answer must not depend on how the bytes were cut (HS-74): what is found while they come in and what is found
    in a whole head is named here, in the order of the bytes.
    """
    line, end, rest = data.partition(b"\r\n")
    check_line_start(line if end else without_cr(line), limits)
    if end:
        RequestStart().read(line, limits, secure)
    used = 0
    lines = rest.split(b"\r\n")
    last = lines.pop()
    for count, line in enumerate(lines, 1):
        used = check_field_size(line, used, limits)
        if line and count > limits.max_fields:
            raise PeerError(431, "too many fields", "RFC 6585 5")
    check_field_size(without_cr(last), used, limits)
    raise PeerError(400, "control character in the head", "RFC 9112 2.2")


def check_line_start(line: bytes, limits: MessageLimits) -> None:
    """Refuse what is wrong in a request line that may lack its end: method, control characters, length."""
    start = line[: limits.max_request_line_bytes + 1]
    method, space, _ = start.partition(b" ")
    if space or len(method) > limits.max_method_bytes:
        check_method(method, limits)
    if start.translate(None, VALUE_BYTES):
        raise PeerError(400, "control character in the request line", "RFC 9112 2.2")
    if len(line) > limits.max_request_line_bytes:
        raise PeerError(414, "request line too long", "RFC 9112 3")


def check_field_size(line: bytes, used: int, limits: MessageLimits) -> int:
    """Refuse a field line that breaks a rule before its end, `used` bytes into the section; returns where it ends."""
    if not line:
        return used
    room = min(limits.max_field_bytes, limits.max_head_bytes - used - 2)
    if line[: max(room + 1, 0)].translate(None, VALUE_BYTES):
        raise PeerError(400, "control character in a field", "RFC 9112 2.2")
    if len(line) > room:
        raise PeerError(431, "field or field section too large", "RFC 6585 5")
    return used + len(line) + 2


def without_cr(line: bytes) -> bytes:
    """Drop the CR at the end of an unfinished line, which may still meet its LF."""
    return line[:-1] if line.endswith(b"\r") else line
