"""The environ of a request: its type, its CGI keys, and where each value comes from."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from raw_client import RawClient, chunked, fetch
from wsgi_apps import Keep, hello

from trilithon.foundation.errors import ConfigError
from trilithon.gateway.wsgi_environ import tls_variables
from trilithon.testing import serve
from trilithon.wire.exchange import TlsFacts

pytestmark = pytest.mark.real

HERE = str(Path(__file__).parent)

CGI_KEYS = {
    "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_NAME",
    "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE", "REMOTE_ADDR", "REMOTE_PORT", "REMOTE_HOST", "REQUEST_URI",
    "RAW_URI", "REQUEST_SCHEME", "GATEWAY_INTERFACE",
}  # fmt: skip


def environ_of(target: str | bytes = "/", method: str = "GET", **parts: Any) -> dict[str, Any]:
    """Serve one request and return the environ that the application got."""
    application = Keep()
    with serve(application) as site:
        assert fetch(site, target, method, **parts).status == 200
    return application.last


@pytest.mark.spec("W-ENV-01", "W-VAL-02")
def test_a_fresh_plain_dict_for_each_request() -> None:
    seen: list[tuple[type, bool]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((type(environ), "left.over" in environ or "wsgi.version" not in environ))
        answer = hello(environ, start_response)
        environ["left.over"] = "1"
        environ["SERVER_NAME"] = "changed"
        del environ["wsgi.version"]
        return answer

    with serve(application, threads=1) as site, RawClient(site) as client:
        for _ in range(3):
            assert client.ask().status == 200
    assert seen == [(dict, False)] * 3


@pytest.mark.spec("W-ENV-02", "W-ENV-22", "W-VAL-05")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_cgi_values_are_exactly_str(version: str) -> None:
    environ = environ_of(
        "/a?b", "POST", fields=[("X-A", "1"), ("Authorization", "Basic eDp5")], body=b"abc", version=version
    )
    kinds = {key: type(value) for key, value in environ.items() if "." not in key}
    assert set(kinds.values()) == {str}
    assert not kinds.keys() & {"REMOTE_USER", "AUTH_TYPE", "REMOTE_IDENT", "PATH_TRANSLATED"}


@pytest.mark.spec("W-ENV-03", "W-ENV-19")
def test_values_are_bytes_as_latin_1() -> None:
    environ = environ_of("/%ff%e2%82%ac?q=%ff", fields=[("X-Name", b"caf\xe9 \xe2\x82\xac")])
    assert all(ord(max(value, default=" ")) < 256 for value in environ.values() if isinstance(value, str))
    assert environ["HTTP_X_NAME"] == "caf\xe9 \xe2\x82\xac"
    assert environ["PATH_INFO"] == "/\xff\xe2\x82\xac"


@pytest.mark.spec("W-ENV-04")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "PROPFIND", "M-SEARCH"])
def test_request_method(method: str) -> None:
    assert environ_of("/", method)["REQUEST_METHOD"] == method


@pytest.mark.spec("W-ENV-05", "W-ENV-07", "W-VAL-09")
def test_script_name_is_empty_at_the_root() -> None:
    environ = environ_of("/")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/")


@pytest.mark.spec("W-ENV-05", "W-ENV-08")
@pytest.mark.parametrize(
    ("target", "path_info"),
    [("/api", ""), ("/api/", "/"), ("/api/x/y", "/x/y"), ("/api/api", "/api"), ("/api//x", "//x")],
)
def test_root_path_is_the_script_name(target: str, path_info: str) -> None:
    application = Keep()
    with serve(application, root_path="/api") as site:
        fetch(site, target)
    assert (application.last["SCRIPT_NAME"], application.last["PATH_INFO"]) == ("/api", path_info)


@pytest.mark.spec("W-ENV-05")
@pytest.mark.parametrize("root_path", ["/", "/api/", "api"])
def test_a_root_path_that_is_no_script_name_is_repaired_or_refused(root_path: str) -> None:
    application = Keep()
    try:
        with serve(application, root_path=root_path) as site:
            fetch(site, "/api/x")
    except ConfigError as error:
        assert "root_path" in str(error)
    else:
        expected = "" if root_path == "/" else "/api"
        assert application.last["SCRIPT_NAME"] == expected
        assert application.last["SCRIPT_NAME"] + application.last["PATH_INFO"] == "/api/x"


@pytest.mark.spec("W-ENV-06")
@pytest.mark.parametrize(
    ("target", "path_info"),
    [
        ("/caf%C3%A9", "/caf\xc3\xa9"),
        ("/a%2Fb", "/a/b"),
        ("/a%2fb%20c+d", "/a/b c+d"),
        ("/%2541", "/%41"),
        ("/%E9%80", "/\xe9\x80"),
        ("/a;b=1,2/c", "/a;b=1,2/c"),
        ("/a%3Fb?c", "/a?b"),
        ("//a//b/", "//a//b/"),
        ("/a/../b/./c", "/a/../b/./c"),
    ],
)
def test_path_info_is_decoded_once_and_nothing_else(target: str, path_info: str) -> None:
    assert environ_of(target)["PATH_INFO"] == path_info


@pytest.mark.spec("W-ENV-08")
@pytest.mark.parametrize("target", ["/api/x%20y", "/api", "/api/", "/api/caf%C3%A9"])
def test_script_name_and_path_info_make_the_request_path(target: str) -> None:
    application = Keep()
    with serve(application, root_path="/api") as site:
        fetch(site, target)
    whole = application.last["SCRIPT_NAME"] + application.last["PATH_INFO"]
    assert whole == target.replace("%20", " ").replace("%C3%A9", "\xc3\xa9")


@pytest.mark.spec("W-ENV-08")
@pytest.mark.parametrize("target", ["/apifoo", "/ap", "/", "/other/api", "/API"])
def test_a_path_outside_the_mount_is_not_found(target: str) -> None:
    with serve(None, mounts=["/api=wsgi_apps:describe"], app_dir=HERE) as site:
        assert fetch(site, target).status == 404
        environ = json.loads(fetch(site, "/api/x").body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/api", "/x")


@pytest.mark.spec("W-ENV-08")
def test_a_path_outside_the_root_path_is_never_sliced() -> None:
    application = Keep()
    with serve(application, root_path="/api") as site:
        status = fetch(site, "/apifoo").status
    assert status == 404 or application.last["PATH_INFO"] == "/apifoo"


@pytest.mark.spec("W-ENV-09")
@pytest.mark.parametrize(
    ("target", "query"),
    [("/", ""), ("/?", ""), ("/?a=%20b&c=%C3%A9", "a=%20b&c=%C3%A9"), ("/?a?b", "a?b"), ("/?a/../b+c", "a/../b+c")],
)
def test_query_string_is_raw_and_always_there(target: str, query: str) -> None:
    assert environ_of(target)["QUERY_STRING"] == query


@pytest.mark.spec("W-ENV-09")
def test_raw_bytes_in_the_query_crash_nothing() -> None:
    application = Keep()
    with serve(application) as site:
        assert fetch(site, b"/?a=\xe9").status == 400
        assert fetch(site, b"/?a=b").status == 200
    assert [environ["QUERY_STRING"] for environ in application.environs] == ["a=b"]


@pytest.mark.spec("W-ENV-10", "W-ENV-11", "W-VAL-04")
def test_content_type_and_length_have_their_own_keys() -> None:
    environ = environ_of("/", "POST", fields=[("content-type", "text/x; a=b")], body=b"12345")
    assert environ["CONTENT_TYPE"] == "text/x; a=b"
    assert environ["CONTENT_LENGTH"] == "5"
    assert not environ.keys() & {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"}


@pytest.mark.spec("W-ENV-10", "W-ENV-11")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_content_type_and_length_are_not_invented(method: str) -> None:
    environ = environ_of("/", method)
    assert environ.get("CONTENT_TYPE", "") == ""
    assert environ.get("CONTENT_LENGTH", "") == ""


@pytest.mark.spec("W-ENV-12", "W-WSGI-06", "W-HOP-01")
@pytest.mark.parametrize("size", [5, 300_000])
def test_a_chunked_body_has_no_length_and_no_coding(size: int) -> None:
    environ = environ_of("/", "POST", fields=[("Transfer-Encoding", "chunked")], body=chunked(b"x" * size))
    # Known where the body was complete before the call.
    assert environ.get("CONTENT_LENGTH") == (str(size) if 0 < size < 65536 else None)
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert environ["wsgi.input_terminated"] is True


@pytest.mark.spec("W-ENV-12")
def test_a_larger_buffer_holds_a_larger_body_over_http1() -> None:
    application = Keep()
    with serve(application, request_buffer_bytes=400_000) as site:
        fetch(site, "/", "POST", fields=[("Transfer-Encoding", "chunked")], body=chunked(b"x" * 300_000))
    assert application.last["CONTENT_LENGTH"] == "300000"


@pytest.mark.spec("W-ENV-13")
def test_server_name_and_port_without_a_host() -> None:
    application = Keep()
    with serve(application) as site:
        fetch(site, version="1.0")
    assert application.last["SERVER_NAME"]
    assert application.last["SERVER_PORT"] == str(site.port)
    assert "HTTP_HOST" not in application.last


@pytest.mark.spec("W-ENV-13", "W-ENV-20", "W-ENV-02")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_unix_socket_has_a_server_name_and_no_peer(version: str, tmp_path: Path) -> None:
    application = Keep()
    path = str(tmp_path / "s")
    with serve(application, bind=[f"unix:{path}"]), RawClient(path=path) as client:
        assert client.ask(version=version).status == 200
    environ = application.last
    assert environ["SERVER_NAME"] and environ["SERVER_PORT"]
    assert not environ.keys() & {"REMOTE_ADDR", "REMOTE_PORT"}
    assert {type(value) for key, value in environ.items() if "." not in key} == {str}


@pytest.mark.spec("W-ENV-14")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_server_protocol_is_the_clients(version: str) -> None:
    assert environ_of(version=version)["SERVER_PROTOCOL"] == f"HTTP/{version}"


@pytest.mark.spec("W-ENV-20")
def test_the_peers_address() -> None:
    application = Keep()
    with serve(application) as site, RawClient(site) as client:
        client.ask()
        host, port = client.socket.getsockname()[:2]
    assert (application.last["REMOTE_ADDR"], application.last["REMOTE_PORT"]) == (host, str(port))


@pytest.mark.spec("W-ENV-23")
def test_keys_of_the_server_itself_are_lower_case_and_prefixed() -> None:
    environ = environ_of(fields=[("X-A", "1")])
    own = [key for key in environ if key not in CGI_KEYS and not key.startswith(("HTTP_", "wsgi."))]
    assert all(key.startswith("trilithon.") and key == key.lower() for key in own), own


@pytest.mark.spec("W-ENV-24")
def test_absolute_form_gives_the_path_and_the_authority() -> None:
    environ = environ_of("http://site.example:8080/a%20b?c", fields=[("Host", "site.example:8080")])
    assert environ["PATH_INFO"] == "/a b"
    assert environ["QUERY_STRING"] == "c"
    assert environ["HTTP_HOST"] == "site.example:8080"


@pytest.mark.spec("W-ENV-24", "W-VAL-09")
def test_options_asterisk_has_an_empty_path() -> None:
    environ = environ_of("*", "OPTIONS")
    assert (environ["REQUEST_METHOD"], environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("OPTIONS", "", "")


@pytest.mark.spec("W-ENV-25")
def test_the_process_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = uuid.uuid4().hex
    monkeypatch.setenv("DATABASE_PASSWORD", secret)
    environ = environ_of()
    assert secret not in repr(environ)
    assert not {key for key in os.environ if key in environ}


@pytest.mark.spec("W-EXT-02")
def test_the_deployer_injects_variables() -> None:
    application = Keep()
    with serve(application, environ=["SITE_MODE=blue=green", "site.setting=", "SERVER_ADMIN=me"]) as site:
        for _ in range(2):
            fetch(site)
    for environ in application.environs:
        assert (environ["SITE_MODE"], environ["site.setting"], environ["SERVER_ADMIN"]) == ("blue=green", "", "me")


@pytest.mark.spec("W-ENV-03", "W-ENV-21")
def test_the_name_of_a_client_is_octets_like_everything_else() -> None:
    facts = TlsFacts()
    facts.client_chain, facts.client_name = ("PEM",), "CN=\u0141ukasz \u6771\u4eac"
    told = tls_variables(facts)["SSL_CLIENT_S_DN"]
    assert told.encode("latin-1").decode("utf-8") == facts.client_name
