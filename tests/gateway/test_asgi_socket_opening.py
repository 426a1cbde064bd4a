"""What surrounds the decision about a WebSocket: malformed handshakes, early frames, origins, leaving, waiting."""

import asyncio
import time
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, raised_by, read_body, respond
from socket_apps import accepted, message, sockets_only, told
from socket_client import PING, TEXT, SocketClient, frame
from upgrade import LINES, check_opened, knock, refusal, upgrade
from wire_client import Wire, request

from trilithon.testing import serve

pytestmark = pytest.mark.real

ACCEPT = {"type": "websocket.accept"}
REFUSE = {"type": "websocket.close"}
LEFT = ("disconnect", 1006, "")


MALFORMED = {
    "no key": [LINES[0], LINES[1], LINES[3]],
    "short key": [LINES[0], LINES[1], LINES[3], "Sec-WebSocket-Key: Zm9v"],
    "two keys": [*LINES, LINES[2]],
    "version 12": [*LINES[:3], "Sec-WebSocket-Version: 12"],
    "no version": list(LINES[:3]),
    "two versions": [*LINES, LINES[3]],
    "no host": ["Host:", "Host: b", *LINES],
}


@pytest.mark.spec("A-WSH-12", "WS-HS-05", "WS-HS-06", "WS-HS-07", "WS-HS-08", "WS-HS-17", "WS-HS-19")
@pytest.mark.parametrize("name", MALFORMED)
def test_the_application_never_sees_a_malformed_handshake(name: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope["path"])
        await send(REFUSE)

    with serve(app) as site, Wire(site) as wire:
        wire.send(request("/malformed", *MALFORMED[name]))
        answer = refusal(wire)
        assert answer.status == (426 if name in ("version 12", "no version") else 400)
        if answer.status == 426:
            assert answer.field(b"sec-websocket-version") == b"13"
            assert (answer.field(b"upgrade") or b"").lower() == b"websocket"
    assert notes.rest() == []


@pytest.mark.spec("A-WSH-12", "WS-HS-03", "WS-HS-15")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (upgrade().replace(b"GET", b"POST", 1), 405),
        (upgrade("/", "Content-Length: 5") + b"hello", 400),
        (upgrade("/", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    ],
    ids=["post", "length", "chunked"],
)
def test_a_handshake_by_another_method_or_with_a_body_is_refused(data: bytes, status: int) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope["path"])

    with serve(app) as site, Wire(site) as wire:
        wire.send(data)
        answer = wire.answer()
        assert answer.status == status
        assert wire.has_ended()
    assert notes.rest() == []


@both_loops
@pytest.mark.spec("WS-HS-01", "WS-HS-02", "WS-HS-04")
@pytest.mark.parametrize(
    "data",
    [
        request("/", *LINES, version="1.0"),
        request("/", LINES[0], *LINES[2:]),
        request("/", LINES[0], "Connection: not-upgrade", *LINES[2:]),
        request("/", LINES[0], "Connection: keep-alive", *LINES[2:]),
        request("/", "Upgrade: h2c", *LINES[1:]),
        request("/", "Upgrade: notwebsocket", *LINES[1:]),
        request("/", *LINES[1:]),
    ],
    ids=["1.0", "no connection", "substring", "other option", "other protocol", "longer protocol", "no upgrade"],
)
def test_what_is_no_handshake_is_a_plain_request(data: bytes, loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await respond(send, scope["type"].encode())

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.send(data)
        answer = wire.answer()
        assert (answer.status, answer.body) == (200, b"http")


@both_loops
@pytest.mark.spec("A-WSH-14", "WS-HS-16")
@pytest.mark.parametrize("cut", ["with the request", "while deciding"])
def test_frames_sent_before_the_answer_are_kept(cut: str, loop: str) -> None:
    notes, decide = Notes(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert told(await receive()) == "connect"
        notes.add("deciding")
        await decide.passed()
        await send(ACCEPT)
        while True:
            notes.add(told(await receive()))
            await send(message("heard"))

    frames = [frame(TEXT, f"message {number}") for number in range(20)]
    frames.append(frame(TEXT, request("/smuggled").decode()))
    with serve(app, loop=loop) as site, Wire(site) as wire:
        if cut == "with the request":
            wire.send(upgrade() + b"".join(frames))
            assert notes.next() == "deciding"
        else:
            wire.send(upgrade())
            assert notes.next() == "deciding"
            for each in frames:
                wire.send(each[:7])
                wire.send(each[7:])
        assert wire.is_quiet(0.1)
        decide.open()
        check_opened(wire.head())
        assert [notes.next() for _ in range(20)] == [f"message {number}" for number in range(20)]
        assert notes.next() == request("/smuggled").decode()
        assert wire.exactly(21 * 7) == 21 * b"\x81\x05heard"


@both_loops
@pytest.mark.spec("A-WSH-14", "WS-HS-16", "WS-CTL-03", "A-CORE-19")
def test_frames_sent_before_the_answer_wake_who_waits_and_are_answered(loop: str) -> None:
    notes, decide = Notes(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert told(await receive()) == "connect"
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        notes.add("deciding")
        await decide.passed()
        await send(ACCEPT)
        if scope["path"] == "/waits":
            notes.add(told(await waiting))
        else:
            waiting.cancel()
            await asyncio.Event().wait()

    with serve(app, loop=loop, graceful_timeout_s=0.2) as site:
        for target in ("/waits", "/does-not-receive"):
            with Wire(site) as wire:
                wire.send(upgrade(target) + frame(PING, "early") + frame(TEXT, "hello"))
                assert notes.next() == "deciding"
                decide.open()
                check_opened(wire.head())
                assert wire.exactly(7) == b"\x8a\x05early"
                if target == "/waits":
                    assert notes.next() == "hello"


@both_loops
@pytest.mark.spec("A-WSH-13", "A-WSC-04", "A-WSC-13")
@pytest.mark.parametrize("way", ["close", "denial"])
def test_a_receive_that_waits_is_told_of_the_applications_own_refusal(way: str, loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert told(await receive()) == "connect"
        waiting = [asyncio.ensure_future(receive()) for _ in range(2)]
        await asyncio.sleep(0)
        if way == "close":
            await send(REFUSE)
        else:
            await send({"type": "websocket.http.response.start", "status": 401})
            await send({"type": "websocket.http.response.body", "body": b"no"})
        for each in waiting:
            notes.add(told(await asyncio.wait_for(each, 5)))

    with serve(app, loop=loop) as site, knock(site) as wire:
        assert refusal(wire).status in (401, 403)
        assert [notes.next() for _ in range(2)] == [LEFT] * 2


@both_loops
@pytest.mark.spec("A-WSH-14", "A-WSH-07")
def test_frames_behind_a_refused_handshake_are_no_requests(loop: str) -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add((scope["type"], scope.get("path")))
        if scope["type"] == "websocket":
            await receive()
            await send(REFUSE)
        elif scope["type"] == "http":
            await respond(send)

    with serve(app, loop=loop, lifespan="off") as site, Wire(site) as wire:
        wire.send(upgrade("/socket") + request("/smuggled") + frame(TEXT, "x"))
        assert refusal(wire).status == 403
    assert notes.rest() == [("websocket", "/socket")]


@both_loops
@pytest.mark.spec("A-WSH-14", "WS-HS-16")
def test_what_is_sent_before_the_answer_is_bounded(loop: str) -> None:
    decide, deciding, notes = Gate(), Gate(), Notes()
    size, total_bytes = 60_000, 64 << 20

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        deciding.open()
        await decide.passed()
        await send(ACCEPT)
        taken = 0
        while taken < total_bytes // size:
            event = await receive()
            assert len(event["bytes"]) == size
            taken += 1
        notes.add(taken)

    block = frame(2, b"x" * size)
    whole = total_bytes // size * len(block)
    with serve(app, loop=loop) as site, knock(site) as wire:
        deciding.wait()
        sent = wire.send_until_stuck(block, whole)
        assert sent < 20 << 20
        decide.open()
        offset = sent % len(block)
        wire.send(block[offset:] if offset else b"")
        rest = (whole - sent - (len(block) - offset if offset else 0)) // len(block)
        for _ in range(rest):
            wire.send(block)
        assert notes.next() == total_bytes // size


@both_loops
@pytest.mark.spec("A-WSH-15", "WS-HS-18", "A-CORE-21")
def test_a_decision_that_takes_too_long_is_a_503_and_the_task_is_cancelled(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    notes, over = Notes(), Gate()
    left_behind = set()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert told(await receive()) == "connect"

        async def linger() -> None:
            await over.passed()
            notes.add(told(await receive()))
            notes.add(await raised_by(send(ACCEPT)))

        left_behind.add(asyncio.ensure_future(linger()))
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            notes.add("cancelled")
            raise

    with serve(app, loop=loop, ws_handshake_timeout_s=0.3) as site, knock(site, "/undecided") as wire:
        begun = time.monotonic()
        assert refusal(wire).status == 503
        assert 0.2 < time.monotonic() - begun < 2.0
        assert notes.next() == "cancelled"
        over.open()
        assert notes.next() == LEFT
        assert isinstance(notes.next(), OSError)
    assert ["/undecided" in record.getMessage() for record in error_records(caplog)] == [True]


@both_loops
@pytest.mark.spec("A-WSH-15", "WS-KA-04")
@pytest.mark.parametrize("limit", [0.0, 5.0])
def test_no_time_out_of_plain_http_ends_the_wait_for_a_decision(limit: float, loop: str) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        leaving = asyncio.ensure_future(receive())
        await asyncio.wait({leaving}, timeout=0.8)
        await send(ACCEPT)
        await send(message("late"))
        leaving.cancel()

    short = {"header_timeout_s": 0.2, "keep_alive_timeout_s": 0.2, "body_timeout_s": 0.2, "write_timeout_s": 0.2}
    with serve(app, loop=loop, ws_handshake_timeout_s=limit, **short) as site, SocketClient(site) as client:
        client.expect((TEXT, "late"))
        client.expect_close(1000)


@both_loops
@pytest.mark.spec("A-WSH-03", "A-WSS-05", "H1-CON-03")
@pytest.mark.parametrize("pipelined", [False, True])
def test_a_socket_may_follow_plain_requests_on_their_connection(pipelined: bool, loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await accepted(receive, send)
            await send(message(told(await receive())))
        elif scope["type"] == "http":
            await read_body(receive)
            await asyncio.sleep(0)
            await respond(send, scope["path"].encode())

    first = [request("/1"), b"POST /2 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc", request("/3")]
    with serve(app, loop=loop, lifespan="off") as site, Wire(site) as wire:
        if pipelined:
            wire.send(b"".join(first) + upgrade("/4") + frame(TEXT, "hello"))
        for number, data in enumerate(first, 1):
            if not pipelined:
                wire.send(data)
            assert wire.answer().body == b"/%d" % number
        if not pipelined:
            wire.send(upgrade("/4"))
            wire.send(frame(TEXT, "hello"))
        check_opened(wire.head())
        assert wire.exactly(7) == b"\x81\x05hello"
        assert wire.exactly(4) == b"\x88\x02\x03\xe8"


@both_loops
@pytest.mark.spec("WS-HS-14")
def test_origins_that_are_not_allowed_are_403_and_never_seen(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope["path"])
        await receive()
        await send(ACCEPT)

    allowed = ["https://good.example", "http://also.example:8080"]
    with serve(app, loop=loop, ws_origins=allowed) as site:
        for origin in allowed:
            with knock(site, "/good", f"Origin: {origin}") as wire:
                check_opened(wire.head())
            assert notes.next() == "/good"
        bad = ["http://good.example", "https://good.example.evil", "https://good.example:444", "null", "good.example"]
        for origin in bad:
            with knock(site, "/bad", f"Origin: {origin}") as wire:
                assert refusal(wire).status == 403, origin
        with knock(site, "/twice", f"Origin: {allowed[0]}", "Origin: https://evil.example") as wire:
            assert refusal(wire).status in (400, 403)
    assert notes.rest() == []


@both_loops
@pytest.mark.spec("A-WSH-11", "A-WSC-04", "A-WSC-07", "A-CORE-17")
@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_client_that_leaves_before_the_decision_is_noticed(
    way: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(told(await receive()))
        notes.add(told(await receive()))
        notes.add(time.monotonic())
        notes.add(told(await asyncio.wait_for(receive(), 5)))
        notes.add([await raised_by(send(event)) for event in (message("x"), REFUSE, REFUSE, ACCEPT)])
        await send(ACCEPT)

    with serve(app, loop=loop) as site:
        with knock(site) as wire:
            assert notes.next() == "connect"
            left = time.monotonic()
            getattr(wire, way)()
        assert notes.next() == LEFT
        assert notes.next() - left < 1.0
        assert notes.next() == LEFT
        sent, *closed, accept = notes.next()
        assert isinstance(sent, OSError)
        assert isinstance(accept, OSError)
        assert all(error is None or isinstance(error, OSError) for error in closed)
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-WSH-11", "A-WSC-13", "A-CORE-17")
@pytest.mark.parametrize("way", ["close", "reset"])
def test_accepting_a_client_that_has_left_harms_nobody(way: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    notes, began, gone = Notes(), Gate(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/next":
            await send(ACCEPT)
            return
        began.open()
        await gone.passed()
        error = await raised_by(send(ACCEPT))
        notes.add(error is None or isinstance(error, OSError))
        for _ in range(2):
            notes.add(told(await asyncio.wait_for(receive(), 5)))
        await send(message("to nobody"))

    with serve(app, loop=loop) as site:
        with knock(site) as wire:
            began.wait()
            getattr(wire, way)()
        gone.open()
        assert notes.next() is True
        assert [notes.next() for _ in range(2)] == [LEFT] * 2
        with knock(site, "/next") as wire:
            check_opened(wire.head())
    assert error_records(caplog) == []
