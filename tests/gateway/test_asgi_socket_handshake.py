"""Opening a WebSocket as the application sees it: connect, accept, close or an end without either."""

import asyncio
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, raised_by, start, traceback_records, wait_until
from socket_apps import message, sockets_only, told
from socket_client import TEXT, SocketClient, close_frame, frame
from upgrade import check_opened, knock, refusal

from trilithon.testing import serve

pytestmark = pytest.mark.real

ACCEPT = {"type": "websocket.accept"}
REFUSE = {"type": "websocket.close"}
LEFT = ("disconnect", 1006, "")


@both_loops
@pytest.mark.spec("A-WSH-01", "A-WSH-02")
def test_connect_comes_first_and_nothing_is_answered_before_the_decision(loop: str) -> None:
    notes, decide = Notes(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(await receive())
        waiting = asyncio.ensure_future(receive())
        await decide.passed()
        notes.add(waiting.done())
        await send(ACCEPT)
        notes.add(await waiting)

    with serve(app, loop=loop) as site, knock(site) as wire:
        assert notes.next() == {"type": "websocket.connect"}
        assert wire.is_quiet(0.2)
        decide.open()
        check_opened(wire.head())
        assert notes.next() is False
        wire.send(frame(TEXT, "hello"))
        assert told(notes.next()) == "hello"


@both_loops
@pytest.mark.spec("A-WSH-01")
def test_connect_still_comes_first_when_the_application_accepts_unasked(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        for _ in range(2):
            notes.add(told(await receive()))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.send(frame(TEXT, "hello"))
        assert [notes.next() for _ in range(2)] == ["connect", "hello"]


@both_loops
@pytest.mark.spec("A-WSH-03", "A-WSH-02", "WS-HS-09", "WS-HS-10")
def test_an_accept_is_answered_at_once(loop: str) -> None:
    seen = Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await seen.passed()

    with serve(app, loop=loop) as site, knock(site) as wire:
        head = wire.head()
        check_opened(head)
        assert head.field(b"sec-websocket-protocol") is None
        assert head.field(b"sec-websocket-extensions") is None
        seen.open()


@both_loops
@pytest.mark.spec("A-WSH-03", "A-WSH-06", "WS-HS-11")
@pytest.mark.parametrize(
    ("chosen", "answered"),
    [
        ({}, None),
        ({"subprotocol": None}, None),
        ({"subprotocol": None, "headers": []}, None),
        ({"subprotocol": "two"}, b"two"),
        ({"subprotocol": "Three"}, b"Three"),
        ({"subprotocol": "one", "more": "ignored"}, b"one"),
    ],
)
def test_the_chosen_subprotocol_is_answered(chosen: Any, answered: bytes | None, loop: str) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**ACCEPT, **chosen})

    with (
        serve(app, loop=loop) as site,
        knock(site, "/", "Sec-WebSocket-Protocol: one, two", "Sec-WebSocket-Protocol: Three") as wire,
    ):
        head = wire.head()
        check_opened(head)
        assert head.field(b"sec-websocket-protocol") == answered


@both_loops
@pytest.mark.spec("A-WSH-04", "A-RESP-02")
@pytest.mark.parametrize("shape", ["list", "tuples", "generator"])
def test_the_accepts_headers_are_answered_in_order(shape: str, loop: str) -> None:
    fields = [
        (b"set-cookie", b"a=1"),
        (b"x-b", b"\x80\xff"),
        (b"set-cookie", b"b=2"),
        (b"X-Upper", b""),
        (b"x-a", b"1"),
    ]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        shapes = {"list": [list(each) for each in fields], "tuples": tuple(fields), "generator": (x for x in fields)}
        await send({**ACCEPT, "headers": shapes[shape]})

    with serve(app, loop=loop) as site, knock(site) as wire:
        head = wire.head()
        check_opened(head)
        names = {name.lower() for name, _ in fields}
        assert [each for each in head.fields if each[0] in names] == [(name.lower(), value) for name, value in fields]


BAD_ACCEPTS = {
    "subprotocol header": {"headers": [(b"sec-websocket-protocol", b"one")]},
    "upper case": {"headers": [(b"Sec-WebSocket-Protocol", b"one")]},
    "pseudo header": {"headers": [(b":status", b"101")]},
    "accept": {"headers": [(b"sec-websocket-accept", b"x")]},
    "extensions": {"headers": [(b"sec-websocket-extensions", b"permessage-deflate")]},
    "upgrade": {"headers": [(b"upgrade", b"h2c")]},
    "connection": {"headers": [(b"connection", b"close")]},
    "length": {"headers": [(b"content-length", b"0")]},
    "coding": {"headers": [(b"transfer-encoding", b"chunked")]},
    "cr lf in a value": {"headers": [(b"x-a", b"1\r\nx-b: 2")]},
    "lf in a value": {"headers": [(b"x-a", b"1\nx-b: 2")]},
    "nul in a value": {"headers": [(b"x-a", b"\0")]},
    "cr lf in a name": {"headers": [(b"x\r\nx-b", b"2")]},
    "space in a name": {"headers": [(b"x a", b"2")]},
    "empty name": {"headers": [(b"", b"2")]},
    "text name": {"headers": [("x-a", b"1")]},
    "text value": {"headers": [(b"x-a", "1")]},
    "no pair": {"headers": [(b"x-a",)]},
    "no list": {"headers": 7},
    "not offered": {"subprotocol": "three"},
    "other case": {"subprotocol": "ONE"},
    "list": {"subprotocol": "one, two"},
    "empty": {"subprotocol": ""},
    "bytes": {"subprotocol": b"one"},
    "number": {"subprotocol": 1},
}


@both_loops
@pytest.mark.spec(
    "A-WSH-05", "A-WSH-06", "A-CORE-12", "A-CORE-13", "A-CORE-14", "A-RESP-04", "WS-HS-11", "WS-HS-20", "A-WSH-03"
)
def test_a_bad_accept_raises_and_leaves_the_decision_open(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        notes.add(await raised_by(send({**ACCEPT, **BAD_ACCEPTS[scope["path"][1:].replace("-", " ")]})))
        await send({**ACCEPT, "subprotocol": "two", "headers": [(b"x-good", b"1")]})

    with serve(app, loop=loop) as site:
        for name in BAD_ACCEPTS:
            target = f"/{name.replace(' ', '-')}"
            with knock(site, target, "Sec-WebSocket-Protocol: one, two") as wire:
                head = wire.head()
            error = notes.next()
            assert error is not None, name
            assert not isinstance(error, OSError), name
            check_opened(head)
            assert head.field(b"sec-websocket-protocol") == b"two", name
            assert (head.field(b"x-good"), head.field(b"x-a"), head.field(b"x-b")) == (b"1", None, None), name


@both_loops
@pytest.mark.spec("A-WSH-07", "A-WSH-13", "WS-ASGI-04", "WS-HS-17")
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"code": 1000},
        {"code": 4000, "reason": "never seen"},
        {"reason": None},
        # FastAPI sends a list of errors here; what is unused is not looked at.
        {"code": 1008, "reason": [{"msg": "never seen"}]},
        {"code": "odd", "reason": "x" * 1000},
    ],
)
def test_a_close_before_the_accept_is_403(more: Any, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**REFUSE, **more})
        notes.add([told(await asyncio.wait_for(receive(), 5)) for _ in range(3)])
        notes.add([await raised_by(send(event)) for event in (ACCEPT, message("x"))])

    with serve(app, loop=loop) as site, knock(site) as wire:
        answer = refusal(wire)
        assert answer.status == 403
        assert b"never seen" not in answer.body
        assert notes.next() == [LEFT] * 3
        assert None not in notes.next()
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-WSH-07", "A-WSH-01")
def test_a_close_as_the_very_first_event_is_403(loop: str) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(REFUSE)

    with serve(app, loop=loop) as site, knock(site) as wire:
        assert refusal(wire).status == 403


@both_loops
@pytest.mark.spec("A-WSH-08", "A-CORE-10", "A-CORE-11", "A-CORE-13", "A-CORE-14", "A-WSM-09")
def test_what_may_not_come_before_the_accept_raises_and_leaves_the_decision_open(loop: str) -> None:
    notes = Notes()
    bad = [
        message("too early"),
        message(b"too early"),
        {"type": "websocket.receive", "text": "x"},
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect"},
        {"type": "websocket.http.response.body", "body": b"x"},
        start(),
        {"type": "http.response.body", "body": b"x"},
        {"type": "lifespan.startup.complete"},
        {"type": "unknown"},
        {"type": None},
        {},
        {"text": "x"},
    ]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        notes.add([await raised_by(send(event)) for event in bad])
        await send(ACCEPT)
        await send(message("good"))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect((TEXT, "good"))
        for event, error in zip(bad, notes.next(), strict=True):
            assert error is not None and not isinstance(error, OSError), event


@both_loops
@pytest.mark.spec("A-WSH-09", "A-WSM-09", "A-XDENY-04")
def test_a_second_decision_raises_and_changes_nothing(loop: str) -> None:
    notes = Notes()
    denial = {"type": "websocket.http.response.start", "status": 401, "headers": []}
    bad = [ACCEPT, {**ACCEPT, "headers": [(b"x-a", b"1")]}, denial, {"type": "websocket.http.response.body"}, start()]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        notes.add([await raised_by(send(event)) for event in bad])
        await send(message("still open"))
        notes.add(told(await receive()))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect((TEXT, "still open"))
        for event, error in zip(bad, notes.next(), strict=True):
            assert error is not None and not isinstance(error, OSError), event
        client.send(frame(TEXT, "heard"))
        assert notes.next() == "heard"


@both_loops
@pytest.mark.spec("A-WSH-10", "A-CORE-15", "A-CORE-25", "WS-ASGI-04")
@pytest.mark.parametrize("asked", [False, True], ids=["at once", "after connect"])
@pytest.mark.parametrize("way", ["raise", "return", "cancel"])
def test_an_application_that_ends_without_a_decision_is_a_500(
    way: str, asked: bool, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Fault(Exception):
        pass

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if asked:
            await receive()
        if way == "raise":
            raise Fault("the secret reason")
        if way == "cancel":
            raise asyncio.CancelledError

    with serve(app, loop=loop) as site, knock(site) as wire:
        answer = refusal(wire)
        assert answer.status == 500
        assert b"secret" not in answer.body
    assert len(error_records(caplog)) == 1
    if way == "raise":
        assert len(traceback_records(caplog, Fault)) == 1


@pytest.mark.spec("A-CORE-23", "A-CORE-09")
def test_odd_returns_and_extra_keys_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> Any:
        await receive()
        await send({**ACCEPT, "extra": object()})
        await send({**message("hello"), "extra": object()})
        await send({**REFUSE, "code": 3000, "extra": object()})
        return "odd"

    with serve(app, lifespan="off") as site, SocketClient(site) as client:
        client.expect((TEXT, "hello"))
        client.expect_close(3000)
        client.send(close_frame(3000))
        client.expect_end()
    wait_until(lambda: bool(error_records(caplog)), "the warning")
    assert len(error_records(caplog)) == 1
