"""What hostile clients do to the TLS channel: it ends with TlsError or goes on, and holds little memory."""

import random
import ssl
import struct
import sys
from pathlib import Path

import pytest

from trilithon.foundation.errors import InternalError
from trilithon.foundation.options import Options
from trilithon.net.certificates import TlsStore, open_store
from trilithon.net.tls import PlainHttp, TlsChannel, TlsError

from .tls_authority import Authority
from .tls_memory import MemoryClient, singly

TLS_1_2 = ssl.TLSVersion.TLSv1_2
TLS_1_3 = ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Sign everything in this file."""
    return Authority()


@pytest.fixture(scope="module")
def store(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> TlsStore:
    """Hold one certificate for localhost."""
    path: Path = tmp_path_factory.mktemp("tls") / "site.pem"
    return open_store(Options(certfile=authority.server("localhost").write(path)), ["http/1.1"])


def hello_of(context: ssl.SSLContext, name: str | None = "localhost") -> bytes:
    """Return the first flight of a client."""
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def record(kind: int, payload: bytes) -> bytes:
    """Return a record in the clear."""
    return struct.pack("!BHH", kind, 0x0303, len(payload)) + payload


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"G", b"PRI * HTTP/2.0\r\n\r\n", b"delete / HTTP/1.1\r\n"],
)
def test_plain_http_is_told_apart(store: TlsStore, data: bytes) -> None:
    channel = TlsChannel(store)
    with pytest.raises(PlainHttp):
        channel.receive(data)
    assert channel.outgoing() == channel.farewell() == channel.receive(data) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01 garbage and more of it",
        b"\x80\x2e\x01\x00\x02 an old hello of SSL 2" + bytes(46),
        record(0x17, b"data before any handshake"),
        record(0x14, b"\x01"),
        record(0x16, b"\x01\x00\x00\x02\x03\x03"),
        record(0x16, b"\x0b\x00\x00\x02\x03\x03"),
        b"\x16\x03\x01\x00\x00" * 40,
        b"\x16\x03\x01\xff\xff" + bytes(300),
        b"\r\n\r\n\x00\r\nQUIT\n",
    ],
)
def test_garbage_ends_with_an_alert(store: TlsStore, data: bytes) -> None:
    channel = TlsChannel(store)
    with pytest.raises(TlsError) as caught:
        channel.receive(data)
    assert not isinstance(caught.value, PlainHttp)
    assert caught.value.reason
    assert channel.outgoing()[:1] in (b"\x15", b"")
    assert channel.receive(b"more") == b""
    assert channel.farewell() == b""


def test_a_hello_without_end_is_cut_off(store: TlsStore) -> None:
    channel = TlsChannel(store)
    with pytest.raises(TlsError, match="hello is too long"):
        channel.receive(record(0x16, b"\x01\x01\x00\x00"))
    channel = TlsChannel(store)
    with pytest.raises(TlsError, match="hello is too long"):
        for _ in range(5):
            channel.receive(record(0x16, b"\x01\x00\xff\xfc") + record(0x16, b"x") * 3000)


def test_tiny_records_cost_time_in_proportion(store: TlsStore) -> None:
    channel = TlsChannel(store)
    body = b"\x01\x00\xff\xff" + bytes(11000)
    stream = b"".join(record(0x16, bytes((octet,))) for octet in body)
    steps = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        with pytest.raises(TlsError, match="hello is too long"):
            for piece in singly(stream):
                channel.receive(piece)
    finally:
        sys.setprofile(None)
    assert steps < 40 * len(stream)


@VERSIONS
@pytest.mark.parametrize(
    "endless",
    [record(0x14, b"\x01"), record(0x15, b"\x01\x5a"), record(0x16, b""), record(0x17, b""), record(0x18, b"\x01")],
    ids=["change of ciphers", "warning", "empty message", "empty data", "heartbeat"],
)
def test_a_handshake_without_end_is_cut_off(
    store: TlsStore, authority: Authority, version: ssl.TLSVersion, endless: bytes
) -> None:
    context = authority.trusting()
    context.maximum_version = version
    channel = TlsChannel(store)
    channel.receive(hello_of(context))
    assert channel.outgoing()
    with pytest.raises(TlsError):
        for _ in range(40):
            assert channel.receive(endless) == b""


def test_a_message_without_end_is_cut_off(store: TlsStore, authority: Authority) -> None:
    context = authority.trusting()
    context.maximum_version = TLS_1_2
    channel = TlsChannel(store)
    channel.receive(hello_of(context))
    with pytest.raises(TlsError, match=r"length|size|long"):
        for _ in range(200):
            channel.receive(record(0x16, b"\x10\x00\x3f\xff" + bytes(1000)))


@VERSIONS
def test_every_cut_off_handshake_waits_quietly(store: TlsStore, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.trusting()
    context.maximum_version = version
    hello = hello_of(context)
    for length in range(0, len(hello), 7):
        channel = TlsChannel(store)
        assert channel.receive(hello[:length]) == b""
        assert channel.shaking
        assert channel.outgoing() == b""
        assert channel.farewell() == b""


@VERSIONS
def test_changed_hellos_raise_nothing_else(store: TlsStore, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.trusting()
    context.maximum_version = version
    hello = hello_of(context)
    dice = random.Random(4711)
    for _ in range(400):
        data = bytearray(hello)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        channel = TlsChannel(store)
        try:
            assert channel.receive(bytes(data)) == b""
        except TlsError:
            pass
        assert channel.outgoing()[:1] in (b"", b"\x15", b"\x16")


@VERSIONS
def test_changed_records_end_the_connection(store: TlsStore, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.trusting()
    context.maximum_version = version
    dice = random.Random(815)
    for _ in range(20):
        client = MemoryClient(store, context).shake()
        client.tls.write(b"some request")
        data = bytearray(client.outgoing.read())
        data[dice.randrange(5, len(data))] ^= 1 << dice.randrange(8)
        with pytest.raises(TlsError, match=r"bad record|decryption"):
            client.channel.receive(bytes(data))
        assert client.channel.outgoing()
        with pytest.raises(TlsError):
            client.channel.seal(b"too late")


def test_a_name_that_is_no_ascii_is_none(store: TlsStore, authority: Authority) -> None:
    hello = hello_of(authority.trusting()).replace(b"localhost", b"local\xffost")
    channel = TlsChannel(store)
    channel.receive(hello)
    assert channel.outgoing()


@pytest.mark.spec("H2-CONN-04")
@VERSIONS
def test_nothing_is_compressed(store: TlsStore, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.trusting()
    context.options &= ~ssl.OP_NO_COMPRESSION
    context.maximum_version = version
    assert MemoryClient(store, context).shake().tls.compression() is None


def test_nothing_is_sealed_before_the_handshake(store: TlsStore) -> None:
    with pytest.raises(InternalError):
        TlsChannel(store).seal(b"early")
    with pytest.raises(InternalError):
        TlsChannel(store).facts()
