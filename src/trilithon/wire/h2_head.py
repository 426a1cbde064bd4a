"""Request heads of HTTP/2: decoded fields to a RequestHead, every rule of RFC 9113 8 checked on the way."""

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.fields import (
    CONNECTION,
    HOP_BY_HOP,
    HOST,
    KNOWN,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    FieldLine,
    host_line,
    learn,
)
from trilithon.wire.h2_priority import DEFAULT_PRIORITY, read_priority
from trilithon.wire.head import RequestHead
from trilithon.wire.hpack import HeaderField
from trilithon.wire.memo import MAX_KEY_BYTES, Memo
from trilithon.wire.octets import VALUE_BYTES
from trilithon.wire.start import METHODS, RequestStart, check_method

KEPT_STARTS = 512
COLON = 0x3A
# What a path may hold: visible ASCII, and no fragment.
PATH_BYTES = bytes(octet for octet in range(0x21, 0x7F) if octet != 0x23)
COOKIE = b"cookie"
PRIORITY_FIELD = b"priority"


class H2Head(RequestHead):
    """A request head as HTTP/2 brings it; one object may stand for every request with the same field block.

    `priority` is what it asks for, see `pack_priority`.
    """

    def __init__(self, start: RequestStart) -> None:
        super().__init__(start)
        self.priority: int = DEFAULT_PRIORITY


class Pseudo:
    """The pseudo fields of one request, and how many there are; each once at most (RFC 9113 8.3)."""

    def __init__(self) -> None:
        self.method: bytes | None = None
        self.scheme: bytes | None = None
        self.path: bytes | None = None
        self.protocol: bytes | None = None
        self.authority: HeaderField | None = None
        self.count: int = 0

    def read(self, fields: list[HeaderField]) -> None:
        """Take the pseudo fields that a section begins with; raises PeerError."""
        for field in fields:
            name = field.name
            if not name or name[0] != COLON:
                return
            self.count += 1
            if name == b":method" and self.method is None:
                self.method = field.value
            elif name == b":path" and self.path is None:
                self.path = field.value
            elif name == b":scheme" and self.scheme is None:
                self.scheme = field.value
            elif name == b":authority" and self.authority is None:
                self.authority = field
            elif name == b":protocol" and self.protocol is None:
                self.protocol = field.value
            else:
                raise PeerError(400, "pseudo field unknown or twice", "RFC 9113 8.3")


class H2HeadReader:
    """Makes request heads of decoded fields, under one set of limits; remembers request lines it has met.

    `secure` says whether the transport is TLS, `websockets` whether Extended CONNECT was offered. What is malformed
    raises PeerError (400), a stream error of type PROTOCOL_ERROR (RFC 9113 8.1.1); any other status can be answered.
    """

    def __init__(self, limits: MessageLimits, secure: bool, websockets: bool) -> None:
        self.limits = limits
        self.secure = secure
        self.websockets = websockets
        self.starts = Memo(KEPT_STARTS)

    def read(self, fields: list[HeaderField]) -> H2Head:
        """Read one request head; raises PeerError. Cost is linear in the number of fields."""
        pseudo = Pseudo()
        pseudo.read(fields)
        head = H2Head(self.find_start(pseudo))
        lines = head.lines
        authority = pseudo.authority
        if authority is not None:
            lines.append(read_authority(authority))
        cookie = -1
        crumbs: list[bytes] = []
        for index in range(pseudo.count, len(fields)):
            field = fields[index]
            line = field.meaning
            if line is None:
                line = field.meaning = read_line(field)
            assert isinstance(line, FieldLine)
            if line.role:
                check_role(line)
                head.note(line)
                if line.role == HOST and authority is not None:
                    continue
            elif field.name == COOKIE:
                if not crumbs:
                    cookie = len(lines)
                crumbs.append(line.value)
                if len(crumbs) > 1:
                    continue
            elif field.name == PRIORITY_FIELD:
                head.priority = read_priority(line.value)
            lines.append(line)
        if len(crumbs) > 1:
            # What is not HTTP/2 knows one cookie field only (RFC 9113 8.2.3).
            lines[cookie] = FieldLine(learn(COOKIE), b"; ".join(crumbs))
        if authority is not None:
            if head.host is not None and head.host.lower() != authority.value.lower():
                raise PeerError(400, "Host differs from :authority", "RFC 9113 8.3.1")
            head.host = authority.value
        elif head.host is None:
            raise PeerError(400, "neither :authority nor Host", "RFC 9113 8.3.1")
        if head.method == "CONNECT":
            self.conclude_connect(head, pseudo.protocol)
        return head

    def find_start(self, pseudo: Pseudo) -> RequestStart:
        """Return what the pseudo fields say of method and target; raises PeerError (400, 414, 421, 501)."""
        method = pseudo.method
        path = pseudo.path
        if method is None:
            raise PeerError(400, "no :method", "RFC 9113 8.3.1")
        if method == b"CONNECT" and pseudo.protocol is None:
            return self.read_connect(pseudo)
        if path is None or pseudo.scheme is None:
            raise PeerError(400, "no :path or no :scheme", "RFC 9113 8.3.1")
        self.check_scheme(pseudo.scheme)
        if pseudo.protocol is not None and (
            method != b"CONNECT" or not self.websockets or not pseudo.protocol or pseudo.authority is None
        ):
            raise PeerError(400, ":protocol where it cannot be", "RFC 8441 4")
        key = (method, path)
        start: RequestStart | None = self.starts.find(key)
        if start is None:
            start = self.read_start(method, path)
            # Queries are as good as never met again, and may hold secrets.
            if not start.query and len(path) <= MAX_KEY_BYTES:
                self.starts.keep(key, start)
        return start

    def check_scheme(self, scheme: bytes) -> None:
        """Refuse what is no request for this connection: another scheme, or https without TLS (RFC 9110 7.4).

        Proxies say https to us for those who said it to them, so the answer is one that can be read.
        """
        if scheme == b"https" and not self.secure:
            raise PeerError(421, "https without TLS, from no trusted proxy", "RFC 9110 7.4")
        if scheme != b"http" and scheme != b"https":
            raise PeerError(400, "unknown scheme", "RFC 9113 8.3.1")

    def read_start(self, method: bytes, path: bytes) -> RequestStart:
        """Read method and path; raises PeerError (400, 414, 501).

        Both may hold any octet at all here, and would split the request where they are written into a line.
        """
        start = RequestStart()
        known = METHODS.get(method)
        start.method = known if known is not None else check_method(method, self.limits)
        if len(method) + len(path) + 10 > self.limits.max_request_line_bytes:
            raise PeerError(414, "request target too long", "RFC 9110 15.5.15")
        if path[:1] != b"/" and (path != b"*" or method != b"OPTIONS"):
            raise PeerError(400, "invalid :path", "RFC 9113 8.3.1")
        if path.translate(None, PATH_BYTES):
            raise PeerError(400, "invalid octet in :path", "RFC 9113 8.3.1")
        start.line = b"%b %b HTTP/2" % (method, path)
        start.target = path
        start.version = "2"
        start.split_query(path)
        start.decode()
        return start

    def read_connect(self, pseudo: Pseudo) -> RequestStart:
        """Read a CONNECT to somewhere else: legal, and not served; raises PeerError (400)."""
        if pseudo.path is not None or pseudo.scheme is not None or pseudo.authority is None:
            raise PeerError(400, "CONNECT takes :authority alone", "RFC 9113 8.5")
        start = RequestStart()
        start.method = "CONNECT"
        start.target = start.path = pseudo.authority.value
        start.line = b"CONNECT %b HTTP/2" % start.target
        start.version = "2"
        return start

    def conclude_connect(self, head: H2Head, protocol: bytes | None) -> None:
        """Let nothing but a WebSocket be connected to; raises PeerError (405, 501)."""
        if protocol is None:
            raise PeerError(405, "CONNECT is not served", "RFC 9110 9.3.6")
        if protocol.lower() != b"websocket":
            raise PeerError(501, "unknown :protocol", "RFC 9220 3")
        head.protocol = protocol


def read_authority(field: HeaderField) -> FieldLine:
    """Return the Host line that an :authority stands for; raises PeerError (400)."""
    line = field.meaning
    if line is None:
        line = field.meaning = host_line(field.value)
    assert isinstance(line, FieldLine)
    return line


def read_line(field: HeaderField) -> FieldLine:
    """Check one field that is no pseudo field (RFC 9113 8.2.1, RFC 9110 5.5); raises PeerError (400)."""
    known = KNOWN.get(field.name)
    if known is None:
        known = learn(field.name)
    if known.name != field.name:
        raise PeerError(400, "upper case in a field name", "RFC 9113 8.2.1")
    value = field.value
    if value.translate(None, VALUE_BYTES) or value.strip(b" \t") != value:
        raise PeerError(400, "invalid field value", "RFC 9113 8.2.1")
    return FieldLine(known, value)


def check_role(line: FieldLine) -> None:
    """Refuse what belongs to a connection of HTTP/1 (RFC 9113 8.2.2); raises PeerError (400)."""
    role = line.role
    if role == CONNECTION or role == HOP_BY_HOP or role == TRANSFER_ENCODING or role == UPGRADE:
        raise PeerError(400, "connection-specific field", "RFC 9113 8.2.2")
    if role == TE and line.value.lower() != b"trailers":
        raise PeerError(400, "TE other than trailers", "RFC 9113 8.2.2")


def check_trailers(fields: list[HeaderField]) -> None:
    """Check a trailer section, which has no pseudo fields (RFC 9113 8.1); raises PeerError (400)."""
    for field in fields:
        line = field.meaning
        if line is None or field.name[:1] == b":":
            line = read_line(field)
        check_role(line)
