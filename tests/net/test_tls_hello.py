"""Reading the name in a ClientHello, however it comes in and whatever is wrong with it."""

import random
import ssl
import string
import struct

import pytest

from trilithon.net.tls_hello import ClientHello

ALLOWED = set(string.ascii_letters + string.digits + "._-")
NAME_EXTENSION = b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09localhost"


def hello_of(name: str | None) -> bytes:
    """Return the first flight of a client of the ssl module."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def made(extensions: bytes, session: bytes = b"", suites: bytes = b"\x13\x01", compression: bytes = b"\0") -> bytes:
    """Return a ClientHello with these parts, in one record."""
    body = b"\x03\x03" + bytes(32)
    body += bytes((len(session),)) + session
    body += struct.pack("!H", len(suites)) + suites
    body += bytes((len(compression),)) + compression
    body += struct.pack("!H", len(extensions)) + extensions
    return in_records(b"\x01" + len(body).to_bytes(3, "big") + body, 16384)


def in_records(message: bytes, size: int) -> bytes:
    """Return a handshake message in records of this size."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + struct.pack("!H", len(part)) + part for part in parts)


def name_in(records: bytes) -> str | None:
    """Return the name in a hello that comes at once."""
    hello = ClientHello()
    assert hello.feed(records)
    return hello.name()


@pytest.mark.parametrize("name", ["localhost", "a.example", "x" * 63 + ".example", None])
@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
def test_names_in_pieces(name: str | None, piece: int) -> None:
    records = hello_of(name)
    hello = ClientHello()
    for at in range(0, len(records), piece):
        assert hello.feed(records[at : at + piece]) == (at + piece >= len(records))
    assert hello.name() == name
    assert bytes(hello.records) == records


@pytest.mark.parametrize("size", [1, 3, 5, 64, 500])
def test_names_in_many_records(size: int) -> None:
    message = hello_of("localhost")[5:]
    hello = ClientHello()
    records = in_records(message, size)
    assert not hello.feed(records[:-1])
    assert hello.feed(records[-1:])
    assert hello.name() == "localhost"
    assert hello.size == len(message)


@pytest.mark.parametrize(
    ("records", "name"),
    [
        (made(NAME_EXTENSION), "localhost"),
        (made(b"\x00\x17\x00\x00" + NAME_EXTENSION, session=bytes(32), suites=bytes(80)), "localhost"),
        (made(b""), None),
        (made(b"\x00\x17\x00\x00"), None),
        (made(b"\x00\x00\x00\x00"), None),
        (made(NAME_EXTENSION[:-3]), None),
        (made(NAME_EXTENSION.replace(b"\x00\x00\x09", b"\x01\x00\x09")), None),
        (made(NAME_EXTENSION.replace(b"\x00\x00\x09", b"\x00\x00\x08")), None),
        (made(NAME_EXTENSION.replace(b"\x00\x00\x09", b"\x00\xff\xff")), None),
        (made(NAME_EXTENSION.replace(b"localhost", b"local\xffost")), None),
        (made(NAME_EXTENSION.replace(b"localhost", b"local\nost")), None),
        (made(NAME_EXTENSION.replace(b"localhost", b"local\0ost")), None),
        (made(b"\x00\x00\x00\x05\x00\x03\x00\x00\x00"), None),
        (made(b"\x00\x17\xff\xff" + NAME_EXTENSION), None),
        (in_records(b"\x01\x00\x00\x02\x03\x03", 100), None),
        (in_records(b"\x01\x00\x00\x00", 100), None),
        (in_records(b"\x02\x00\x00\x00", 100), None),
        (in_records(b"\x02\x00\x10\x00", 100), None),
        (b"\x17\x03\x03\x00\x01x", None),
        (b"\x16\x03\x01\x00\x00", None),
        (b"\x16\x03\x01\xff\xff", None),
    ],
)
def test_what_is_no_name_is_none(records: bytes, name: str | None) -> None:
    assert name_in(records) == name


def test_a_compliant_hello_without_extensions_has_no_name() -> None:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x2f" + b"\x01\x00"
    assert name_in(in_records(b"\x01" + len(body).to_bytes(3, "big") + body, 16384)) is None


def test_changed_hellos_are_read_or_not_and_nothing_else() -> None:
    records = hello_of("localhost")
    dice = random.Random(20)
    for _ in range(3000):
        data = bytearray(records)
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 0x16, 0xFF, dice.randrange(256)))
        hello = ClientHello()
        hello.feed(bytes(data))
        name = hello.name()
        assert name is None or set(name) <= ALLOWED
