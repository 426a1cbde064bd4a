"""Streams that are told of a stop in the middle of an event: who listens in another task ends well."""

import asyncio
from typing import Any

import pytest

from tests.wire.client import Client
from trilithon.testing import serve

from .applications import lifespan

pytestmark = pytest.mark.real


async def listening(scope: Any, receive: Any, send: Any) -> None:
    """Send an event in each turn of the loop until another task has heard that it is over."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    over = asyncio.create_task(receive())
    while not over.done():
        await send({"type": "http.response.body", "body": b"event", "more_body": True})
        await asyncio.sleep(0)
    assert over.result() == {"type": "http.disconnect"}
    await send({"type": "http.response.body", "body": b"good bye"})
    return None


@pytest.mark.spec("WS-SHUT-01", "A-RESP-10")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_stream_whose_other_task_is_about_to_be_told_may_end_well(loop: str) -> None:
    with (
        serve(listening, loop=loop, stream_grace_s=0.0, graceful_timeout_s=20.0) as site,
        Client(site.host, site.port) as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while b"event" not in client.received:
            client.receive_some()
        site.server.stop()
        (reply,) = client.replies([])
        assert reply.body.endswith(b"eventgood bye")
