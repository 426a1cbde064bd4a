"""A response head: status line and fields, checked once (RFC 9110 5, 15) for both interfaces and every protocol."""

from collections.abc import Iterable
from http import HTTPStatus

from trilithon.foundation.errors import AppTypeError, AppValueError
from trilithon.wire.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    HOP_BY_HOP,
    INTERFACE_HOP,
    SENT,
    SERVER,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    VALUE_BYTES,
    FieldName,
    learn_sent,
    split_list,
)

REASONS = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES: dict[int, bytes] = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, phrase.encode("ascii")) for status, phrase in REASONS.items()
}
MAX_KNOWN_LINES = 512
LENGTH_LINES = {size: b"Content-Length: %d\r\n" % size for size in range(1024)}
WSGI_STATUS_LINES: dict[str, tuple[int, bytes]] = {}


class ResponseHead:
    """What an application said in its response head, in the form that goes out.

    `line` is the HTTP/1 status line, `block` the field lines without Content-Length, which `length` holds (-1 when
    the application gave none). `close` says that the application asked for the connection to be closed, `dated` and
    `named` that it sent Date and Server itself.
    """

    def __init__(self, status: int, line: bytes) -> None:
        self.status = status
        self.line = line
        self.block = b""
        self.length: int = -1
        self.close = False
        self.dated = False
        self.named = False

    def read_asgi(self, fields: Iterable[Iterable[bytes]]) -> None:
        """Take the header list of an ASGI event; raises AppTypeError or AppValueError and is then unusable."""
        parts: list[bytes] = []
        for pair in fields:
            name, value = pair
            if type(name) is not bytes or type(value) is not bytes:
                raise AppTypeError(f"header ({name!r}, {value!r}): name and value must be bytes")
            field = SENT.get(name)
            if field is None:
                field = learn_sent(name)
            if field.role and not self.note(field.role, value, False):
                continue
            parts.append(field.prefix)
            parts.append(value)
            parts.append(b"\r\n")
        self.conclude(parts)

    def read_wsgi(self, fields: list[tuple[str, str]]) -> None:
        """Take the header list of start_response; raises AppTypeError or AppValueError and is then unusable."""
        if type(fields) is not list:
            raise AppTypeError(f"the headers must be a list, not {type(fields).__name__} (PEP 3333)")
        parts: list[bytes] = []
        for pair in fields:
            if type(pair) is not tuple or len(pair) != 2:
                raise AppTypeError(f"header {pair!r} must be a tuple (name, value) (PEP 3333)")
            name, text = pair
            if type(name) is not str or type(text) is not str:
                raise AppTypeError(f"header {pair!r}: name and value must be str (PEP 3333)")
            field = SENT.get(name)
            if field is None:
                field = learn_sent(name)
            try:
                value = text.encode("latin-1")
            except UnicodeEncodeError:
                raise AppValueError(f"header {pair!r} holds characters beyond latin-1 (PEP 3333)") from None
            if field.role and not self.note(field.role, value, True):
                continue
            parts.append(field.prefix)
            parts.append(value)
            parts.append(b"\r\n")
        self.conclude(parts)

    def conclude(self, parts: list[bytes]) -> None:
        """Join the lines; raises AppValueError when a value holds CR, LF, NUL or another control character."""
        block = b"".join(parts)
        # Every line brings exactly one CRLF; anything beyond that would be response splitting (RFC 9110 5.5).
        if len(block.translate(None, VALUE_BYTES)) * 3 != 2 * len(parts):
            for prefix, value in zip(parts[::3], parts[1::3], strict=True):
                if value.translate(None, VALUE_BYTES):
                    raise AppValueError(f"header {prefix[:-2]!r}: {value!r} holds a control character (RFC 9110 5.5)")
            raise AppValueError("a header holds a control character (RFC 9110 5.5)")
        self.block = block

    def note(self, role: int, value: bytes, wsgi: bool) -> bool:
        """Take in a field that means something to the server; returns whether the application's line is sent on."""
        if role == CONTENT_LENGTH:
            if not value.isdigit() or len(value) > 20:
                raise AppValueError(f"Content-Length {value!r} is no number of bytes (RFC 9110 8.6)")
            length = int(value)
            if self.length >= 0 and self.length != length:
                raise AppValueError("two different Content-Length fields")
            self.length = length
            return False
        if role == DATE or role == SERVER:
            first = not (self.dated if role == DATE else self.named)
            if role == DATE:
                self.dated = True
            else:
                self.named = True
            return first
        if role == CONNECTION or role == TRANSFER_ENCODING or role == HOP_BY_HOP or role == TE or role == UPGRADE:
            if wsgi:
                raise AppValueError("hop-by-hop fields are the server's alone (PEP 3333, RFC 9110 7.6.1)")
            if role == CONNECTION and b"close" in split_list(value):
                self.close = True
            return role == UPGRADE and self.status == 426
        if role == INTERFACE_HOP and wsgi:
            raise AppValueError("hop-by-hop fields are the server's alone (PEP 3333, RFC 9110 7.6.1)")
        return True


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


def own_head(status: int, extra: bytes = b"") -> ResponseHead:
    """Return the head of an answer that the server makes itself, text/plain; `extra` holds whole field lines."""
    head = ResponseHead(status, STATUS_LINES[status])
    head.block = b"Content-Type: text/plain; charset=utf-8\r\n" + extra
    head.close = True
    return head


def own_body(status: int) -> bytes:
    """Return the body of an answer that the server makes itself; nothing of the request is repeated in it."""
    return REASONS[status].encode("ascii") + b"\n"


def own_answer(status: int, lines: bytes, bodiless: bool) -> bytes:
    """Return a whole answer that the server makes itself, the last of its connection; `lines` are field lines."""
    head = own_head(status, lines)
    body = own_body(status)
    last = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    return head.line + head.block + last + (b"" if bodiless else body)


def length_line(length: int) -> bytes:
    """Return the Content-Length field line."""
    line = LENGTH_LINES.get(length)
    return line if line is not None else b"Content-Length: %d\r\n" % length


__all__ = ["FieldName", "ResponseHead", "asgi_head", "length_line", "own_answer", "own_body", "own_head", "wsgi_head"]
