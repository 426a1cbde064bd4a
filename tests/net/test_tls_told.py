"""What applications of both interfaces are told of TLS, and that they are told nothing of it in the clear."""

import asyncio
import copy
import json
import ssl
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect as connect_on_loop
from websockets.sync.client import connect

from trilithon.testing import Site, serve

from .applications import Receive, Send, StartResponse, lifespan, respond
from .tls_client import Trust

pytestmark = pytest.mark.real

PROTOCOLS = pytest.mark.parametrize("http2", [False, True])
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
NUMBERS = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
}


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of this file."""
    return Trust(tmp_path_factory.mktemp("tls"))


async def tell_asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer with what the scope says."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    told = json.dumps({"scheme": scope["scheme"], "version": scope["http_version"], "extensions": scope["extensions"]})
    if scope["type"] == "http":
        return await respond(send, told.encode())
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": told})
    await receive()
    return None


def tell_wsgi(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer with what the environ says."""
    start_response("200 OK", [])
    kept = ("wsgi.url_scheme", "SERVER_PROTOCOL", "HTTPS")
    return [json.dumps({key: environ[key] for key in environ if key in kept or key.startswith("SSL_")}).encode()]


def fetch(site: Site, context: ssl.SSLContext, http2: bool) -> Any:
    """Return what the application answers to a client with this context."""
    with httpx.Client(verify=context, http2=http2, trust_env=False) as client:
        return client.get(f"https://localhost:{site.port}/").json()


@pytest.mark.spec("A-XTLS-01", "A-XTLS-02", "A-XTLS-03", "A-SCOPE-03", "A-CORE-18")
@PROTOCOLS
@VERSIONS
def test_the_scope_on_tls(trust: Trust, http2: bool, version: ssl.TLSVersion) -> None:
    with serve(tell_asgi, **trust.options) as site, trust.client(site, version=version) as client:
        cipher: Any = client.socket.cipher()
        told = fetch(site, trust.context(version=version), http2)
    assert told["scheme"] == "https"
    assert told["version"] == ("2" if http2 else "1.1")
    tls = told["extensions"]["tls"]
    assert tls.pop("cipher_suite") == NUMBERS[cipher[0]]
    assert tls == {
        "server_cert": trust.signed.pem,
        "tls_version": 0x0304 if version is ssl.TLSVersion.TLSv1_3 else 0x0303,
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
    }


@pytest.mark.spec("A-XTLS-01", "A-CORE-18", "W-ENV-21")
def test_nothing_is_told_of_tls_in_the_clear() -> None:
    with serve(mounts=[("/w", tell_wsgi), ("/", tell_asgi)]) as site, httpx.Client(trust_env=False) as client:
        told = client.get(site.url + "/").json()
        assert told["scheme"] == "http"
        assert "tls" not in told["extensions"]
        assert client.get(site.url + "/w").json() == {"wsgi.url_scheme": "http", "SERVER_PROTOCOL": "HTTP/1.1"}
        with connect(f"ws://{site.host}:{site.port}/", proxy=None) as websocket:
            told = json.loads(websocket.recv())
        assert told["scheme"] == "ws"
        assert "tls" not in told["extensions"]


@pytest.mark.spec("A-XTLS-03", "W-ENV-21")
@PROTOCOLS
def test_who_the_client_is(trust: Trust, http2: bool, tmp_path: Path) -> None:
    signed = trust.authority.client()
    context = trust.context()
    context.load_cert_chain(signed.write(tmp_path / "client.pem"))
    options = {**trust.options, "client_certs": "optional", "ca_certs": trust.ca_certs}
    with serve(mounts=[("/w", tell_wsgi), ("/", tell_asgi)], **options) as site:
        tls = fetch(site, context, http2)["extensions"]["tls"]
        with httpx.Client(verify=context, http2=http2, trust_env=False) as client:
            environ = client.get(f"https://localhost:{site.port}/w").json()
        nobody = fetch(site, trust.context(), http2)["extensions"]["tls"]
    chain = [signed.pem, trust.authority.pem] if sys.version_info >= (3, 13) else [signed.pem]
    assert tls["client_cert_chain"] == chain
    assert tls["client_cert_name"] == environ["SSL_CLIENT_S_DN"] == "CN=jane,O=Doe\\, Jane,C=DE"
    assert tls["client_cert_error"] is None
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_CERT"] == signed.pem
    assert (nobody["client_cert_chain"], nobody["client_cert_name"]) == ([], None)


@pytest.mark.spec("W-ENV-21")
@PROTOCOLS
@VERSIONS
def test_the_environ_on_tls(trust: Trust, http2: bool, version: ssl.TLSVersion) -> None:
    with serve(tell_wsgi, **trust.options) as site, trust.client(site, version=version) as client:
        cipher: Any = client.socket.cipher()
        told = fetch(site, trust.context(version=version), http2)
    assert told == {
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SERVER_PROTOCOL": "HTTP/2" if http2 else "HTTP/1.1",
        "SSL_PROTOCOL": "TLSv1.3" if version is ssl.TLSVersion.TLSv1_3 else "TLSv1.2",
        "SSL_CIPHER": cipher[0],
        "SSL_TLS_SNI": "localhost",
        "SSL_CLIENT_VERIFY": "NONE",
    }


@pytest.mark.spec("WS-HS-21", "A-WSS-03", "A-WSS-08", "A-XTLS-01")
def test_a_websocket_over_tls(trust: Trust) -> None:
    """A client that can speak HTTP/1.1 alone asks for that by ALPN, and the handshake is one of HTTP/1.1."""

    async def listen(site: Site) -> Any:
        # Not the library's client of threads: that reads and writes at once, which OpenSSL does not allow.
        url = f"wss://localhost:{site.port}/"
        async with connect_on_loop(url, ssl=trust.context("http/1.1"), proxy=None) as websocket:
            alpn = websocket.transport.get_extra_info("ssl_object").selected_alpn_protocol()
            return alpn, json.loads(await websocket.recv())

    with serve(tell_asgi, **trust.options) as site:
        alpn, told = asyncio.run(listen(site))
    assert alpn == "http/1.1"
    assert told["scheme"] == "wss"
    assert told["version"] == "1.1"
    assert told["extensions"]["tls"]["server_cert"] == trust.signed.pem
    assert told["extensions"]["websocket.http.response"] == {}


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@VERSIONS
def test_a_client_without_certificate_is_not_served(trust: Trust, interface: str, version: ssl.TLSVersion) -> None:
    options = {**trust.options, "client_certs": "required", "ca_certs": trust.ca_certs}
    application = tell_asgi if interface == "asgi" else tell_wsgi
    with serve(application, **options) as site:
        with pytest.raises((httpx.ConnectError, httpx.ReadError), match=r"(?i)alert|certificate required|reset"):
            fetch(site, trust.context(version=version), False)
        context = trust.context(version=version)
        context.load_cert_chain(trust.authority.client().write(trust.directory / "client.pem"))
        assert fetch(site, context, False)


def test_scopes_of_one_connection_share_nothing(trust: Trust) -> None:
    seen: list[Any] = []

    async def spoil(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        seen.append(copy.deepcopy(scope["extensions"]["tls"]))
        scope["extensions"]["tls"]["client_cert_chain"].append("spoilt")
        scope["extensions"]["tls"].clear()
        await asyncio.sleep(0)
        return await respond(send, b"{}")

    with serve(spoil, **trust.options) as site, trust.client(site) as client:
        assert client.fetch() == client.fetch() == b"{}"
    assert seen[1]["client_cert_chain"] == []
    assert seen[1]["server_cert"] == trust.signed.pem
