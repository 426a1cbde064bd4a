"""What trusted proxies say of a request: Forwarded (RFC 7239) or X-Forwarded-*, and what an exchange becomes by it."""

import re

from trilithon.foundation.errors import PeerError
from trilithon.foundation.networks import Networks, read_address
from trilithon.wire.exchange import Exchange, Peer
from trilithon.wire.fields import HOST, FieldLine, host_line
from trilithon.wire.memo import Memo
from trilithon.wire.octets import TOKEN_BYTES
from trilithon.wire.target import check_authority, decode_path

# Where the values of a request stand in its record.
FOR, PROTO, PORT, NAME, PREFIX = range(5)

SLOTS = {
    b"x-forwarded-for": FOR,
    b"x-forwarded-proto": PROTO,
    b"x-forwarded-port": PORT,
    b"x-forwarded-host": NAME,
    b"x-forwarded-prefix": PREFIX,
}
# Chains of proxies are short. The bound keeps a client from having thousands of invented ones looked up.
MAX_HOPS = 32
KEPT_VERDICTS = 512
MAX_KEPT_BYTES = 512
# No proxy has so much to say.
MAX_ELEMENT_BYTES = 2048
# A name of the DNS and a port (RFC 1035 2.3.4).
MAX_HOST_BYTES = 261

PROTOCOLS = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}

TOKEN = rb"[" + re.escape(TOKEN_BYTES) + rb"]++"
PAIR = re.compile(rb"(" + TOKEN + rb")=(?:(" + TOKEN + rb')|"((?:[^"\\]|\\.)*+)")')
GAP = re.compile(rb"[ \t;]*+")
ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
PORT_DIGITS = re.compile(rb"[0-9]{1,5}")
OBFUSCATED = re.compile(rb"_[A-Za-z0-9._-]+")
# Nothing that a path under which a site is published may hold; dot segments and empty ones could lead elsewhere.
BAD_PREFIX = re.compile(r"//|[?#\\\x00-\x20\x7f]|(?:^|/)\.\.?(?:/|$)")


class Claim:
    """What the fields of one request say once they are read: None where they say nothing that can be used.

    `named` says that a client was spoken of: then `client` is its address, or None for one that the proxies hide or
    that cannot be read. Without, the client is whoever has connected.
    """

    def __init__(self) -> None:
        self.named = False
        self.client: tuple[str, int] | None = None
        self.scheme: str | None = None
        self.port: int | None = None
        self.host: bytes | None = None
        self.prefix = ""


class Verdict:
    """What becomes of an exchange: its peer, its Host line if that changes, its root path or "" for no other one.

    `named` says that the peer's client was named by the fields.
    """

    def __init__(self, peer: Peer, named: bool, host: FieldLine | None, prefix: str) -> None:
        self.peer = peer
        self.named = named
        self.host = host
        self.prefix = prefix


class Forwarding:
    """Applies what trusted proxies say; one for an engine, or for all of them: any thread may use it.

    `trusted` are the proxies, `source` is "forwarded" or "x-forwarded": the two are never mixed, as whoever sets one of
    them may pass on the other unseen. `host` and `prefix` say whether those are taken too.
    """

    def __init__(self, trusted: Networks, source: str, host: bool = False, prefix: bool = False) -> None:
        self.trusted = trusted
        self.standard = source == "forwarded"
        self.host = host
        self.prefix = prefix
        self.slots: dict[bytes, int] = {b"forwarded": FOR} if self.standard else dict(SLOTS)
        if not host:
            self.slots.pop(b"x-forwarded-host", None)
        if not prefix:
            self.slots.pop(b"x-forwarded-prefix", None)
        self.verdicts = Memo(KEPT_VERDICTS)

    def apply(self, exchange: Exchange) -> None:
        """Let a new exchange have the client, scheme, host and root path that its direct peer, if trusted, names.

        Called before it is routed. Whatever the fields hold, nothing is raised and nothing is refused.
        """
        peer = exchange.peer
        if peer.hearsay or not self.trusted.trusts(peer.client):
            return
        values: list[bytes | None] | None = None
        for line in exchange.head.lines:
            name = line.pair[0]
            first = name[0]
            # An x or an f: a look at the first octet spares most fields the look-up.
            if first == 0x78 or first == 0x66:
                slot = self.slots.get(name, -1)
                if slot >= 0:
                    if values is None:
                        values = [None, None, None, None, None]
                    before = values[slot]
                    values[slot] = line.value if before is None else before + b"," + line.value
        if values is not None:
            self.decide(exchange, peer, values)

    def decide(self, exchange: Exchange, peer: Peer, values: list[bytes | None]) -> None:
        """Do what the values, one a slot, say."""
        # A client that the fields name is the same for all connections of the proxy; any other is the connection's own.
        direct = peer.client if values[FOR] is None else None
        key = (values[0], values[1], values[2], values[3], values[4], direct, peer.server, peer.secure, peer.tls)
        verdict: Verdict | None = self.verdicts.find(key)
        if verdict is None or (not verdict.named and verdict.peer.client != peer.client):
            verdict = self.judge(peer, values)
            if is_short(values):
                self.verdicts.keep(key, verdict)
        exchange.peer = verdict.peer
        if verdict.host is not None:
            replace_host(exchange, verdict.host)
        if verdict.prefix:
            exchange.root_path = verdict.prefix

    def judge(self, peer: Peer, values: list[bytes | None]) -> Verdict:
        """Work out what the values mean for the exchanges of a peer."""
        claim = self.read_standard(values) if self.standard else self.read_customary(values)
        server = peer.server
        if claim.port is not None and server[1] is not None:
            server = (server[0], claim.port)
        secure = peer.secure if claim.scheme is None else claim.scheme == "https"
        derived = Peer(claim.client if claim.named else peer.client, server, secure)
        derived.tls = peer.tls
        host = None if claim.host is None else host_line(claim.host)
        return Verdict(derived, claim.named, host, claim.prefix)

    def read_customary(self, values: list[bytes | None]) -> Claim:
        """Read X-Forwarded-*: lists that each proxy appends to, or fields that one of them has set."""
        claim = Claim()
        hop = 0
        entries = elements(values[FOR])
        if entries:
            claim.named = True
            hop, claim.client = self.walk([read_entry(each) for each in entries])
        claim.scheme = read_scheme(choose(values[PROTO], hop))
        claim.port = read_port(choose(values[PORT], hop))
        claim.host = read_host(choose(values[NAME], hop))
        claim.prefix = read_prefix(choose(values[PREFIX], hop))
        return claim

    def read_standard(self, values: list[bytes | None]) -> Claim:
        """Read Forwarded: one element from each proxy, those of the nearest last."""
        claim = Claim()
        found = [read_element(each) for each in split_elements(values[FOR] or b"")]
        if not found:
            return claim
        nodes = [None if each is None else read_node(each.get(b"for")) for each in found]
        hop, client = self.walk(nodes)
        element = found[-hop]
        # The nearest proxy may well tell the scheme only; that it names no client is no secret about one.
        if element is None or hop > 1 or b"for" in element:
            claim.named = True
            claim.client = client
        if element is not None:
            claim.scheme = read_scheme(element.get(b"proto"))
            if self.host:
                claim.host = read_host(element.get(b"host"))
        return claim

    def walk(self, chain: list[tuple[str, int] | None]) -> tuple[int, tuple[str, int] | None]:
        """Go from the nearest hop on past trusted ones; return how many hops it is to the client, and its address.

        What stands beyond the first hop that is not trusted was written by whoever that is. A hop that cannot be read
        or is hidden ends the walk too: the client is then unknown.
        """
        hop = 0
        for address in reversed(chain):
            hop += 1
            if address is None or not self.trusted.covers(address[0]):
                return hop, address
        return hop, chain[0] if hop < MAX_HOPS else None


def is_short(values: list[bytes | None]) -> bool:
    """Tell whether what was made of the values is worth the memory that it takes to keep it."""
    return sum(len(value) for value in values if value is not None) <= MAX_KEPT_BYTES


def replace_host(exchange: Exchange, line: FieldLine) -> None:
    """Put another Host line in the place of the one that the request has, or first where it has none."""
    head = exchange.head
    head.host = line.value
    lines = head.lines
    for index in range(len(lines)):
        if lines[index].role == HOST:
            lines[index] = line
            return
    lines.insert(0, line)


def elements(value: bytes | None) -> list[bytes]:
    """Split a plain list at its commas, at most the last MAX_HOPS elements; empty ones are left out."""
    if value is None:
        return []
    parts = value.rsplit(b",", MAX_HOPS)
    if len(parts) > MAX_HOPS:
        del parts[0]
    return [part for each in parts if (part := each.strip(b" \t"))]


def choose(value: bytes | None, hop: int) -> bytes | None:
    """Return the element of a list that speaks of the client at `hop`, counted from the end; None unless it is clear.

    One that only the nearest proxy sets holds one element, one that each of them appends to as many as there are hops.
    """
    found = elements(value)
    if not found:
        return None
    if all(each == found[0] for each in found):
        return found[0]
    return found[-hop] if 0 < hop <= len(found) else None


def read_scheme(text: bytes | None) -> str | None:
    """Return http or https, also for the WebSocket schemes that stand on them; None for anything else."""
    return None if text is None else PROTOCOLS.get(text.lower())


def read_port(text: bytes | None) -> int | None:
    """Return a port number, None for what is none."""
    if text is None or not PORT_DIGITS.fullmatch(text):
        return None
    port = int(text)
    return port if 0 < port < 65536 else None


def read_host(text: bytes | None) -> bytes | None:
    """Return what may stand in a Host field, None for anything else."""
    if not text or len(text) > MAX_HOST_BYTES:
        return None
    try:
        check_authority(text)
    except PeerError:
        return None
    return text


def read_prefix(text: bytes | None) -> str:
    """Return a path under which a site is published, decoded and without a slash at its end; "" for anything else."""
    if text is None or not text.startswith(b"/"):
        return ""
    try:
        path = decode_path(text).decode("utf-8").rstrip("/")
    except UnicodeDecodeError:
        return ""
    return "" if BAD_PREFIX.search(path) else path


def read_entry(text: bytes) -> tuple[str, int] | None:
    """Read an element of X-Forwarded-For: an address, maybe with a port, IPv6 in brackets or bare; None for no such."""
    if text.startswith(b"[") or text.count(b":") == 1:
        return read_host_port(text)
    return read_host_port(b"[" + text + b"]") if b":" in text else read_host_port(text)


def read_node(text: bytes | None) -> tuple[str, int] | None:
    """Read a node of RFC 7239 6; None for one that is unknown, hidden or malformed."""
    return None if text is None else read_host_port(text)


def read_host_port(text: bytes) -> tuple[str, int] | None:
    """Read IPv4 or [IPv6], and a port behind a colon, 0 when there is none or a hidden one; None for anything else."""
    bracketed = text.startswith(b"[")
    host, mark, port = text[1:].partition(b"]") if bracketed else text.partition(b":")
    if bracketed:
        if not mark or (port and not port.startswith(b":")):
            return None
        mark, port = port[:1], port[1:]
    address = read_address(host.decode("latin-1")) if (b":" in host) == bracketed else None
    if address is None:
        return None
    if not mark or OBFUSCATED.fullmatch(port):
        return str(address), 0
    if not PORT_DIGITS.fullmatch(port) or int(port) > 65535:
        return None
    return str(address), int(port)


def split_elements(value: bytes) -> list[bytes]:
    """Split a Forwarded value at the commas outside of quotes, from its end on, at most MAX_HOPS elements.

    A quote that a client left open would swallow what proxies append; from the end it swallows only the client's own.
    """
    if b'"' not in value:
        return elements(value)
    found: list[bytes] = []
    quoted = False
    end = at = len(value)
    while at > 0 and len(found) < MAX_HOPS:
        at -= 1
        octet = value[at]
        if octet == 0x22:
            if not quoted or not escaped(value, at):
                quoted = not quoted
        elif octet == 0x2C and not quoted:
            found.append(value[at + 1 : end])
            end = at
    if len(found) < MAX_HOPS:
        found.append(value[:end])
    found.reverse()
    return [part for each in found if (part := each.strip(b" \t"))]


def escaped(value: bytes, at: int) -> bool:
    """Tell whether an odd number of backslashes stands before a position."""
    start = at
    while start > 0 and value[start - 1] == 0x5C:
        start -= 1
    return bool((at - start) & 1)


def read_element(text: bytes) -> dict[bytes, bytes] | None:
    """Read the pairs of an element, names in lower case; None when it is malformed or has a name twice (RFC 7239 4)."""
    pairs: dict[bytes, bytes] = {}
    if len(text) > MAX_ELEMENT_BYTES:
        return None
    at = end_of_gap(text, 0)
    while at < len(text):
        match = PAIR.match(text, at)
        if match is None:
            return None
        name = match[1].lower()
        if name in pairs:
            return None
        pairs[name] = match[2] if match[3] is None else ESCAPED.sub(rb"\1", match[3])
        at = end_of_gap(text, match.end())
        if at < len(text) and b";" not in text[match.end() : at]:
            return None
    return pairs


def end_of_gap(text: bytes, at: int) -> int:
    """Return where what separates two pairs ends: semicolons, and the blanks that some senders put beside them."""
    gap = GAP.match(text, at)
    return at if gap is None else gap.end()
