"""A client that leaves: what receive() and send() do then, half-closes, and what is logged."""

import asyncio
import logging
import time
from typing import Any

import pytest
from asgi_apps import (
    Gate,
    Notes,
    body,
    both_loops,
    error_records,
    http_only,
    raised_by,
    read_body,
    respond,
    start,
    traceback_records,
    wait_until,
)
from wire_client import Truncated, Wire, ask, request

from trilithon.testing import serve

pytestmark = pytest.mark.real


@both_loops
@pytest.mark.spec("A-DISC-03", "A-DISC-01")
@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_pending_receive_wakes_at_once_when_the_client_leaves(way: str, loop: str) -> None:
    notes, pending = Notes(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        pending.open()
        notes.add(await waiting)
        notes.add(time.monotonic())
        for _ in range(3):
            notes.add(await asyncio.wait_for(receive(), 1))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        pending.wait()
        left = time.monotonic()
        getattr(wire, way)()
        assert notes.next() == {"type": "http.disconnect"}
        assert notes.next() - left < 0.2
        assert [notes.next() for _ in range(3)] == [{"type": "http.disconnect"}] * 3


@both_loops
@pytest.mark.spec("A-DISC-03")
def test_a_pending_receive_wakes_although_pipelined_requests_wait(loop: str) -> None:
    notes, pending = Notes(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope["path"])
        await read_body(receive)
        pending.open()
        notes.add(await receive())

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.send(request("/first") + request("/second"))
            pending.wait()
        assert notes.next() == "/first"
        assert notes.next() == {"type": "http.disconnect"}
    assert notes.rest() == []


@both_loops
@pytest.mark.spec("A-DISC-03")
def test_receive_first_called_after_the_client_left_wakes_too(loop: str) -> None:
    notes, begun, gone = Notes(), Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.open()
        await gone.passed()
        notes.add(await asyncio.wait_for(receive(), 5))
        notes.add(await asyncio.wait_for(receive(), 5))

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.get()
            begun.wait()
        gone.open()
        assert notes.next() in ({"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"})
        assert notes.next() == {"type": "http.disconnect"}


@both_loops
@pytest.mark.spec("A-DISC-05", "A-DISC-09")
@pytest.mark.parametrize(
    "data", [request(), b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody"], ids=["get", "post"]
)
def test_a_half_close_after_a_complete_request_is_served(data: bytes, loop: str) -> None:
    begun, finished = Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        received = await read_body(receive)
        begun.open()
        await finished.passed()
        await asyncio.sleep(0.02)
        await send(start())
        for _ in range(3):
            await send(body(received + b",", more_body=True))
            await asyncio.sleep(0)
        await send(body(b"end"))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(data)
        begun.wait()
        wire.finish()
        finished.open()
        answer = wire.answer()
        assert answer.body == (b"body," if data.startswith(b"POST") else b",") * 3 + b"end"
        assert wire.has_ended()


@both_loops
@pytest.mark.spec("A-DISC-05")
def test_a_half_close_in_the_same_packet_is_served_with_all_that_was_pipelined(loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        await respond(send, scope["path"].encode())

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(request("/1") + request("/2") + request("/3"))
        wire.finish()
        assert [wire.answer().body for _ in range(3)] == [b"/1", b"/2", b"/3"]
        assert wire.has_ended()


@both_loops
@pytest.mark.spec("A-DISC-06", "A-DISC-09", "A-CORE-07", "A-CORE-16")
def test_after_a_seen_disconnect_every_send_raises_an_os_error(loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        if scope["path"] == "/started":
            await send(start())
            await send(body(b"begun", more_body=True))
        assert (await receive())["type"] == "http.disconnect"
        events = [start(), body(b"x", more_body=True), body(b"x"), body()]
        notes.add([await raised_by(send(event)) for event in events])

    with serve(app, loop=loop) as site:
        for path in ("/fresh", "/started"):
            with Wire(site) as wire:
                wire.get(path)
                if path == "/started":
                    wire.head()
            errors = notes.next()
            assert [isinstance(error, OSError) for error in errors] == [True] * 4, errors
            assert type(errors[0]) is not OSError


@both_loops
@pytest.mark.spec("A-DISC-06", "A-DISC-07", "A-CORE-17", "A-RESP-11")
def test_a_streaming_send_raises_when_the_peer_is_gone_and_is_not_logged(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        try:
            while True:
                await send(body(b"x" * 65536, more_body=True))
        except OSError as error:
            notes.add(error)
            raise

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.get()
            wire.head()
        assert isinstance(notes.next(), OSError)
        with Wire(site) as wire:
            wire.get()
            wire.head()
            wire.reset()
        assert isinstance(notes.next(), OSError)
    assert error_records(caplog) == []


@pytest.mark.spec("A-DISC-07", "A-DISC-08")
def test_an_error_that_stands_for_the_disconnect_is_no_error_of_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        try:
            while True:
                await send(body(b"x" * 65536, more_body=True))
        except OSError:
            notes.add("left")
            # As Starlette's StreamingResponse does.
            raise RuntimeError("the client disconnected") from None

    caplog.set_level("INFO", "trilithon.error")
    with serve(app) as site:
        with Wire(site) as wire:
            wire.get()
            wire.head()
        assert notes.next() == "left"
    assert error_records(caplog) == []
    assert any("the client disconnected" in record.getMessage() for record in caplog.records)


async def reraise_in_group(error: Exception) -> None:
    raise ExceptionGroup("outer", [ExceptionGroup("inner", [error])])


@both_loops
@pytest.mark.spec("A-DISC-07", "A-CORE-17")
@pytest.mark.parametrize("shape", ["bare", "group", "nested", "task group", "chained"])
def test_a_disconnect_leaving_the_application_is_not_logged(
    shape: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    left = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await receive()
        left.open()
        if shape == "task group":
            async with asyncio.TaskGroup() as group:
                group.create_task(send(start()))
                group.create_task(send(start()))
        try:
            await send(start())
        except OSError as error:
            if shape == "group":
                raise ExceptionGroup("one", [error, error]) from None
            if shape == "nested":
                await reraise_in_group(error)
            if shape == "chained":
                raise error from ValueError("cause")
            raise

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.get()
        left.wait()
        assert ask_alive(site)
    assert error_records(caplog) == []


def ask_alive(site: Any) -> bool:
    """True when the server still takes connections."""
    with Wire(site) as wire:
        wire.send(b"OPTIONS\r\n\r\n")
        return wire.rest().startswith(b"HTTP/1.1 400 ")


@both_loops
@pytest.mark.spec("A-DISC-07", "A-RESP-18", "A-CORE-16")
def test_a_send_after_the_end_to_a_client_that_left_is_not_logged(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    left = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)
        while True:
            try:
                await send(body(b"EXTRA"))
            except OSError:
                left.open()
                raise
            except Exception:
                await asyncio.sleep(0.001)

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            assert wire.ask().body == b"ok"
        left.wait()
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-DISC-07")
def test_a_group_that_holds_anything_else_is_logged(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await receive()
        error = await raised_by(send(start()))
        assert error is not None
        raise ExceptionGroup("mixed", [error, ZeroDivisionError("real")])

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.get()
        wait_until(lambda: bool(traceback_records(caplog, ExceptionGroup)), "the traceback")
    assert len(error_records(caplog)) == 1


@both_loops
@pytest.mark.spec("A-DISC-08")
@pytest.mark.parametrize("error", [FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError])
def test_the_applications_own_os_error_is_an_application_error(
    error: type[OSError], loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error(2, "of the application")

    with serve(app, loop=loop) as site:
        assert ask(site).status == 500
    assert len(traceback_records(caplog, error)) == 1


@both_loops
@pytest.mark.spec("A-DISC-08", "A-DISC-09")
def test_the_disconnect_of_another_client_is_an_application_error(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    others: list[Any] = []

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/leak":
            others.append(send)
            await respond(send)
        else:
            await others[0](start())

    with serve(app, loop=loop) as site:
        assert ask(site, "/leak").body == b"ok"
        assert ask(site, "/use").status == 500
    assert len(traceback_records(caplog, OSError)) == 1


@both_loops
@pytest.mark.spec("A-DISC-11")
def test_a_disconnect_does_not_cancel_the_task(loop: str) -> None:
    notes, begun, go_on = Notes(), Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await read_body(receive)
            begun.open()
            assert (await receive())["type"] == "http.disconnect"
            notes.add("disconnected")
            await go_on.passed()
            await asyncio.sleep(0)
            notes.add("finished")
        except asyncio.CancelledError:
            notes.add("cancelled")
            raise

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.get()
            begun.wait()
        assert notes.next() == "disconnected"
        go_on.open()
        assert notes.next() == "finished"


@both_loops
@pytest.mark.spec("A-DISC-12")
def test_a_graceful_stop_lets_the_request_finish_and_injects_nothing(loop: str) -> None:
    notes, begun, may_finish = Notes(), Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        begun.open()
        await may_finish.passed()
        await asyncio.sleep(0.05)
        notes.add(waiting.done())
        await respond(send, b"finished")
        notes.add(await waiting)

    with serve(app, loop=loop, graceful_timeout_s=10) as site, Wire(site) as wire:
        wire.get()
        begun.wait()
        site.server.stop()
        may_finish.open()
        answer = wire.answer()
        assert answer.body == b"finished"
        assert wire.has_ended()
        assert notes.next() is False
        assert notes.next() == {"type": "http.disconnect"}


@both_loops
@pytest.mark.spec("A-DISC-12")
def test_after_the_graceful_timeout_the_task_is_cancelled_and_named(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    notes, begun = Notes(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.open()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            notes.add("cancelled")
            raise

    with serve(app, loop=loop, graceful_timeout_s=0.2) as site, Wire(site) as wire:
        wire.get("/stuck-here")
        begun.wait()
        site.server.stop()
        assert notes.next() == "cancelled"
        wire.rest()
    text = "\n".join(record.getMessage() for record in error_records(caplog))
    assert "/stuck-here" in text
    assert "GET" in text


@both_loops
@pytest.mark.spec("A-DISC-13")
def test_an_aborted_request_is_in_the_access_log_once_and_no_error(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    done = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await receive()
        done.open()

    logger = logging.getLogger("trilithon.access")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    try:
        with serve(app, loop=loop, access_log="common") as site:
            with Wire(site) as wire:
                wire.get("/gone")
            done.wait()
    finally:
        logger.removeHandler(caplog.handler)
    lines = {id(record): record.getMessage() for record in caplog.records if record.name == "trilithon.access"}
    assert len(lines) == 1, lines
    assert all("/gone" in line and "499" in line for line in lines.values())
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-DISC-06", "A-RESP-20")
def test_a_send_to_a_closed_peer_aborts_for_good(loop: str) -> None:
    sent, may_send, notes = Gate(), Gate(), Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, [(b"content-length", b"4")]))
        await send(body(b"bo", more_body=True))
        sent.open()
        await may_send.passed()
        await receive()
        await receive()
        notes.add(await raised_by(send(body(b"dy"))))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        head = wire.head()
        sent.wait()
        wire.finish()
        may_send.open()
        with pytest.raises(Truncated):
            wire.body(head)
        assert isinstance(notes.next(), OSError)
