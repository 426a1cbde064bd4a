"""What send() accepts and what receive() hands out: types, wrong events, order, several tasks at once."""

import asyncio
import http
from typing import Any

import pytest
from asgi_apps import Gate, Notes, body, both_loops, http_only, raised_by, read_body, respond, start
from wire_client import Wire, ask

from trilithon.testing import serve

pytestmark = pytest.mark.real


class Raising:
    """Headers whose own code fails while they are read."""

    def __iter__(self) -> Any:
        yield (b"x-good", b"a")
        raise ZeroDivisionError


WRONG_STARTS = {
    "no status": {"type": "http.response.start"},
    "status str": {"type": "http.response.start", "status": "200"},
    "status bytes": {"type": "http.response.start", "status": b"200"},
    "status None": {"type": "http.response.start", "status": None},
    "status float": {"type": "http.response.start", "status": 200.5},
    "status bool": start(True),
    "status 0": start(0),
    "status 100": start(100),
    "status 101": start(101),
    "status 103": start(103),
    "status 199": start(199),
    "status 1000": start(1000),
    "status -200": start(-200),
    "headers int": start(200, 5),
    "headers None": start(200, None),
    "headers raising": start(200, Raising()),
    "header str": start(200, ["ab"]),
    "header name str": start(200, [("x-name", b"value")]),
    "header value str": start(200, [(b"x-name", "value")]),
    "header value int": start(200, [(b"content-length", 2)]),
    "header value None": start(200, [(b"x-name", None)]),
    "header of one": start(200, [(b"x-name",)]),
    "header of three": start(200, [(b"x-name", b"a", b"b")]),
    "good then bad header": start(200, [(b"x-good", b"a"), (b"x-bad", "b")]),
}
WRONG_TYPES = {
    "no type": {"status": 200},
    "empty": {},
    "type None": {"type": None},
    "unknown": {"type": "http.response.unknown", "status": 200},
    "of the server": {"type": "http.request", "body": b"", "more_body": False},
    "of a websocket": {"type": "websocket.send", "text": "x"},
    "of a lifespan": {"type": "lifespan.startup.complete"},
    "debug": {"type": "http.response.debug", "info": {}},
    "push": {"type": "http.response.push", "path": "/", "headers": []},
    "not a dict": [("type", "http.response.start")],
    "None": None,
}
WRONG_BODIES = {
    "body str": {"type": "http.response.body", "body": "text"},
    "body None": {"type": "http.response.body", "body": None},
    "body int": {"type": "http.response.body", "body": 5},
    "body list": {"type": "http.response.body", "body": [b"a"]},
}


async def first_raising(send: Any, wrong: Any, notes: Notes) -> None:
    error = await raised_by(send(wrong))
    notes.add(error)


def assert_refused(notes: Notes) -> None:
    error = notes.next()
    assert error is not None, "send() took it"
    assert not isinstance(error, OSError)


@both_loops
@pytest.mark.spec(
    "A-CORE-10", "A-CORE-11", "A-CORE-12", "A-CORE-13", "A-CORE-14", "A-RESP-03", "A-RESP-17", "A-XDEBUG-01"
)
def test_a_wrong_event_before_the_start_raises_there_and_changes_nothing(loop: str) -> None:
    wrongs = {**WRONG_STARTS, **WRONG_TYPES, "body first": body(b"x"), "bad body first": WRONG_BODIES["body str"]}
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await first_raising(send, wrongs[scope["path"][1:]], notes)
        await respond(send, b"good", 201, [(b"x-last", b"1")])

    with serve(app, loop=loop) as site, Wire(site) as wire:
        for name in wrongs:
            answer = wire.ask("/" + name.replace(" ", "%20"))
            assert (answer.status, answer.body, answer.field(b"x-last")) == (201, b"good", b"1"), name
            assert answer.field(b"x-good") is None
            assert_refused(notes)


@both_loops
@pytest.mark.spec("A-CORE-10", "A-CORE-12", "A-CORE-13", "A-CORE-14", "A-RESP-17")
def test_a_wrong_event_between_start_and_end_raises_there_and_changes_nothing(loop: str) -> None:
    wrongs = {**WRONG_TYPES, **WRONG_BODIES, "second start": start(500), "bad second start": start("200")}
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        wrong = wrongs[scope["path"][1:]]
        await send(start(200))
        await first_raising(send, wrong, notes)
        await send(body(b"one,", more_body=True))
        await first_raising(send, wrong, notes)
        await send(body(b"two"))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        for name in wrongs:
            answer = wire.ask("/" + name.replace(" ", "%20"))
            assert (answer.status, answer.body) == (200, b"one,two"), name
            assert_refused(notes)
            assert_refused(notes)


@pytest.mark.spec("A-CORE-10", "A-CORE-14", "A-EXC-01")
def test_a_wrong_event_that_is_not_caught_is_an_application_error() -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.nonsense"})

    with serve(app) as site:
        assert ask(site).status == 500


@pytest.mark.spec("A-CORE-09")
def test_unknown_keys_are_ignored() -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "x": object(), "reason": b"Not\r\nme", "push": []})
        await send({"type": "http.response.body", "body": b"fine", "trailing": 1, "flush": True})

    with serve(app) as site:
        answer = ask(site)
    assert (answer.body, answer.head.reason) == (b"fine", b"OK")


@pytest.mark.spec("A-CORE-09", "A-RESP-09")
def test_a_body_event_may_be_empty_of_keys() -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send({"type": "http.response.body"})

    with serve(app) as site, Wire(site) as wire:
        assert [wire.ask().body for _ in range(2)] == [b"", b""]


@pytest.mark.spec("A-RESP-03")
@pytest.mark.parametrize("status", [200, 206, 299, 404, 418, 599, http.HTTPStatus.CREATED])
def test_a_status_may_be_any_final_one_also_of_an_enum(status: int) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"x", status)

    with serve(app) as site:
        assert ask(site).status == int(status)


def assert_plain(value: Any) -> None:
    """Only the types of the specification, exactly."""
    if type(value) is dict:
        assert all(type(key) is str for key in value)
        for item in value.values():
            assert_plain(item)
    elif type(value) in (list, tuple):
        for item in value:
            assert_plain(item)
    else:
        assert value is None or type(value) in (bytes, str, int, float, bool), type(value)


@both_loops
@pytest.mark.spec("A-CORE-08", "A-REQ-01", "A-DISC-01")
def test_events_and_scope_hold_only_plain_types(loop: str) -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope)
        if scope["type"] == "lifespan":
            notes.add(await receive())
            await send({"type": "lifespan.startup.complete"})
            notes.add(await receive())
            await send({"type": "lifespan.shutdown.complete"})
            return
        more_body = True
        while more_body:
            event = await receive()
            assert event.keys() == {"type", "body", "more_body"}
            assert event["type"] == "http.request"
            assert type(event["body"]) is bytes
            assert type(event["more_body"]) is bool
            notes.add(event)
            more_body = event["more_body"]
        await respond(send)
        event = await receive()
        assert event == {"type": "http.disconnect"}
        notes.add(event)

    with serve(app, loop=loop) as site, Wire(site) as wire:
        assert wire.ask().status == 200
        wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 70000\r\n\r\n" + bytes(70000))
        assert wire.answer().status == 200
        wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
        assert wire.answer().status == 200
        wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\na")
        wire.send(b"bc")
        assert wire.answer().status == 200
    seen = notes.rest()
    assert len(seen) >= 15
    for value in seen:
        assert_plain(value)


@both_loops
@pytest.mark.spec("A-CORE-19")
def test_cancelling_receive_loses_nothing(loop: str) -> None:
    sent = bytes(range(256)) * 40
    waiting = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        parts, more_body, turn = [], True, 0
        while more_body:
            task = asyncio.ensure_future(receive())
            waiting.open()
            for _ in range(turn % 7):
                if not task.done():
                    await asyncio.sleep(0)
            turn += 1
            if turn % 3:
                task.cancel()
            try:
                event = await task
            except asyncio.CancelledError:
                continue
            parts.append(event["body"])
            more_body = event["more_body"]
        await respond(send, b"".join(parts))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(sent))
        waiting.wait()
        for offset in range(0, len(sent), 64):
            wire.send(sent[offset : offset + 64])
        assert wire.answer().body == sent


@both_loops
@pytest.mark.spec("A-CORE-19")
def test_wait_for_on_receive_may_time_out_again_and_again(loop: str) -> None:
    timed_out = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receive(), 0.01)
        timed_out.open()
        await respond(send, await asyncio.wait_for(read_body(receive), 5))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n")
        timed_out.wait()
        wire.send(b"hello")
        assert wire.answer().body == b"hello"
        assert wire.is_quiet()


@both_loops
@pytest.mark.spec("A-CORE-19", "A-REQ-02")
def test_several_tasks_may_receive(loop: str) -> None:
    sent = bytes(200_000)
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def reader() -> None:
            while True:
                event = await receive()
                notes.add(event)
                if event["type"] != "http.request":
                    return

        tasks = [asyncio.ensure_future(reader()) for _ in range(3)]
        await asyncio.sleep(0)
        await done.passed()
        await respond(send)
        await asyncio.wait_for(asyncio.gather(*tasks), 5)

    done = Gate()
    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(sent))
        for offset in range(0, len(sent), 10_000):
            wire.send(sent[offset : offset + 10_000])
        events = []
        while not events or events[-1]["more_body"]:
            events.append(notes.next())
        done.open()
        assert wire.answer().body == b"ok"
        assert b"".join(event["body"] for event in events) == sent
        assert [notes.next() for _ in range(3)] == [{"type": "http.disconnect"}] * 3


@both_loops
@pytest.mark.spec("A-CORE-20")
@pytest.mark.parametrize("length", [10, 300_000])
def test_concurrent_sends_keep_the_order_of_their_calls(length: int, loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await asyncio.gather(*(send(body(bytes([65 + number]) * length, more_body=True)) for number in range(8)))
        await send(body())

    with serve(app, loop=loop) as site, Wire(site, receive_buffer_bytes=8192) as wire:
        assert wire.ask().body == b"".join(bytes([65 + number]) * length for number in range(8))
        assert wire.ask().status == 200


@both_loops
@pytest.mark.spec("A-CORE-20", "A-RESP-11")
def test_a_final_send_may_overtake_no_send_that_waits(loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        first = asyncio.ensure_future(send(body(b"A" * 4_000_000, more_body=True)))
        await asyncio.sleep(0)
        last = asyncio.ensure_future(send(body(b"B")))
        await asyncio.gather(first, last)

    with serve(app, loop=loop) as site, Wire(site, receive_buffer_bytes=8192) as wire:
        answer = wire.ask()
        assert len(answer.body) == 4_000_001
        assert answer.body == b"A" * 4_000_000 + b"B"
