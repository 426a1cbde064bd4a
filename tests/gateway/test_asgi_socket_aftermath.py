"""What is left when a WebSocket is over: a line in the access log, no garbage, and the stop that was asked for."""

import asyncio
import gc
import logging
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, wait_until
from socket_apps import accepted, message, sockets_only, told
from socket_client import TEXT, SocketClient, close_frame, frame
from upgrade import knock, refusal
from wire_client import Wire, ask

from trilithon.testing import serve

pytestmark = pytest.mark.real


@sockets_only
async def converse(scope: Any, receive: Any, send: Any) -> None:
    """Echo until the end, or refuse where the path says so."""
    if scope["path"] == "/refused":
        await send({"type": "websocket.close"})
        return
    await accepted(receive, send)
    while not isinstance(found := told(await receive()), tuple):
        await send(message(found))


@both_loops
@pytest.mark.spec("A-DISC-13")
def test_each_socket_is_one_line_of_the_access_log(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("trilithon.access")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    try:
        with serve(converse, loop=loop, access_log="common") as site:
            with SocketClient(site, "/closed") as client:
                client.send(frame(TEXT, "x" * 1000))
                client.expect((TEXT, "x" * 1000))
                client.shake()
            with SocketClient(site, "/failed") as client:
                client.send(frame(3))
                client.expect_failure(1002)
            with SocketClient(site, "/lost") as client:
                client.reset()
            with knock(site, "/refused") as wire:
                assert refusal(wire).status == 403
    finally:
        logger.removeHandler(caplog.handler)
    lines = {id(record): record.getMessage() for record in caplog.records if record.name == "trilithon.access"}
    for path, status in {"/closed": " 101 ", "/failed": " 101 ", "/lost": " 101 ", "/refused": " 403 "}.items():
        (line,) = [line for line in lines.values() if path in line]
        assert status in line
    assert len(lines) == 4
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-CORE-24")
@pytest.mark.parametrize("decided", [False, True])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_application_that_asks_for_the_end_stops_the_server(
    error: type[BaseException], decided: bool, loop: str
) -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            notes.add("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert scope["type"] == "websocket"
        await receive()
        if decided:
            await send({"type": "websocket.accept"})
        raise error

    with serve(app, loop=loop) as site:
        if decided:
            with SocketClient(site) as client:
                client.expect_close(1011)
                client.send(close_frame(1011))
                client.expect_end()
        else:
            with knock(site) as wire:
                assert refusal(wire).status == 500
        assert notes.next() == "shutdown"


def alive() -> int:
    """Count what belongs to sockets and has not been released."""
    kinds = ("SocketCall", "WebSocket", "Handshake", "Exchange", "RequestHead", "NextEvent", "Deflate")
    return sum(type(thing).__name__ in kinds for thing in gc.get_objects())


@both_loops
@pytest.mark.spec("A-CORE-21", "A-WSC-13")
@pytest.mark.parametrize("way", ["shake", "fail", "reset", "refuse", "own close"])
def test_a_socket_that_is_over_leaves_nothing_to_the_garbage_collector(way: str, loop: str) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if way == "refuse":
            await send({"type": "websocket.close"})
            return
        await accepted(receive, send)
        late = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        if way == "own close":
            await send({"type": "websocket.close"})
        await late

    deflate = [("Sec-WebSocket-Extensions", "permessage-deflate")]

    def cycle(site: Any) -> None:
        if way == "refuse":
            with knock(site) as wire:
                assert refusal(wire).status == 403
            return
        with SocketClient(site, fields=deflate) as client:
            if way == "shake":
                client.shake()
            elif way == "fail":
                client.send(frame(3))
                client.expect_failure(1002)
            elif way == "own close":
                client.expect_close(1000)
                client.send(close_frame(1000))
                client.expect_end()
            else:
                client.reset()

    with serve(app, loop=loop) as site:
        cycle(site)
        gc.collect()
        gc.disable()
        try:
            before = alive()
            for _ in range(50):
                cycle(site)
            wait_until(lambda: alive() - before < 10, "the release of what 50 sockets took")
        finally:
            gc.enable()


@both_loops
@pytest.mark.spec("A-WSC-13", "A-CORE-21", "A-DISC-11")
def test_work_behind_the_end_holds_up_neither_the_connection_nor_other_requests(loop: str) -> None:
    notes, go_on = Notes(), Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"plain"})
            return
        await accepted(receive, send)
        notes.add(told(await receive()))
        await go_on.passed()
        notes.add("finished")

    with serve(app, loop=loop, lifespan="off") as site:
        with SocketClient(site) as client:
            client.shake(4000, "bye")
        assert notes.next() == ("disconnect", 4000, "bye")
        for _ in range(3):
            with Wire(site) as wire:
                assert wire.ask().body == b"plain"
        assert ask(site).status == 200
        assert notes.rest() == []
        site.server.stop()
        go_on.open()
    assert notes.rest() == ["finished"]


@both_loops
@pytest.mark.spec("A-CORE-21", "A-WSC-10", "A-WSC-13")
@pytest.mark.parametrize("waits", [False, True], ids=["asks later", "waits"])
def test_a_task_left_behind_gets_the_end_although_the_close_is_not_answered(waits: bool, loop: str) -> None:
    notes, may_return, ended = Notes(), Gate(), Gate()
    left_behind = set()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)

        async def linger() -> None:
            if not waits:
                await ended.passed()
            for _ in range(2):
                notes.add(told(await asyncio.wait_for(receive(), 5)))

        left_behind.add(asyncio.ensure_future(linger()))
        await may_return.passed()

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        if not waits:
            # Messages that nobody took belong to nobody once the application has returned.
            client.send(frame(TEXT, "for nobody"), frame(TEXT, "nor this"))
        client.expect_alive()
        may_return.open()
        client.expect_close(1000)
        ended.open()
        assert [notes.next()[0] for _ in range(2)] == ["disconnect"] * 2
        client.send(close_frame(1000))
        client.expect_end()


@both_loops
@pytest.mark.spec("A-WSC-07", "A-CORE-17", "A-DISC-07")
@pytest.mark.parametrize("wrapped", [False, True])
def test_sending_behind_ones_own_close_may_leave_the_application_unlogged(
    wrapped: bool, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await send({"type": "websocket.close", "code": 4000})
        if wrapped:
            async with asyncio.TaskGroup() as group:
                group.create_task(send(message("behind it")))
        await send(message("behind it"))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect_close(4000)
        client.send(close_frame(4000))
        client.expect_end()
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-WSC-13", "A-DISC-03")
@pytest.mark.parametrize("kind", ["websocket", "http"])
def test_an_application_that_never_minds_the_disconnect_starves_nobody(kind: str, loop: str) -> None:
    notes, other = Notes(), Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/other":
            other.open()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"served"})
            return
        if kind == "websocket":
            await send({"type": "websocket.accept"})
        while not (await receive())["type"].endswith(".disconnect"):
            continue
        notes.add("over")
        asked = 0
        # As a loop does that only looks for messages.
        while not other.is_open and asked < 300_000:
            assert (await receive())["type"].endswith(".disconnect")
            asked += 1
        notes.add(asked)

    with serve(app, loop=loop, lifespan="off") as site:
        if kind == "websocket":
            with SocketClient(site) as client:
                client.shake()
        else:
            with Wire(site) as wire:
                wire.get("/")
        assert notes.next() == "over"
        assert ask(site, "/other").body == b"served"
        assert notes.next() < 300_000
