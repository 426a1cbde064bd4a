"""PROXY headers as bytes, made and read anew in the plainest way: what the tests of the reader hold it against."""

import binascii
import ipaddress
import re
import socket
import struct

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4, V6, UNIX = 0x11, 0x21, 0x31
DGRAM_V4, DGRAM_V6, DGRAM_UNIX = 0x12, 0x22, 0x32

CLIENT, SERVER = ("192.0.2.7", 56324), ("198.51.100.1", 443)
CLIENT_6, SERVER_6 = ("2001:db8::7", 56324), ("2001:db8:1::1", 443)


def line(*words: object) -> bytes:
    """Return a header of version 1 with the words given."""
    return " ".join(str(word) for word in ("PROXY", *words)).encode("latin-1") + b"\r\n"


def header(family: int, block: bytes, command: int = 1, version: int = 2, length: int | None = None) -> bytes:
    """Return a header of version 2, with a length of its own where one is given."""
    size = len(block) if length is None else length
    return SIGNATURE + bytes([version << 4 | command, family]) + struct.pack("!H", size) + block


def block_4(client: tuple[str, int] = CLIENT, server: tuple[str, int] = SERVER) -> bytes:
    """Return the addresses of an IPv4 connection."""
    return socket.inet_aton(client[0]) + socket.inet_aton(server[0]) + struct.pack("!HH", client[1], server[1])


def block_6(client: tuple[str, int] = CLIENT_6, server: tuple[str, int] = SERVER_6) -> bytes:
    """Return the addresses of an IPv6 connection."""
    addresses = [socket.inet_pton(socket.AF_INET6, host) for host, _ in (client, server)]
    return b"".join(addresses) + struct.pack("!HH", client[1], server[1])


def block_unix(client: bytes = b"", server: bytes = b"/run/site.sock") -> bytes:
    """Return the addresses of a connection over a Unix socket."""
    return client.ljust(108, b"\0") + server.ljust(108, b"\0")


def extra(kind: int, value: bytes) -> bytes:
    """Return a type-length-value field."""
    return bytes([kind]) + struct.pack("!H", len(value)) + value


def slow_crc32c(data: bytes) -> int:
    """Return the CRC-32C bit by bit."""
    value = 0xFFFFFFFF
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def sealed(family: int, block: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return a header of version 2 with a checksum that is right, between other fields."""
    whole = header(family, block + before + extra(0x03, bytes(4)) + after)
    place = 16 + len(block) + len(before) + 3
    return whole[:place] + struct.pack("!I", slow_crc32c(whole)) + whole[place + 4 :]


def tls_extra(bits: int = 0x05, more: bytes = b"") -> bytes:
    """Return what HAProxy says of a TLS client: bits, the result of the verification, further fields."""
    return extra(0x20, bytes([bits]) + bytes(4) + more)


OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
QUAD = rf"((?:{OCTET}\.){{3}}{OCTET})"
PORT = r"(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}|0)"
TCP4 = re.compile(rf"PROXY TCP4 {QUAD} {QUAD} {PORT} {PORT}\r\n".encode())
TCP6 = re.compile(rf"PROXY TCP6 ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) {PORT} {PORT}\r\n".encode())
UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")


class Answer:
    """What a header says: addresses, and the bytes behind it."""

    def __init__(self, client: object, server: object, rest: bytes) -> None:
        self.said = (client, server, rest)


def reference(data: bytes) -> Answer | None:
    """Read a whole and right header of either version at the start of `data`; None for anything else."""
    return reference_2(data) if data.startswith(SIGNATURE) else reference_1(data)


def reference_1(data: bytes) -> Answer | None:
    """Read a header of version 1 by regular expressions."""
    match = UNKNOWN.match(data)
    if match and match.end() <= 107:
        return Answer(None, None, data[match.end() :])
    match = TCP4.match(data) or TCP6.match(data)
    if match is None or match.end() > 107:
        return None
    hosts = []
    for text in match.groups()[:2]:
        try:
            address = ipaddress.ip_address(text.decode())
        except ValueError:
            return None
        if data.startswith(b"PROXY TCP6") and address.version != 6:
            return None
        hosts.append(str(getattr(address, "ipv4_mapped", None) or address))
    return Answer((hosts[0], int(match[3])), (hosts[1], int(match[4])), data[match.end() :])


def reference_2(data: bytes) -> Answer | None:
    """Read a header of version 2 field by field."""
    if len(data) < 16:
        return None
    command, family, length = struct.unpack_from("!BBH", data, 12)
    whole, rest = data[: 16 + length], data[16 + length :]
    if len(whole) < 16 + length or 16 + length > 4096 or command not in (0x20, 0x21):
        return None
    if command == 0x20 or family == 0:
        return Answer(None, None, rest)
    sizes = {0x10: 12, 0x20: 36, 0x30: 216}
    size = sizes.get(family & 0xF0)
    if size is None or family & 0x0F not in (1, 2) or length < size or not sound(whole, 16 + size):
        return None
    block = whole[16 : 16 + size]
    if family & 0x0F == 2:
        return Answer(None, None, rest)
    if size == 216:
        field = block[108:]
        hidden = field[1:].rstrip(b"\0").decode("utf-8", "replace")
        path = field[: field.index(0)] if 0 in field else field
        return Answer(None, (path.decode("utf-8", "replace") or (hidden and "@" + hidden), None), rest)
    half = (size - 4) // 2
    hosts = [ipaddress.ip_address(part) for part in (block[:half], block[half : 2 * half])]
    names = [str(getattr(host, "ipv4_mapped", None) or host) for host in hosts]
    ports = struct.unpack("!HH", block[-4:])
    return Answer((names[0], ports[0]), (names[1], ports[1]), rest)


def sound(whole: bytes, at: int) -> bool:
    """Tell whether the fields from `at` on fill the header exactly and a checksum among them is right."""
    sums = 0
    while at < len(whole):
        if at + 3 > len(whole):
            return False
        kind, size = struct.unpack_from("!BH", whole, at)
        value = whole[at + 3 : at + 3 + size]
        if len(value) < size:
            return False
        if kind == 0x03:
            sums += 1
            bare = whole[: at + 3] + bytes(4) + whole[at + 7 :]
            if sums > 1 or size != 4 or slow_crc32c(bare) != int(binascii.hexlify(value), 16):
                return False
        if kind == 0x20 and (size < 5 or not filled(value)):
            return False
        at += 3 + size
    return True


def filled(value: bytes) -> bool:
    """Tell whether the fields inside the TLS field fill it, whatever they are."""
    at = 5
    while at + 3 <= len(value):
        at += 3 + struct.unpack_from("!H", value, at + 1)[0]
    return at == len(value)
