"""How response bodies are framed: chunked, length or close, HEAD, bodiless statuses, lengths that do not hold."""

from typing import Any

import pytest
from asgi_apps import Notes, body, both_loops, error_records, http_only, raised_by, respond, start, wait_until
from wire_client import Truncated, Wire, ask

from trilithon.testing import serve

pytestmark = pytest.mark.real


def sending(*events: Any, headers: Any = (), status: int = 200) -> Any:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(status, headers))
        for data, more_body in events:
            await send(body(data, more_body))

    return app


ONE = ((b"whole", False),)
PARTS = ((b"wh", True), (b"", True), (b"ole", True), (b"", False))
LENGTH = [(b"content-length", b"5")]


@both_loops
@pytest.mark.spec("A-RESP-12", "A-RESP-13")
@pytest.mark.parametrize(
    ("events", "headers", "framings"),
    [
        (ONE, [], {"length", "chunked"}),
        (PARTS, [], {"chunked"}),
        (ONE, LENGTH, {"length"}),
        (PARTS, LENGTH, {"length"}),
        (PARTS, [(b"Content-Length", b"5")], {"length"}),
    ],
)
def test_http_1_1_bodies_end_by_length_or_last_chunk(events: Any, headers: Any, framings: set[str], loop: str) -> None:
    with serve(sending(*events, headers=headers), loop=loop) as site, Wire(site) as wire:
        for _ in range(2):
            answer = wire.ask()
            assert answer.body == b"whole"
            assert answer.framing in framings
            assert answer.head.version == b"1.1"
        assert wire.is_quiet()


@both_loops
@pytest.mark.spec("A-RESP-12", "A-RESP-24")
@pytest.mark.parametrize("events", [ONE, PARTS])
@pytest.mark.parametrize("headers", [[], LENGTH, [(b"transfer-encoding", b"chunked")]])
@pytest.mark.parametrize("line", ["X-None: 1", "Connection: keep-alive"])
def test_http_1_0_gets_no_chunks(events: Any, headers: Any, line: str, loop: str) -> None:
    with serve(sending(*events, headers=headers), loop=loop) as site, Wire(site) as wire:
        wire.get("/", line, version="1.0")
        answer = wire.answer()
        assert answer.body == b"whole"
        assert answer.field(b"transfer-encoding") is None
        assert answer.head.version in (b"1.0", b"1.1")
        if answer.framing == "close":
            assert answer.field(b"connection") == b"close"
        elif line.startswith("X-"):
            assert wire.has_ended()
        elif answer.field(b"connection") == b"keep-alive":
            wire.get("/", version="1.0")
            assert wire.answer().body == b"whole"


@both_loops
@pytest.mark.spec("A-RESP-15")
@pytest.mark.parametrize("events", [ONE, PARTS, ((b"", False),), ((b"longer than declared", False),)])
@pytest.mark.parametrize("headers", [[], LENGTH, [(b"content-length", b"123456")]])
def test_head_writes_the_head_only(events: Any, headers: Any, loop: str) -> None:
    with serve(sending(*events, headers=headers), loop=loop) as site, Wire(site) as wire:
        for _ in range(2):
            answer = wire.ask(method="HEAD")
            assert answer.status == 200
            if headers:
                assert answer.field(b"content-length") == headers[0][1]
            elif answer.field(b"content-length") is not None:
                assert events != PARTS
                assert answer.field(b"content-length") == str(len(events[0][0])).encode()
        wire.get(method="HEAD", version="1.1")
        wire.send(b"HEAD /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        wire.head()
        wire.head()
        assert wire.has_ended()


@both_loops
@pytest.mark.spec("A-RESP-16")
@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("events", [((b"", False),), ONE, PARTS])
@pytest.mark.parametrize("headers", [[], LENGTH, [(b"transfer-encoding", b"chunked")]])
def test_204_and_304_have_no_body(status: int, events: Any, headers: Any, loop: str) -> None:
    with serve(sending(*events, headers=headers, status=status), loop=loop) as site, Wire(site) as wire:
        for _ in range(2):
            answer = wire.ask()
            assert answer.status == status
            assert answer.field(b"transfer-encoding") is None
            if status == 204:
                assert answer.field(b"content-length") is None
            elif answer.field(b"content-length") is not None:
                assert headers == LENGTH
        assert wire.is_quiet()


@both_loops
@pytest.mark.spec("A-RESP-16")
@pytest.mark.parametrize("events", [((b"", False),), ONE, PARTS])
@pytest.mark.parametrize("headers", [[], LENGTH])
def test_205_has_no_content(events: Any, headers: Any, loop: str) -> None:
    with serve(sending(*events, headers=headers, status=205), loop=loop) as site, Wire(site) as wire:
        for _ in range(2):
            answer = wire.ask()
            assert (answer.status, answer.body) == (205, b"")
            assert answer.framing in ("length", "chunked")


@both_loops
@pytest.mark.spec("A-RESP-14")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_more_than_the_length_raises_and_the_excess_is_never_written(version: str, loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, LENGTH))
        await send(body(b"who", more_body=True))
        notes.add(await raised_by(send(body(b"leEXCESS", more_body=True))))
        notes.add(await raised_by(send(body(b"leEXCESS"))))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get(version=version)
        raw = wire.rest()
    assert raw.count(b"HTTP/1.1") == 1
    assert b"EXCESS" not in raw
    head, _, sent = raw.partition(b"\r\n\r\n")
    assert b"content-length: 5" in head.lower()
    assert b"whole".startswith(sent)
    errors = notes.rest()
    assert len(errors) == 2
    assert None not in errors


@both_loops
@pytest.mark.spec("A-RESP-14", "A-EXC-02")
def test_more_than_the_length_at_once_raises_and_nothing_of_it_is_written(loop: str) -> None:
    with serve(sending((b"wholeEXCESS", False), headers=LENGTH), loop=loop) as site, Wire(site) as wire:
        wire.get()
        raw = wire.rest()
    assert b"EXCESS" not in raw
    assert raw.startswith(b"HTTP/1.1 500 ")


@both_loops
@pytest.mark.spec("A-RESP-14")
@pytest.mark.parametrize("events", [((b"wh", True), (b"o", False)), ((b"wh", True), (b"", False))])
def test_less_than_the_length_raises_and_aborts(events: Any, loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, LENGTH))
        for data, more_body in events:
            notes.add(await raised_by(send(body(data, more_body))))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        with pytest.raises(Truncated) as cut:
            wire.answer()
        assert b"who".startswith(cut.value.body)
        assert notes.next() is None
        assert notes.next() is not None


@both_loops
@pytest.mark.spec("A-RESP-14", "A-EXC-02")
@pytest.mark.parametrize("data", [b"", b"who"])
def test_less_than_the_length_with_nothing_flushed_is_a_500(data: bytes, loop: str) -> None:
    with serve(sending((data, False), headers=LENGTH), loop=loop) as site, Wire(site) as wire:
        assert wire.ask().status == 500
        assert wire.has_ended()


@pytest.mark.spec("A-RESP-14", "A-RESP-04")
@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"-1")],
        [(b"content-length", b"5x")],
        [(b"content-length", b"+5")],
        [(b"content-length", b"5, 5")],
        [(b"content-length", b"")],
        [(b"content-length", b"0x5")],
        [(b"content-length", b"5"), (b"content-length", b"6")],
        [(b"content-length", b"\xd9\xa5")],
    ],
)
def test_a_length_that_is_none_raises(headers: Any) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(await raised_by(send(start(200, headers))))
        await respond(send, b"good")

    with serve(app) as site:
        assert ask(site).body == b"good"
    assert notes.next() is not None


@both_loops
@pytest.mark.spec("A-RESP-19")
def test_no_start_at_all_is_a_500(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/receive":
            await receive()

    with serve(app, loop=loop) as site:
        for path in ("/", "/receive"):
            with Wire(site) as wire:
                answer = wire.ask(path)
                assert answer.status == 500
                assert answer.field(b"connection") == b"close"
                assert wire.has_ended()
        wait_until(lambda: len(error_records(caplog)) >= 2, "the log lines")


@both_loops
@pytest.mark.spec("A-RESP-20")
@pytest.mark.parametrize("headers", [[], LENGTH])
def test_a_response_without_its_final_event_is_aborted(
    headers: Any, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(sending((b"who", True), headers=headers), loop=loop) as site, Wire(site) as wire:
        wire.get()
        with pytest.raises(Truncated) as cut:
            wire.answer()
        assert cut.value.body == b"who"
        wait_until(lambda: bool(error_records(caplog)), "the log line")


@pytest.mark.spec("A-RESP-20", "A-RESP-19")
def test_a_start_without_any_body_event_is_no_success(caplog: pytest.LogCaptureFixture) -> None:
    with serve(sending(headers=[(b"set-cookie", b"a=1")])) as site, Wire(site) as wire:
        wire.get()
        raw = wire.rest()
        wait_until(lambda: bool(error_records(caplog)), "the log line")
    assert b"HTTP/1.1 200" not in raw
    assert b"set-cookie" not in raw


@pytest.mark.spec("A-RESP-20")
def test_a_length_that_is_satisfied_ends_the_response(caplog: pytest.LogCaptureFixture) -> None:
    with serve(sending((b"who", True), (b"le", True), headers=LENGTH)) as site, Wire(site) as wire:
        assert [wire.ask().body for _ in range(2)] == [b"whole", b"whole"]
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-RESP-12", "A-RESP-13")
@pytest.mark.parametrize("size", [1, 15, 16, 4095, 65535, 65536, 65537, 1_000_000])
def test_bodies_of_every_size_arrive_whole(size: int, loop: str) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with serve(sending((data, True), (data, True), (b"", False)), loop=loop) as site, Wire(site) as wire:
        for _ in range(2):
            answer = wire.ask()
            assert answer.framing == "chunked"
            assert answer.body == data * 2
