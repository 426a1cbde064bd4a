"""WebSocket frames as a server sends them (RFC 6455 5.2), and the codes of a close (7.4)."""

from trilithon.foundation.errors import AppTypeError, AppValueError

CONTINUATION = 0
TEXT = 1
BINARY = 2
CLOSE = 8
PING = 9
PONG = 10

FIN = 128
COMPRESSED = 64

NORMAL = 1000
PROTOCOL_ERROR = 1002
NO_CODE = 1005
LOST_CODE = 1006
BAD_DATA = 1007
TOO_BIG = 1009
SERVER_ERROR = 1011
RESTART = 1012

MAX_REASON_BYTES = 123
# A payload this small is copied behind its head into one piece; a larger one is sent from where it is.
MAX_JOINED_BYTES = 16384

SHORT_TEXT = [bytes((FIN | TEXT, size)) for size in range(126)]
SHORT_BINARY = [bytes((FIN | BINARY, size)) for size in range(126)]


def frame_head(first: int, size: int) -> bytes:
    """Return the head of an unmasked frame whose first byte is `first`, the length in its shortest form."""
    if size < 126:
        if first == FIN | TEXT:
            return SHORT_TEXT[size]
        if first == FIN | BINARY:
            return SHORT_BINARY[size]
        return bytes((first, size))
    if size < 65536:
        return bytes((first, 126, size >> 8, size & 255))
    return bytes((first, 127)) + size.to_bytes(8, "big")


def frame_parts(first: int, payload: bytes) -> list[bytes]:
    """Return a whole frame as one piece, or as head and payload when copying the payload would cost more."""
    size = len(payload)
    head = frame_head(first, size)
    return [head + payload] if size <= MAX_JOINED_BYTES else [head, payload]


def close_frame(code: int, reason: bytes) -> bytes:
    """Return a close frame; `code` NO_CODE means one without a payload."""
    if code == NO_CODE:
        return bytes((FIN | CLOSE, 0))
    return bytes((FIN | CLOSE, 2 + len(reason))) + code.to_bytes(2, "big") + reason


def may_be_sent(code: int) -> bool:
    """Tell whether a close code may stand in a frame (RFC 6455 7.4)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def app_close(code: object, reason: object) -> tuple[int, bytes]:
    """Return code and encoded reason of an application's close; raises AppTypeError or AppValueError."""
    if isinstance(code, bool) or not isinstance(code, int):
        raise AppTypeError(f"close code {code!r} must be an int")
    if not may_be_sent(code):
        raise AppValueError(f"close code {code} is none of 1000-1003, 1007-1014 and 3000-4999 (RFC 6455 7.4)")
    if reason is None:
        return code, b""
    if not isinstance(reason, str):
        raise AppTypeError(f"close reason {reason!r} must be str")
    octets = reason.encode("utf-8")
    if len(octets) > MAX_REASON_BYTES:
        raise AppValueError(f"the close reason is {len(octets)} bytes long, {MAX_REASON_BYTES} at most (RFC 6455 5.5)")
    return code, octets
