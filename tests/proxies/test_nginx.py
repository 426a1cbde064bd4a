"""A real nginx in front, in the configurations of docs/proxies.md."""

import http.client
import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ports import free_port
from tests.net.mirror import AUTHORITY, MIRRORS, Http1Asker, Http2Asker, ask_socket, dial
from tests.net.tls_authority import Authority
from trilithon.testing import Site, serve

from .front import nginx
from .page import configuration, options

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
# Any address of this network is this machine, and this one is no trusted proxy's.
CLIENT = "127.0.0.2"
SPOOFED = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6;proto=https;host=evil", "X-Real-IP": "6.6.6.6"}


def http_text(site: Site, port: int) -> str:
    """Return the page's first configuration for a site."""
    return configuration("nginx-http", {"127.0.0.1:8000": f"{site.host}:{site.port}", "listen 80;": listen(port)})


def listen(port: int, more: str = "") -> str:
    """Return where nginx listens in a test."""
    return f"listen 127.0.0.1:{port}{more};"


def client_context(authority: Authority, protocol: str) -> ssl.SSLContext:
    """Return the context of a client that speaks one protocol."""
    context = authority.trusting()
    context.set_alpn_protocols([protocol])
    return context


class TestHttp:
    @pytest.mark.spec("H-FWD-01", "H-FWD-02", "A-SCOPE-24")
    @INTERFACES
    def test_the_client_and_what_it_cannot_make_up(self, interface: str, directory: Path):
        port = free_port()
        with (
            serve(MIRRORS[interface], **options("nginx-http")) as site,
            nginx(directory, "http", http_text(site, port), [port]),
            dial(("127.0.0.1", port), b"", CLIENT) as sock,
        ):
            asking = Http1Asker(sock)
            for fields in (
                {},
                SPOOFED,
                {"X-Forwarded-Proto": "https", "X-Forwarded-Port": "1", "X-Forwarded-For": '"'},
            ):
                told = asking.ask("/a%20b?c", fields)
                assert (told["client"], told["scheme"]) == ([CLIENT, 0], "http")
                assert told["server"] == ["127.0.0.1", port]
                assert (told["host"], told["path"], told["root_path"]) == ([AUTHORITY], "/a b", "")

    @pytest.mark.spec("H-FWD-07")
    @INTERFACES
    def test_nothing_is_believed_by_default_and_the_connection_stays_open(self, interface: str, directory: Path):
        port = free_port()
        with serve(MIRRORS[interface]) as site, nginx(directory, "http", http_text(site, port), [port]):
            seen = set()
            for _ in range(20):
                with dial(("127.0.0.1", port), b"", CLIENT) as sock:
                    told = Http1Asker(sock).ask("/", {"X-Forwarded-Proto": "https"})
                assert told["scheme"] == "http"
                assert ["x-forwarded-for", CLIENT] in told["fields"]
                seen.add(tuple(told["client"]))
            assert len(seen) == 1, "one connection of nginx carried all requests"
            assert seen.pop()[0] == "127.0.0.1"

    @pytest.mark.spec("H-FWD-02", "H-FWD-05")
    def test_websockets(self, directory: Path):
        port = free_port()
        with (
            serve(MIRRORS["asgi"], **options("nginx-http")) as site,
            nginx(directory, "http", http_text(site, port), [port]),
        ):
            for fields in ({}, SPOOFED):
                with dial(("127.0.0.1", port), b"", CLIENT) as sock:
                    told = ask_socket(sock, "/socket", fields)
                assert (told["client"], told["scheme"], told["path"]) == ([CLIENT, 0], "ws", "/socket")

    @INTERFACES
    def test_bodies_stream_through(self, interface: str, directory: Path):
        port = free_port()
        with (
            serve(COUNTERS[interface], **options("nginx-http")) as site,
            nginx(directory, "http", http_text(site, port), [port]),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            for body, size in ((b"x" * 3_000_000, 3_000_000), (iter([b"y" * 100_000] * 20), 2_000_000), (b"", 0)):
                connection.request("POST", "/", body=body)
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (200, b"%d" % size * 100_000)
            connection.close()

    @pytest.mark.spec("H-FWD-02")
    @INTERFACES
    def test_a_chain_of_two(self, interface: str, directory: Path):
        inner, outer = free_port(), free_port()
        (directory / "inner").mkdir()
        (directory / "outer").mkdir()
        with serve(MIRRORS[interface], **options("nginx-http")) as site:
            near = nginx(directory / "inner", "http", http_text(site, inner), [inner])
            text = configuration("nginx-http", {"127.0.0.1:8000": f"127.0.0.1:{inner}", "listen 80;": listen(outer)})
            with near, nginx(directory / "outer", "http", text, [outer]):
                with dial(("127.0.0.1", outer), b"", CLIENT) as sock:
                    assert Http1Asker(sock).ask("/", SPOOFED)["client"] == [CLIENT, 0]
                with dial(("127.0.0.1", inner), b"", CLIENT) as sock:
                    assert Http1Asker(sock).ask("/", {"X-Forwarded-For": "6.6.6.6, 127.0.0.1"})["client"] == [CLIENT, 0]


class TestUnix:
    @pytest.mark.spec("H-FWD-01", "H-FWD-05", "H-FWD-08")
    @INTERFACES
    @pytest.mark.parametrize(("protocol", "asker"), [("http/1.1", Http1Asker), ("h2", Http2Asker)])
    def test_tls_ends_at_the_proxy(
        self, interface: str, protocol: str, asker: Any, directory: Path, pem: str, authority: Authority
    ):
        port, path = free_port(), directory / "s"
        changes = {
            "/run/shop.sock": str(path),
            "listen 443 ssl http2;": listen(port, " ssl http2"),
            "/etc/ssl/site.pem": pem,
        }
        with (
            serve(MIRRORS[interface], bind=[f"unix:{path}"], **options("nginx-unix")),
            nginx(directory, "http", configuration("nginx-unix", changes), [port]),
        ):
            plain = dial(("127.0.0.1", port), b"", CLIENT)
            with client_context(authority, protocol).wrap_socket(plain, server_hostname=AUTHORITY) as sock:
                asking = asker(sock)
                for _ in range(3):
                    told = asking.ask("/shop/item?x=1", SPOOFED)
                    assert (told["client"], told["scheme"], told["host"]) == ([CLIENT, 0], "https", [AUTHORITY])
                    assert (told["root_path"], told["path"]) == ("/shop", "/shop/item")


class TestForwarded:
    @pytest.mark.spec("H-FWD-03", "H-FWD-08")
    @INTERFACES
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_the_standard_field(self, interface: str, host: str, directory: Path):
        port = free_port()
        with serve(MIRRORS[interface], **options("nginx-forwarded")) as site:
            changes = {
                "127.0.0.1:8000": f"{site.host}:{site.port}",
                "listen 80;": f"{listen(port)} listen [::1]:{port};",
            }
            with nginx(directory, "http", configuration("nginx-forwarded", changes), [port]):
                source = CLIENT if host == "127.0.0.1" else host
                with dial((host, port), b"", source) as sock:
                    for fields in ({}, SPOOFED, {"Forwarded": 'for="'}):
                        told = Http1Asker(sock).ask("/", fields)
                        assert (told["client"], told["scheme"], told["host"]) == ([source, 0], "http", [AUTHORITY])


class TestStream:
    @pytest.mark.spec("H-PP-02", "H-PP-03", "H-PP-11")
    @INTERFACES
    @pytest.mark.parametrize(("protocol", "asker"), [("http/1.1", Http1Asker), ("h2", Http2Asker)])
    def test_connections_passed_on_unopened(
        self, interface: str, protocol: str, asker: Any, directory: Path, pem: str, authority: Authority
    ):
        port = free_port()
        with serve(MIRRORS[interface], certfile=pem, **options("nginx-stream")) as site:
            changes = {"127.0.0.1:8443": f"{site.host}:{site.port}", "listen 443;": listen(port)}
            with nginx(directory, "stream", configuration("nginx-stream", changes), [port]):
                plain = dial(("127.0.0.1", port), b"", CLIENT)
                here = list(plain.getsockname())
                with client_context(authority, protocol).wrap_socket(plain, server_hostname=AUTHORITY) as sock:
                    asking = asker(sock)
                    for _ in range(2):
                        told = asking.ask("/", SPOOFED)
                        assert (told["client"], told["server"], told["scheme"]) == (here, ["127.0.0.1", port], "https")


async def count_asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with the length of the body, 100,000 times over."""
    assert scope["type"] == "http"
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size * 100_000})


def count_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with the length of the body, 100,000 times over."""
    size = sum(len(line) for line in iter(lambda: environ["wsgi.input"].read(65536), b""))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % size * 100_000]


COUNTERS: dict[str, Any] = {"asgi": count_asgi, "wsgi": count_wsgi}


def test_the_page_shows_whole_configurations():
    text = (Path(__file__).resolve().parents[2] / "docs" / "proxies.md").read_text(encoding="utf-8")
    marked = re.findall(r"^<!-- tested: .* -->\n```(?:nginx|haproxy)", text, re.MULTILINE)
    assert len(marked) == len(re.findall(r"^```(?:nginx|haproxy)", text, re.MULTILINE)) == 7
