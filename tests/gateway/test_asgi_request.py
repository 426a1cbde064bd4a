"""Request bodies as events: framing taken off, order, waiting, what is left unread, broken bodies."""

import asyncio
import gzip
from typing import Any

import pytest
from asgi_apps import (
    Gate,
    Notes,
    body,
    both_loops,
    echo,
    error_records,
    hello,
    http_only,
    read_body,
    respond,
    start,
)
from wire_client import Truncated, Wire, post

from trilithon.testing import serve

pytestmark = pytest.mark.real
CHUNKED = b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"


def events_app(notes: Notes) -> Any:
    """Note every event up to the last of the body or the disconnect, then answer."""

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        event = {"more_body": True}
        while event.get("more_body"):
            event = await receive()
            notes.add(event)
        await respond(send)

    return app


@both_loops
@pytest.mark.spec("A-REQ-01", "A-REQ-02")
def test_a_body_is_whole_and_its_last_event_is_the_only_last(loop: str) -> None:
    sent = bytes(range(256)) * 1000
    chunks = b"".join(b"3e8\r\n%b\r\n" % sent[at : at + 1000] for at in range(0, 256_000, 1000))
    notes = Notes()
    with serve(events_app(notes), loop=loop) as site, Wire(site) as wire:
        for framed in (post(len(sent)) + sent, CHUNKED + chunks + b"0\r\n\r\n"):
            wire.send(framed)
            assert wire.answer().body == b"ok"
            events = notes.rest()
            assert b"".join(event["body"] for event in events) == sent
            assert [event["more_body"] for event in events] == [True] * (len(events) - 1) + [False]
            assert {event["type"] for event in events} == {"http.request"}


@both_loops
@pytest.mark.spec("A-REQ-03")
@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nHost: t\r\n\r\n", post(0), CHUNKED + b"0\r\n\r\n"])
def test_without_a_body_the_first_event_is_the_last_at_once(head: bytes, loop: str) -> None:
    notes = Notes()
    with serve(events_app(notes), loop=loop) as site, Wire(site) as wire:
        wire.send(head)
        assert wire.answer().body == b"ok"
        assert notes.rest() == [{"type": "http.request", "body": b"", "more_body": False}]


@both_loops
@pytest.mark.spec("A-REQ-04")
@pytest.mark.parametrize("half", [post(8) + b"half", CHUNKED + b"8\r\nhalf"])
def test_the_application_runs_and_may_answer_while_the_body_comes(half: bytes, loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        event = await receive()
        assert event["more_body"]
        await send(start())
        await send(body(b"got " + event["body"], more_body=True))
        await send(body(b" then " + await read_body(receive)))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(half)
        assert wire.head().status == 200
        assert wire.chunk() == b"got half"
        wire.send(b"rest\r\n0\r\n\r\n" if half.startswith(CHUNKED) else b"rest")
        assert wire.chunk() == b" then rest"
        assert wire.chunk() == b""
    assert notes.rest() == []


@both_loops
@pytest.mark.spec("A-REQ-05", "A-REQ-14")
def test_chunk_extensions_and_trailers_reach_nobody(loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope["headers"])
        await respond(send, await read_body(receive))
        notes.add(scope["headers"])

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(CHUNKED + b'3;a=b;c="\\"x;"\r\nabc\r\n02\r\nde\r\n0;end\r\nX-Trailer: 1\r\nContent-Length: 9\r\n\r\n')
        assert wire.answer().body == b"abcde"
        names = {name for _ in range(2) for name, _ in notes.next()}
        assert names == {b"host", b"transfer-encoding"}
        assert wire.ask().body == b""


@pytest.mark.spec("A-REQ-06")
def test_a_content_coding_is_left_alone() -> None:
    packed = gzip.compress(b"plain" * 100)
    with serve(echo) as site, Wire(site) as wire:
        wire.send(post(len(packed), "Content-Encoding: gzip") + packed)
        assert wire.answer().body == packed


@both_loops
@pytest.mark.spec("A-REQ-07", "A-DISC-03", "A-DISC-01")
def test_past_the_body_receive_waits_for_the_client_to_leave(loop: str) -> None:
    notes, asked = Notes(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        waiting = asyncio.ensure_future(receive())
        await asyncio.wait({waiting}, timeout=0.1)
        notes.add(waiting.done())
        asked.open()
        notes.add(await waiting)
        notes.add(await asyncio.wait_for(receive(), 1))
        notes.add(await asyncio.wait_for(receive(), 1))

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.send(post(3) + b"abc")
            asked.wait()
            assert notes.next() is False
        assert [notes.next() for _ in range(3)] == [{"type": "http.disconnect"}] * 3


@both_loops
@pytest.mark.spec("A-REQ-07", "A-DISC-02")
def test_receive_waits_while_a_response_streams_and_wakes_at_its_end(loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await send(start())
        for _ in range(20):
            await send(body(b"tick", more_body=True))
            await asyncio.sleep(0)
        notes.add(waiting.done())
        await send(body())
        notes.add(await asyncio.wait_for(waiting, 1))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        assert wire.ask().body == b"tick" * 20
        assert notes.next() is False
        assert notes.next() == {"type": "http.disconnect"}
        assert wire.ask().body == b"tick" * 20


@both_loops
@pytest.mark.spec("A-REQ-09", "A-EXC-05")
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("is_raising", [False, True])
def test_an_unread_body_never_becomes_a_request(framing: str, is_raising: bool, loop: str) -> None:
    paths = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.add(scope["path"])
        if is_raising:
            raise ValueError("unread")
        await respond(send, b"unread")

    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
    first = CHUNKED if framing == "chunked" else post(len(smuggled))
    second = b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled) if framing == "chunked" else smuggled
    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(first)
        assert wire.head().status == (500 if is_raising else 200)
        wire.send(second + b"GET /next HTTP/1.1\r\nHost: t\r\n\r\n")
        wire.finish()
        wire.rest()
    assert paths.next() == "/"
    assert paths.rest() in ([], ["/next"])


@both_loops
@pytest.mark.spec("A-REQ-09")
def test_a_large_unread_body_does_not_hide_the_answer(loop: str) -> None:
    calls = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.add(scope["path"])
        await respond(send, b"no thanks", 413)

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(post(1 << 30))
        wire.send_until_stuck(b"x" * 65536, 1 << 20)
        answer = wire.answer()
        assert (answer.status, answer.body) == (413, b"no thanks")
        wire.rest()
    assert calls.next() == "/"
    assert calls.rest() == []


@both_loops
@pytest.mark.spec("A-REQ-11", "A-DISC-04", "A-DISC-03")
@pytest.mark.parametrize("head", [post(10), CHUNKED + b"a\r\n"])
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_client_gone_inside_its_body_is_a_disconnect(head: bytes, is_reset: bool, loop: str) -> None:
    notes, begun = Notes(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(await receive())
        begun.open()
        for _ in range(3):
            notes.add(await asyncio.wait_for(receive(), 5))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(head + b"half")
        begun.wait()
        if is_reset:
            wire.reset()
        else:
            wire.finish()
        assert notes.next() == {"type": "http.request", "body": b"half", "more_body": True}
        assert [notes.next() for _ in range(3)] == [{"type": "http.disconnect"}] * 3


@both_loops
@pytest.mark.spec("A-DISC-04")
def test_what_came_before_the_client_left_is_still_delivered(loop: str) -> None:
    notes, may_read, begun = Notes(), Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.open()
        await may_read.passed()
        parts = []
        while (event := await asyncio.wait_for(receive(), 5))["type"] == "http.request":
            parts.append(event["body"])
            assert event["more_body"]
        notes.add(b"".join(parts))
        notes.add(event)

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.send(post(10))
            begun.wait()
            wire.send(b"half")
        may_read.open()
        assert notes.next() == b"half"
        assert notes.next() == {"type": "http.disconnect"}


@both_loops
@pytest.mark.spec("A-DISC-04")
@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_whole_body_is_still_delivered_after_the_client_left(way: str, loop: str) -> None:
    notes, may_read, begun = Notes(), Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.open()
        await may_read.passed()
        for _ in range(3):
            notes.add(await asyncio.wait_for(receive(), 5))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(post(4) + b"body")
        begun.wait()
        getattr(wire, way)()
        assert ends_connections(site), "the server has seen the reset by now"
        may_read.open()
        assert notes.next() == {"type": "http.request", "body": b"body", "more_body": False}
        assert [notes.next() for _ in range(2)] == [{"type": "http.disconnect"}] * 2


def ends_connections(site: Any) -> bool:
    """Have the server turn around once: it answers a malformed request and closes."""
    with Wire(site) as wire:
        wire.send(b"OPTIONS\r\n\r\n")
        return wire.rest().startswith(b"HTTP/1.1 400 ")


MALFORMED = [b"zz\r\n", b"-1\r\n", b"0x2\r\nab\r\n", b"2\r\nabc\r\n", b"2\nab\r\n", b" 2\r\nab\r\n"]
MALFORMED.append(b"f" * 17 + b"\r\n")


@both_loops
@pytest.mark.spec("A-REQ-12")
@pytest.mark.parametrize("chunk", MALFORMED)
def test_a_malformed_chunk_is_a_disconnect_and_400(chunk: bytes, loop: str) -> None:
    notes, begun = Notes(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        parts = []
        begun.open()
        while (event := await asyncio.wait_for(receive(), 5))["type"] == "http.request":
            parts.append(event["body"])
            assert event["more_body"]
        notes.add(b"".join(parts))
        notes.add(event)

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(CHUNKED + b"3\r\nabc\r\n")
        begun.wait()
        wire.send(chunk)
        answer = wire.answer()
        assert answer.status == 400
        assert answer.field(b"connection") == b"close"
        assert wire.has_ended()
        assert notes.next().startswith(b"abc")
        assert notes.next() == {"type": "http.disconnect"}


@both_loops
@pytest.mark.spec("A-REQ-12", "A-REQ-11")
def test_a_malformed_chunk_after_the_response_has_started_aborts_it(loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"begun", more_body=True))
        notes.add(await receive())

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(CHUNKED)
        head = wire.head()
        wire.send(b"zz\r\n")
        with pytest.raises(Truncated) as cut:
            wire.body(head)
        assert cut.value.body == b"begun"
        assert notes.next() == {"type": "http.disconnect"}


@both_loops
@pytest.mark.spec("A-REQ-13")
def test_a_declared_body_over_the_limit_is_413_before_the_application(loop: str) -> None:
    with serve(hello, loop=loop, max_body_bytes=10) as site:
        with Wire(site) as wire:
            wire.send(post(10) + b"0123456789")
            assert wire.answer().body == b"hello"
            wire.send(post(11) + b"0123456789a")
            answer = wire.answer()
            assert answer.status == 413
            assert answer.field(b"connection") == b"close"
            assert wire.has_ended()
        with Wire(site) as wire:
            wire.get("/", "Content-Length: 11", "Expect: 100-continue", method="POST")
            assert wire.answer().status == 413


@both_loops
@pytest.mark.spec("A-REQ-13", "A-DISC-07")
def test_a_chunked_body_over_the_limit_is_a_disconnect_and_413(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    notes, begun = Notes(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        parts = []
        if scope["path"] == "/over":
            begun.open()
        while (event := await asyncio.wait_for(receive(), 5))["type"] == "http.request":
            parts.append(event["body"])
            if not event["more_body"]:
                break
        notes.add((event["type"], len(b"".join(parts))))
        await respond(send, b"done")

    with serve(app, loop=loop, max_body_bytes=10) as site:
        with Wire(site) as wire:
            wire.send(CHUNKED + b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")
            assert wire.answer().body == b"done"
            assert notes.next() == ("http.request", 10)
            wire.send(CHUNKED.replace(b"/", b"/over", 1) + b"5\r\n01234\r\n")
            begun.wait()
            wire.send(b"6\r\n56789a\r\n0\r\n\r\n")
            answer = wire.answer()
            assert answer.status == 413
            assert answer.field(b"connection") == b"close"
            assert wire.has_ended()
        kind, length = notes.next()
        assert kind == "http.disconnect"
        assert length <= 10
    assert not [record for record in error_records(caplog) if record.exc_info]
