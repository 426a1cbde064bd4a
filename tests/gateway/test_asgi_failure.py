"""Applications that fail, in every phase of a response: before it, held back, flushed, complete, or never."""

import asyncio
import time
from typing import Any

import pytest
from asgi_apps import (
    Gate,
    body,
    both_loops,
    error_records,
    http_only,
    read_body,
    respond,
    start,
    traceback_records,
    wait_until,
)
from wire_client import Truncated, Wire, ask

from trilithon.testing import serve

pytestmark = pytest.mark.real

COOKIE = [(b"set-cookie", b"session=secret"), (b"x-app", b"1")]


class Broken(Exception):
    """What the applications of this file raise."""


@both_loops
@pytest.mark.spec("A-EXC-01", "A-EXC-02", "A-EXC-06", "A-EXC-07")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("phase", ["before", "after start", "after await"])
def test_before_anything_is_flushed_it_is_a_500(
    phase: str, method: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if phase != "before":
            await send(start(200, [*COOKIE, (b"content-length", b"3")]))
        if phase == "after await":
            await asyncio.sleep(0)
        raise Broken("secret-detail")

    with serve(app, loop=loop) as site, Wire(site) as wire:
        began = time.monotonic()
        wire.get(method=method)
        head = wire.head()
        assert time.monotonic() - began < 1
        raw_body = wire.rest()
        assert head.status == 500
        assert head.field(b"connection") == b"close"
        assert head.field(b"date")
        assert not {name for name, _ in head.fields} & {b"set-cookie", b"x-app"}
        assert b"secret" not in head.raw + raw_body
        if method == "HEAD":
            assert raw_body == b""
        else:
            assert raw_body
            assert (head.field(b"content-type") or b"").startswith(b"text/plain")
            assert head.field(b"content-length") == str(len(raw_body)).encode()
    assert len(traceback_records(caplog, Broken)) == len(error_records(caplog)) == 1


@both_loops
@pytest.mark.spec("A-EXC-03", "A-EXC-07")
@pytest.mark.parametrize("headers", [[], [(b"content-length", b"10")]])
@pytest.mark.parametrize("data", [b"", b"begun"])
def test_after_bytes_were_flushed_the_response_is_cut(
    data: bytes, headers: Any, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, headers))
        await send(body(data, more_body=True))
        if scope["path"] == "/seen":
            await seen.passed()
        raise Broken("late")

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.get("/seen")
            head = wire.head()
            seen.open()
            with pytest.raises(Truncated) as cut:
                wire.body(head)
            assert cut.value.body == data
        with Wire(site) as wire:
            wire.get("/at-once")
            raw = wire.rest()
            assert raw.count(b"HTTP/1.1") <= 1
            assert not raw.endswith(b"0\r\n\r\n")
            assert raw == b"" or raw.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 500 "))
    assert len(traceback_records(caplog, Broken)) == len(error_records(caplog)) == 2


@both_loops
@pytest.mark.spec("A-EXC-03", "A-RESP-12")
def test_a_cut_response_to_http_1_0_is_told_by_a_reset(loop: str) -> None:
    seen = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, [(b"content-length", b"10")]))
        await send(body(b"begun", more_body=True))
        await seen.passed()
        raise Broken("late")

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get(version="1.0")
        head = wire.head()
        seen.open()
        with pytest.raises(Truncated):
            wire.body(head)


@both_loops
@pytest.mark.spec("A-EXC-04")
def test_after_the_final_event_it_is_only_logged(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"intact")
        if scope["path"] == "/later":
            await asyncio.sleep(0)
        raise Broken("after the end")

    with serve(app, loop=loop) as site:
        for path in ("/now", "/later"):
            with Wire(site) as wire:
                assert wire.ask(path).body == b"intact"
                wire.get(path)
                rest = wire.answer() if wire.fill() else None
                assert rest is None or rest.body == b"intact"
        wait_until(lambda: len(traceback_records(caplog, Broken)) >= 2, "the tracebacks")
    assert len(error_records(caplog)) == len(traceback_records(caplog, Broken))


@both_loops
@pytest.mark.spec("A-EXC-05", "A-REQ-09")
@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_with_a_body_unread_the_500_arrives_and_nothing_after_it(size: int, loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise Broken("body unread")

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % size)
        wire.send_until_stuck(b"x" * min(size, 65536), size // 2)
        assert wire.answer().status == 500
        assert wire.rest() == b""


@both_loops
@pytest.mark.spec("A-EXC-05")
def test_an_exception_in_the_middle_of_an_upload_answers_at_once(loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        event = await receive()
        assert event["more_body"]
        raise Broken("half read")

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        assert wire.answer().status == 500
        assert wire.rest() == b""


@both_loops
@pytest.mark.spec("A-EXC-08")
def test_an_application_that_never_answers_is_bounded(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        if scope["path"] == "/stuck":
            await asyncio.get_running_loop().create_future()
        await respond(send, b"fine")

    with serve(app, loop=loop, request_timeout_s=0.3) as site, Wire(site) as other:
        with Wire(site) as wire:
            answer = wire.ask("/stuck")
            assert answer.status in (503, 504)
            assert answer.field(b"connection") == b"close"
            assert wire.has_ended()
        assert other.ask("/fine").body == b"fine"
        wait_until(lambda: bool(error_records(caplog)), "the log line")


@both_loops
@pytest.mark.spec("A-EXC-07")
def test_many_failures_leave_nothing_behind(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/bad":
            raise Broken("again")
        await respond(send, b"good")

    with serve(app, loop=loop) as site:
        for _ in range(30):
            assert ask(site, "/bad").status == 500
            assert ask(site, "/good").body == b"good"
    assert len(traceback_records(caplog, Broken)) == 30
