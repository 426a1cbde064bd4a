"""The opening handshake of a WebSocket: what the client asked for, and what accepts it (RFC 6455 4.2, RFC 8441 5)."""

import re
from base64 import b64encode
from hashlib import sha1

from trilithon.foundation.errors import AppValueError, PeerError
from trilithon.wire.head import RequestHead
from trilithon.wire.octets import TOKEN_BYTES
from trilithon.wire.response import ResponseHead, SentLine, asgi_head

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BASE64_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

ALLOW_LINES = b"Allow: GET\r\n"
# The server's own answers add `Connection: close` themselves; a 426 has to name Upgrade as well (RFC 9110 7.8).
VERSION_LINE = b"Sec-WebSocket-Version: 13\r\n"
VERSION_LINES = b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + VERSION_LINE
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "

# What is decided by the handshake, or would frame a body that a 101 does not have (RFC 9110 8.6, RFC 9112 6.1).
FORBIDDEN = frozenset(
    {
        b"sec-websocket-protocol",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"upgrade",
        b"connection",
        b"content-length",
        b"transfer-encoding",
    }
)

# Possessive, so that no header can make the search go back: the cost is linear in its length.
ELEMENT = re.compile(rb'(?:[^",]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
TOKEN = rb"[" + re.escape(TOKEN_BYTES) + rb"]++"
NAME = re.compile(rb"[ \t]*+(" + TOKEN + rb")[ \t]*+")
PARAMETER = re.compile(
    rb";[ \t]*+(" + TOKEN + rb")[ \t]*+(?:=[ \t]*+(?:(" + TOKEN + rb')|"((?:[^"\\]++|\\.)*+)")[ \t]*+)?+', re.DOTALL
)
ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class HandshakeError(PeerError):
    """The opening handshake is refused with `status`; `lines` are field lines that the answer must carry."""

    def __init__(self, status: int, reason: str, section: str, lines: bytes = b"") -> None:
        super().__init__(status, reason, section)
        self.lines = lines


class Offer:
    """One extension that the client offers: its name and parameters in order, with None for one without a value."""

    __slots__ = ("name", "parameters")

    def __init__(self, name: bytes, parameters: list[tuple[bytes, bytes | None]]) -> None:
        self.name = name
        self.parameters = parameters


class Handshake:
    """A valid opening handshake: subprotocols and extensions are in the client's order of preference.

    `key` is the one of HTTP/1.1 as received, b"" for a stream that has none (RFC 8441 5).
    """

    __slots__ = ("key", "offers", "origin", "protocols")

    def __init__(self, key: bytes, origin: bytes | None) -> None:
        self.key = key
        self.origin = origin
        self.protocols: list[str] = []
        self.offers: list[Offer] = []


def is_handshake(head: RequestHead) -> bool:
    """Tell whether a request, whatever its method, asks to become a WebSocket.

    The head has dropped Upgrade already where Connection does not name it, and in HTTP/1.0 (RFC 9110 7.8). An Extended
    CONNECT is read for no other protocol.
    """
    return head.protocol is not None or (head.upgrade is not None and b"websocket" in head.upgrade)


def read_handshake(head: RequestHead) -> Handshake:
    """Check and read the handshake of a request for which `is_handshake` holds.

    Raises HandshakeError: 405 for a method other than GET, 426 for a version that is not spoken here, else 400. An
    Extended CONNECT, whose stream is the connection, has no key, and nothing to upgrade (RFC 8441 5).
    """
    plain = head.protocol is None
    if plain and head.method != "GET":
        raise HandshakeError(405, "WebSocket handshake that is no GET", "RFC 6455 4.2.1", ALLOW_LINES)
    if head.length > 0 or head.chunked or (head.length == 0 and not plain):
        raise HandshakeError(400, "WebSocket handshake with a body", "RFC 6455 4.1")
    values: dict[bytes, list[bytes]] = {}
    for line in head.lines:
        name, value = line.pair
        if name.startswith(b"sec-websocket-") or name == b"origin":
            values.setdefault(name, []).append(value)
    check_version(values.get(b"sec-websocket-version", []), plain)
    key = single_key(values.get(b"sec-websocket-key", [])) if plain else b""
    origins = values.get(b"origin", [None])
    if len(origins) > 1:
        # An application may look at either of two, and an allow-list at the other (RFC 6454 7.3).
        raise HandshakeError(400, "more than one Origin", "RFC 6454 7.3")
    handshake = Handshake(key, origins[0])
    handshake.protocols = read_protocols(values.get(b"sec-websocket-protocol", []))
    handshake.offers = read_offers(values.get(b"sec-websocket-extensions", []))
    return handshake


def check_version(values: list[bytes], plain: bool) -> None:
    """Accept exactly one version field that says 13; raises HandshakeError (RFC 6455 4.2.2, 11.3.5)."""
    if len(values) > 1 or (values and b"," in values[0]):
        raise HandshakeError(400, "more than one Sec-WebSocket-Version", "RFC 6455 11.3.5")
    if not values or values[0] != b"13":
        status, lines = (426, VERSION_LINES) if plain else (400, VERSION_LINE)
        raise HandshakeError(status, "WebSocket version other than 13", "RFC 6455 4.4", lines)


def single_key(values: list[bytes]) -> bytes:
    """Return the one key, the base64 of 16 bytes; raises HandshakeError (RFC 6455 4.2.1)."""
    if len(values) != 1:
        raise HandshakeError(400, "no single Sec-WebSocket-Key", "RFC 6455 11.3.1")
    key = values[0]
    if len(key) != 24 or not key.endswith(b"==") or key[:22].translate(None, BASE64_BYTES):
        raise HandshakeError(400, "Sec-WebSocket-Key that is not 16 bytes in base64", "RFC 6455 4.2.1")
    return key


def read_protocols(values: list[bytes]) -> list[str]:
    """Return the subprotocols of all fields in order; what is no token and what comes again is left out."""
    found: dict[str, None] = {}
    for value in values:
        for part in value.split(b","):
            protocol = part.strip(b" \t")
            if protocol and not protocol.translate(None, TOKEN_BYTES):
                found[protocol.decode("ascii")] = None
    return list(found)


def read_offers(values: list[bytes]) -> list[Offer]:
    """Return the extensions that all fields offer, in order (RFC 6455 9.1).

    An element that breaks the grammar is as good as not offered; behind an open quote nothing can be told apart.
    """
    offers = []
    for value in values:
        place = 0
        while place <= len(value):
            found = ELEMENT.match(value, place)
            end = found.end() if found else place
            if end < len(value) and value[end] != 0x2C:
                break
            offer = read_offer(value[place:end])
            if offer is not None:
                offers.append(offer)
            place = end + 1
    return offers


def read_offer(element: bytes) -> Offer | None:
    """Parse `name; parameter; parameter=value`; returns None for what is empty or malformed."""
    found = NAME.match(element)
    if found is None:
        return None
    offer = Offer(found[1], [])
    place = found.end()
    while place < len(element):
        found = PARAMETER.match(element, place)
        if found is None:
            return None
        name, value, quoted = found.groups()
        if quoted is not None:
            value = ESCAPED.sub(rb"\1", quoted)
            if not value or value.translate(None, TOKEN_BYTES):
                return None
        offer.parameters.append((name, value))
        place = found.end()
    return offer


def accept_value(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept for a key as it was received (RFC 6455 4.2.2)."""
    return b64encode(sha1(key + GUID, usedforsecurity=False).digest())


def switching_head(handshake: Handshake, protocol: str | None, extensions: bytes, lines: list[bytes]) -> bytes:
    """Return the whole head of the 101 but for Date.

    `protocol` is one of the client's or None, `extensions` the agreed ones or b"", `lines` are complete field lines,
    none of which `is_forbidden`. Raises AppValueError for a subprotocol that the client did not offer.
    """
    parts = [SWITCHING, accept_value(handshake.key), b"\r\n"]
    if protocol is not None:
        check_protocol(handshake, protocol)
        parts.append(b"Sec-WebSocket-Protocol: %b\r\n" % protocol.encode("ascii"))
    if extensions:
        parts.append(b"Sec-WebSocket-Extensions: %b\r\n" % extensions)
    parts += lines
    parts.append(b"\r\n")
    return b"".join(parts)


def accepting_head(
    handshake: Handshake, protocol: str | None, extensions: bytes, lines: list[SentLine]
) -> ResponseHead:
    """Return the head that accepts the WebSocket of an Extended CONNECT (RFC 8441 5); see `switching_head`."""
    fields = []
    if protocol is not None:
        check_protocol(handshake, protocol)
        fields.append((b"sec-websocket-protocol", protocol.encode("ascii")))
    if extensions:
        fields.append((b"sec-websocket-extensions", extensions))
    head = asgi_head(200)
    head.read_asgi(fields)
    for line in lines:
        if not line.role or head.note(line, False):
            head.lines.append(line)
    return head


def check_protocol(handshake: Handshake, protocol: str) -> None:
    """Raise AppValueError for a subprotocol that the client did not offer."""
    if protocol not in handshake.protocols:
        raise AppValueError(f"subprotocol {protocol!r} is none of the client's: {handshake.protocols!r}")


def is_forbidden(name: bytes) -> bool:
    """Tell whether an application's accept must not carry a field of this name, in any case."""
    return name.lower() in FORBIDDEN or name.startswith(b":")
