"""Serving over TLS: protocols, data both ways, and how connections end."""

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.wire.client import Client
from trilithon.testing import Site, serve

from .applications import Held, Reader, Writer
from .tls_client import TlsClient, Trust

pytestmark = pytest.mark.real

WAIT_S = 20.0
MANY = 3_000_000
INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of this file."""
    return Trust(tmp_path_factory.mktemp("tls"))


def curl(site: Site, trust: Trust, *words: str) -> bytes:
    """Return what curl prints for the site."""
    target = f"localhost:{site.port}:{site.host}"
    command = ["curl", "-sS", "--max-time", "15", "--cacert", trust.ca_certs, "--resolve", target, *words]
    done = subprocess.run(
        [*command, f"https://localhost:{site.port}/curl"], capture_output=True, timeout=WAIT_S, check=True
    )
    return done.stdout


@pytest.mark.spec("H2-CONN-03", "H2-CONN-04")
@INTERFACES
@pytest.mark.parametrize(("flag", "version"), [("--http1.1", b"1.1"), ("--http2", b"2")])
def test_curl_speaks_both_versions(trust: Trust, interface: str, flag: str, version: bytes) -> None:
    with serve(Held(interface).application, **trust.options) as site:
        assert curl(site, trust, flag, "-w", " %{http_version}") == b"done /curl " + version


@pytest.mark.spec("H2-CONN-04")
@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
def test_http2_with_the_suites_of_tls_1_2(trust: Trust, suite: str) -> None:
    with serve(Held("asgi").application, **trust.options) as site:
        answer = curl(site, trust, "--http2", "--tls-max", "1.2", "--ciphers", suite, "-w", " %{http_version}")
        assert answer == b"done /curl 2"


@INTERFACES
@pytest.mark.parametrize("http2", [False, True])
def test_httpx_speaks_both_versions(trust: Trust, interface: str, http2: bool) -> None:
    reader = Reader(interface)
    with (
        serve(reader.application, **trust.options) as site,
        httpx.Client(verify=trust.context(), http2=http2, trust_env=False) as client,
    ):
        for size in (10, MANY):
            response = client.post(f"https://localhost:{site.port}/", content=b"x" * size)
            assert response.text == str(size)
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")


@pytest.mark.spec("H2-CONN-03", "WS-HS-21")
@pytest.mark.parametrize(
    ("http2", "offered", "chosen"),
    [
        (True, ["h2", "http/1.1"], "h2"),
        (True, ["http/1.1", "h2"], "h2"),
        (True, ["http/1.1"], "http/1.1"),
        (True, ["h2c", "http/1.1"], "http/1.1"),
        (True, ["h2c"], None),
        (True, ["spdy/3"], None),
        (True, [], None),
        (False, ["h2", "http/1.1"], "http/1.1"),
        (False, ["h2"], None),
    ],
)
def test_the_protocol_is_agreed_on(trust: Trust, http2: bool, offered: list[str], chosen: str | None) -> None:
    with (
        serve(Held("asgi").application, http2=http2, **trust.options) as site,
        trust.client(site, *offered) as client,
    ):
        assert client.socket.selected_alpn_protocol() == chosen
        if chosen != "h2":
            assert client.fetch("/agreed") == b"done /agreed"


@VERSIONS
@INTERFACES
def test_bodies_of_any_size_go_both_ways(trust: Trust, interface: str, version: ssl.TLSVersion) -> None:
    reader, writer = Reader(interface), Writer(interface, blocks=40, size=100_000)
    with serve(reader.application, **trust.options) as site, trust.client(site, version=version) as client:
        for size in (1, 16384, 65536, MANY):
            assert client.fetch(body=b"x" * size, method="POST") == b"%d" % size
    with serve(writer.application, **trust.options) as site, trust.client(site, version=version) as client:
        assert client.fetch() == b"w" * 4_000_000
    assert writer.outcome == "whole"


@INTERFACES
def test_requests_in_pieces_and_several_at_once(trust: Trust, interface: str) -> None:
    request = b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serve(Held(interface).application, **trust.options) as site, trust.client(site) as client:
        client.send(*[bytes((octet,)) for octet in request % 0])
        assert client.replies(["GET"], count=1)[0].body == b"done /0"
        client.received.clear()
        client.send(b"".join(request % number for number in range(20)))
        assert [reply.body for reply in client.replies(["GET"] * 20, count=20)] == [
            b"done /%d" % number for number in range(20)
        ]


@pytest.mark.spec("H1-RSP-12")
@VERSIONS
@INTERFACES
def test_the_server_says_goodbye_before_it_closes(trust: Trust, interface: str, version: ssl.TLSVersion) -> None:
    with serve(Held(interface).application, **trust.options) as site, trust.client(site, version=version) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        (reply,) = client.replies(["GET"])
        assert reply.body == b"done /"


@pytest.mark.spec("H1-RSP-12")
def test_the_server_says_goodbye_to_who_idles(trust: Trust) -> None:
    with (
        serve(Held("asgi").application, keep_alive_timeout_s=0.3, **trust.options) as site,
        trust.client(site) as client,
    ):
        assert client.fetch() == b"done /"
        client.received.clear()
        assert client.to_end() == b""


@pytest.mark.spec("H1-RSP-12")
@INTERFACES
def test_the_server_says_goodbye_when_it_stops(trust: Trust, interface: str) -> None:
    with serve(Held(interface).application, **trust.options) as site:
        client = trust.client(site)
        assert client.fetch() == b"done /"
    with client:
        client.received.clear()
        assert client.to_end() == b""


@INTERFACES
def test_a_client_that_has_said_all_still_gets_its_answer(trust: Trust, interface: str) -> None:
    held = Held(interface)
    with serve(held.application, **trust.options) as site, trust.client(site) as client:
        client.send(b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n")
        held.wait_started(1)
        client.finish()
        held.release.set()
        (reply,) = client.replies(["GET"])
        assert reply.body == b"done /held"


@pytest.mark.parametrize("goodbye", [True, False])
@INTERFACES
def test_a_body_that_is_cut_off_is_not_whole(trust: Trust, interface: str, goodbye: bool) -> None:
    reader = Reader(interface)
    options = {**trust.options, "request_buffer_bytes": 0}
    with serve(reader.application, **options) as site, trust.client(site) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70000)
        assert reader.called.wait(WAIT_S)
        if goodbye:
            client.finish()
        else:
            client.socket.shutdown(socket.SHUT_RDWR)
        assert reader.ended.wait(WAIT_S)
    assert not [outcome for outcome in reader.outcomes if isinstance(outcome, int)]


@pytest.mark.spec("H1-LINE-15")
@INTERFACES
def test_plain_http_is_told_where_it_came(trust: Trust, interface: str) -> None:
    with serve(Held(interface).application, **trust.options) as site, Client(site.host, site.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        (reply,) = client.replies(["GET"])
        assert reply.status == 400
        assert b"https://" in reply.body


def test_garbage_harms_nobody_else(trust: Trust) -> None:
    with serve(Held("asgi").application, **trust.options) as site, trust.client(site) as neighbour:
        for garbage in (b"\0" * 100, b"\x16\x03\x01\x02\x00" + b"\x01" * 512, b"\x80\x80\x01\x03\x01" + bytes(200)):
            with Client(site.host, site.port) as client:
                client.may_be_reset = True
                client.send(garbage)
                assert client.to_end()[:1] in (b"", b"\x15")
        assert neighbour.fetch() == b"done /"


@INTERFACES
def test_a_stranger_that_sends_garbage_behind_a_good_handshake(trust: Trust, interface: str) -> None:
    with serve(Held(interface).application, **trust.options) as site, trust.client(site) as client:
        assert client.fetch() == b"done /"
        raw = socket.socket(fileno=client.socket.detach())
        with raw:
            raw.settimeout(WAIT_S)
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            received = b""
            try:
                while data := raw.recv(4096):
                    received += data
            except ConnectionResetError:
                pass
        assert b"HTTP" not in received


@pytest.mark.spec("H-SEM-08")
@INTERFACES
def test_early_data_is_not_offered(trust: Trust, interface: str, tmp_path: Path) -> None:
    session, early = tmp_path / "session", tmp_path / "early"
    early.write_bytes(b"GET /early HTTP/1.1\r\nHost: localhost\r\n\r\n")
    held = Held(interface)
    with serve(held.application, **trust.options) as site:
        first = s_client(site, trust, "-sess_out", str(session))
        assert b"Max Early Data: 0" in first
        second = s_client(site, trust, "-sess_in", str(session), "-early_data", str(early))
        assert b"Reused" in second
        assert b"Early data was not sent" in second
    assert set(held.paths) == {"/typed"}


def s_client(site: Site, trust: Trust, *words: str) -> bytes:
    """Return what OpenSSL's client prints of a connection on which it asks for one thing."""
    command = ["openssl", "s_client", "-connect", f"{site.host}:{site.port}", "-CAfile", trust.ca_certs, "-tls1_3"]
    request = b"GET /typed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    done = subprocess.run(
        [*command, "-ign_eof", *words], input=request, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=WAIT_S
    )
    assert b"done /typed" in done.stdout
    return done.stdout


@INTERFACES
def test_sessions_are_resumed(trust: Trust, interface: str) -> None:
    with serve(Held(interface).application, **trust.options) as site:
        context = trust.context()
        with TlsClient(site, context) as client:
            assert client.fetch() == b"done /"
            session: Any = client.socket.session
        with TlsClient(site, context, session) as client:
            assert client.socket.session_reused
            assert client.fetch() == b"done /"


def test_a_self_signed_site(trust: Trust) -> None:
    with serve(Held("wsgi").application, self_signed=True) as site:
        certificate = ssl.get_server_certificate((site.host, site.port))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=certificate)
        with TlsClient(site, context) as client:
            assert client.fetch() == b"done /"
