"""The PROXY protocol on live connections: who may speak it, what the application is told, and what closes them."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.wire.client import Client
from tests.wire.proxy_bytes import (
    CLIENT,
    CLIENT_6,
    SERVER,
    SERVER_6,
    V4,
    V6,
    block_4,
    block_6,
    block_unix,
    header,
    line,
    sealed,
    tls_extra,
)
from trilithon.testing import Site, serve

from .mirror import MIRRORS, Http1Asker, Http2Asker, ask_socket, dial
from .test_access_log import access  # noqa: F401

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
LINE = line("TCP4", CLIENT[0], SERVER[0], CLIENT[1], SERVER[1])
BINARY = header(V4, block_4())
SILENT = [line("UNKNOWN"), line("UNKNOWN", "::1", "::1", 1, 1), header(0, b"", command=0), header(0, b"")]
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def site_of(interface: str, version: str = "any", **options: Any) -> Any:
    """Serve the mirror behind a proxy."""
    return serve(MIRRORS[interface], proxy_protocol=version, h2c="on", **options)


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """One site for the tests that need no options of their own."""
    with site_of(request.param) as made:
        yield made


def address(site: Site) -> tuple[str, int]:
    """Return where a site listens."""
    return site.host, site.port


def is_closed(site: Site, *pieces: bytes) -> None:
    """See that a connection on which `pieces` are sent is closed without an answer, and that others are served."""
    with Client(site.host, site.port) as client:
        client.may_be_reset = True
        client.send(*pieces)
        assert client.to_end() == b""
    with dial(address(site), LINE) as sock:
        assert Http1Asker(sock).ask()["client"] == list(CLIENT)


@pytest.mark.spec("H-PP-11", "A-SCOPE-24")
@pytest.mark.parametrize("asker", [Http1Asker, Http2Asker])
@pytest.mark.parametrize(
    ("first", "client", "server"),
    [
        (LINE, CLIENT, SERVER),
        (BINARY, CLIENT, SERVER),
        (header(V6, block_6()), CLIENT_6, SERVER_6),
        (sealed(V4, block_4(), tls_extra()), CLIENT, SERVER),
    ],
)
def test_every_request_of_the_connection_has_the_clients_address(site, asker, first, client, server):
    with dial(address(site), first) as sock:
        asking = asker(sock)
        for _ in range(3):
            told = asking.ask()
            assert (told["client"], told["server"], told["scheme"]) == (list(client), list(server), "http")


@pytest.mark.spec("H-PP-11", "A-SCOPE-24")
@pytest.mark.parametrize("first", [LINE, BINARY])
def test_websockets_have_the_clients_address(first):
    with site_of("asgi") as site:
        with dial(address(site), first) as sock:
            assert ask_socket(sock)["client"] == list(CLIENT)
        with dial(address(site), first) as sock:
            told = Http2Asker(sock).ask_socket()
        assert (told["client"], told["server"], told["scheme"]) == (list(CLIENT), list(SERVER), "ws")


@pytest.mark.spec("H-PP-05", "H-PP-06", "H-PP-07")
@pytest.mark.parametrize("first", SILENT)
def test_a_header_without_addresses_keeps_the_real_ones(site, first):
    with dial(address(site), first) as sock:
        told = Http1Asker(sock).ask()
        assert (told["client"], told["server"]) == (list(sock.getsockname()), list(address(site)))


@pytest.mark.spec("H-PP-07")
def test_a_client_of_a_unix_socket_has_no_address(site):
    with dial(address(site), header(0x31, block_unix(server=b"/run/front.sock"))) as sock:
        told = Http1Asker(sock).ask()
        assert told["client"] is None
        assert told["server"] in (["/run/front.sock", None], ["localhost", 80])


@pytest.mark.spec("H-PP-01", "H-PP-02")
@pytest.mark.parametrize(
    "pieces",
    [
        [REQUEST],
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
        [b"\r\n" + LINE + REQUEST],
        [LINE.replace(b"\r\n", b"\n") + REQUEST],
        [LINE.replace(b"443", b"0443") + REQUEST],
        [b"PROXY UNKNOWN ".ljust(107, b"x")],
        [header(V4, block_4()[:-1]) + REQUEST],
        [header(V4, block_4(), version=1) + REQUEST],
        [header(V4, block_4() + b"\x01\0\xff") + REQUEST],
        [header(V4, b"", length=65535)],
        [LINE[:10], b"\n"],
    ],
)
def test_without_a_header_the_connection_is_closed_without_an_answer(site, pieces):
    is_closed(site, *pieces)


@pytest.mark.spec("H-PP-01")
@pytest.mark.parametrize(("version", "first"), [("v1", BINARY), ("v2", LINE)])
def test_the_other_version_is_closed_without_an_answer(version, first):
    with site_of("asgi", version) as site, Client(site.host, site.port) as client:
        client.may_be_reset = True
        client.send(first + REQUEST)
        assert client.to_end() == b""


@pytest.mark.spec("H-PP-01")
@INTERFACES
@pytest.mark.parametrize("first", [LINE, BINARY])
def test_who_is_not_trusted_is_closed_without_an_answer(interface, first):
    with site_of(interface, trusted_proxies=["192.0.2.0/24", "unix"]) as site, Client(site.host, site.port) as client:
        client.may_be_reset = True
        client.send(first + REQUEST)
        assert client.to_end() == b""


@pytest.mark.spec("H-PP-01")
@INTERFACES
@pytest.mark.parametrize("first", [LINE, line("UNKNOWN"), BINARY])
def test_where_it_is_off_a_header_is_an_invalid_request(interface, first):
    with serve(MIRRORS[interface]) as site, Client(site.host, site.port) as client:
        client.send(first + REQUEST)
        (answer,) = client.replies(["GET"])
        assert answer.status == 400


@pytest.mark.spec("H-PP-12")
@pytest.mark.parametrize("second", [LINE, BINARY, line("UNKNOWN")])
def test_a_second_header_is_an_invalid_request(site, second):
    for first in (LINE, BINARY):
        with Client(site.host, site.port) as client:
            client.send(first + second + REQUEST)
            (answer,) = client.replies(["GET"])
            assert answer.status == 400
        with Client(site.host, site.port) as client:
            client.send(first + REQUEST)
            client.replies(["GET"], count=1)
            client.send(second + REQUEST)
            assert [each.status for each in client.replies(["GET", "GET"])] == [200, 400]


@pytest.mark.spec("H-PP-10")
@pytest.mark.parametrize("first", [LINE, BINARY])
def test_single_bytes_and_the_request_in_the_same_segment(site, first):
    for cut in (1, len(first) - 1):
        with Client(site.host, site.port) as client:
            client.send(*(first[at : at + 1] for at in range(cut)), first[cut:] + REQUEST)
            (answer,) = client.replies(["GET"], count=1)
            assert (answer.status, CLIENT[0].encode() in answer.body) == (200, True)


@pytest.mark.spec("H-PP-02", "H-LIM-07")
@INTERFACES
@pytest.mark.parametrize("first", [b"", LINE[:-1], BINARY[:20]])
def test_a_header_that_does_not_come_in_time_closes_the_connection(interface, first):
    with site_of(interface, proxy_timeout_s=0.4) as site, Client(site.host, site.port) as client:
        began = time.monotonic()
        client.may_be_reset = True
        client.send(first)
        assert client.to_end() == b""
        assert 0.35 <= time.monotonic() - began < 3


@pytest.mark.spec("H-PP-02", "H-LIM-07")
def test_bytes_that_drip_do_not_extend_the_time():
    with site_of("asgi", proxy_timeout_s=0.5) as site, Client(site.host, site.port) as client:
        began = time.monotonic()
        client.may_be_reset = True
        client.socket.settimeout(0.1)
        for octet in LINE:
            try:
                client.socket.sendall(bytes([octet]))
                if client.socket.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert 0.4 <= time.monotonic() - began < 3


@pytest.mark.spec("H-PP-01")
@pytest.mark.parametrize("sent", [b"", LINE[:20], BINARY[:14], LINE])
def test_a_client_that_leaves_leaves_nothing_behind(site, sent):
    with Client(site.host, site.port) as client:
        client.may_be_reset = True
        client.send(sent)
        client.finish()
        assert client.to_end() == b""


@pytest.mark.spec("H-PP-11")
@INTERFACES
@pytest.mark.parametrize("first", [LINE, BINARY])
def test_the_access_log_names_the_client(interface, first, access):  # noqa: F811
    with site_of(interface, access_log="common") as site:
        for asker in (Http1Asker, Http2Asker):
            with dial(address(site), first) as sock:
                asker(sock).ask("/seen")
        with Client(site.host, site.port) as client:
            client.send(first + b"nonsense\r\n\r\n")
            client.replies(["GET"])
    assert [each.split()[0] for each in access.lines] == [CLIENT[0]] * 3


@pytest.mark.spec("H-PP-01")
@pytest.mark.parametrize("trusted", [True, False])
def test_unix_sockets_are_a_peer_to_trust_too(trusted, tmp_path: Path):
    path = str(tmp_path / "s")
    proxies = ["unix"] if trusted else ["127.0.0.1"]
    with site_of("asgi", bind=[f"unix:{path}"], trusted_proxies=proxies), dial(path, LINE) as sock:
        if trusted:
            told = Http1Asker(sock).ask()
            assert (told["client"], told["server"]) == (list(CLIENT), list(SERVER))
        else:
            assert ended(sock)


def ended(sock: socket.socket) -> bool:
    """Tell whether a connection ends without a byte."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
