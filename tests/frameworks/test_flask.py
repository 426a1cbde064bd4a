"""A real Flask site through real clients."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask_site
import pytest
from real_clients import Client

from trilithon.testing import serve

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def site() -> Iterator[Any]:
    """Serve the Flask site once for all tests."""
    with serve(flask_site.app, threads=4) as served:
        yield served


def test_pages_and_queries(site: Any, client: Client) -> None:
    assert client.request("GET", site.url + "/?name=caf%C3%A9").text == "hello caf\u00e9"
    assert client.request("GET", site.url + "/").text == "hello nobody"


def test_addresses_as_flask_sees_them(site: Any, client: Client) -> None:
    reply = client.request("GET", site.url + "/url/a%20b/caf%C3%A9?x=1")
    seen = json.loads(reply.body)
    assert seen["rest"] == "a b/caf\u00e9"
    assert seen["url"].startswith(f"http://127.0.0.1:{site.port}/url/a")
    assert (seen["root"], seen["remote"]) == ("", "127.0.0.1")


def test_a_session_lives_in_its_cookie(site: Any, client: Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = client.request("POST", site.url + "/login", b"name=Grace+Hopper", form)
    assert (reply.status, reply.one("Location")) == (302, "/whoami")
    cookie = reply.one("Set-Cookie").split(";")[0]
    assert client.request("GET", site.url + "/whoami", fields={"Cookie": cookie}).text == "Grace Hopper"
    assert client.request("GET", site.url + "/whoami").text == "a stranger"


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_file_upload(site: Any, client: Client, size: int) -> None:
    content = bytes(number * 7 % 256 for number in range(256)) * (size // 256) + b"\r\n--x"
    seen = json.loads(client.upload(site.url + "/upload", "some file.bin", content).body)
    assert seen == {
        "name": "some file.bin",
        "size": len(content),
        "digest": hashlib.sha256(content).hexdigest(),
        "note": "hello",
    }


@pytest.mark.parametrize("size", [0, 1, 65_536, 2_500_000])
def test_bodies_come_back(site: Any, client: Client, size: int) -> None:
    fields = {"Content-Type": "application/octet-stream"}
    reply = client.request("PUT", site.url + "/echo", b"z" * size, fields)
    assert (reply.status, reply.body, reply.one("Content-Type")) == (200, b"z" * size, "application/octet-stream")


def test_streaming_sees_the_request_to_the_end(site: Any, client: Client) -> None:
    reply = client.request("GET", site.url + "/stream")
    assert reply.text == "".join(f"/stream {number}\n" for number in range(100))


def test_files_ranges_and_conditions(site: Any, client: Client) -> None:
    whole = client.request("GET", site.url + "/download")
    assert (whole.body, whole.one("Content-Length")) == (flask_site.DOWNLOAD, str(len(flask_site.DOWNLOAD)))
    part = client.request("GET", site.url + "/download", fields={"Range": "bytes=1000-70000"})
    assert (part.status, part.body) == (206, flask_site.DOWNLOAD[1000:70001])
    same = client.request("GET", site.url + "/download", fields={"If-None-Match": whole.one("ETag")})
    assert (same.status, same.body) == (304, b"")
    head = client.request("HEAD", site.url + "/download")
    assert (head.status, head.body, head.one("Content-Length")) == (200, b"", str(len(flask_site.DOWNLOAD)))


def test_a_file_of_the_disk(site: Any, client: Client) -> None:
    assert flask_site.__file__ is not None
    assert client.request("GET", site.url + "/source").body == Path(flask_site.__file__).read_bytes()


@pytest.mark.parametrize(("path", "status"), [("/fail", 500), ("/teapot", 418), ("/none", 404), ("/upload", 405)])
def test_errors_are_flasks_own(site: Any, client: Client, path: str, status: int) -> None:
    reply = client.request("GET", site.url + path)
    assert reply.status == status
    assert "secret" not in reply.text
    assert path != "/none" or reply.text == "own page for what is missing"


def test_several_cookies_and_no_content(site: Any, client: Client) -> None:
    reply = client.request("GET", site.url + "/cookies")
    assert (reply.status, reply.body) == (204, b"")
    assert [cookie.split(";")[0] for cookie in reply.fields["set-cookie"]] == ["first=1", "second=2"]
