"""The WebSocket denial response: an HTTP answer of the application's own in the place of the 101."""

import asyncio
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, raised_by, traceback_records
from socket_apps import message, sockets_only, told
from socket_client import TEXT, frame
from upgrade import knock, refusal, upgrade
from wire_client import Truncated, Wire, request

from trilithon.testing import serve

pytestmark = pytest.mark.real

MIB = 1 << 20
ACCEPT = {"type": "websocket.accept"}
LEFT = ("disconnect", 1006, "")


def deny(status: Any = 401, headers: Any = (), **more: Any) -> dict[str, Any]:
    """The event that starts a denial."""
    return {"type": "websocket.http.response.start", "status": status, "headers": headers, **more}


def block(data: Any = b"", more_body: bool = False) -> dict[str, Any]:
    """The event with a part of a denial's body."""
    return {"type": "websocket.http.response.body", "body": data, "more_body": more_body}


@both_loops
@pytest.mark.spec("A-XDENY-02", "A-WSH-13", "WS-ASGI-04", "WS-HS-17", "A-WSC-13")
def test_a_denial_is_answered_as_it_stands_and_ends_the_connection(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    fields = [(b"content-type", b"text/plain"), (b"set-cookie", b"a=1"), (b"x-a", b"\x80"), (b"set-cookie", b"b=2")]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert told(await receive()) == "connect"
        await send(deny(401, fields))
        await send(block(b"no entry"))
        notes.add([told(await asyncio.wait_for(receive(), 5)) for _ in range(3)])

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(upgrade() + frame(TEXT, "early") + request("/smuggled"))
        answer = refusal(wire)
        assert (answer.status, answer.body, answer.head.reason) == (401, b"no entry", b"Unauthorized")
        names = {name for name, _ in fields}
        assert [each for each in answer.head.fields if each[0] in names] == fields
        assert len(answer.head.all(b"date")) == 1
        assert answer.field(b"upgrade") is None
        assert notes.next() == [LEFT] * 3
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-XDENY-02")
def test_headers_body_and_more_body_have_defaults(loop: str) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 404, "extra": 1})
        await send({"type": "websocket.http.response.body", "extra": 1})

    with serve(app, loop=loop) as site, knock(site) as wire:
        answer = refusal(wire)
        assert (answer.status, answer.body) == (404, b"")


@both_loops
@pytest.mark.spec("A-XDENY-03")
@pytest.mark.parametrize("length", [False, True], ids=["chunked", "length"])
def test_a_body_may_be_binary_and_come_in_parts(length: bool, loop: str) -> None:
    parts = [bytes(range(256)), b"", b"\xff\xfe" * 50_000, b"", b"end"]
    whole = b"".join(parts)
    fields = [(b"content-length", b"%d" % len(whole))] if length else []
    seen = [Gate() for _ in parts]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(deny(403, fields))
        for number, part in enumerate(parts):
            await send(block(part, more_body=number < len(parts) - 1))
            if number < len(parts) - 1:
                seen[number].wait()  # the loop stands still, and the part is out

    with serve(app, loop=loop) as site, knock(site) as wire:
        head = wire.head()
        assert head.status == 403
        assert head.field(b"transfer-encoding") == (None if length else b"chunked")
        for part, gate in zip(parts, seen, strict=True):
            got = b""
            while len(got) < len(part):
                got += wire.exactly(len(part)) if length else wire.chunk()
            assert got == part
            gate.open()
        assert wire.rest() == (b"" if length else b"0\r\n\r\n")


@both_loops
@pytest.mark.spec("A-XDENY-03", "A-RESP-11")
def test_a_denial_that_is_not_read_suspends_send(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(deny(503))
        stuck = False
        for _ in range(400):
            task = asyncio.ensure_future(send(block(b"x" * 100_000, more_body=True)))
            if not stuck and not (await asyncio.wait({task}, timeout=0.3))[0]:
                stuck = True
                notes.add("stuck")
            await task
        await send(block())

    with serve(app, loop=loop) as site, Wire(site, receive_buffer_bytes=65536) as wire:
        wire.send(upgrade())
        assert notes.next() == "stuck"
        answer = refusal(wire)
        assert (answer.status, len(answer.body)) == (503, 40_000_000)


@both_loops
@pytest.mark.spec("A-XDENY-05")
@pytest.mark.parametrize("status", [200, 204, 301, 400, 402, 404, 418, 426, 500, 503, 599])
def test_any_final_status_may_deny(status: int, loop: str) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(deny(status))
        await send(block(b"why"))

    with serve(app, loop=loop) as site, knock(site) as wire:
        answer = wire.answer()
        assert answer.status == status
        assert answer.body == (b"" if status == 204 else b"why")
        assert answer.framing == ("none" if status == 204 else "length")
        assert wire.has_ended()


BAD_DENIALS: dict[str, Any] = {
    **{f"status {status!r}": deny(status) for status in (101, 100, 103, 199, 0, -1, 600, 1000, True, None, "401", 4.5)},
    "no status": {"type": "websocket.http.response.start"},
    "cr lf in a value": deny(401, [(b"x-a", b"1\r\nx-b: 2")]),
    "lf in a value": deny(401, [(b"x-a", b"1\nx-b: 2")]),
    "nul in a value": deny(401, [(b"x-a", b"\0")]),
    "cr lf in a name": deny(401, [(b"x\r\nx-b", b"2")]),
    "space in a name": deny(401, [(b"x a", b"2")]),
    "empty name": deny(401, [(b"", b"2")]),
    "pseudo": deny(401, [(b":status", b"200")]),
    "text name": deny(401, [("x-a", b"1")]),
    "text value": deny(401, [(b"x-a", "1")]),
    "no list": deny(401, 7),
    "body first": block(b"x"),
}


@both_loops
@pytest.mark.spec("A-XDENY-04", "A-XDENY-05", "A-RESP-04", "A-CORE-11", "A-CORE-12", "A-CORE-13", "A-CORE-14")
def test_a_bad_start_raises_and_leaves_the_decision_open(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for name, event in BAD_DENIALS.items():
            notes.add((name, await raised_by(send(event))))
        await send(deny(418, [(b"x-good", b"1")]))
        for bad in ("text", 7, None):
            notes.add((repr(bad), await raised_by(send(block(bad)))))
        await send(block(b"good"))

    with serve(app, loop=loop) as site, knock(site) as wire:
        answer = refusal(wire)
        assert (answer.status, answer.body, answer.field(b"x-good")) == (418, b"good", b"1")
        assert answer.field(b"x-a") is None
        for _ in range(len(BAD_DENIALS) + 3):
            name, error = notes.next()
            assert error is not None and not isinstance(error, OSError), name


@both_loops
@pytest.mark.spec("A-XDENY-04", "A-WSH-09")
@pytest.mark.parametrize("flushed", [False, True])
def test_nothing_else_may_follow_the_start_of_a_denial(flushed: bool, loop: str) -> None:
    notes = Notes()
    mixed = [
        ACCEPT,
        message("x"),
        {"type": "websocket.close"},
        {"type": "websocket.close", "code": 4000},
        deny(402),
        {"type": "http.response.start", "status": 200},
        {"type": "http.response.body", "body": b"x"},
        {"type": "unknown"},
    ]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(deny(401))
        if flushed:
            await send(block(b"first, ", more_body=True))
        for event in mixed:
            notes.add((event, await raised_by(send(event))))
        await send(block(b"last"))

    with serve(app, loop=loop) as site, knock(site) as wire:
        answer = refusal(wire)
        assert (answer.status, answer.body) == (401, b"first, last" if flushed else b"last")
        for _ in mixed:
            event, error = notes.next()
            assert error is not None and not isinstance(error, OSError), event


@both_loops
@pytest.mark.spec("A-XDENY-02", "A-WSH-09", "A-WSH-13", "A-WSC-07")
def test_nothing_may_follow_a_whole_denial(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(deny(401))
        await send(block(b"no"))
        for event in (ACCEPT, message("x"), deny(402), block(b"x")):
            notes.add(await raised_by(send(event)))
        assert told(await receive()) == LEFT
        notes.add(await raised_by(send(message("x"))))

    with serve(app, loop=loop) as site, knock(site) as wire:
        assert refusal(wire).body == b"no"
        assert all(notes.next() is not None for _ in range(4))
        assert isinstance(notes.next(), OSError)


@both_loops
@pytest.mark.spec("A-XDENY-06", "A-WSH-10", "WS-ASGI-04")
@pytest.mark.parametrize("way", ["return", "raise"])
@pytest.mark.parametrize("flushed", [False, True])
def test_an_application_that_ends_within_a_denial(
    flushed: bool, way: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Fault(Exception):
        pass

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(deny(401, [(b"x-denied", b"yes")]))
        if flushed:
            await send(block(b"begun", more_body=True))
        if way == "raise":
            raise Fault

    with serve(app, loop=loop) as site, knock(site) as wire:
        if flushed:
            with pytest.raises(Truncated) as cut:
                wire.answer()
            assert cut.value.body == b"begun"
            assert wire.has_ended()
        elif wire.fill():
            answer = refusal(wire)
            assert answer.status == 500
            assert answer.field(b"x-denied") is None
    assert len(error_records(caplog)) == 1
    assert len(traceback_records(caplog, Fault)) == (way == "raise")


@both_loops
@pytest.mark.spec("A-XDENY-03", "A-RESP-14", "A-RESP-07", "A-RESP-22")
def test_the_server_alone_frames_a_denial(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/coded":
            own = [(b"transfer-encoding", b"gzip"), (b"connection", b"upgrade"), (b"upgrade", b"h2c")]
            await send(deny(401, own))
            await send(block(b"plain"))
            return
        await send(deny(401, [(b"content-length", b"4")]))
        notes.add(await raised_by(send(block(b"too long"))))
        notes.add(await raised_by(send(block(b"short"[:3]))))
        await send(block(b"four"))

    with serve(app, loop=loop) as site:
        with knock(site, "/coded") as wire:
            answer = refusal(wire)
            assert (answer.body, answer.framing) == (b"plain", "length")
            assert answer.field(b"upgrade") is None
        with knock(site, "/counted") as wire:
            data = wire.rest()
        assert notes.next() is not None
        assert notes.next() is not None
        assert b"too long" not in data


@both_loops
@pytest.mark.spec("A-XDENY-02", "A-WSH-11", "A-WSC-07", "A-CORE-17")
@pytest.mark.parametrize("way", ["close", "reset", "finish"])
def test_a_client_that_leaves_within_a_denial(way: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(deny(401))
        await send(block(b"begun", more_body=True))
        notes.add(told(await receive()))
        notes.add(told(await receive()))
        notes.add(await raised_by(send(block(b"more", more_body=True))))
        await send(block(b"end"))

    with serve(app, loop=loop) as site, knock(site) as wire:
        wire.head()
        assert wire.chunk() == b"begun"
        getattr(wire, way)()
        assert [notes.next() for _ in range(2)] == [LEFT] * 2
        assert isinstance(notes.next(), OSError)
    assert error_records(caplog) == []


@pytest.mark.spec("A-XDENY-01", "A-XDENY-04")
def test_a_plain_request_cannot_be_denied_so() -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        for event in (deny(401), block(b"x"), ACCEPT, message("x"), {"type": "websocket.close"}):
            notes.add((event, await raised_by(send(event))))
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"plain"})

    with serve(app) as site, Wire(site) as wire:
        answer = wire.ask()
        assert (answer.status, answer.body) == (200, b"plain")
        for _ in range(5):
            event, error = notes.next()
            assert error is not None, event
