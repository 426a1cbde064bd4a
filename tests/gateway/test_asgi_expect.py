"""Expect: 100-continue: one interim answer, when the application first needs the body, and none where none is due."""

import asyncio
from typing import Any

import pytest
from asgi_apps import Gate, Notes, body, both_loops, echo, http_only, read_body, respond, start
from upgrade import check_opened, knock
from wire_client import Wire, post

from trilithon.testing import serve

pytestmark = pytest.mark.real
CONTINUE = "Expect: 100-continue"


@both_loops
@pytest.mark.spec("A-REQ-10")
@pytest.mark.parametrize("framing", ["Content-Length: 4", "Transfer-Encoding: chunked"])
def test_continue_is_sent_once_at_the_first_receive_that_needs_the_body(framing: str, loop: str) -> None:
    may_read, began = Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.open()
        await may_read.passed()
        if scope["path"] == "/":
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receive(), 0.01)
        await respond(send, await read_body(receive))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get("/", framing, CONTINUE, method="POST")
        began.wait()
        assert wire.is_quiet(0.05)
        may_read.open()
        assert wire.exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.is_quiet(0.05)
        wire.send(b"body" if "Length" in framing else b"4\r\nbody\r\n0\r\n\r\n")
        assert wire.answer().body == b"body"
        assert wire.ask("/next").body == b"", "the connection goes on, without another 100"


@both_loops
@pytest.mark.spec("A-REQ-10")
@pytest.mark.parametrize(
    "head",
    [
        post(4, CONTINUE) + b"body",
        post(4, CONTINUE) + b"b",
        post(4, CONTINUE, version="1.0"),
        post(0, CONTINUE),
        b"GET / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_no_continue_where_none_is_due(head: bytes, loop: str) -> None:
    with serve(echo, loop=loop) as site, Wire(site) as wire:
        wire.send(head)
        if head.endswith(b"\r\nb"):
            wire.send(b"ody")
        elif b"HTTP/1.0" in head:
            assert wire.is_quiet(0.05)
            wire.send(b"body")
        assert wire.answer().status == 200


@both_loops
@pytest.mark.spec("A-REQ-10", "A-REQ-09")
@pytest.mark.parametrize("status", [200, 413])
def test_an_answer_without_receive_sends_no_continue(status: int, loop: str) -> None:
    paths = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.add(scope["path"])
        await respond(send, b"early", status)

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get("/", "Content-Length: 36", CONTINUE, method="POST")
        answer = wire.answer()
        assert (answer.status, answer.body) == (status, b"early")
        if answer.field(b"connection") == b"close":
            assert wire.has_ended()
        else:
            wire.send(b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"[:36])
            wire.finish()
            assert wire.has_ended()
    assert paths.rest() == ["/"]


@both_loops
@pytest.mark.spec("A-REQ-10")
def test_no_continue_after_the_response_has_started(loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"begun,", more_body=True))
        await send(body(await read_body(receive)))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get("/", "Content-Length: 4", CONTINUE, method="POST")
        assert wire.head().status == 200
        assert wire.chunk() == b"begun,"
        assert wire.is_quiet(0.05)
        wire.send(b"body")
        assert wire.chunk() == b"body"
        assert wire.chunk() == b""


@both_loops
@pytest.mark.spec("H1-UPG-04")
def test_a_websocket_that_expects_100_gets_it_before_its_101(loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    with serve(app, loop=loop, lifespan="off") as site, knock(site, "/", CONTINUE) as wire:
        assert wire.head().status == 100
        check_opened(wire.head())
