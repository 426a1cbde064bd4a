"""A real HAProxy in front, in the configurations of docs/proxies.md, and with every form of its PROXY header."""

import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ports import free_port
from tests.net.mirror import AUTHORITY, MIRRORS, Http1Asker, Http2Asker, ask_socket, dial
from tests.net.tls_authority import Authority
from trilithon.testing import serve

from .front import haproxy, program
from .page import configuration, options

pytestmark = pytest.mark.real

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
PROTOCOLS = pytest.mark.parametrize(("protocol", "asker"), [("http/1.1", Http1Asker), ("h2", Http2Asker)])
CLIENT = "127.0.0.2"
SPOOFED = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6;proto=https;host=evil", "X-Forwarded-Proto": "https"}

RELAY = """\
frontend public
    mode {mode}
    bind 127.0.0.1:{port}{tls}
    default_backend site

backend site
    mode {mode}
    server one {site} {more}
"""


def secured(authority: Authority, port: int, protocol: str) -> ssl.SSLSocket:
    """Return a TLS connection from the client's address."""
    context = authority.trusting()
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(dial(("127.0.0.1", port), b"", CLIENT), server_hostname=AUTHORITY)


def version() -> tuple[int, int]:
    """Return the version of HAProxy."""
    text = subprocess.run([program("haproxy"), "-v"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"version (\d+)\.(\d+)", text)
    assert match is not None
    return int(match[1]), int(match[2])


class TestHttp:
    @pytest.mark.spec("H-FWD-01", "H-FWD-02", "H-FWD-05", "A-SCOPE-24")
    @INTERFACES
    def test_the_client_and_its_scheme(self, interface: str, directory: Path, pem: str, authority: Authority):
        plain, secure = free_port(), free_port()
        changes = {
            "bind :80\n": f"bind 127.0.0.1:{plain}\n",
            "bind :443": f"bind 127.0.0.1:{secure}",
            "/etc/ssl/site.pem": pem,
        }
        with serve(MIRRORS[interface], **options("haproxy-http")) as site:
            changes["127.0.0.1:8000"] = f"{site.host}:{site.port}"
            with haproxy(directory, configuration("haproxy-http", changes), [plain, secure]):
                with dial(("127.0.0.1", plain), b"", CLIENT) as sock:
                    asking = Http1Asker(sock)
                    for fields in ({}, SPOOFED, {"X-Forwarded-For": "127.0.0.1"}):
                        told = asking.ask("/", fields)
                        assert (told["client"], told["scheme"], told["host"]) == ([CLIENT, 0], "http", [AUTHORITY])
                for protocol, asker in (("http/1.1", Http1Asker), ("h2", Http2Asker)):
                    with secured(authority, secure, protocol) as sock:
                        told = asker(sock).ask("/", {**SPOOFED, "X-Forwarded-Proto": "http"})
                        assert (told["client"], told["scheme"]) == ([CLIENT, 0], "https")

    @pytest.mark.spec("H-FWD-02", "H-FWD-05")
    def test_websockets(self, directory: Path, pem: str, authority: Authority):
        plain, secure = free_port(), free_port()
        changes = {
            "bind :80\n": f"bind 127.0.0.1:{plain}\n",
            "bind :443": f"bind 127.0.0.1:{secure}",
            "/etc/ssl/site.pem": pem,
        }
        with serve(MIRRORS["asgi"], **options("haproxy-http")) as site:
            changes["127.0.0.1:8000"] = f"{site.host}:{site.port}"
            with haproxy(directory, configuration("haproxy-http", changes), [plain, secure]):
                with secured(authority, secure, "http/1.1") as sock:
                    told = ask_socket(sock, "/", SPOOFED)
                assert (told["client"], told["scheme"], told["version"]) == ([CLIENT, 0], "wss", "1.1")
                with secured(authority, secure, "h2") as sock:
                    told = Http2Asker(sock).ask_socket("/", SPOOFED)
                assert (told["client"], told["scheme"]) == ([CLIENT, 0], "wss")


class TestHttp2:
    def text(self, site: Any, port: int, pem: str) -> str:
        """Return the page's configuration for HTTP/2, the whole field by HAProxy itself where it can."""
        changes = {"127.0.0.1:8000": f"{site.host}:{site.port}", "bind :443": f"bind 127.0.0.1:{port}"}
        text = configuration("haproxy-h2", {**changes, "/etc/ssl/site.pem": pem})
        by_hand = "http-request set-header Forwarded for=%[src];proto=https"
        assert by_hand in text
        return text.replace(by_hand, "option forwarded proto for") if version() >= (2, 8) else text

    @pytest.mark.spec("H-FWD-03", "H-FWD-05", "A-SCOPE-24")
    @INTERFACES
    @PROTOCOLS
    def test_requests(self, interface: str, protocol: str, asker: Any, directory: Path, pem: str, authority: Authority):
        port = free_port()
        with (
            serve(MIRRORS[interface], **options("haproxy-h2")) as site,
            haproxy(directory, self.text(site, port, pem), [port]),
            secured(authority, port, protocol) as sock,
        ):
            asking = asker(sock)
            for fields in ({}, {"X-Forwarded-For": "6.6.6.6"}):
                told = asking.ask("/a?b", fields)
                assert (told["client"], told["scheme"], told["version"]) == ([CLIENT, 0], "https", "2")
                assert told["host"] == [AUTHORITY]

    @pytest.mark.spec("H-FWD-03", "H-FWD-05")
    def test_websockets_of_http1_clients_become_streams(self, directory: Path, pem: str, authority: Authority):
        port = free_port()
        with (
            serve(MIRRORS["asgi"], **options("haproxy-h2")) as site,
            haproxy(directory, self.text(site, port, pem), [port]),
        ):
            with secured(authority, port, "http/1.1") as sock:
                told = ask_socket(sock, "/socket")
            assert (told["client"], told["scheme"], told["version"]) == ([CLIENT, 0], "wss", "2")
            with secured(authority, port, "h2") as sock:
                told = Http2Asker(sock).ask_socket("/socket")
            assert (told["client"], told["scheme"], told["version"]) == ([CLIENT, 0], "wss", "2")


class TestProxyProtocol:
    @pytest.mark.spec("H-PP-06", "H-PP-09", "H-PP-11")
    @INTERFACES
    @PROTOCOLS
    def test_connections_passed_on_unopened(
        self, interface: str, protocol: str, asker: Any, directory: Path, pem: str, authority: Authority
    ):
        port = free_port()
        with serve(MIRRORS[interface], certfile=pem, **options("haproxy-tcp")) as site:
            changes = {"127.0.0.1:8443": f"{site.host}:{site.port}", "bind :443": f"bind 127.0.0.1:{port}"}
            with (
                haproxy(directory, configuration("haproxy-tcp", changes), [port]),
                secured(authority, port, protocol) as sock,
            ):
                asking = asker(sock)
                for _ in range(2):
                    told = asking.ask("/", SPOOFED)
                    assert (told["client"], told["server"]) == (list(sock.getsockname()), ["127.0.0.1", port])
                    assert told["scheme"] == "https"

    @pytest.mark.spec("H-PP-03", "H-PP-06", "H-PP-07", "H-PP-08", "H-PP-09", "H-PP-11")
    @INTERFACES
    @pytest.mark.parametrize("mode", ["tcp", "http"])
    @pytest.mark.parametrize(
        ("expected", "more"),
        [
            ("v1", "send-proxy"),
            ("v2", "send-proxy-v2"),
            ("any", "send-proxy"),
            ("any", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl,cert-cn"),
            ("any", "send-proxy-v2-ssl-cn"),
        ],
    )
    def test_every_form_of_the_header(self, interface: str, mode: str, expected: str, more: str, directory: Path):
        port = free_port()
        with serve(MIRRORS[interface], proxy_protocol=expected) as site:
            at = f"{site.host}:{site.port}"
            text = RELAY.format(mode=mode, port=port, tls="", site=at, more=more)
            with haproxy(directory, text, [port]), dial(("127.0.0.1", port), b"", CLIENT) as sock:
                asking = Http1Asker(sock)
                for _ in range(3):
                    told = asking.ask("/", {"X-Forwarded-For": "6.6.6.6"})
                    assert (told["client"], told["server"]) == (list(sock.getsockname()), ["127.0.0.1", port])

    @pytest.mark.spec("H-PP-09", "H-PP-11")
    @INTERFACES
    @pytest.mark.parametrize("more", ["send-proxy-v2-ssl-cn", "send-proxy-v2 proxy-v2-options crc32c,ssl,authority"])
    def test_tls_of_the_client_does_not_become_the_scheme(
        self, interface: str, more: str, directory: Path, pem: str, authority: Authority
    ):
        port = free_port()
        with serve(MIRRORS[interface], proxy_protocol="v2") as site:
            at = f"{site.host}:{site.port}"
            text = RELAY.format(mode="http", port=port, tls=f" ssl crt {pem} alpn h2", site=at, more=more)
            with haproxy(directory, text, [port]), secured(authority, port, "h2") as sock:
                told = Http2Asker(sock).ask("/")
                assert (told["client"], told["scheme"]) == (list(sock.getsockname()), "http")

    @pytest.mark.spec("H-PP-02", "H-PP-11")
    @INTERFACES
    @pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
    def test_the_proxy_speaks_tls_to_the_server_behind_its_header(
        self, interface: str, protocol: str, directory: Path, pem: str, authority: Authority
    ):
        port = free_port()
        certificate = authority.write(directory / "ca.pem")
        with serve(MIRRORS[interface], certfile=pem, proxy_protocol="v2") as site:
            more = f"send-proxy-v2 ssl ca-file {certificate} sni str({AUTHORITY}) alpn {protocol}"
            text = RELAY.format(mode="http", port=port, tls="", site=f"{site.host}:{site.port}", more=more)
            with haproxy(directory, text, [port]), dial(("127.0.0.1", port), b"", CLIENT) as sock:
                told = Http1Asker(sock).ask("/")
                assert (told["client"], told["scheme"]) == (list(sock.getsockname()), "https")
                assert told["version"] == ("2" if protocol == "h2" else "1.1")

    @pytest.mark.spec("H-PP-01", "H-PP-11")
    @pytest.mark.parametrize("more", ["send-proxy", "send-proxy-v2"])
    def test_over_a_unix_socket(self, more: str, directory: Path):
        port, path = free_port(), directory / "s"
        text = RELAY.format(mode="http", port=port, tls="", site=f"unix@{path}", more=more)
        with (
            serve(MIRRORS["asgi"], bind=[f"unix:{path}"], proxy_protocol="any"),
            haproxy(directory, text, [port]),
            dial(("127.0.0.1", port), b"", CLIENT) as sock,
            dial(("127.0.0.1", port), b"", CLIENT) as other,
        ):
            told = Http1Asker(sock).ask("/")
            assert (told["client"], told["server"]) == (list(sock.getsockname()), ["127.0.0.1", port])
            here = list(other.getsockname())
            assert ask_socket(other)["client"] == here

    @pytest.mark.spec("H-PP-05", "H-PP-06")
    @INTERFACES
    @pytest.mark.parametrize("more", ["send-proxy", "send-proxy-v2"])
    def test_health_checks_and_clients_of_unix_sockets(self, interface: str, more: str, directory: Path):
        port, front = free_port(), directory / "f"
        checks = "check check-send-proxy inter 50 fall 1 rise 1 init-addr none"
        with serve(MIRRORS[interface], proxy_protocol="any", forwarded="x-forwarded") as site:
            text = RELAY.format(
                mode="http",
                port=port,
                tls=f"\n    bind unix@{front}",
                site=f"{site.host}:{site.port}",
                more=f"{more} {checks}",
            )
            text = text.replace("    server", "    option httpchk GET /health\n    server")
            with haproxy(directory, text, [port]):
                for _ in range(20):
                    with dial(("127.0.0.1", port), b"", CLIENT) as sock:
                        assert Http1Asker(sock).ask("/")["client"] == list(sock.getsockname())
                with dial(str(front)) as sock:
                    # Of these HAProxy says UNKNOWN in version 1 and LOCAL in version 2: nothing of theirs is believed.
                    told = Http1Asker(sock).ask("/", SPOOFED)
                    assert (told["client"][0], told["scheme"]) == ("127.0.0.1", "http")
