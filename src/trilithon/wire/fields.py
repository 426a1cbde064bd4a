"""Field names and values: which are legal (RFC 9110 5), and what each name means to a server."""

from trilithon.foundation.errors import PeerError
from trilithon.wire.framing import parse_length
from trilithon.wire.octets import TOKEN_BYTES
from trilithon.wire.target import check_authority

# What a name means to the server. Zero: nothing, the field is the application's alone.
HOST = 1
CONTENT_LENGTH = 2
TRANSFER_ENCODING = 3
CONNECTION = 4
EXPECT = 5
UPGRADE = 6
CONTENT_TYPE = 7
TE = 8
HOP_BY_HOP = 9
DATE = 10
SERVER = 11
INTERFACE_HOP = 12  # forbidden to WSGI applications, meaningful from ASGI ones

ROLES = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"upgrade": UPGRADE,
    b"content-type": CONTENT_TYPE,
    b"te": TE,
    b"keep-alive": HOP_BY_HOP,
    b"proxy-connection": HOP_BY_HOP,
    b"proxy-authenticate": INTERFACE_HOP,
    b"proxy-authorization": INTERFACE_HOP,
    b"trailer": INTERFACE_HOP,
    b"trailers": INTERFACE_HOP,
    b"date": DATE,
    b"server": SERVER,
}

# A name is learnt once; the bound keeps a client from filling the memory with names of its own.
MAX_KNOWN_NAMES = 1024


# What the elements of a list mean to the server, as bits.
CLOSE_OPTION = 1
KEEP_ALIVE_OPTION = 2
UPGRADE_OPTION = 4
TRAILERS_OPTION = 8
CONTINUE_OPTION = 16
OTHER_OPTION = 32

OPTIONS = {
    b"close": CLOSE_OPTION,
    b"keep-alive": KEEP_ALIVE_OPTION,
    b"upgrade": UPGRADE_OPTION,
    b"trailers": TRAILERS_OPTION,
    b"100-continue": CONTINUE_OPTION,
}

# Lines of these are never remembered: secrets, and what differs with each request.
UNCOMMON = frozenset(
    {b"cookie", b"authorization", b"proxy-authorization", b"content-length", b"set-cookie", b"sec-websocket-key"}
)


class FieldName:
    """What is known of one field name: its lower-case form, its CGI key and its role."""

    def __init__(self, spelling: bytes) -> None:
        self.name = spelling.lower()
        self.key = cgi_key(self.name)
        self.role: int = ROLES.get(self.name, 0)


class FieldLine:
    """One received field: name and value, and what they mean to the server.

    `key` is the WSGI environ key, "" for none. `length` is that of a Content-Length, `options` are the bits of a
    Connection, TE or Expect field. `common` says that the same line may well come again and holds no secret.
    """

    def __init__(self, field: FieldName, value: bytes) -> None:
        self.pair = (field.name, value)
        self.value = value
        self.latin1: str | None = None
        self.key = field.key
        self.role = field.role
        self.length: int = -1
        self.options = 0
        self.common = field.name not in UNCOMMON
        if field.role:
            self.weigh(field.role)

    def text(self) -> str:
        """Return the value as latin-1 text (PEP 3333)."""
        text = self.latin1
        if text is None:
            text = self.latin1 = self.value.decode("latin-1")
        return text

    def weigh(self, role: int) -> None:
        """Work out what the value means; raises PeerError (400)."""
        if role == HOST:
            check_authority(self.value)
        elif role == CONTENT_LENGTH:
            self.length = parse_length(self.value)
        elif role == CONNECTION or role == TE or role == EXPECT:
            for element in split_list(self.value):
                self.options |= OPTIONS.get(element, OTHER_OPTION)
            if role == EXPECT and self.options & ~CONTINUE_OPTION:
                self.options |= OTHER_OPTION


def cgi_key(name: bytes) -> str:
    """Return the WSGI environ key of a lower-case field name, "" for a field that WSGI applications never see.

    Names with an underscore could pose as the hyphenated form, `Proxy` as the proxy setting of HTTP libraries
    (httpoxy, CVE-2016-1000111), and the transfer coding is undone before the application reads.
    """
    if b"_" in name or name in (b"proxy", b"transfer-encoding"):
        return ""
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if name in (b"content-type", b"content-length") else "HTTP_" + key


KNOWN: dict[bytes, FieldName] = {}


def learn(name: bytes) -> FieldName:
    """Return what is known of a name a client sent; raises PeerError (400) for one that is no token."""
    if not name or name.translate(None, TOKEN_BYTES):
        raise PeerError(400, "invalid field name", "RFC 9110 5.1")
    field = FieldName(name)
    if len(KNOWN) < MAX_KNOWN_NAMES and len(name) <= 64:
        KNOWN[name] = field
    return field


def read_field_line(line: bytes) -> FieldLine:
    """Parse `name: value` (RFC 9112 5); raises PeerError (400). The line is free of control characters already."""
    colon = line.find(b":")
    if colon <= 0:
        raise PeerError(400, "field line without a name", "RFC 9112 5")
    name = line[:colon]
    field = KNOWN.get(name)
    if field is None:
        field = learn(name)
    return FieldLine(field, line[colon + 1 :].strip(b" \t"))


def host_line(authority: bytes) -> FieldLine:
    """Return the Host field that an absolute-form target stands for."""
    return FieldLine(learn(b"host"), authority)


def split_list(value: bytes) -> list[bytes]:
    """Split a comma-separated field value into its lower-case elements, empty ones left out (RFC 9110 5.6.1.2)."""
    return [element for part in value.split(b",") if (element := part.strip(b" \t").lower())]
