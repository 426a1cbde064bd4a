"""A request head: parsed from bytes, every rule of RFC 9112 2-6 and RFC 9110 5 checked on the way."""

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    KNOWN,
    TE,
    TOKEN_BYTES,
    TRANSFER_ENCODING,
    UPGRADE,
    VALUE_BYTES,
    FieldName,
    learn,
    split_list,
)
from trilithon.wire.framing import coding_is_chunked, parse_length
from trilithon.wire.target import check_authority, check_connect_authority, split_absolute

METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
LOWER_CASE = bytes(range(0x61, 0x7B))


class RequestHead:
    """What the request line and the fields of one request say, whichever protocol carried them.

    `path` is the raw path, still percent-encoded, `query` what follows the first `?`. `fields` are (name, value)
    pairs of bytes, names in lower case, in the order received. `length` is the declared body length or -1, `chunked`
    says that the body is framed by chunks. `version` is "1.0" or "1.1" for this wire. For `OPTIONS *` the path is `*`.
    """

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.path = b""
        self.query = b""
        self.version = "1.1"
        self.http10 = False
        self.fields: list[tuple[bytes, bytes]] = []
        self.host: bytes | None = None
        self.length = -1
        self.chunked = False
        self.close = False
        self.keep_alive = False
        self.expects_continue = False
        self.takes_trailers = False
        self.upgrade: list[bytes] | None = None
        self.codings: bytes | None = None
        self.content_type = False
        self.connection_upgrade = False

    def note(self, role: int, value: bytes) -> None:
        """Take in a field that means something to the server; raises PeerError."""
        if role == HOST:
            if self.host is not None:
                raise PeerError(400, "more than one Host", "RFC 9112 3.2")
            check_authority(value)
            self.host = value
        elif role == CONTENT_LENGTH:
            if self.length >= 0:
                raise PeerError(400, "more than one Content-Length", "RFC 9112 6.3")
            self.length = parse_length(value)
        elif role == CONNECTION:
            self.note_connection(value)
        elif role == TRANSFER_ENCODING:
            self.codings = value if self.codings is None else self.codings + b"," + value
        elif role == CONTENT_TYPE:
            if self.content_type:
                raise PeerError(400, "more than one Content-Type", "RFC 9110 5.3")
            self.content_type = True
        elif role == EXPECT:
            if not self.http10:
                for expectation in split_list(value):
                    if expectation != b"100-continue":
                        raise PeerError(417, "unknown expectation", "RFC 9110 10.1.1")
                    self.expects_continue = True
        elif role == UPGRADE:
            self.upgrade = (self.upgrade or []) + split_list(value)
        elif role == TE and b"trailers" in split_list(value):
            self.takes_trailers = True

    def note_connection(self, value: bytes) -> None:
        """Take in the options of one Connection field (RFC 9110 7.6.1)."""
        for option in split_list(value):
            if option == b"close":
                self.close = True
            elif option == b"keep-alive":
                self.keep_alive = True
            elif option == b"upgrade":
                self.connection_upgrade = True

    def conclude(self) -> None:
        """Decide what the fields mean together: host, framing, upgrade (RFC 9112 3.2, 6); raises PeerError."""
        if self.host is None and not self.http10:
            raise PeerError(400, "no Host", "RFC 9112 3.2")
        if self.codings is not None:
            if self.http10:
                raise PeerError(400, "Transfer-Encoding in HTTP/1.0", "RFC 9112 6.1")
            if self.length >= 0:
                raise PeerError(400, "both Transfer-Encoding and Content-Length", "RFC 9112 6.1")
            self.chunked = coding_is_chunked(self.codings)
        if self.upgrade is not None and (self.http10 or not self.connection_upgrade):
            self.upgrade = None

    def read_request_line(self, line: bytes, limits: MessageLimits, secure: bool) -> None:
        """Parse `method SP target SP version` (RFC 9112 3); raises PeerError (400, 414, 501, 505)."""
        parts = line.split(b" ")
        known = METHODS.get(parts[0])
        self.method = known if known is not None else check_method(parts[0], limits)
        if len(line) > limits.max_request_line_bytes:
            raise PeerError(414, "request line too long", "RFC 9112 3")
        if len(parts) != 3 or not line.isascii() or b"\t" in line:
            raise PeerError(400, "invalid request line", "RFC 9112 3")
        target = parts[1]
        version = parts[2]
        if version != b"HTTP/1.1":
            self.http10 = read_version(version)
            if self.http10:
                self.version = "1.0"
        self.target = target
        if target[:1] != b"/" or self.method == "CONNECT":
            self.read_other_form(target, secure)
        elif b"#" in target:
            raise PeerError(400, "fragment in the request target", "RFC 9112 3.2")
        else:
            self.split_query(target)

    def split_query(self, target: bytes) -> None:
        """Split an origin-form target at its first question mark."""
        if b"?" in target:
            self.path, _, self.query = target.partition(b"?")
        else:
            self.path = target

    def read_other_form(self, target: bytes, secure: bool) -> None:
        """Read a target in absolute-, authority- or asterisk-form (RFC 9112 3.2.2 to 3.2.4)."""
        if self.method == "CONNECT":
            check_connect_authority(target)
            self.path = target
        elif target == b"*":
            if self.method != "OPTIONS":
                raise PeerError(400, "asterisk-form is for OPTIONS", "RFC 9112 3.2.4")
            self.path = target
        else:
            authority, origin = split_absolute(target, secure)
            self.split_query(origin)
            self.host = authority

    def read_fields(self, lines: list[bytes]) -> None:
        """Parse the field lines behind the request line; raises PeerError (400, 417)."""
        fields = self.fields
        for line in lines[1:]:
            colon = line.find(b":")
            if colon <= 0:
                raise PeerError(400, "field line without a name", "RFC 9112 5")
            name = line[:colon]
            field = KNOWN.get(name)
            if field is None:
                field = learn(name)
            value = line[colon + 1 :].strip(b" \t")
            fields.append((field.name, value))
            if field.role:
                self.note(field.role, value)


def parse_head(head: bytes, limits: MessageLimits, secure: bool) -> RequestHead:
    """Parse a whole request head, without its closing empty line; raises PeerError. Cost is linear in its size."""
    lines = head.split(b"\r\n")
    size = len(head)
    # What is left when every legal byte is deleted are the line ends; more than those is a control character, a bare
    # CR or a bare LF somewhere, all of which other parsers have taken for a line end (RFC 9112 2.2).
    if len(head.translate(None, VALUE_BYTES)) != 2 * (len(lines) - 1):
        raise_first_fault(head + b"\r\n", limits, secure)
    request = RequestHead()
    request.read_request_line(lines[0], limits, secure)
    if len(lines) - 1 > limits.max_fields:
        raise PeerError(431, "too many fields", "RFC 6585 5")
    if size > limits.max_field_bytes:
        check_sizes(lines, size, limits)
    absolute = request.host
    request.host = None
    request.read_fields(lines)
    if absolute is not None:
        adopt_authority(request, absolute)
    request.conclude()
    return request


def raise_first_fault(data: bytes, limits: MessageLimits, secure: bool) -> None:
    """Raise PeerError for the first thing wrong in the bytes of a head, whole or not, that is known to be wrong.

    The answer must not depend on how the bytes were cut (HS-74): what is found while they come in and what is found
    in a whole head is named here, in the order of the bytes.
    """
    line, end, rest = data.partition(b"\r\n")
    check_line_start(line if end else without_cr(line), limits)
    if end:
        RequestHead().read_request_line(line, limits, secure)
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


def check_sizes(lines: list[bytes], size: int, limits: MessageLimits) -> None:
    """Hold a large head against its limits; raises PeerError (431)."""
    if size - len(lines[0]) > limits.max_head_bytes:
        raise PeerError(431, "field section too large", "RFC 6585 5")
    for line in lines[1:]:
        if len(line) > limits.max_field_bytes:
            raise PeerError(431, "field too large", "RFC 6585 5")


def adopt_authority(request: RequestHead, authority: bytes) -> None:
    """Let the authority of an absolute-form target stand as the one host (RFC 9112 3.2.2); 400 when Host differs."""
    if request.host is None:
        if request.http10:
            request.fields.insert(0, (b"host", authority))
            request.host = authority
    elif request.host.lower() != authority.lower():
        raise PeerError(400, "Host differs from the request target", "RFC 9112 3.2.2")


def check_method(method: bytes, limits: MessageLimits) -> str:
    """Return the method as text; raises PeerError (400 no method, 501 too long). Case matters (RFC 9110 9.1)."""
    method = method[: limits.max_method_bytes + 1]
    if not method or method.translate(None, TOKEN_BYTES) or len(method.translate(None, LOWER_CASE)) != len(method):
        raise PeerError(400, "invalid method", "RFC 9110 9.1")
    if len(method) > limits.max_method_bytes:
        raise PeerError(501, "method too long", "RFC 9112 3")
    return method.decode("ascii")


def read_version(version: bytes) -> bool:
    """Return whether the version is HTTP/1.0; 1.2 to 1.9 count as 1.1; raises PeerError (400, 505)."""
    if len(version) != 8 or version[:5] != b"HTTP/" or version[6:7] != b".":
        raise PeerError(400, "invalid version", "RFC 9112 2.3")
    major, minor = version[5:6], version[7:8]
    if not major.isdigit() or not minor.isdigit():
        raise PeerError(400, "invalid version", "RFC 9112 2.3")
    if major != b"1":
        raise PeerError(505, "version not supported", "RFC 9110 15.6.6")
    return minor == b"0"


class PartialHead:
    """The bytes of a head that has not arrived whole: gathered once, scanned once, refused as soon as it can be."""

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
            RequestHead().read_request_line(bytes(gathered[: self.line_end]), limits, self.secure)
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


__all__ = ["FieldName", "PartialHead", "RequestHead", "parse_head", "strip_empty_lines"]
