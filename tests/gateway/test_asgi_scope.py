"""The HTTP scope: every key, from exact bytes on the wire."""

import pathlib
from typing import Any

import pytest
from asgi_apps import Notes, both_loops, http_only, respond
from wire_client import Wire, ask, request

from trilithon.foundation.errors import ConfigError
from trilithon.testing import serve

pytestmark = pytest.mark.real


class Site:
    """A served application that notes its scopes, and the connection to it."""

    def __init__(self, **options: Any) -> None:
        self.notes = Notes()
        self.options = options

    def __enter__(self) -> "Site":
        @http_only
        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.notes.add(scope)
            await respond(send)

        self.context = serve(app, **self.options)
        self.site = self.context.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> Any:
        return self.context.__exit__(*exc_info)

    def scope(self, target: str = "/", *lines: str, method: str = "GET", version: str = "1.1") -> Any:
        with Wire(self.site) as wire:
            wire.get(target, *lines, method=method, version=version)
            assert wire.answer(method).status == 200
        return self.notes.next()

    def refused(self, data: bytes) -> int:
        """Send `data`; return the error's status after which the connection ends, the application not called."""
        with Wire(self.site) as wire:
            wire.send(data)
            answer = wire.answer()
            assert wire.has_ended()
        assert self.notes.rest() == []
        return answer.status


@both_loops
@pytest.mark.spec("A-SCOPE-01", "A-SCOPE-02", "A-SCOPE-03", "A-SCOPE-20", "A-SCOPE-25")
def test_the_plain_keys(loop: str) -> None:
    with Site(loop=loop) as site:
        scope = site.scope("/")
        assert scope["http_version"] == "1.1"
        assert scope["method"] == "GET"
        assert scope["scheme"] == "http"
        assert scope["root_path"] == ""
        assert scope["raw_path"] == b"/"
        assert scope["query_string"] == b""
        assert list(scope["server"]) == [site.site.host, site.site.port]
        assert {"type", "asgi", "extensions", "headers", "client", "path", "state"} <= scope.keys()
        assert site.scope("/", version="1.0")["http_version"] == "1.0"


@pytest.mark.spec("A-SCOPE-01")
@pytest.mark.parametrize("version", ["2.0", "3.0", "0.9", "1.2x", "1", "1.1.1"])
def test_no_other_version_reaches_the_application(version: str) -> None:
    with Site() as site:
        assert site.refused(request(version=version)) in (400, 505)


@pytest.mark.spec("A-SCOPE-02")
@pytest.mark.parametrize("method", ["POST", "PURGE", "M-SEARCH", "QUERY"])
def test_any_upper_case_method_is_passed_on(method: str) -> None:
    with Site() as site:
        found = site.scope("/", method=method)["method"]
        assert type(found) is str
        assert found == method


@pytest.mark.spec("A-SCOPE-02")
@pytest.mark.parametrize("method", ["get", "Get", "gET"])
def test_a_lower_case_method_is_refused(method: str) -> None:
    with Site() as site:
        assert site.refused(request(method=method)) == 400


TARGETS = [
    ("/caf%C3%A9", "/café", b"/caf%C3%A9", b""),
    ("/a%2Fb", "/a/b", b"/a%2Fb", b""),
    ("/%2541", "/%41", b"/%2541", b""),
    ("/a+b%20c", "/a+b c", b"/a+b%20c", b""),
    ("/%e2%82%ac", "/€", b"/%e2%82%ac", b""),
    ("/%f0%9f%8c%8d", "/🌍", b"/%f0%9f%8c%8d", b""),
    ("/a/../b/./c//D", "/a/../b/./c//D", b"/a/../b/./c//D", b""),
    ("//evil", "//evil", b"//evil", b""),
    ("/a;b=1,2", "/a;b=1,2", b"/a;b=1,2", b""),
    ("/%00", "/\x00", b"/%00", b""),
    ("/%0d%0aX", "/\r\nX", b"/%0d%0aX", b""),
    ("/a?b?c", "/a", b"/a", b"b?c"),
    ("/?", "/", b"/", b""),
    ("/?a=%20+%zz&b=%C3%A9", "/", b"/", b"a=%20+%zz&b=%C3%A9"),
    ("/a%3Fb?c", "/a?b", b"/a%3Fb", b"c"),
    ("/%23?x", "/#", b"/%23", b"x"),
]


@both_loops
@pytest.mark.spec("A-SCOPE-04", "A-SCOPE-06", "A-SCOPE-07", "A-SCOPE-08")
def test_paths_and_queries(loop: str) -> None:
    with Site(loop=loop) as site:
        for target, path, raw_path, query in TARGETS:
            scope = site.scope(target)
            assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query), target
            assert type(scope["path"]) is str
            assert type(scope["raw_path"]) is bytes
            assert type(scope["query_string"]) is bytes


@pytest.mark.spec("A-SCOPE-05", "A-SCOPE-07")
@pytest.mark.parametrize(
    ("target", "path"),
    [("/%ff", "/\ufffd"), ("/a%C3", "/a\ufffd"), ("/%C3%28", "/\ufffd("), ("/%ED%A0%80", "/\ufffd\ufffd\ufffd")],
)
def test_invalid_utf_8_becomes_replacement_characters(target: str, path: str) -> None:
    with Site() as site:
        scope = site.scope(target)
        assert scope["path"] == path
        assert scope["raw_path"] == target.encode()


@pytest.mark.spec("A-SCOPE-06")
@pytest.mark.parametrize("target", ["/%zz", "/%", "/%4", "/%4g/%41"])
def test_a_malformed_percent_stays_literal_or_is_refused(target: str) -> None:
    with Site() as site, Wire(site.site) as wire:
        answer = wire.ask(target)
        assert answer.status in (200, 400)
        if answer.status == 200:
            scope = site.notes.next()
            assert scope["path"] == target.replace("%41", "A")
            assert scope["raw_path"] == target.encode()
        else:
            assert site.notes.rest() == []


@pytest.mark.spec("A-SCOPE-09")
@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        ("http://h:81/p?q", "h:81", "/p", b"q"),
        ("http://h", "h", "/", b""),
        ("http://h/", "h", "/", b""),
        ("http://h?q", "h", "/", b"q"),
        ("http://h/caf%C3%A9", "h", "/café", b""),
    ],
)
def test_an_absolute_form_gives_its_path_and_its_authority_as_host(
    target: str, host: str, path: str, query: bytes
) -> None:
    with Site() as site:
        scope = site.scope(target, f"Host: {host}")
        assert (scope["path"], scope["query_string"]) == (path, query)
        assert [value for name, value in scope["headers"] if name == b"host"] == [host.encode()]
        assert scope["scheme"] == "http"


@pytest.mark.spec("A-SCOPE-09")
def test_the_raw_path_of_an_absolute_form_holds_no_authority() -> None:
    with Site() as site:
        assert site.scope("http://h:81/p%41?q", "Host: h:81")["raw_path"] == b"/p%41"


@pytest.mark.spec("A-SCOPE-09")
def test_an_absolute_form_that_contradicts_host_is_refused() -> None:
    with Site() as site:
        assert site.refused(request("http://evil/", "Host: good")) == 400


@pytest.mark.spec("A-SCOPE-10")
def test_options_asterisk() -> None:
    with Site() as site:
        scope = site.scope("*", method="OPTIONS")
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("*", b"*", b"")


@pytest.mark.spec("A-SCOPE-10")
def test_connect_never_reaches_the_application() -> None:
    with Site() as site:
        assert site.refused(request("example.com:443", "Host: example.com:443", method="CONNECT")) == 405


@pytest.mark.spec("A-SCOPE-11", "A-SCOPE-12", "A-SCOPE-07")
def test_root_path_with_a_proxy_that_keeps_or_strips_it() -> None:
    expected = {
        "/api/x": "/api/x",
        "/api": "/api",
        "/api/": "/api/",
        "/x": "/api/x",
        "/": "/api/",
        "/apix": "/api/apix",
        "/API/x": "/api/API/x",
        "/caf%C3%A9": "/api/café",
    }
    with Site(root_path="/api") as site:
        for target, path in expected.items():
            scope = site.scope(target + "?q")
            assert (scope["root_path"], scope["path"]) == ("/api", path)
            assert scope["raw_path"] == target.encode()
            assert scope["query_string"] == b"q"
        assert site.scope("*", method="OPTIONS")["path"] == "*"


@pytest.mark.spec("A-SCOPE-11")
@pytest.mark.parametrize("root_path", ["/api/", "api", "/"])
def test_a_root_path_in_another_form_is_refused(root_path: str) -> None:
    with pytest.raises(ConfigError, match="root_path"), Site(root_path=root_path):
        raise AssertionError("served")


@both_loops
@pytest.mark.spec("A-SCOPE-13", "A-SCOPE-14", "A-SCOPE-15")
def test_headers_in_order_lower_case_trimmed_and_byte_for_byte(loop: str) -> None:
    lines = [
        "Host: test",
        "X-A: 1",
        "X-b:2",
        "x-a:  \t 3 4\t ",
        "X-EMPTY:",
        "X-Blank:   ",
        "Cookie: a=1",
        "cookie: b=2",
        "X-Bytes: \x80\xff\xe9",
        "X-Tab: a\tb",
        "x_under_score: kept",
        "!#$%&'*+.^`|~: odd",
    ]
    with Site(loop=loop) as site:
        headers = site.scope("/", *lines)["headers"]
    assert [tuple(item) for item in headers] == [
        (b"host", b"test"),
        (b"x-a", b"1"),
        (b"x-b", b"2"),
        (b"x-a", b"3 4"),
        (b"x-empty", b""),
        (b"x-blank", b""),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"x-bytes", b"\x80\xff\xe9"),
        (b"x-tab", b"a\tb"),
        (b"x_under_score", b"kept"),
        (b"!#$%&'*+.^`|~", b"odd"),
    ]
    assert all(type(name) is bytes and type(value) is bytes for name, value in headers)


@pytest.mark.spec("A-SCOPE-16")
@pytest.mark.parametrize("line", [":authority: evil", ":path: /x", ": x"])
def test_no_pseudo_field_comes_through_http_1(line: str) -> None:
    with Site() as site:
        assert site.refused(request("/", line)) == 400


@pytest.mark.spec("A-SCOPE-17")
def test_no_host_is_invented() -> None:
    with Site() as site, Wire(site.site) as wire:
        wire.send(b"GET / HTTP/1.0\r\nX-A: b\r\n\r\n")
        assert wire.answer().status == 200
        assert [tuple(item) for item in site.notes.next()["headers"]] == [(b"x-a", b"b")]


@pytest.mark.spec("A-SCOPE-19", "A-SCOPE-20")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_client_and_server_are_a_host_and_a_port(host: str) -> None:
    bind = f"[{host}]:0" if ":" in host else f"{host}:0"
    with Site(bind=[bind]) as site, Wire(tuple(site.site.server.addresses[0])) as wire:
        wire.ask()
        scope = site.notes.next()
        client_host, client_port = scope["client"]
        server_host, server_port = scope["server"]
        assert (client_host, client_port) == wire.socket.getsockname()[:2]
        assert (server_host, server_port) == wire.socket.getpeername()[:2]
        assert [type(value) for value in (client_host, client_port, server_host, server_port)] == [str, int, str, int]


@pytest.mark.spec("A-SCOPE-19", "A-SCOPE-20")
def test_a_unix_peer_has_no_client_and_its_server_no_port(tmp_path: pathlib.Path) -> None:
    place = str(tmp_path / "socket")
    with Site(bind=[f"unix:{place}"]) as site, Wire(place) as wire:
        assert wire.ask().status == 200
        scope = site.notes.next()
        assert scope["client"] is None
        assert list(scope["server"]) == [place, None]


@both_loops
@pytest.mark.spec("A-SCOPE-21", "A-LIFE-12", "A-LIFE-14")
def test_state_is_a_shallow_copy_for_every_request(loop: str) -> None:
    shared: list[Any] = []
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["shared"] = shared
            scope["state"]["number"] = 1
            app_state.append(scope["state"])
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        notes.add((scope["state"], dict(scope["state"])))
        scope["state"]["number"] = 2
        scope["state"]["mine"] = True
        await respond(send)

    app_state: list[Any] = []
    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.ask()
            wire.ask()
        app_state[0]["late"] = "added while running"
        ask(site)
    seen = notes.rest()
    states, contents = [state for state, _ in seen], [content for _, content in seen]
    assert contents[:2] == [{"shared": shared, "number": 1}] * 2
    assert contents[2] == {"shared": shared, "number": 1, "late": "added while running"}
    assert len({id(state) for state in [*states, app_state[0]]}) == 4
    assert all(type(state) is dict for state in states)
    assert all(content["shared"] is shared for content in contents)


@pytest.mark.spec("A-SCOPE-22")
@pytest.mark.parametrize("lifespan", ["off", "auto"])
def test_state_is_an_empty_dict_without_a_lifespan(lifespan: str) -> None:
    with Site(lifespan=lifespan) as site:
        first, second = site.scope()["state"], site.scope()["state"]
        assert first == second == {}
        assert first is not second


@pytest.mark.spec("A-SCOPE-24", "A-SCOPE-03")
def test_an_untrusted_peer_does_not_change_client_scheme_or_host() -> None:
    with Site() as site:
        scope = site.scope(
            "/",
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil",
            "Forwarded: for=203.0.113.9;proto=https;host=evil",
        )
        assert scope["client"][0] == "127.0.0.1"
        assert scope["scheme"] == "http"
        assert (b"host", b"test") in [tuple(item) for item in scope["headers"]]
        assert len(scope["headers"]) == 5
