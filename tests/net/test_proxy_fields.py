"""Forwarded fields on live connections: both interfaces, every protocol, mounts, root paths and the access log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.wire.proxy_bytes import CLIENT, SERVER, header, line
from trilithon.testing import Site, serve

from .mirror import AUTHORITY, MIRRORS, Http1Asker, Http2Asker, ask_socket, dial, mirror_asgi, mirror_wsgi
from .test_access_log import access  # noqa: F401

pytestmark = pytest.mark.real

ASKERS = pytest.mark.parametrize("asker", [Http1Asker, Http2Asker])
INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
LINE = line("TCP4", CLIENT[0], SERVER[0], CLIENT[1], SERVER[1])
NAMED = {"X-Forwarded-For": "6.6.6.6, 192.0.2.1", "X-Forwarded-Proto": "https"}
STANDARD = {"Forwarded": "for=6.6.6.6;proto=http, for=192.0.2.1;proto=https;host=public.example"}


def site_of(interface: str, **options: Any) -> Any:
    """Serve the mirror, believing X-Forwarded-* unless told otherwise."""
    return serve(MIRRORS[interface], **{"forwarded": "x-forwarded", "h2c": "on", **options})


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """One site for the tests that need no options of their own."""
    with site_of(request.param) as made:
        yield made


def ask(site: Site, path: str = "/", fields: dict[str, str] | None = None, asker: Any = Http1Asker) -> dict[str, Any]:
    """Return what the application was told of one request on a connection of its own."""
    with dial((site.host, site.port)) as sock:
        return dict(asker(sock).ask(path, fields))


@pytest.mark.spec("H-FWD-02", "H-FWD-05", "A-SCOPE-24")
@ASKERS
def test_each_request_of_a_connection_has_its_own_client(site, asker):
    with dial((site.host, site.port)) as sock:
        asking = asker(sock)
        for _ in range(2):
            told = asking.ask("/", NAMED)
            assert (told["client"], told["scheme"]) == (["192.0.2.1", 0], "https")
            told = asking.ask("/", {"X-Forwarded-For": "[2001:db8::1]:4711", "X-Forwarded-Proto": "http"})
            assert (told["client"], told["scheme"]) == (["2001:db8::1", 4711], "http")
            told = asking.ask("/")
            assert (told["client"], told["scheme"]) == (list(sock.getsockname()), "http")
            assert told["server"] == [site.host, site.port]


@pytest.mark.spec("H-FWD-03", "H-FWD-06")
@INTERFACES
@ASKERS
def test_the_standard_field(interface, asker):
    with site_of(interface, forwarded="forwarded") as site:
        told = ask(site, "/", {**STANDARD, "X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "http"}, asker)
        assert (told["client"], told["scheme"], told["host"]) == (["192.0.2.1", 0], "https", [AUTHORITY])
        assert ask(site, "/", {"Forwarded": "for=unknown"}, asker)["client"] is None


@pytest.mark.spec("H-FWD-01", "H-FWD-07", "A-SCOPE-24")
@INTERFACES
@ASKERS
@pytest.mark.parametrize("options", [{"forwarded": "none"}, {"trusted_proxies": ["10.0.0.0/8", "unix"]}])
def test_nothing_is_believed_unless_asked_for_and_trusted(interface, asker, options):
    with site_of(interface, **options) as site:
        told = ask(site, "/", {**NAMED, **STANDARD}, asker)
    assert (told["client"][0], told["scheme"]) == ("127.0.0.1", "http")
    fields = {tuple(each) for each in told["fields"]}
    assert {("x-forwarded-for", NAMED["X-Forwarded-For"]), ("forwarded", STANDARD["Forwarded"])} <= fields


@pytest.mark.spec("H-FWD-02", "H-FWD-05")
def test_websockets_have_the_client_and_their_own_schemes():
    with site_of("asgi") as site:
        for fields, scheme in ((NAMED, "wss"), ({**NAMED, "X-Forwarded-Proto": "ws"}, "ws")):
            with dial((site.host, site.port)) as sock:
                told = ask_socket(sock, "/", fields)
            assert (told["client"], told["scheme"]) == (["192.0.2.1", 0], scheme)
            with dial((site.host, site.port)) as sock:
                told = Http2Asker(sock).ask_socket("/", fields)
            assert (told["client"], told["scheme"]) == (["192.0.2.1", 0], scheme)


@pytest.mark.spec("H-FWD-01", "H-FWD-02")
@INTERFACES
def test_behind_a_unix_socket(interface, tmp_path: Path):
    path = str(tmp_path / "s")
    with site_of(interface, bind=[f"unix:{path}"]), dial(path) as sock:
        asking = Http1Asker(sock)
        assert asking.ask("/")["client"] is None
        told = asking.ask("/", NAMED)
        assert (told["client"], told["scheme"]) == (["192.0.2.1", 0], "https")


@pytest.mark.spec("H-FWD-04")
@ASKERS
@pytest.mark.parametrize(
    "fields",
    [
        {"X-Forwarded-For": "<script>"},
        {"X-Forwarded-For": "1.2.3.4:99999"},
        {"X-Forwarded-For": ",".join(["127.0.0.1"] * 500), "X-Forwarded-Proto": "gopher"},
        {
            "X-Forwarded-For": "\xff\xfe",
            "X-Forwarded-Port": "-1",
            "X-Forwarded-Host": "a b",
            "X-Forwarded-Prefix": "//x",
        },
    ],
)
def test_bad_values_are_no_error(site, asker, fields):
    if asker is Http2Asker:
        fields = {name: value.encode("ascii", "replace").decode() for name, value in fields.items()}
    told = ask(site, "/", fields, asker)
    assert told["client"] is None and told["scheme"] == "http" and told["server"] == [site.host, site.port]


@pytest.mark.spec("H-FWD-08")
@INTERFACES
@ASKERS
def test_host_and_port(interface, asker):
    fields = {"X-Forwarded-Host": "public.example:8443", "X-Forwarded-Port": "8443", "X-Forwarded-Proto": "https"}
    with site_of(interface, forwarded_host=True) as site:
        told = ask(site, "/", fields, asker)
        assert told["host"] == ["public.example:8443"]
        assert told["server"] == [site.host, 8443]
        assert ask(site, "/", {"X-Forwarded-Host": "no host"}, asker)["host"] == [AUTHORITY]
        assert ask(site, "/", {}, asker)["host"] == [AUTHORITY]
    with site_of(interface, forwarded="forwarded", forwarded_host=True) as site:
        assert ask(site, "/", STANDARD, asker)["host"] == ["public.example"]
    with site_of(interface) as site:
        assert ask(site, "/", fields, asker)["host"] == [AUTHORITY]


class TestPrefix:
    @pytest.mark.spec("H-FWD-08")
    @INTERFACES
    @pytest.mark.parametrize("path", ["/item", "/shop/item"])
    @pytest.mark.parametrize("prefix", ["/shop", "/shop/"])
    def test_it_is_the_root_path_whether_the_proxy_takes_it_off_or_not(self, interface, path, prefix):
        with site_of(interface, forwarded_prefix=True, root_path="/configured") as site:
            told = ask(site, path, {"X-Forwarded-Prefix": prefix})
            assert (told["root_path"], told["path"]) == ("/shop", "/shop/item")
            told = ask(site, "/item")
            assert (told["root_path"], told["path"]) == ("/configured", "/configured/item")
        with site_of(interface) as site:
            assert ask(site, "/item", {"X-Forwarded-Prefix": prefix})["root_path"] == ""

    @pytest.mark.spec("H-FWD-08")
    @pytest.mark.parametrize("path", ["/old/item", "/shop/old/item"])
    @pytest.mark.parametrize("mounted", ["asgi", "wsgi"])
    def test_mounts_are_below_it(self, mounted, path):
        mounts = {"/": mirror_asgi, "/old": MIRRORS[mounted]}
        with serve(
            None, mounts=mounts, forwarded="x-forwarded", forwarded_prefix=True, root_path="/configured"
        ) as site:
            told = ask(site, path, {"X-Forwarded-Prefix": "/shop"})
            assert (told["root_path"], told["path"]) == ("/shop/old", "/shop/old/item")
            told = ask(site, "/old/item")
            assert (told["root_path"], told["path"]) == ("/configured/old", "/configured/old/item")
            told = ask(site, "/item", {"X-Forwarded-Prefix": "/shop"})
            assert (told["root_path"], told["path"]) == ("/shop", "/shop/item")


@pytest.mark.spec("H-FWD-02")
@pytest.mark.parametrize("path", ["/", "/old"])
@ASKERS
def test_both_interfaces_of_one_site_believe_the_same(path, asker):
    mounts = {"/": mirror_asgi, "/old": mirror_wsgi}
    site_of_both = serve(None, mounts=mounts, forwarded="x-forwarded", h2c="on")
    with site_of_both as site, dial((site.host, site.port)) as sock:
        asking = asker(sock)
        for number in range(1, 20):
            told = asking.ask("/old" if number % 3 else path, {**NAMED, "X-Forwarded-For": f"192.0.2.{number}"})
            assert (told["client"], told["scheme"]) == ([f"192.0.2.{number}", 0], "https")


@pytest.mark.spec("H-FWD-02")
@INTERFACES
def test_the_access_log_names_the_client(interface, access):  # noqa: F811
    with site_of(interface, access_log="common") as site:
        for asker in (Http1Asker, Http2Asker):
            ask(site, "/", NAMED, asker)
    assert [each.split()[0] for each in access.lines] == ["192.0.2.1"] * 2


class TestBehindTheProxyProtocol:
    @pytest.mark.spec("H-FWD-01", "H-PP-11")
    @INTERFACES
    def test_the_fields_of_a_client_that_the_proxy_relays_are_not_believed(self, interface):
        with site_of(interface, proxy_protocol="any") as site, dial((site.host, site.port), LINE) as sock:
            told = Http1Asker(sock).ask("/", NAMED)
            assert (told["client"], told["scheme"]) == (list(CLIENT), "http")

    @pytest.mark.spec("H-FWD-01", "H-PP-11")
    @INTERFACES
    def test_those_of_a_proxy_behind_the_proxy_are(self, interface):
        options = {"proxy_protocol": "any", "trusted_proxies": ["127.0.0.1", CLIENT[0]]}
        with site_of(interface, **options) as site, dial((site.host, site.port), LINE) as sock:
            told = Http1Asker(sock).ask("/", NAMED)
            assert (told["client"], told["scheme"], told["server"]) == (["192.0.2.1", 0], "https", list(SERVER))

    @pytest.mark.spec("H-FWD-01", "H-PP-05", "H-PP-06")
    @INTERFACES
    @pytest.mark.parametrize(
        "first", [header(0, b"", command=0), header(0, b""), line("UNKNOWN"), header(0x12, bytes(12))]
    )
    def test_nobody_is_believed_whom_the_header_does_not_name(self, interface, first):
        # HAProxy says LOCAL of clients of its own Unix sockets.
        with site_of(interface, proxy_protocol="any") as site, dial((site.host, site.port), first) as sock:
            asking = Http1Asker(sock)
            for _ in range(2):
                told = asking.ask("/", NAMED)
                assert (told["client"], told["scheme"]) == (list(sock.getsockname()), "http")
