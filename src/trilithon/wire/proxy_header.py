"""The PROXY protocol's header, version 1 and 2: whom a proxy relays a connection for, said before its first byte."""

import re
import struct
from ipaddress import IPv4Address, IPv6Address

from trilithon.foundation.errors import PeerError
from trilithon.foundation.networks import read_address

SECTION_1 = "PROXY protocol 2.1"
SECTION_2 = "PROXY protocol 2.2"

SIGNATURE_1 = b"PROXY "
SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"
MAX_LINE_BYTES = 107
HEAD_BYTES = 16
# The length field allows 64 KiB; what proxies send, a certificate's name included, is below one.
MAX_HEADER_BYTES = 4096

LOCAL, PROXY = 0, 1
STREAM, DATAGRAM = 1, 2
UNSPECIFIED, INET, INET6, UNIX = range(4)
# Addresses and ports of a family, in bytes.
BLOCK_BYTES = {INET: 12, INET6: 36, UNIX: 216}
UNIX_PATH_BYTES = 108

TLV_CRC32C = 0x03
TLV_SSL = 0x20
CLIENT_SSL = 0x01
SSL_HEAD_BYTES = 5

DIGITS = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
QUAD = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})", re.ASCII)


class ProxyHeader:
    """Reads one PROXY header of the versions that `version` names: v1, v2 or any (of both).

    Once `feed` has returned bytes, `client` is whom the proxy speaks for as (host, port) and `server` what that client
    connected to, (host, port) or (path, None) for a Unix socket, which has no client address. When `server` is None the
    header named no addresses (LOCAL, UNKNOWN, UNSPEC): those of the connection stay, and who wrote what follows is
    unknown. `ssl` says that the client's connection to the proxy was TLS.
    """

    def __init__(self, version: str) -> None:
        self.takes_1 = version in ("v1", "any")
        self.takes_2 = version in ("v2", "any")
        self.held = bytearray()
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int | None] | None = None
        self.ssl = False

    def feed(self, data: bytes) -> bytes | None:
        """Take what came in; returns what follows the header once that is whole, None before; not called again then.

        Raises PeerError for what is no header of the expected version, at the first byte that shows it: the connection
        has to be closed without an answer.
        """
        if not data:
            return None
        held = self.held
        # Where the line end was looked for already; one byte back, for a CR that waits for its LF.
        start = max(0, len(held) - 1)
        held += data
        if self.takes_1 and held[0] == SIGNATURE_1[0]:
            return self.read_text(start)
        if self.takes_2 and held[0] == SIGNATURE_2[0]:
            return self.read_binary()
        raise PeerError(400, "no PROXY header", "PROXY protocol 2")

    def read_text(self, start: int) -> bytes | None:
        """Read a header of version 1, if it is whole."""
        held = self.held
        if not held.startswith(SIGNATURE_1[: len(held)]):
            raise PeerError(400, "no PROXY line", SECTION_1)
        end = first_break(held, start)
        if end < 0:
            if len(held) >= MAX_LINE_BYTES:
                raise PeerError(400, "PROXY line too long", SECTION_1)
            return None
        if held[end] != 0x0D:
            raise PeerError(400, "bare LF in the PROXY line", SECTION_1)
        if end + 2 > MAX_LINE_BYTES:
            raise PeerError(400, "PROXY line too long", SECTION_1)
        if end + 1 == len(held):
            return None
        if held[end + 1] != 0x0A:
            raise PeerError(400, "bare CR in the PROXY line", SECTION_1)
        self.read_line(bytes(held[:end]))
        return self.rest(end + 2)

    def read_line(self, line: bytes) -> None:
        """Read `PROXY TCP4|TCP6 client server port port` or `PROXY UNKNOWN`, without the line end."""
        words = line.decode("latin-1").split(" ")
        if words[1] == "UNKNOWN":
            return
        if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
            raise PeerError(400, "malformed PROXY line", SECTION_1)
        read = text_address_4 if words[1] == "TCP4" else text_address_6
        self.client = (read(words[2]), text_port(words[4]))
        self.server = (read(words[3]), text_port(words[5]))

    def read_binary(self) -> bytes | None:
        """Read a header of version 2, if it is whole."""
        held = self.held
        if not held.startswith(SIGNATURE_2[: len(held)]):
            raise PeerError(400, "no PROXY signature", SECTION_2)
        if len(held) > 12 and (held[12] >> 4 != 2 or held[12] & 0x0F > PROXY):
            raise PeerError(400, "unknown PROXY version or command", SECTION_2)
        if len(held) < HEAD_BYTES:
            return None
        end = HEAD_BYTES + int.from_bytes(held[14:16], "big")
        if end > MAX_HEADER_BYTES:
            raise PeerError(400, "PROXY header too large", SECTION_2)
        if len(held) < end:
            return None
        # What stands behind LOCAL is to be ignored.
        if held[12] & 0x0F == PROXY:
            self.read_block(bytes(held[:end]))
        return self.rest(end)

    def read_block(self, header: bytes) -> None:
        """Read what follows the length in a whole header with the command PROXY."""
        family = header[13] >> 4
        transport = header[13] & 0x0F
        if family > UNIX or transport > DATAGRAM or (family == UNSPECIFIED) != (transport == UNSPECIFIED):
            raise PeerError(400, "unassigned PROXY address family", SECTION_2)
        if family == UNSPECIFIED:
            return
        behind = HEAD_BYTES + BLOCK_BYTES[family]
        if len(header) < behind:
            raise PeerError(400, "PROXY addresses cut short", SECTION_2)
        # No datagram has opened this connection: its addresses mean nothing here.
        if transport == STREAM:
            self.read_addresses(family, header[HEAD_BYTES:behind])
        self.read_extras(header, behind)

    def read_addresses(self, family: int, block: bytes) -> None:
        """Read the addresses and ports of a family."""
        if family == UNIX:
            self.server = (socket_path(block[UNIX_PATH_BYTES:]), None)
            return
        size = 4 if family == INET else 16
        make = IPv4Address if family == INET else IPv6Address
        client_port, server_port = struct.unpack_from("!HH", block, 2 * size)
        self.client = (host_text(make(block[:size])), client_port)
        self.server = (host_text(make(block[size : 2 * size])), server_port)

    def read_extras(self, header: bytes, at: int) -> None:
        """Read the type-length-value fields: the checksum is verified, TLS noted, the others are passed over."""
        checked = False
        for kind, start, end in split_extras(header, at, len(header)):
            if kind == TLV_CRC32C:
                if checked or end - start != 4:
                    raise PeerError(400, "malformed checksum in the PROXY header", SECTION_2)
                checked = True
                if crc32c(header[:start] + bytes(4) + header[end:]) != int.from_bytes(header[start:end], "big"):
                    raise PeerError(400, "wrong checksum in the PROXY header", SECTION_2)
            elif kind == TLV_SSL:
                if end - start < SSL_HEAD_BYTES:
                    raise PeerError(400, "malformed TLS part of the PROXY header", SECTION_2)
                split_extras(header, start + SSL_HEAD_BYTES, end)
                self.ssl = bool(header[start] & CLIENT_SSL)

    def rest(self, end: int) -> bytes:
        """Return what was fed beyond the header, which ends at `end`."""
        rest = bytes(memoryview(self.held)[end:])
        self.held = bytearray()
        return rest


def first_break(held: bytearray, start: int) -> int:
    """Return where the first CR or LF from `start` on stands, -1 when there is none within a line's length."""
    carriage = held.find(b"\r", start, MAX_LINE_BYTES)
    feed = held.find(b"\n", start, MAX_LINE_BYTES if carriage < 0 else carriage)
    return carriage if feed < 0 else feed


def text_address_4(text: str) -> str:
    """Return a dotted address that is in its one form, without leading zeros; raises PeerError."""
    address = read_address(text) if QUAD.fullmatch(text) else None
    if address is None:
        raise PeerError(400, "malformed IPv4 address in the PROXY line", SECTION_1)
    return str(address)


def text_address_6(text: str) -> str:
    """Return an IPv6 address in its short form; raises PeerError."""
    address = read_address(text) if ":" in text else None
    if address is None:
        raise PeerError(400, "malformed IPv6 address in the PROXY line", SECTION_1)
    return str(address)


def text_port(text: str) -> int:
    """Return a port that is written in plain decimal digits; raises PeerError."""
    if not DIGITS.fullmatch(text) or int(text) > 65535:
        raise PeerError(400, "malformed port in the PROXY line", SECTION_1)
    return int(text)


def host_text(address: IPv4Address | IPv6Address) -> str:
    """Return an address as text, an IPv4-mapped one as IPv4."""
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or address)
    return str(address)


def socket_path(field: bytes) -> str:
    """Return the path in the field of a Unix address; a name in the abstract name space begins with @."""
    if field[:1] == b"\0":
        name = field[1:].rstrip(b"\0")
        return "@" + name.decode("utf-8", "replace") if name else ""
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def split_extras(header: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    """Return type, start and end of each TLV between `at` and `end`; raises PeerError when one overruns the end."""
    found: list[tuple[int, int, int]] = []
    while at < end:
        start = at + 3
        stop = start + int.from_bytes(header[at + 1 : start], "big")
        if stop > end:
            raise PeerError(400, "PROXY field overruns the header", SECTION_2)
        found.append((header[at], start, stop))
        at = stop
    return found


def _crc_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        value = octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data` (RFC 3720 B.4: reflected, polynomial 0x1EDC6F41)."""
    value = 0xFFFFFFFF
    for octet in data:
        value = value >> 8 ^ CRC_TABLE[(value ^ octet) & 0xFF]
    return value ^ 0xFFFFFFFF
