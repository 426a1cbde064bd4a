"""TLS behind a PROXY header: the header comes in the clear, and nothing is answered before it is whole."""

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.proxy_bytes import CLIENT, SERVER, V4, block_4, header, line, sealed
from trilithon.testing import Site, serve

from .mirror import AUTHORITY, MIRRORS, Http1Asker, Http2Asker, dial
from .tls_authority import Authority

pytestmark = pytest.mark.real

LINE = line("TCP4", CLIENT[0], SERVER[0], CLIENT[1], SERVER[1])
BINARY = header(V4, block_4())


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Sign the site's certificate."""
    return Authority()


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def secure(request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: Any) -> Iterator[Site]:
    """Serve over TLS behind a PROXY header."""
    path = tmp_path_factory.mktemp("tls") / "site.pem"
    certificate = authority.server(AUTHORITY).write(path)
    with serve(MIRRORS[request.param], proxy_protocol="any", certfile=certificate) as made:
        yield made


@pytest.mark.spec("H-PP-10", "H-PP-11")
@pytest.mark.parametrize("first", [LINE, BINARY, sealed(V4, block_4())])
@pytest.mark.parametrize(("protocol", "asker"), [("http/1.1", Http1Asker), ("h2", Http2Asker)])
def test_the_handshake_follows_the_header(secure, authority, first, protocol, asker):
    context = authority.trusting()
    context.set_alpn_protocols([protocol])
    with context.wrap_socket(dial((secure.host, secure.port), first), server_hostname=AUTHORITY) as sock:
        asking = asker(sock)
        for _ in range(2):
            told = asking.ask()
            assert (told["client"], told["server"], told["scheme"]) == (list(CLIENT), list(SERVER), "https")


@pytest.mark.spec("H-PP-01", "H-PP-02")
def test_no_handshake_before_the_header(secure, authority):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        authority.trusting().wrap_socket(dial((secure.host, secure.port)), server_hostname=AUTHORITY)


@pytest.mark.spec("H-PP-10")
def test_the_client_hello_in_the_segment_of_the_header(secure, authority):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.trusting().wrap_bio(incoming, outgoing, server_hostname=AUTHORITY)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    for cut in (5, len(LINE) - 1, len(LINE), len(LINE) + 3):
        with dial((secure.host, secure.port)) as sock:
            sock.sendall((LINE + hello)[:cut])
            sock.sendall((LINE + hello)[cut:])
            assert sock.recv(1) == b"\x16", "a record of a handshake"
