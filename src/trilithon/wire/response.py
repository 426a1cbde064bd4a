"""A response head: status line and fields, checked once (RFC 9110 5, 15) for both interfaces and every protocol."""

from collections.abc import Iterable
from http import HTTPStatus

from trilithon.foundation.errors import AppTypeError, AppValueError
from trilithon.wire.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DATE,
    EXPECT,
    HOST,
    INTERFACE_HOP,
    ROLES,
    SERVER,
    UNCOMMON,
    UPGRADE,
    split_list,
)
from trilithon.wire.framing import CHUNKED, LENGTH, NONE
from trilithon.wire.memo import MAX_KEY_BYTES, Memo
from trilithon.wire.octets import TOKEN_BYTES, VALUE_BYTES

REASONS = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES: dict[int, bytes] = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, phrase.encode("ascii")) for status, phrase in REASONS.items()
}
MAX_KNOWN_LINES = 512
LENGTH_LINES = {size: b"Content-Length: %d\r\n" % size for size in range(1024)}
# Goes with a 405: what every application may be asked.
ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
OWN_TYPE = b"Content-Type: text/plain; charset=utf-8\r\n"
# Never remembered: what is a secret, or different each time.
UNCOMMON_SENT = (UNCOMMON - {b"content-length"}) | {b"etag", b"location", b"last-modified", b"date"}
WSGI_STATUS_LINES: dict[str, tuple[int, bytes]] = {}


class SentLine:
    """One field an application sends, checked: its lower-case name, its value, its HTTP/1 line and its role.

    `length` is the value of a Content-Length.
    """

    def __init__(self, spelling: bytes, value: bytes) -> None:
        if not spelling or spelling.translate(None, TOKEN_BYTES):
            raise AppValueError(f"header name {spelling!r} is no token (RFC 9110 5.1)")
        if value.translate(None, VALUE_BYTES):
            raise AppValueError(f"header {spelling!r}: {value!r} holds a control character (RFC 9110 5.5)")
        self.name = spelling.lower()
        self.value = value
        self.octets = b"%b: %b\r\n" % (spelling, value)
        self.role: int = ROLES.get(self.name, 0)
        self.length: int = -1
        if self.role == CONTENT_LENGTH:
            if not value.isdigit() or len(value) > 20:
                raise AppValueError(f"Content-Length {value!r} is no number of bytes (RFC 9110 8.6)")
            self.length = int(value)


# Applications send the same lines over and over; a pair of str and one of bytes are different keys.
SENT = Memo(512)


class ResponseHead:
    """What an application said in its response head, in the form that goes out.

    `line` is the HTTP/1 status line, `lines` the fields without Content-Length, which `length` holds (-1 when the
    application gave none). `close` says that the application asked for the connection to be closed, `dated` and
    `named` that it sent Date and Server itself.
    """

    def __init__(self, status: int, line: bytes) -> None:
        self.status = status
        self.line = line
        self.lines: list[SentLine] = []
        self.length: int = -1
        self.close = False
        self.dated = False
        self.named = False

    def read_asgi(self, fields: Iterable[Iterable[bytes]]) -> None:
        """Take the header list of an ASGI event; raises AppTypeError or AppValueError and is then unusable."""
        lines = self.lines
        for pair in fields:
            line = SENT.find(pair) if is_pair_of(pair, bytes) else None
            if line is None:
                line = learn_asgi_line(pair)
            if not line.role or self.note(line, False):
                lines.append(line)

    def read_wsgi(self, fields: list[tuple[str, str]]) -> None:
        """Take the header list of start_response; raises AppTypeError or AppValueError and is then unusable."""
        if type(fields) is not list:
            raise AppTypeError(f"the headers must be a list, not {type(fields).__name__} (PEP 3333)")
        lines = self.lines
        for pair in fields:
            line = SENT.find(pair) if is_pair_of(pair, str) else None
            if line is None:
                line = learn_wsgi_line(pair)
            if not line.role or self.note(line, True):
                lines.append(line)

    def block(self) -> bytes:
        """Return the HTTP/1 lines of the fields."""
        return b"".join([line.octets for line in self.lines])

    def note(self, line: SentLine, wsgi: bool) -> bool:
        """Take in a field that means something to the server; returns whether the application's line is sent on."""
        role = line.role
        if role == CONTENT_LENGTH:
            if self.length >= 0 and self.length != line.length:
                raise AppValueError("two different Content-Length fields")
            self.length = line.length
            return False
        if role == DATE:
            first = not self.dated
            self.dated = True
            return first
        if role == SERVER:
            first = not self.named
            self.named = True
            return first
        if role == INTERFACE_HOP or role == CONTENT_TYPE or role == HOST or role == EXPECT:
            if wsgi and role == INTERFACE_HOP:
                self.refuse_hop(line)
            return True
        if wsgi:
            self.refuse_hop(line)
        if role == CONNECTION and b"close" in split_list(line.value):
            self.close = True
        return role == UPGRADE and self.status == 426

    def refuse_hop(self, line: SentLine) -> None:
        """Raise for a hop-by-hop field of a WSGI application."""
        raise AppValueError(f"{line.name.decode()} is hop-by-hop: the server's alone (PEP 3333, RFC 9110 7.6.1)")


def is_pair_of(pair: object, kind: type) -> bool:
    """Tell whether something is a tuple of two `kind`, and so can be looked up."""
    return type(pair) is tuple and len(pair) == 2 and type(pair[0]) is kind and type(pair[1]) is kind


def learn_asgi_line(pair: Iterable[bytes]) -> SentLine:
    """Check a field of an ASGI application; raises AppTypeError or AppValueError."""
    try:
        name, value = pair
    except (TypeError, ValueError):
        raise AppTypeError(f"header {pair!r} must be two bytes values, name and value") from None
    if type(name) is not bytes or type(value) is not bytes:
        raise AppTypeError(f"header ({name!r}, {value!r}): name and value must be bytes")
    return remember((name, value), SentLine(name, value))


def learn_wsgi_line(pair: object) -> SentLine:
    """Check a field of a WSGI application; raises AppTypeError or AppValueError."""
    if type(pair) is not tuple or len(pair) != 2:
        raise AppTypeError(f"header {pair!r} must be a tuple (name, value) (PEP 3333)")
    name, text = pair
    if type(name) is not str or type(text) is not str:
        raise AppTypeError(f"header {pair!r}: name and value must be str (PEP 3333)")
    try:
        return remember(pair, SentLine(name.encode("latin-1"), text.encode("latin-1")))
    except UnicodeEncodeError:
        raise AppValueError(f"header {pair!r} holds characters beyond latin-1 (PEP 3333)") from None


def remember(pair: tuple[object, object], line: SentLine) -> SentLine:
    """Keep a line for the next response that has it, unless it is a secret or too long."""
    if line.name not in UNCOMMON_SENT and len(line.octets) <= MAX_KEY_BYTES:
        SENT.keep(pair, line)
    return line


def asgi_head(status: object) -> ResponseHead:
    """Start a response head from an ASGI status; raises AppTypeError or AppValueError."""
    if type(status) is not int:
        if isinstance(status, bool) or not isinstance(status, int):
            raise AppTypeError(f"status {status!r} must be an int")
        status = int(status)
    line = STATUS_LINES.get(status)
    if line is None:
        if not 200 <= status <= 999:
            raise AppValueError(f"status {status} is not one of 200 to 999")
        line = b"HTTP/1.1 %d \r\n" % status
    elif status < 200:
        raise AppValueError(f"status {status} is an interim one and cannot start a response")
    return ResponseHead(status, line)


def wsgi_head(status: object) -> ResponseHead:
    """Start a response head from a WSGI status such as "200 OK"; raises AppTypeError or AppValueError."""
    if type(status) is not str:
        raise AppTypeError(f"status {status!r} must be str (PEP 3333)")
    known = WSGI_STATUS_LINES.get(status)
    if known is None:
        known = learn_wsgi_status(status)
    return ResponseHead(known[0], known[1])


def learn_wsgi_status(status: str) -> tuple[int, bytes]:
    """Check a WSGI status and return its code and status line; raises AppValueError."""
    code, _, reason = status.partition(" ")
    if len(code) != 3 or not code.isascii() or not code.isdigit():
        raise AppValueError(f"status {status!r} must begin with three digits (PEP 3333)")
    if code < "200":
        raise AppValueError(f"status {status!r} is an interim one and cannot start a response")
    try:
        phrase = reason.encode("latin-1")
    except UnicodeEncodeError:
        raise AppValueError(f"status {status!r} holds characters beyond latin-1") from None
    if status != status.strip() or phrase.translate(None, VALUE_BYTES):
        raise AppValueError(f"status {status!r} holds a control character or outer space (PEP 3333)")
    known = (int(code), b"HTTP/1.1 %s %s\r\n" % (code.encode("ascii"), phrase))
    if len(WSGI_STATUS_LINES) < MAX_KNOWN_LINES:
        WSGI_STATUS_LINES[status] = known
    return known


def head_parts(response: ResponseHead, framing: int, sized: int) -> list[bytes]:
    """Return status line and fields with the framing settled; `sized` is the length of a body that is whole, or -1."""
    parts = [response.line]
    for line in response.lines:
        parts.append(line.octets)
    length = response.length
    if framing == LENGTH:
        parts.append(length_line(length if length >= 0 else sized))
    elif framing == CHUNKED:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif framing == NONE:
        if response.status == 205:
            parts.append(b"Content-Length: 0\r\n")
        elif response.status != 204:
            if length >= 0:
                parts.append(length_line(length))
            elif sized > 0 and response.status != 304:
                parts.append(length_line(sized))
    return parts


def last_line(status: int, closing: bool, http10: bool) -> bytes:
    """Return the Connection field, where one is needed, and the end of the head (RFC 9112 9.3, RFC 9110 15.5.22)."""
    if status == 426:
        return b"Connection: Upgrade, close\r\n\r\n" if closing else b"Connection: Upgrade, keep-alive\r\n\r\n"
    if closing:
        return b"Connection: close\r\n\r\n"
    return b"Connection: keep-alive\r\n\r\n" if http10 else b"\r\n"


def own_body(status: int) -> bytes:
    """Return the body of an answer that the server makes itself; nothing of the request is repeated in it."""
    return REASONS[status].encode("ascii") + b"\n"


def own_answer(status: int, lines: bytes, bodiless: bool, text: bytes = b"") -> bytes:
    """Return a whole answer that the server makes itself, the last of its connection; `lines` are field lines."""
    body = text or own_body(status)
    last = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    return STATUS_LINES[status] + OWN_TYPE + lines + last + (b"" if bodiless else body)


def length_line(length: int) -> bytes:
    """Return the Content-Length field line."""
    line = LENGTH_LINES.get(length)
    return line if line is not None else b"Content-Length: %d\r\n" % length
