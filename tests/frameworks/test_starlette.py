"""A real Starlette site through real clients."""

import gc
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import starlette_site
from real_clients import Client

from trilithon.testing import serve

pytestmark = pytest.mark.real

DEADLINE_S = 10.0


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def site(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Serve the site once for all tests on each loop; its lifespan must run once around them."""
    starlette_site.events.clear()
    with serve(starlette_site.app, loop=request.param) as served:
        assert starlette_site.events == ["started"]
        yield served
    assert starlette_site.events.count("ended") == 1


def test_lifespan_state_is_shared_between_requests(site: Any, client: Client) -> None:
    first = json.loads(client.request("GET", site.url + "/visit/ada").body)
    second = json.loads(client.request("GET", site.url + "/visit/grace").body)
    assert second == [*first, "grace"] and first[-1] == "ada"


def test_streaming_through_middleware(site: Any, client: Client) -> None:
    reply = client.request("GET", site.url + "/stream")
    assert reply.body == b"".join(b"line %d\n" % number for number in range(200))
    assert reply.one("X-Stamp") == "/stream"


def test_a_file_and_its_ranges(site: Any, client: Client) -> None:
    content = Path(starlette_site.__file__).read_bytes()
    whole = client.request("GET", site.url + "/file")
    assert (whole.body, whole.one("Content-Length")) == (content, str(len(content)))
    part = client.request("GET", site.url + "/file", fields={"Range": "bytes=10-99"})
    assert (part.status, part.body) == (206, content[10:100])
    head = client.request("HEAD", site.url + "/file")
    assert (head.status, head.body, head.one("Content-Length")) == (200, b"", str(len(content)))


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_bodies_come_back(site: Any, client: Client, size: int) -> None:
    reply = client.request("PUT", site.url + "/echo", b"s" * size, {"Content-Type": "application/octet-stream"})
    assert (reply.status, reply.body) == (200, b"s" * size)


def test_compression_is_the_applications(site: Any, client: Client) -> None:
    reply = client.request("GET", site.url + "/text", fields={"Accept-Encoding": "gzip"})
    body = gzip.decompress(reply.body) if reply.body[:2] == b"\x1f\x8b" else reply.body
    assert reply.one("Content-Encoding") == "gzip"
    assert body == b"stone " * 1000


def test_a_mounted_route_sees_its_root(site: Any, client: Client) -> None:
    seen = json.loads(client.request("GET", site.url + "/inner/a/b?c=d").body)
    assert seen == {"url": f"{site.url}/inner/a/b?c=d", "root": "/inner", "path": "/inner/a/b"}


def test_errors_are_plain_and_the_site_lives_on(site: Any, client: Client) -> None:
    reply = client.request("GET", site.url + "/fail")
    assert reply.status == 500
    assert "secret" not in reply.text
    assert client.request("GET", site.url + "/none").status == 404
    assert client.request("DELETE", site.url + "/file").status == 405


def wait_until_noted(event: str, count: int) -> None:
    """Wait until the site has noted `event` more than `count` times."""
    deadline = time.monotonic() + DEADLINE_S
    while starlette_site.events.count(event) <= count:
        assert time.monotonic() < deadline, f"{event} was never noted"
        gc.collect()  # the framework leaves a generator that it breaks off to the collector
        time.sleep(0.005)


def test_a_client_that_leaves_ends_the_stream(site: Any) -> None:
    before = starlette_site.events.count("left")
    plain = {"Accept-Encoding": "identity"}
    with (
        httpx.Client(trust_env=False, headers=plain) as client,
        client.stream("GET", site.url + "/endless") as response,
    ):
        assert next(response.iter_raw())
    wait_until_noted("left", before)


def test_an_upload_that_breaks_off_is_a_disconnect(site: Any) -> None:
    before = starlette_site.events.count("upload broken")

    def broken() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise LookupError("changed my mind")

    with httpx.Client(trust_env=False) as client, pytest.raises(LookupError):
        client.post(site.url + "/echo", content=broken())
    wait_until_noted("upload broken", before)
