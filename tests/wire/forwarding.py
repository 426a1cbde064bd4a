"""Requests that went through proxies, and a plain reading of their fields, written apart from the package's own."""

import ipaddress
from typing import NamedTuple

from trilithon.foundation.limits import MessageLimits
from trilithon.foundation.networks import read_networks
from trilithon.wire.exchange import Carrier, Exchange, Peer, Transport
from trilithon.wire.forwarded import Forwarding
from trilithon.wire.head import HeadReader

PROXY, HERE = ("127.0.0.1", 40000), ("10.0.0.1", 8000)
TRUSTED = ("127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48", "unix")
READER = HeadReader(MessageLimits())


class Seen(NamedTuple):
    """What an application is told."""

    client: tuple[str, int] | None
    scheme: str


UNTOUCHED = Seen(PROXY, "http")


def forwarding(source: str = "x-forwarded", trusted: tuple[str, ...] = TRUSTED, **more: bool) -> Forwarding:
    """Return what applies the fields of `source`."""
    return Forwarding(read_networks(trusted, "trusted_proxies"), source, **more)


def request(*lines: str | bytes, peer: Peer | None = None, host: str = "site.example") -> Exchange:
    """Return the exchange of a request with the field lines given, from the proxy unless told otherwise."""
    octets = [each if isinstance(each, bytes) else each.encode("latin-1") for each in lines]
    head = b"\r\n".join([b"GET / HTTP/1.1", b"Host: " + host.encode(), *octets])
    return Exchange(Carrier(Transport()), READER.read(head, False), peer or Peer(PROXY, HERE))


def see(applied: Forwarding, *lines: str | bytes, peer: Peer | None = None) -> Seen:
    """Return what an application is told of a request with the field lines given."""
    exchange = request(*lines, peer=peer)
    applied.apply(exchange)
    return Seen(exchange.peer.client, exchange.peer.scheme)


def forwarded_for(*lines: str) -> tuple[str, int] | None:
    """Return the client that X-Forwarded-For lines lead to."""
    return see(forwarding(), *(f"X-Forwarded-For: {each}" for each in lines)).client


def forwarded(*lines: str) -> Seen:
    """Return what Forwarded lines lead to."""
    return see(forwarding("forwarded"), *(f"Forwarded: {each}" for each in lines))


# The reference: character by character, no regular expression, no cache.

TOKEN = set("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def trusts(host: str) -> bool:
    """Tell whether TRUSTED holds an address."""
    address = ipaddress.ip_address(host)
    return any(address in ipaddress.ip_network(each) for each in TRUSTED if each != "unix")


def node(text: str, bare_6: bool) -> tuple[str, int] | None:
    """Read an address with an optional port; `bare_6` allows IPv6 without brackets."""
    port = "0"
    if text.startswith("["):
        if "]" not in text:
            return None
        host, behind = text[1:].split("]", 1)
        if behind and behind[0] != ":":
            return None
        if behind:
            port = behind[1:] or "bad"
        if ":" not in host:
            return None
    elif bare_6 and text.count(":") > 1:
        host = text
    elif ":" in text:
        host, port = text.split(":", 1)
        port = port or "bad"
    else:
        host = text
    if (
        port.startswith("_")
        and len(port) > 1
        and all(each.isascii() and (each.isalnum() or each in "._-") for each in port)
    ):
        port = "0"
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536) or "%" in host:
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address), int(port)


def reference_for(value: str) -> tuple[str, int] | None:
    """Return the client of an X-Forwarded-For value that has one."""
    chain = [node(each.strip(" \t"), True) for each in value.split(",") if each.strip(" \t")]
    return farthest(chain)


def farthest(chain: list[tuple[str, int] | None]) -> tuple[str, int] | None:
    """Return the hop nearest to us that is not trusted, or the farthest one when all are."""
    for hop in reversed(chain):
        if hop is None or not trusts(hop[0]):
            return hop
    return chain[0]


def pieces(value: str, mark: str) -> list[str] | None:
    """Split at a mark outside of quotes; None when a quote stays open."""
    found, current, quoted, escape = [], "", False, False
    for letter in value:
        if letter == mark and not quoted:
            found.append(current)
            current = ""
            continue
        current += letter
        if escape:
            escape = False
        elif letter == "\\" and quoted:
            escape = True
        elif letter == '"':
            quoted = not quoted
    return None if quoted else [*found, current]


def element(text: str) -> dict[str, str] | None:
    """Read the pairs of a Forwarded element whose quotes are closed; None when it is malformed."""
    pairs: dict[str, str] = {}
    for pair in pieces(text, ";") or []:
        pair = pair.strip(" \t")
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if not name or set(name) - TOKEN or not value or name.lower() in pairs:
            return None
        if value[0] == '"':
            if len(value) < 2 or value[-1] != '"':
                return None
            inner, plain, escape = value[1:-1], "", False
            for letter in inner:
                if not escape and letter == '"':
                    return None
                escape = not escape and letter == "\\"
                plain += "" if escape else letter
            if escape:
                return None
            value = plain
        elif set(value) - TOKEN:
            return None
        pairs[name.lower()] = value
    return pairs


def reference_forwarded(value: str) -> Seen | None:
    """Return what a Forwarded value leads to; None when a quote stands where none belongs."""
    split = pieces(value, ",")
    if split is None:
        return None
    parts = [each.strip(" \t") for each in split if each.strip(" \t")]
    found = [element(each) for each in parts]
    if any(pairs is None and '"' in text for pairs, text in zip(found, parts, strict=True)):
        return None
    if not found:
        return UNTOUCHED
    for hop, pairs in enumerate(reversed(found)):
        address = node(pairs["for"], False) if pairs and "for" in pairs else None
        if address is None or not trusts(address[0]) or hop == len(found) - 1:
            client = PROXY if pairs is not None and "for" not in pairs and hop == 0 else address
            proto = (pairs or {}).get("proto", "").lower()
            return Seen(client, "https" if proto in ("https", "wss") else "http")
    raise AssertionError("the walk ends at the last hop")
