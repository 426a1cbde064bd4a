"""Server-sent events and long polling: each event goes out at once, and a client that leaves is noticed at once."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from asgi_apps import Gate, Notes, body, both_loops, error_records, http_only, read_body, respond, start
from wire_client import Truncated, Wire, request

from trilithon.testing import serve

pytestmark = pytest.mark.real

EVENT_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
DISCONNECT = {"type": "http.disconnect"}
# "At once", for a single time on a machine that runs other things too; of many times the middle one is far quicker.
AT_ONCE_S = 1.0
MIDDLE_S = 0.05
# Every time-out of plain HTTP, each far shorter than the silence in the tests that use it.
SHORT = {"header_timeout_s": 0.2, "keep_alive_timeout_s": 0.2, "body_timeout_s": 0.2, "write_timeout_s": 0.2}


def event(number: int) -> bytes:
    """One event of a stream."""
    return b"id: %d\ndata: event %d\n\n" % (number, number)


@both_loops
@pytest.mark.spec("A-RESP-10")
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_each_event_arrives_before_the_next_is_made(version: str, loop: str) -> None:
    seen = [Gate() for _ in range(10)]

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, EVENT_STREAM))
        for number, gate in enumerate(seen):
            await send(body(event(number), more_body=True))
            await gate.passed()
        await send(body())

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get("/", version=version)
        head = wire.head()
        assert head.field(b"content-length") is None
        assert head.field(b"transfer-encoding") == (b"chunked" if version == "1.1" else None)
        for number, gate in enumerate(seen):
            assert (wire.chunk() if version == "1.1" else wire.exactly(len(event(number)))) == event(number)
            assert wire.is_quiet()
            gate.open()
        assert (wire.chunk() if version == "1.1" else wire.rest()) == b""


@both_loops
@pytest.mark.spec("A-RESP-10")
def test_an_event_is_out_although_its_application_then_blocks_the_loop(loop: str) -> None:
    seen = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, EVENT_STREAM))
        await send(body(event(1), more_body=True))
        seen.wait()
        await send(body(event(2)))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        wire.head()
        assert wire.chunk() == event(1)
        seen.open()
        assert wire.chunk() == event(2)


@both_loops
@pytest.mark.spec("A-RESP-10", "A-RESP-13")
def test_the_head_arrives_before_the_first_event(loop: str) -> None:
    seen = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, EVENT_STREAM))
        await send(body(b"", more_body=True))
        await seen.passed()
        await send(body(event(1)))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        assert wire.head().field(b"content-type") == b"text/event-stream"
        assert wire.is_quiet(0.05)
        seen.open()
        assert wire.chunk() == event(1)


@both_loops
@pytest.mark.spec("A-RESP-10")
def test_an_event_for_all_reaches_each_of_many_at_once(loop: str) -> None:
    queues: list[asyncio.Queue[bytes]] = []
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/publish":
            data = await read_body(receive)
            for queue in queues:
                queue.put_nowait(data)
            await respond(send, b"%d" % len(queues))
            return
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        queues.append(queue)
        await send(start(200, EVENT_STREAM))
        await send(body(b"", more_body=True))
        while data := await queue.get():
            await send(body(data, more_body=True))
        await send(body())
        notes.add("ended")

    with serve(app, loop=loop) as site, ExitStack() as stack, Wire(site) as publisher:
        readers = [stack.enter_context(Wire(site)) for _ in range(200)]
        for reader in readers:
            reader.get("/events")
        for reader in readers:
            reader.head()
        for number in range(5):
            publisher.send(b"POST /publish HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(event(number)))
            publisher.send(event(number))
            assert publisher.answer().body == b"200"
            begun = time.monotonic()
            assert {reader.chunk() for reader in readers} == {event(number)}
            assert time.monotonic() - begun < AT_ONCE_S
        publisher.send(b"POST /publish HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
        assert publisher.answer().body == b"200"
        assert {reader.chunk() for reader in readers} == {b""}
        assert [notes.next() for _ in readers] == ["ended"] * len(readers)


@both_loops
@pytest.mark.spec("A-RESP-10", "A-RESP-11")
def test_a_reader_that_stopped_reading_holds_up_no_other(loop: str) -> None:
    began = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, EVENT_STREAM))
        if scope["path"] == "/stuck":
            began.open()
            while True:
                await send(body(b"data: " + b"x" * 65536 + b"\n\n", more_body=True))
        for number in range(100):
            await send(body(event(number), more_body=True))
            await asyncio.sleep(0)
        await send(body())

    with serve(app, loop=loop) as site, Wire(site, receive_buffer_bytes=4096) as stuck, Wire(site) as wire:
        stuck.get("/stuck")
        began.wait()
        for _ in range(5):
            begun = time.monotonic()
            assert wire.ask("/").body == b"".join(event(number) for number in range(100))
            assert time.monotonic() - begun < 2 * AT_ONCE_S


@both_loops
@pytest.mark.spec("A-DISC-03", "A-DISC-06")
@pytest.mark.parametrize("way", ["close", "reset"])
def test_many_clients_that_leave_are_noticed_at_once(way: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await send(start(200, EVENT_STREAM))
        await send(body(event(0), more_body=True))
        assert await receive() == DISCONNECT
        noticed = time.monotonic()
        try:
            await send(body(event(1), more_body=True))
        except OSError:
            notes.add(noticed)
            raise

    with serve(app, loop=loop) as site, ExitStack() as stack:
        wires = [stack.enter_context(Wire(site)) for _ in range(100)]
        for wire in wires:
            wire.get("/events")
        for wire in wires:
            wire.head()
            assert wire.chunk() == event(0)
        delays_s = []
        for wire in wires:
            left = time.monotonic()
            getattr(wire, way)()
            delays_s.append(notes.next() - left)
        assert sorted(delays_s)[50] < MIDDLE_S
        assert max(delays_s) < AT_ONCE_S
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-DISC-06", "A-DISC-07")
def test_a_stream_that_only_sends_is_ended_by_its_next_events(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, EVENT_STREAM))
        sent = 0
        try:
            while True:
                await send(body(event(sent), more_body=True))
                sent += 1
                await asyncio.sleep(0.001)
        except OSError:
            notes.add(time.monotonic())
            raise

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        wire.head()
        assert [wire.chunk() for _ in range(3)] == [event(number) for number in range(3)]
        left = time.monotonic()
        wire.close()
        assert notes.next() - left < AT_ONCE_S
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-REQ-07", "A-DISC-09")
@pytest.mark.parametrize("began", [False, True], ids=["long poll", "stream"])
def test_no_time_out_ends_a_silent_stream_whose_client_waits(began: bool, loop: str) -> None:
    pending, woken = Gate(), Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        if began:
            await send(start(200, EVENT_STREAM))
            await send(body(event(0), more_body=True))
        waiting = asyncio.ensure_future(receive())
        pending.open()
        # Silence, five times as long as every time-out.
        assert not (await asyncio.wait({waiting}, timeout=1.0))[0]
        if not began:
            await send(start(200, EVENT_STREAM))
        await send(body(event(1)))
        woken.add(await waiting)

    with serve(app, loop=loop, **SHORT) as site, Wire(site) as wire:
        wire.get()
        pending.wait()
        if began:
            wire.head()
            assert wire.chunk() == event(0)
            assert wire.chunk() == event(1)
            assert wire.chunk() == b""
        else:
            assert wire.is_quiet(0.5)
            assert wire.answer().body == event(1)
        assert woken.next() == DISCONNECT


@both_loops
@pytest.mark.spec("A-REQ-07", "A-DISC-02")
def test_polls_follow_each_other_on_one_connection(loop: str) -> None:
    asked: asyncio.Queue[asyncio.Future[bytes]] = asyncio.Queue()
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/poll":
            await read_body(receive)
            answer = asyncio.get_running_loop().create_future()
            asked.put_nowait(answer)
            left = asyncio.ensure_future(receive())
            await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                await respond(send, answer.result())
                assert await left == DISCONNECT
            else:
                notes.add(left.result())
            return
        (await asked.get()).set_result(scope["path"].encode())
        await respond(send, b"told")

    with serve(app, loop=loop) as site, Wire(site) as poller, Wire(site) as teller:
        for number in range(20):
            poller.get("/poll")
            assert poller.is_quiet()
            assert teller.ask(f"/tell-{number}").body == b"told"
            assert poller.answer().body == b"/tell-%d" % number
        poller.get("/poll")
        poller.close()
        assert notes.next() == DISCONNECT


@both_loops
@pytest.mark.spec("A-DISC-03")
def test_polls_of_clients_that_leave_hold_nothing(loop: str) -> None:
    notes, running = Notes(), set()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        task = asyncio.current_task()
        running.add(task)
        notes.add("waiting")
        assert await receive() == DISCONNECT
        running.discard(task)
        notes.add(len(running))

    with serve(app, loop=loop) as site:
        for _ in range(100):
            with Wire(site) as wire:
                wire.get("/poll")
                assert notes.next() == "waiting"
            assert notes.next() == 0


@both_loops
@pytest.mark.spec("A-DISC-03", "A-REQ-09")
def test_a_stream_whose_client_sends_more_notices_that_it_leaves(loop: str) -> None:
    notes, pending = Notes(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await send(start(200, EVENT_STREAM))
        await send(body(event(0), more_body=True))
        pending.open()
        assert await receive() == DISCONNECT
        notes.add(time.monotonic())

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        wire.head()
        pending.wait()
        for _ in range(3):
            wire.send(request("/next"))
        left = time.monotonic()
        wire.close()
        assert notes.next() - left < AT_ONCE_S


Generator = Callable[[Notes, list[Gate]], Any]


def yields(notes: Notes, seen: list[Gate]) -> Any:
    """A WSGI stream of a generator."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        try:
            for number, gate in enumerate(seen):
                yield event(number)
                gate.wait()
            while True:
                yield event(len(seen))
                time.sleep(0.002)
        finally:
            notes.add(time.monotonic())

    return app


def writes(notes: Notes, seen: list[Gate]) -> Any:
    """A WSGI stream of calls of write()."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/event-stream")])
        try:
            for number, gate in enumerate(seen):
                write(event(number))
                gate.wait()
            while True:
                write(event(len(seen)))
                time.sleep(0.002)
        finally:
            notes.add(time.monotonic())

    return app


@pytest.mark.spec("A-DISC-06")
@pytest.mark.parametrize("made", [yields, writes])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_wsgi_stream_flushes_each_event_and_ends_when_its_client_leaves(
    made: Generator, threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    notes, seen = Notes(), [Gate() for _ in range(5)]
    with serve(made(notes, seen), threads=threads) as site, Wire(site) as wire:
        wire.get()
        wire.head()
        for number, gate in enumerate(seen):
            assert wire.chunk() == event(number)
            gate.open()
        assert wire.chunk() == event(len(seen))
        left = time.monotonic()
        wire.close()
        assert notes.next() - left < AT_ONCE_S
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-RESP-20")
def test_a_stream_left_unended_is_cut_short_on_the_wire(loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, EVENT_STREAM))
        await send(body(event(0), more_body=True))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        with pytest.raises(Truncated) as cut:
            wire.answer()
        assert cut.value.body == event(0)
