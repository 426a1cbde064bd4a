"""Fields that go out beside a response head: trailers behind the body, hints in front (RFC 9110 6.5, RFC 8297)."""

from collections.abc import Iterable

from trilithon.foundation.errors import AppTypeError, AppValueError
from trilithon.wire.fields import EXPECT, HOST
from trilithon.wire.response import ResponseHead, SentLine, learn_asgi_line

# Beside those with a role: what frames, routes, authenticates, or says how the content is to be handled comes too late
# behind it (RFC 9110 6.5.1).
MISPLACED = frozenset(
    {
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"cookie",
        b"expires",
        b"location",
        b"max-forwards",
        b"pragma",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"vary",
        b"www-authenticate",
    }
)


def read_trailers(fields: Iterable[Iterable[bytes]]) -> list[SentLine]:
    """Return the fields of a trailer section, checked; raises AppTypeError and AppValueError."""
    lines = []
    for pair in fields:
        line = learn_asgi_line(pair)
        if line.role or line.name in MISPLACED:
            raise AppValueError(f"{line.name.decode()} means nothing in a trailer (RFC 9110 6.5.1)")
        lines.append(line)
    return lines


def read_hint_fields(fields: list[tuple[str, str]]) -> bytes:
    """Return the lines of an early hint that a WSGI application sends, checked; raises AppTypeError and AppValueError.

    What frames a message or belongs to the connection is for the final head alone (RFC 8297 2).
    """
    head = ResponseHead(103, b"")
    head.read_wsgi(fields)
    if head.length >= 0:
        raise AppValueError("content-length has no place in an early hint (RFC 8297 2)")
    for line in head.lines:
        if line.role == HOST or line.role == EXPECT:
            raise AppValueError(f"{line.name.decode()} is a field of requests, with no place in an early hint")
    return head.block()


def read_hints(links: Iterable[bytes]) -> bytes:
    """Return the Link lines of an early hint, checked; raises AppTypeError and AppValueError."""
    if isinstance(links, (bytes, str)):
        raise AppTypeError(f"links must be an iterable of bytes, not {type(links).__name__}")
    lines = []
    for link in links:
        if type(link) is not bytes:
            raise AppTypeError(f"link {link!r} must be bytes")
        lines.append(SentLine(b"Link", link).octets)
    return b"".join(lines)
