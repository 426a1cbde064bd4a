"""The TLS channel against a client in memory: versions, cuts, data both ways, the end."""

import ssl
from pathlib import Path

import pytest

from trilithon.foundation.options import Options
from trilithon.net.certificates import TlsStore, open_store
from trilithon.net.tls import PlainHttp, TlsChannel, TlsError

from .tls_authority import Authority
from .tls_memory import Cut, MemoryClient, singly, whole

ALPN = ["h2", "http/1.1"]
CUTS = pytest.mark.parametrize("cut", [whole, singly])
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Sign everything in this file."""
    return Authority()


@pytest.fixture(scope="module")
def store(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> TlsStore:
    """Hold one certificate for localhost."""
    path: Path = tmp_path_factory.mktemp("tls") / "site.pem"
    return open_store(Options(certfile=authority.server("localhost").write(path)), ALPN)


@VERSIONS
@CUTS
def test_data_goes_both_ways(store: TlsStore, authority: Authority, cut: Cut, version: ssl.TLSVersion) -> None:
    context = authority.trusting()
    context.maximum_version = version
    client = MemoryClient(store, context, cut=cut).shake()
    client.send(b"question")
    assert client.received == b"question"
    assert client.answer(b"answer") == b"answer"
    assert client.channel.outgoing() == b""


@VERSIONS
def test_records_cut_anywhere(store: TlsStore, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.trusting()
    context.maximum_version = version
    client = MemoryClient(store, context).shake()
    place = 1
    while True:
        client.tls.write(b"one")
        client.tls.write(b"two and more")
        data = client.outgoing.read()
        if place >= len(data):
            break
        assert client.channel.receive(data[:place]) + client.channel.receive(data[place:]) == b"onetwo and more"
        place += 1
    assert place > 50


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 32768, 32769, 200_000])
def test_sizes_around_records_and_steps(store: TlsStore, authority: Authority, size: int) -> None:
    client = MemoryClient(store, authority.trusting()).shake()
    data = bytes(at % 251 for at in range(size))
    client.send(data)
    assert client.received == data
    assert client.answer(data) == data
    assert client.channel.seal(b"") == b""


@pytest.mark.spec("H1-RSP-12")
@VERSIONS
def test_both_ends_say_goodbye(store: TlsStore, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.trusting()
    context.maximum_version = version
    client = MemoryClient(store, context).shake()
    client.incoming.write(client.channel.seal(b"last words") + client.channel.farewell())
    assert client.tls.read(100) == b"last words"
    assert client.tls.read(100) == b""
    assert not client.channel.ended
    client.tls.unwrap()
    assert client.channel.farewell() == b""


@pytest.mark.spec("H1-RSP-12")
@VERSIONS
def test_a_goodbye_alone_is_seen(store: TlsStore, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.trusting()
    context.maximum_version = version
    client = MemoryClient(store, context).shake()
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert not client.channel.ended
    assert client.channel.receive(client.outgoing.read()) == b""
    assert client.channel.ended
    assert client.channel.outgoing() == b""


def test_plain_http_is_told_apart_from_garbage(store: TlsStore) -> None:
    with pytest.raises(PlainHttp):
        TlsChannel(store).receive(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(TlsError) as caught:
        TlsChannel(store).receive(b"\x00\x01 garbage and more of it")
    assert not isinstance(caught.value, PlainHttp)


def test_no_common_protocol_leaves_http_1(store: TlsStore, authority: Authority) -> None:
    context = authority.trusting()
    context.set_alpn_protocols(["spdy/3"])
    assert MemoryClient(store, context).shake().channel.facts().alpn is None


def test_a_goodbye_behind_data_is_seen(store: TlsStore, authority: Authority) -> None:
    client = MemoryClient(store, authority.trusting()).shake()
    client.tls.write(b"one")
    client.tls.write(b"two")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert client.channel.receive(client.outgoing.read() + b"what comes behind is not looked at") == b"onetwo"
    assert client.channel.ended
    assert client.channel.receive(b"nor this") == b""
    assert client.channel.seal(b"an answer") != b""
