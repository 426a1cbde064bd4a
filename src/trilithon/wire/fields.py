"""Field names and values: which are legal (RFC 9110 5), and what each name means to a server."""

from trilithon.foundation.errors import AppValueError, PeerError

TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VALUE_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])

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


class FieldName:
    """What is known of one field name: its lower-case form, its CGI key, its line prefix and its role."""

    def __init__(self, spelling: bytes) -> None:
        self.name = spelling.lower()
        self.key = cgi_key(self.name)
        self.prefix = spelling + b": "
        self.role: int = ROLES.get(self.name, 0)


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
SENT: dict[object, FieldName] = {}


def learn(name: bytes) -> FieldName:
    """Return what is known of a name a client sent; raises PeerError (400) for one that is no token."""
    if not name or name.translate(None, TOKEN_BYTES):
        raise PeerError(400, "invalid field name", "RFC 9110 5.1")
    field = FieldName(name)
    field.name = intern_name(field.name)
    if len(KNOWN) < MAX_KNOWN_NAMES and len(name) <= 64:
        KNOWN[name] = field
        KNOWN.setdefault(field.name, field)
    return field


def intern_name(name: bytes) -> bytes:
    """Return the one object that stands for this lower-case name, so that later look-ups meet a computed hash."""
    known = KNOWN.get(name)
    return known.name if known is not None else name


def learn_sent(name: object) -> FieldName:
    """Return what is known of a name an application sends, str or bytes; raises AppValueError for an illegal one."""
    spelling = name.encode("latin-1", "replace") if isinstance(name, str) else name
    if not isinstance(spelling, bytes) or not spelling or spelling.translate(None, TOKEN_BYTES):
        raise AppValueError(f"field name {name!r} is no token (RFC 9110 5.1)")
    field = FieldName(spelling)
    if len(SENT) < MAX_KNOWN_NAMES and len(spelling) <= 64:
        SENT[name] = field
    return field


def split_list(value: bytes) -> list[bytes]:
    """Split a comma-separated field value into its lower-case elements, empty ones left out (RFC 9110 5.6.1.2)."""
    return [element for part in value.split(b",") if (element := part.strip(b" \t").lower())]


for _spelling in (b"Host", b"User-Agent", b"Accept", b"Accept-Encoding", b"Accept-Language", b"Connection", b"Cookie",
                  b"Content-Type", b"Content-Length", b"Transfer-Encoding", b"Cache-Control", b"Authorization"):
    learn(_spelling.lower())
    learn(_spelling)
