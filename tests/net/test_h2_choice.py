"""HTTP/2 without TLS, by prior knowledge: who gets it, and what the first bytes decide."""

import socket
import time

import httpx
import pytest

from trilithon.testing import serve

pytestmark = pytest.mark.real

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi", "mixed"])


async def asgi(scope, receive, send):
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send(
        {"type": "http.response.body", "body": b"%d bytes over %s" % (len(body), scope["http_version"].encode())}
    )


def wsgi(environ, start_response):
    length = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d bytes over %s" % (length, environ["SERVER_PROTOCOL"][5:].encode())]


def site_of(interface: str, **options):
    if interface == "mixed":
        return serve(None, mounts={"/": wsgi, "/asgi": asgi}, **options)
    return serve(asgi if interface == "asgi" else wsgi, **options)


@INTERFACES
@pytest.mark.spec("H2-CONN-01", "H2-CONN-02")
def test_a_client_with_prior_knowledge_is_served(interface):
    with site_of(interface) as site, httpx.Client(http1=False, http2=True) as client:
        for path in ("/", "/asgi/x") * 3:
            answer = client.get(site.url + path)
            assert (answer.http_version, answer.text) == ("HTTP/2", "0 bytes over 2")
            answer = client.post(site.url + path, content=b"x" * 300_000)
            assert answer.text == "300000 bytes over 2"


@INTERFACES
def test_http1_is_served_on_the_same_port(interface):
    with site_of(interface) as site, httpx.Client() as client:
        for _ in range(2):
            assert client.get(site.url + "/asgi/x").text == "0 bytes over 1.1"


@pytest.mark.spec("H2-CONN-01")
def test_the_preface_may_come_octet_by_octet():
    with serve(asgi) as site, socket.create_connection((site.host, site.port), timeout=5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(PREFACE)):
            client.sendall(PREFACE[at : at + 1])
        client.sendall(SETTINGS)
        assert client.recv(9)[3] == 4


@pytest.mark.spec("H2-CONN-01")
@pytest.mark.parametrize("first", [PREFACE[:9], PREFACE[:3], PREFACE])
def test_a_client_that_stops_within_the_preface_is_closed_in_time(first):
    with serve(asgi, header_timeout_s=0.2) as site:
        began = time.monotonic()
        with socket.create_connection((site.host, site.port), timeout=5) as client:
            client.sendall(first)
            while client.recv(65536):
                pass
        assert 0.15 <= time.monotonic() - began < 3


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
def test_switched_off_the_preface_is_a_bad_request(interface):
    with site_of(interface, h2c="off") as site, socket.create_connection((site.host, site.port), timeout=5) as client:
        client.sendall(PREFACE + SETTINGS)
        assert client.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 505")


@pytest.mark.spec("H2-CONN-03")
def test_an_upgrade_to_h2c_is_ignored():
    with serve(asgi) as site, httpx.Client() as client:
        fields = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
        answer = client.get(site.url, headers=fields)
        assert (answer.status_code, answer.text) == (200, "0 bytes over 1.1")


@INTERFACES
@pytest.mark.spec("H2-CONN-01")
def test_without_http2_nobody_speaks_it(interface):
    with site_of(interface, http2=False) as site, socket.create_connection((site.host, site.port), timeout=5) as client:
        client.sendall(PREFACE + SETTINGS)
        assert client.recv(65536).startswith(b"HTTP/1.1 ")
