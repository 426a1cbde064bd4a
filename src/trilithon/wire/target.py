"""Request targets and authorities: the four forms of RFC 9112 3.2, and the hosts of RFC 9110 7.2."""

import re
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import unquote_to_bytes

from trilithon.foundation.errors import PeerError

# A comma is legal in a reg-name, yet it is how two joined Host fields look: refused.
AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)(?::([0-9]*))?")
ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^#]*)")

MAX_KNOWN_HOSTS = 256
KNOWN_HOSTS: set[bytes] = set()


def check_authority(value: bytes) -> None:
    """Raise PeerError (400) unless `value` is `host` or `host:port` of an http URI; remembers the good ones."""
    if value in KNOWN_HOSTS:
        return
    match = AUTHORITY.fullmatch(value)
    if match is None:
        raise PeerError(400, "invalid host", "RFC 9112 3.2")
    host, port = match.groups()
    if port and (len(port.lstrip(b"0")) > 5 or int(port) > 65535):
        raise PeerError(400, "invalid port", "RFC 9110 4.2")
    if host.startswith(b"["):
        try:
            IPv6Address(host[1:-1].decode("ascii"))
        except AddressValueError:
            raise PeerError(400, "invalid IPv6 host", "RFC 3986 3.2.2") from None
    if len(KNOWN_HOSTS) < MAX_KNOWN_HOSTS and len(value) <= 128:
        KNOWN_HOSTS.add(value)


def check_connect_authority(target: bytes) -> None:
    """Raise PeerError (400) unless `target` is the authority-form `host:port` of a CONNECT (RFC 9112 3.2.3)."""
    match = AUTHORITY.fullmatch(target)
    if match is None or not match.group(2):
        raise PeerError(400, "CONNECT needs host:port", "RFC 9110 9.3.6")
    check_authority(target)


def split_absolute(target: bytes, secure: bool) -> tuple[bytes, bytes]:
    """Split an absolute-form target into authority and origin-form; raises PeerError (400) for what is no http URI.

    `secure` says whether the connection itself is TLS: an https target on a plain one is refused (RFC 9110 7.4).
    """
    match = ABSOLUTE.fullmatch(target)
    if match is None:
        raise PeerError(400, "invalid request target", "RFC 9112 3.2")
    scheme, authority, rest = match.groups()
    scheme = scheme.lower()
    if scheme not in (b"http", b"https") or (scheme == b"https" and not secure):
        raise PeerError(400, "scheme not served on this connection", "RFC 9110 7.4")
    check_authority(authority)
    if not rest.startswith(b"/"):
        rest = b"/" + rest
    return authority, rest


def decode_path(path: bytes) -> bytes:
    """Undo the percent-encoding of a path, once; malformed escapes stay as they are."""
    return unquote_to_bytes(path) if b"%" in path else path
