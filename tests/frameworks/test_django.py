"""A real Django project through real clients, once as WSGI and once as ASGI."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django_site
import pytest
from real_clients import Client

from trilithon.testing import serve

pytestmark = [
    pytest.mark.real,
    # Django's own remark on a plain iterator behind ASGI and the reverse, which are tested on purpose.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning"),
]

APPLICATIONS = {"wsgi": django_site.application, "asgi": django_site.asgi_application}


@pytest.fixture(scope="module", params=APPLICATIONS)
def site(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Serve the project once for all tests, through each interface."""
    with serve(APPLICATIONS[request.param], threads=4) as served:
        yield served


def test_a_sync_view(site: Any, client: Client) -> None:
    seen = json.loads(client.request("GET", site.url + "/sync/?name=caf%C3%A9").body)
    assert seen == {"hello": "caf\u00e9", "loop": False, "script": ""}


def test_an_async_view(site: Any, client: Client) -> None:
    assert json.loads(client.request("GET", site.url + "/async/").body) == {"async": True, "path": "/async/"}


@pytest.mark.parametrize("path", ["/stream/", "/async-stream/"])
def test_streaming(site: Any, client: Client, path: str) -> None:
    assert client.request("GET", site.url + path).body == b"".join(b"line %d\n" % number for number in range(200))


def test_a_file(site: Any, client: Client) -> None:
    reply = client.request("GET", site.url + "/file/")
    content = Path(django_site.__file__).read_bytes()
    assert (reply.body, reply.one("Content-Length")) == (content, str(len(content)))
    head = client.request("HEAD", site.url + "/file/")
    assert (head.status, head.body, head.one("Content-Length")) == (200, b"", str(len(content)))


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_file_upload(site: Any, client: Client, size: int) -> None:
    content = b"0123456789" * (size // 10)
    seen = json.loads(client.upload(site.url + "/upload/", "some.bin", content).body)
    digest = hashlib.sha256(content).hexdigest()
    assert seen == {"name": "some.bin", "size": size, "digest": digest, "note": "hello"}


@pytest.mark.parametrize("size", [0, 1, 2_000_000])
def test_bodies_come_back(site: Any, client: Client, size: int) -> None:
    fields = {"Content-Type": "application/octet-stream"}
    assert client.request("POST", site.url + "/echo/", b"y" * size, fields).body == b"y" * size


def test_a_session(site: Any, client: Client) -> None:
    fields: dict[str, str] = {}
    for visits in ("1", "2", "3"):
        reply = client.request("GET", site.url + "/count/", fields=fields)
        assert reply.text == visits
        fields["Cookie"] = reply.one("Set-Cookie").split(";")[0]


@pytest.mark.parametrize(("path", "status"), [("/fail/", 500), ("/none/", 404)])
def test_errors_are_djangos_own(site: Any, client: Client, path: str, status: int) -> None:
    reply = client.request("GET", site.url + path)
    assert reply.status == status
    assert "secret" not in reply.text
