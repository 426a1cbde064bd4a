"""A request head: parsed from bytes, every rule of RFC 9112 2-6 and RFC 9110 5 checked on the way."""

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.fields import (
    CLOSE_OPTION,
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTINUE_OPTION,
    EXPECT,
    HOST,
    KEEP_ALIVE_OPTION,
    OTHER_OPTION,
    TE,
    TRAILERS_OPTION,
    TRANSFER_ENCODING,
    UPGRADE,
    UPGRADE_OPTION,
    FieldLine,
    host_line,
    read_field_line,
    split_list,
)
from trilithon.wire.framing import coding_is_chunked
from trilithon.wire.memo import MAX_KEY_BYTES, Memo
from trilithon.wire.octets import VALUE_BYTES
from trilithon.wire.partial import raise_first_fault
from trilithon.wire.start import RequestStart

KEPT_STARTS = 512
KEPT_LINES = 1024


class RequestHead:
    """What the request line and the fields of one request say, whichever protocol carried them.

    `path` is the raw path, still percent-encoded, `query` what follows the first `?`. `lines` are the fields in the
    order received. `length` is the declared body length or -1, `chunked` says that the body is framed by chunks.
    `version` is "1.0" or "1.1" for this wire. For `OPTIONS *` the path is `*`. `protocol` is the :protocol of an
    Extended CONNECT (RFC 8441), None for every other request.
    """

    def __init__(self, start: RequestStart) -> None:
        self.start = start
        self.method = self.start.method
        self.path = self.start.path
        self.http10 = self.start.http10
        self.lines: list[FieldLine] = []
        self.host: bytes | None = None
        self.length: int = -1
        self.chunked = False
        self.close = False
        self.keep_alive = False
        self.expects_continue = False
        self.takes_trailers = False
        self.typed = False
        self.upgrades = False
        self.upgrade: list[bytes] | None = None
        self.protocol: bytes | None = None
        self.codings: bytes | None = None

    @property
    def target(self) -> bytes:
        """The request target as it was received."""
        return self.start.target

    @property
    def query(self) -> bytes:
        """What follows the first question mark, b"" for nothing."""
        return self.start.query

    @property
    def version(self) -> str:
        """The protocol version of the request."""
        return self.start.version

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """A new list of the (name, value) pairs, names in lower case."""
        return [line.pair for line in self.lines]

    def note(self, line: FieldLine) -> None:
        """Take in a field that means something to the server; raises PeerError."""
        role = line.role
        if role == HOST:
            if self.host is not None:
                raise PeerError(400, "more than one Host", "RFC 9112 3.2")
            self.host = line.value
        elif role == CONTENT_LENGTH:
            if self.length >= 0:
                raise PeerError(400, "more than one Content-Length", "RFC 9112 6.3")
            self.length = line.length
        elif role == CONNECTION:
            options = line.options
            if options & CLOSE_OPTION:
                self.close = True
            if options & KEEP_ALIVE_OPTION:
                self.keep_alive = True
            if options & UPGRADE_OPTION:
                self.upgrades = True
        elif role == TRANSFER_ENCODING:
            self.codings = line.value if self.codings is None else self.codings + b"," + line.value
        elif role == CONTENT_TYPE:
            if self.typed:
                raise PeerError(400, "more than one Content-Type", "RFC 9110 5.3")
            self.typed = True
        elif role == EXPECT:
            if not self.http10:
                if line.options & OTHER_OPTION:
                    raise PeerError(417, "unknown expectation", "RFC 9110 10.1.1")
                if line.options & CONTINUE_OPTION:
                    self.expects_continue = True
        elif role == UPGRADE:
            self.upgrade = (self.upgrade or []) + split_list(line.value)
        elif role == TE and line.options & TRAILERS_OPTION:
            self.takes_trailers = True

    def conclude(self) -> None:
        """Decide what the fields mean together: host, framing, upgrade (RFC 9112 3.2, 6); raises PeerError."""
        authority = self.start.authority
        if authority is not None:
            self.adopt_authority(authority)
        if self.host is None and not self.http10:
            raise PeerError(400, "no Host", "RFC 9112 3.2")
        if self.codings is not None:
            if self.http10:
                raise PeerError(400, "Transfer-Encoding in HTTP/1.0", "RFC 9112 6.1")
            if self.length >= 0:
                raise PeerError(400, "both Transfer-Encoding and Content-Length", "RFC 9112 6.1")
            self.chunked = coding_is_chunked(self.codings)
        if self.upgrade is not None and (self.http10 or not self.upgrades):
            self.upgrade = None

    def adopt_authority(self, authority: bytes) -> None:
        """Let the authority of an absolute-form target be the one host (RFC 9112 3.2.2); 400 when Host differs."""
        host = self.host
        if host is None:
            if self.http10:
                self.lines.insert(0, host_line(authority))
                self.host = authority
        elif host.lower() != authority.lower():
            raise PeerError(400, "Host differs from the request target", "RFC 9112 3.2.2")


class HeadReader:
    """Parses whole heads under one set of limits, and remembers lines it has met."""

    def __init__(self, limits: MessageLimits) -> None:
        self.limits = limits
        self.max_fields = limits.max_fields
        self.max_field_bytes = limits.max_field_bytes
        # A head up to this size breaks no limit of size.
        self.small_bytes = min(limits.max_field_bytes, limits.max_head_bytes)
        self.starts = Memo(KEPT_STARTS)
        self.lines = Memo(KEPT_LINES)

    def read(self, head: bytes, secure: bool) -> RequestHead:
        """Parse a head without its closing empty line; raises PeerError. Cost is linear in its size."""
        lines = head.split(b"\r\n")
        checked = False
        line = lines[0]
        start = self.starts.find(line)
        if start is None:
            self.check_controls(head, lines, secure)
            checked = True
            start = self.read_start(line, secure)
        count = len(lines) - 1
        if count > self.max_fields or len(head) > self.small_bytes:
            if not checked:
                self.check_controls(head, lines, secure)
                checked = True
            self.check_sizes(head, lines)
        request = RequestHead(start)
        fields = request.lines
        try:
            for index in range(1, count + 1):
                line = lines[index]
                field = self.lines.find(line)
                if field is None:
                    if not checked:
                        self.check_controls(head, lines, secure)
                        checked = True
                    field = self.read_line(line)
                fields.append(field)
                if field.role:
                    request.note(field)
        except PeerError:
            if not checked:
                # A remembered line was refused: the answer must be that of a reader which remembers nothing.
                self.check_controls(head, lines, secure)
            raise
        request.conclude()
        return request

    def read_start(self, line: bytes, secure: bool) -> RequestStart:
        """Parse a request line; lines with a query are as good as never met again, and may hold secrets."""
        start = RequestStart()
        start.read(line, self.limits, secure)
        if not start.query and start.authority is None and len(line) <= MAX_KEY_BYTES:
            self.starts.keep(line, start)
        return start

    def read_line(self, line: bytes) -> FieldLine:
        """Parse a field line; what is a secret or different each time is not kept."""
        field = read_field_line(line)
        if field.common and len(line) <= MAX_KEY_BYTES:
            self.lines.keep(line, field)
        return field

    def check_controls(self, head: bytes, lines: list[bytes], secure: bool) -> None:
        """Refuse control characters, bare CR and bare LF, all of which other parsers have taken for a line end.

        What is left when every legal byte is deleted are the line ends, and nothing but them (RFC 9112 2.2).
        """
        if len(head.translate(None, VALUE_BYTES)) != 2 * (len(lines) - 1):
            raise_first_fault(head + b"\r\n", self.limits, secure)

    def check_sizes(self, head: bytes, lines: list[bytes]) -> None:
        """Hold a large head against its limits; raises PeerError (431)."""
        if len(lines) - 1 > self.max_fields:
            raise PeerError(431, "too many fields", "RFC 6585 5")
        if len(head) - len(lines[0]) > self.limits.max_head_bytes:
            raise PeerError(431, "field section too large", "RFC 6585 5")
        for line in lines[1:]:
            if len(line) > self.max_field_bytes:
                raise PeerError(431, "field too large", "RFC 6585 5")


def parse_head(head: bytes, limits: MessageLimits, secure: bool) -> RequestHead:
    """Parse one head, without its closing empty line; raises PeerError. An engine keeps a HeadReader instead."""
    return HeadReader(limits).read(head, secure)
