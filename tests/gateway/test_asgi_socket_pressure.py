"""Pressure on a WebSocket, from either side: who is held back, how much is held meanwhile, and how it ends."""

import asyncio
import time
import tracemalloc
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, raised_by
from socket_apps import accepted, message, sockets_only, told
from socket_client import BINARY, TEXT, Frame, SocketClient, close_frame, frame
from upgrade import check_opened, knock

from trilithon.testing import serve

pytestmark = pytest.mark.real

MIB = 1 << 20
# What the kernel may hold of one direction on loopback, with a margin.
KERNEL_BYTES = 20 * MIB


@sockets_only
async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back what comes until the end."""
    await accepted(receive, send)
    while not isinstance(found := told(await receive()), tuple):
        await send(message(found))


@both_loops
@pytest.mark.spec("A-WSM-07", "WS-LIM-02")
@pytest.mark.parametrize("size", [20, 1000, 60_000])
def test_an_application_that_does_not_receive_stops_the_client(size: int, loop: str) -> None:
    begun, go_on, notes = Gate(), Gate(), Notes()
    block = frame(BINARY, b"x" * size)
    # Enough to fill what a kernel holds, and more of it than any bounded queue would take.
    total = max(32 * MIB // len(block), 1)

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        begun.open()
        await go_on.passed()
        taken = 0
        while taken < (total if size > 20 else 1000):
            assert len((await receive())["bytes"]) == size
            taken += 1
        notes.add(taken)

    batch = block * max(MIB // len(block), 1)
    whole = total * len(block)
    with serve(app, loop=loop) as site, knock(site) as wire:
        check_opened(wire.head())
        begun.wait()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            sent = wire.send_until_stuck(batch, whole)
            held = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert sent < KERNEL_BYTES
        assert held < 4 * MIB
        go_on.open()
        if size == 20:
            # A million events prove no more than the thirty thousand of the next size.
            assert notes.next() == 1000
            return
        while sent < whole:
            offset = sent % len(batch)
            piece = batch[offset : offset + whole - sent]
            wire.send(piece)
            sent += len(piece)
        assert notes.next() == total


@both_loops
@pytest.mark.spec("A-WSM-07", "WS-LIM-02", "WS-CLS-01", "A-WSC-02")
def test_a_close_behind_a_full_queue_comes_through(loop: str) -> None:
    go_on, notes = Gate(), Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await go_on.passed()
        found: Any = None
        while not isinstance(found, tuple):
            found = told(await receive())
            notes.add(found)

    with serve(app, loop=loop, ws_max_queue=2) as site, SocketClient(site) as client:
        client.send(*[frame(TEXT, f"{number}") for number in range(50)], close_frame(4000, "bye"))
        go_on.open()
        assert [notes.next() for _ in range(50)] == [str(number) for number in range(50)]
        assert notes.next() == ("disconnect", 4000, "bye")
        client.expect_close(4000)
        client.expect_end()


@both_loops
@pytest.mark.spec("A-WSM-07", "A-RESP-11", "WS-LIM-04")
@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_client_that_does_not_read_suspends_send(size: int, loop: str) -> None:
    notes = Notes()
    total = 32 * MIB // size

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        stuck = False
        for number in range(total):
            task = asyncio.ensure_future(send(message(number.to_bytes(4, "big") * (size // 4))))
            if not stuck and not (await asyncio.wait({task}, timeout=0.3))[0]:
                stuck = True
                notes.add(number * size)
            await task
        await send({"type": "websocket.close"})

    with serve(app, loop=loop) as site, SocketClient(site, receive_buffer_bytes=65536) as client:
        assert notes.next() < KERNEL_BYTES
        for number in range(total):
            assert client.next() == Frame(True, 0, BINARY, number.to_bytes(4, "big") * (size // 4))
        client.expect_close(1000)


@both_loops
@pytest.mark.spec("A-RESP-11", "A-WSC-07", "A-WSC-03", "A-WSC-04", "A-CORE-17")
@pytest.mark.parametrize("way", ["close", "reset", "write time-out"])
def test_a_suspended_send_wakes_with_an_os_error(way: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    notes, stuck = Notes(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        waiting = asyncio.ensure_future(receive())
        error = None
        while error is None:
            task = asyncio.ensure_future(raised_by(send(message(b"x" * 100_000))))
            if not (await asyncio.wait({task}, timeout=0.2))[0]:
                stuck.open()
            error = await task
        notes.add(error)
        notes.add(told(await waiting))
        notes.add(told(await receive()))
        await send(message("once more"))

    options = {"write_timeout_s": 0.6} if way == "write time-out" else {}
    with serve(app, loop=loop, **options) as site, SocketClient(site, receive_buffer_bytes=65536) as client:
        stuck.wait()
        if way != "write time-out":
            getattr(client, way)()
        assert isinstance(notes.next(), OSError)
        code = notes.next()
        assert code[:2] == ("disconnect", 1006)
        assert notes.next() == code
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("WS-PMD-19", "WS-UTF-08")
def test_a_large_message_holds_up_no_other_client(loop: str) -> None:
    with serve(echo, loop=loop) as site, SocketClient(site) as large, SocketClient(site) as small:
        data = b"\xff" * (15 * MIB)
        large.send(frame(BINARY, data))
        begun = time.monotonic()
        small.send(frame(TEXT, "small"))
        small.expect((TEXT, "small"))
        assert time.monotonic() - begun < 1.0
        large.expect((BINARY, data))
