"""Body framing: where a message's body ends, decided here for reading and for writing (RFC 9112 6, RFC 9110 8.6)."""

import re

from trilithon.foundation.errors import PeerError
from trilithon.wire.octets import TOKEN_BYTES

# How a response body is delimited on HTTP/1.
NONE = 0
LENGTH = 1
CHUNKED = 2
CLOSE = 3

CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


def parse_length(value: bytes) -> int:
    """Return a Content-Length; raises PeerError (400) unless it is 1 to 20 ASCII digits (RFC 9110 8.6).

    `int()` would take signs, underscores and the digits of other scripts: that was a smuggling hole in many servers.
    """
    if not value.isdigit() or len(value) > 20:
        raise PeerError(400, "invalid Content-Length", "RFC 9110 8.6")
    return int(value)


def coding_is_chunked(codings: bytes) -> bool:
    """Return True for a Transfer-Encoding of exactly `chunked`; raises PeerError (400 malformed, 501 unknown)."""
    names = [name.strip(b" \t").lower() for name in codings.split(b",")]
    for name in names:
        if not name or name.translate(None, TOKEN_BYTES):
            raise PeerError(400, "invalid Transfer-Encoding", "RFC 9112 6.1")
    count = names.count(b"chunked")
    if count > 1 or (count and names[-1] != b"chunked"):
        raise PeerError(400, "chunked is not the one final coding", "RFC 9112 6.3")
    if len(names) != 1 or not count:
        raise PeerError(501, "unknown transfer coding", "RFC 9112 6.1")
    return True


def has_no_body(head_request: bool, status: int) -> bool:
    """Return whether a response never has content: to HEAD, 1xx, 204, 205 and 304 (RFC 9110 6.4.1, 15.3.6)."""
    return head_request or status in (204, 205, 304) or status < 200


def response_framing(bodiless: bool, length: int, final: bool, http10: bool) -> int:
    """Choose how a response body is delimited: by nothing, its length, chunks or the close (RFC 9112 6.1, 6.3).

    `length` is the declared one or -1; `final` says that the whole body is known now.
    """
    if bodiless:
        return NONE
    if length >= 0 or final:
        return LENGTH
    return CLOSE if http10 else CHUNKED
