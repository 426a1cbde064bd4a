"""A real FastAPI site through real clients."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import fastapi_site
import pytest
from real_clients import Client

from trilithon.testing import serve

pytestmark = pytest.mark.real

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def site() -> Iterator[Any]:
    """Serve the site once for all tests; its lifespan must run once around them."""
    fastapi_site.events.clear()
    with serve(fastapi_site.app) as served:
        assert fastapi_site.events == ["started"]
        yield served
    assert fastapi_site.events.count("ended") == 1
    assert fastapi_site.events[-1] == "ended"


def test_the_lifespans_state_reaches_requests(site: Any, client: Client) -> None:
    assert json.loads(client.request("GET", site.url + "/state").body) == {"greeting": "from the lifespan"}


def test_a_valid_item_comes_back(site: Any, client: Client) -> None:
    reply = client.request("POST", site.url + "/items", b'{"name": "stone", "price": 2.5}', JSON)
    assert (reply.status, json.loads(reply.body)) == (200, {"name": "stone", "price": 2.5})


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"name": "stone", "price": -1}', ["body", "price"]),
        (b'{"price": 1}', ["body", "name"]),
        (b"no json", ["body", 0]),
        (b"", ["body"]),
    ],
)
def test_an_invalid_item_is_a_validation_error(site: Any, client: Client, body: bytes, place: list[Any]) -> None:
    reply = client.request("POST", site.url + "/items", body, JSON)
    assert (reply.status, json.loads(reply.body)["detail"][0]["loc"]) == (422, place)


def test_a_plain_function_runs_on_a_thread(site: Any, client: Client) -> None:
    seen = json.loads(client.request("GET", site.url + "/items/7?q=caf%C3%A9").body)
    assert (seen["number"], seen["q"]) == (7, "caf\u00e9")
    assert client.request("GET", site.url + "/items/seven").status == 422


@pytest.mark.parametrize(("query", "status"), [("", 200), ("?fail=true", 409)])
def test_a_dependency_is_closed_whatever_happens(site: Any, client: Client, query: str, status: int) -> None:
    before = fastapi_site.events.count("closed")
    assert client.request("GET", site.url + "/dependency" + query).status == status
    # The next request proves that the one before it is over.
    client.request("GET", site.url + "/state")
    assert fastapi_site.events.count("opened") == fastapi_site.events.count("closed") == before + 1


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_file_upload(site: Any, client: Client, size: int) -> None:
    content = b"0123456789" * (size // 10)
    seen = json.loads(client.upload(site.url + "/upload", "some.bin", content).body)
    digest = hashlib.sha256(content).hexdigest()
    assert seen == {"name": "some.bin", "size": size, "digest": digest, "note": "hello"}


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_a_body_streams_back(site: Any, client: Client, size: int) -> None:
    reply = client.request("POST", site.url + "/echo", b"e" * size, {"Content-Type": "application/octet-stream"})
    assert (reply.status, reply.body) == (200, b"e" * size)


@pytest.mark.parametrize(("path", "count"), [("/stream", 200), ("/thread-stream", 50)])
def test_streaming(site: Any, client: Client, path: str, count: int) -> None:
    assert client.request("GET", site.url + path).body == b"".join(b"line %d\n" % number for number in range(count))


def test_a_background_task_runs_after_the_answer(site: Any, client: Client) -> None:
    assert json.loads(client.request("GET", site.url + "/background").body) == {"done": False}
    assert fastapi_site.background_done.wait(10)


def test_errors_are_plain_and_the_site_lives_on(site: Any, client: Client) -> None:
    reply = client.request("GET", site.url + "/fail")
    assert reply.status == 500
    assert "secret" not in reply.text
    assert client.request("GET", site.url + "/none").status == 404
    assert client.request("GET", site.url + "/state").status == 200


def test_the_generated_documentation_is_served(site: Any, client: Client) -> None:
    assert "/items" in json.loads(client.request("GET", site.url + "/openapi.json").body)["paths"]
