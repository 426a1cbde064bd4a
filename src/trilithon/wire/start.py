"""The request line: method, target and version (RFC 9112 3)."""

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.octets import TOKEN_BYTES
from trilithon.wire.target import check_connect_authority, decode_path, split_absolute

METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
LOWER_CASE = bytes(range(0x61, 0x7B))


class RequestStart:
    """What one request line says; immutable once read, so it can serve every request that begins with the same line.

    `line` is the line itself. `path` is still percent-encoded, `query` is what follows the first `?`. `authority` is
    that of an absolute-form target. `text` is the decoded path as UTF-8 (invalid bytes as U+FFFD), `octets` the same
    bytes as latin-1.
    """

    def __init__(self) -> None:
        self.method = ""
        self.line = b""
        self.target = b""
        self.path = b""
        self.query = b""
        self.version = "1.1"
        self.http10 = False
        self.authority: bytes | None = None
        self.text = ""
        self.octets = ""

    def read(self, line: bytes, limits: MessageLimits, secure: bool) -> None:
        """Parse `method SP target SP version`; raises PeerError (400, 414, 501, 505)."""
        self.line = line
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
        self.decode()

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
            self.authority, origin = split_absolute(target, secure)
            self.split_query(origin)

    def decode(self) -> None:
        """Undo the percent-encoding of the path, once."""
        path = self.path
        if b"%" in path:
            path = decode_path(path)
            self.text = path.decode("utf-8", "replace")
            self.octets = path.decode("latin-1")
        else:
            self.text = self.octets = path.decode("ascii")


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
