"""Request fields as HTTP_* keys of environ: names, repeats, and the fields that must not get through."""

from typing import Any

import pytest
from raw_client import RawClient, fetch, request_bytes
from wsgi_apps import Keep

from trilithon.testing import serve

pytestmark = pytest.mark.real


def environ_of(*fields: tuple[str, str | bytes], **options: Any) -> dict[str, Any]:
    """Serve one request with `fields` and return the environ that the application got."""
    application = Keep()
    with serve(application, **options) as site:
        assert fetch(site, fields=fields).status == 200
    return application.last


def http_keys(environ: dict[str, Any]) -> dict[str, str]:
    """Return the HTTP_* keys without Host."""
    return {key: value for key, value in environ.items() if key.startswith("HTTP_") and key != "HTTP_HOST"}


@pytest.mark.spec("W-ENV-15")
def test_fields_become_upper_case_keys() -> None:
    environ = environ_of(
        ("X-Some-Thing", "a b"), ("accept", "*/*"), ("x", "1"), ("If-None-Match", '"e"'), ("Empty", "")
    )
    assert environ["HTTP_HOST"] == "test.example"
    assert http_keys(environ) == {
        "HTTP_X_SOME_THING": "a b",
        "HTTP_ACCEPT": "*/*",
        "HTTP_X": "1",
        "HTTP_IF_NONE_MATCH": '"e"',
        "HTTP_EMPTY": "",
    }


@pytest.mark.spec("W-ENV-15")
def test_fields_of_one_request_are_not_in_the_next() -> None:
    application = Keep()
    with serve(application, threads=1) as site, RawClient(site) as client:
        client.ask(fields=[("X-First", "1"), ("Content-Type", "text/first")])
        client.ask(fields=[("X-Second", "2")])
    assert http_keys(application.last) == {"HTTP_X_SECOND": "2"}
    assert application.last.get("CONTENT_TYPE", "") == ""


@pytest.mark.spec("W-ENV-16")
def test_repeated_fields_are_joined_in_order() -> None:
    environ = environ_of(
        ("X-A", "1"), ("Cookie", "a=1"), ("x-a", "2, 3"), ("Cookie", "b=2"), ("X-A", "4"), ("Accept", "a")
    )
    assert environ["HTTP_X_A"] == "1,2, 3,4"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_ACCEPT"] == "a"


@pytest.mark.spec("W-ENV-17")
def test_underscores_cannot_pose_as_hyphens() -> None:
    environ = environ_of(
        ("X_Forwarded_For", "6.6.6.6"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X_Forwarded-For", "6.6.6.7"),
        ("Content_Length", "5"),
        ("Content_Type", "text/evil"),
        ("_", "x"),
    )
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.2.3.4"
    assert http_keys(environ) == {"HTTP_X_FORWARDED_FOR": "1.2.3.4"}
    assert environ.get("CONTENT_LENGTH", "") == ""
    assert environ.get("CONTENT_TYPE", "") == ""


@pytest.mark.spec("W-ENV-17")
def test_underscores_are_refused_on_request() -> None:
    application = Keep()
    with serve(application, underscore_fields="refuse") as site:
        assert fetch(site, fields=[("X_A", "1")]).status == 400
        assert fetch(site, fields=[("X-A", "1")]).status == 200
    assert len(application.environs) == 1


@pytest.mark.spec("W-ENV-18")
@pytest.mark.parametrize("name", ["Proxy", "proxy", "PROXY"])
def test_a_client_cannot_set_http_proxy(name: str) -> None:
    environ = environ_of((name, "http://evil.example/"), ("Proxy-Authorization", "Basic eDp5"))
    assert http_keys(environ) == {"HTTP_PROXY_AUTHORIZATION": "Basic eDp5"}


@pytest.mark.spec("W-ENV-19")
def test_obs_text_survives_as_latin_1() -> None:
    environ = environ_of(("X-Name", b"\x80\xe9\xff"), ("X-Long", b"a" * 3000 + b"\xfe"))
    assert environ["HTTP_X_NAME"] == "\x80\xe9\xff"
    assert environ["HTTP_X_LONG"] == "a" * 3000 + "\xfe"


@pytest.mark.spec("W-ENV-15", "W-ENV-16")
def test_many_fields_keep_their_values() -> None:
    fields = [(f"X-Field-{number}", f"value {number}") for number in range(80)]
    assert http_keys(environ_of(*fields)) == {f"HTTP_X_FIELD_{number}": f"value {number}" for number in range(80)}


@pytest.mark.spec("W-VAL-10")
@pytest.mark.parametrize("length", ["+5", "-1", "5_0", " ", "5, 5", "0x5", "\u0665".encode()])
def test_a_content_length_that_python_would_read_is_refused(length: str | bytes) -> None:
    application = Keep()
    with serve(application) as site, RawClient(site) as client:
        client.send(request_bytes("/", "POST", fields=[("Content-Length", length)]), b"12345")
        assert client.answer().status == 400
    assert application.environs == []
