"""Backpressure in figures: what a server holds of an upload nobody reads and of a download nobody takes."""

import asyncio
import functools
import hashlib
import tracemalloc
from typing import Any

import pytest
from asgi_apps import Gate, Notes, body, both_loops, http_only, raised_by, read_body, respond, start, wait_until
from wire_client import Wire, ask

from trilithon.testing import serve

pytestmark = pytest.mark.real

MIB = 1 << 20
TOTAL_BYTES = 256 * MIB
# What the kernel may hold of one direction on loopback (tcp_wmem and tcp_rmem at their largest) and a margin.
KERNEL_BYTES = 20 * MIB
HELD_BYTES = 4 * MIB
PIECE = bytes(range(256)) * 256


@functools.cache
def total_digest() -> str:
    """The SHA-1 of all the bytes that go up or down."""
    digest = hashlib.sha1(usedforsecurity=False)
    for _ in range(TOTAL_BYTES // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest()


class Held:
    """The Python memory taken since construction; the client here takes next to none of it."""

    def __enter__(self) -> "Held":
        tracemalloc.start()
        self.before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        return self

    def __exit__(self, *exc_info: object) -> None:
        tracemalloc.stop()

    @property
    def peak_bytes(self) -> int:
        return tracemalloc.get_traced_memory()[1] - self.before


@both_loops
@pytest.mark.spec("A-REQ-08")
def test_an_upload_nobody_reads_stops_and_then_arrives_whole(loop: str) -> None:
    may_read, began = Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.open()
        await may_read.passed()
        digest, length, more_body = hashlib.sha1(usedforsecurity=False), 0, True
        while more_body:
            event = await receive()
            digest.update(event["body"])
            length += len(event["body"])
            assert len(event["body"]) <= MIB
            more_body = event["more_body"]
        await respond(send, b"%d %b" % (length, digest.hexdigest().encode()))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        with Held() as held:
            wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % TOTAL_BYTES)
            began.wait()
            taken_bytes = wire.send_until_stuck(PIECE, TOTAL_BYTES)
            assert taken_bytes < KERNEL_BYTES
            assert held.peak_bytes < HELD_BYTES
        may_read.open()
        offset = taken_bytes % len(PIECE)
        wire.send(PIECE[offset:])
        for _ in range((TOTAL_BYTES - taken_bytes - len(PIECE) + offset) // len(PIECE)):
            wire.send(PIECE)
        assert wire.answer().body == b"%d %b" % (TOTAL_BYTES, total_digest().encode())


@both_loops
@pytest.mark.spec("A-REQ-08")
def test_a_chunked_upload_nobody_reads_stops(loop: str) -> None:
    may_end, began = Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        began.open()
        await may_end.passed()
        await respond(send)

    with serve(app, loop=loop) as site, Wire(site) as wire:
        with Held() as held:
            wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
            taken_bytes = wire.send_until_stuck(b"10000\r\n" + PIECE + b"\r\n", TOTAL_BYTES)
            began.wait()
            assert taken_bytes < KERNEL_BYTES
            assert held.peak_bytes < HELD_BYTES
        may_end.open()


@both_loops
@pytest.mark.spec("A-REQ-08")
def test_pipelined_requests_are_not_read_without_bound(loop: str) -> None:
    may_end, began = Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.open()
        await may_end.passed()
        await respond(send)

    with serve(app, loop=loop) as site, Wire(site) as wire:
        line = b"GET / HTTP/1.1\r\nHost: t\r\nX-Fill: " + b"x" * 4000 + b"\r\n\r\n"
        wire.send(line)
        began.wait()
        with Held() as held:
            taken_bytes = wire.send_until_stuck(line * 16, TOTAL_BYTES)
            assert taken_bytes < KERNEL_BYTES
            assert held.peak_bytes < HELD_BYTES
        may_end.open()


@both_loops
@pytest.mark.spec("A-RESP-11")
def test_a_download_nobody_takes_suspends_send_and_then_arrives_whole(loop: str) -> None:
    progress = Notes()
    sent_bytes = 0

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent_bytes
        await send(start(200, [(b"content-length", b"%d" % TOTAL_BYTES)]))
        while sent_bytes < TOTAL_BYTES:
            task = asyncio.ensure_future(send(body(PIECE, more_body=True)))
            if not (await asyncio.wait({task}, timeout=0.3))[0]:
                progress.add(sent_bytes)
            await task
            sent_bytes += len(PIECE)
        await send(body())

    with serve(app, loop=loop) as site, Wire(site, receive_buffer_bytes=65536) as wire:
        with Held() as held:
            wire.get()
            assert progress.next() < KERNEL_BYTES
            assert held.peak_bytes < HELD_BYTES
        head = wire.head()
        assert head.status == 200
        digest, length = hashlib.sha1(usedforsecurity=False), 0
        while length < TOTAL_BYTES:
            assert wire.buffer or wire.fill()
            digest.update(wire.buffer)
            length += len(wire.buffer)
            wire.buffer.clear()
        assert length == TOTAL_BYTES
        assert digest.hexdigest() == total_digest()


@both_loops
@pytest.mark.spec("A-RESP-11", "A-RESP-10")
def test_one_event_larger_than_every_buffer_suspends_until_it_is_taken(loop: str) -> None:
    notes, done = Notes(), Gate()
    whole = PIECE * 512

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        task = asyncio.ensure_future(send(body(whole, more_body=True)))
        await asyncio.wait({task}, timeout=0.2)
        notes.add(task.done())
        await task
        done.open()
        await send(body(b"end"))

    with serve(app, loop=loop) as site, Wire(site, receive_buffer_bytes=65536) as wire:
        wire.get()
        assert notes.next() is False
        answer = wire.answer()
        assert len(answer.body) == len(whole) + 3
        assert answer.body == whole + b"end"
        done.wait()


@both_loops
@pytest.mark.spec("A-RESP-11")
@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_suspended_send_wakes_with_an_os_error_when_the_peer_dies(way: str, loop: str) -> None:
    notes, stuck = Notes(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        error = None
        while error is None:
            task = asyncio.ensure_future(raised_by(send(body(PIECE, more_body=True))))
            if not (await asyncio.wait({task}, timeout=0.2))[0]:
                stuck.open()
            error = await task
        notes.add(error)

    with serve(app, loop=loop) as site, Wire(site, receive_buffer_bytes=65536) as wire:
        wire.get()
        stuck.wait()
        getattr(wire, way)()
        assert isinstance(notes.next(), OSError)


@both_loops
@pytest.mark.spec("A-RESP-11", "A-CORE-20")
def test_a_suspended_send_wakes_although_another_task_ended_the_response(loop: str) -> None:
    ended, woken = Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        waiting = asyncio.ensure_future(raised_by(send(body(PIECE * 512, more_body=True))))
        await asyncio.sleep(0)
        await raised_by(send(body(b"end")))
        ended.open()
        await waiting
        woken.open()

    with serve(app, loop=loop) as site, Wire(site, receive_buffer_bytes=65536) as wire:
        wire.get()
        ended.wait()
        wire.reset()
        woken.wait()


@both_loops
@pytest.mark.spec("A-RESP-11")
def test_a_suspended_send_wakes_with_an_os_error_when_the_write_timeout_fires(loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        error = None
        while error is None:
            error = await raised_by(send(body(PIECE, more_body=True)))
        notes.add(error)

    with serve(app, loop=loop, write_timeout_s=0.4) as site, Wire(site, receive_buffer_bytes=65536) as wire:
        wire.get()
        assert isinstance(notes.next(), OSError)
        wire.rest()


@both_loops
@pytest.mark.spec("A-RESP-11")
def test_a_stuck_client_does_not_hold_up_another(loop: str) -> None:
    stuck = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        if scope["path"] == "/quick":
            await respond(send, b"quick")
            return
        await send(start())
        for _ in range(400):
            task = asyncio.ensure_future(send(body(PIECE, more_body=True)))
            if not (await asyncio.wait({task}, timeout=0.1))[0]:
                stuck.open()
            await task
        await send(body())

    with serve(app, loop=loop) as site:
        with Wire(site, receive_buffer_bytes=65536) as wire:
            wire.get("/slow")
            stuck.wait()
            for _ in range(20):
                assert ask(site, "/quick").body == b"quick"
            assert len(wire.answer().body) == 400 * len(PIECE)
        wait_until(lambda: ask(site, "/quick").body == b"quick")
