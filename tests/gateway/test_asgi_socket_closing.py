"""The end of a WebSocket as the application sees it: codes and reasons, closing itself, and sending behind the end."""

import asyncio
import time
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, raised_by, traceback_records
from socket_apps import accepted, message, open_desk, read_on, sockets_only, told
from socket_client import BINARY, CLOSE, CONTINUATION, PING, TEXT, SocketClient, close_frame, frame

from trilithon.testing import serve

pytestmark = pytest.mark.real

MIB = 1 << 20
CLOSE_EVENT = {"type": "websocket.close"}


@both_loops
@pytest.mark.spec("A-WSC-01", "A-WSC-02", "A-WSC-13", "A-CORE-07", "WS-CLS-01", "WS-CLS-02", "WS-CLS-05", "WS-CLS-06")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, ""),
        (1000, "done"),
        (1001, "é€🌍"),
        (1003, "x" * 123),
        (1007, ""),
        (1011, "their error"),
        (1014, ""),
        (3000, "registered"),
        (4000, ""),
        (4999, "€" * 41),
        (None, ""),
    ],
)
def test_the_clients_code_and_reason_are_given_truthfully(code: int | None, reason: str, loop: str) -> None:
    with open_desk(loop=loop) as desk, desk.open() as guest:
        guest.send(frame(TEXT, "hello"))
        guest.expect((TEXT, "hello"))
        guest.send(close_frame(code, reason))
        answer = guest.next()
        assert answer is not None and answer.opcode == CLOSE
        assert answer.code in ((code,) if code else (None, 1000))
        guest.expect_end()
        guest.told("hello", code=code or 1005, reasons=(reason,))


@both_loops
@pytest.mark.spec("A-WSC-03", "A-WSC-04", "WS-CLS-06", "WS-CLS-13")
@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
@pytest.mark.parametrize("within", [b"", frame(TEXT, "cut off")[:5], frame(TEXT, "never whole", fin=False)])
def test_a_connection_lost_without_a_close_frame_is_1006(way: str, within: bytes, loop: str) -> None:
    with open_desk(loop=loop) as desk, desk.open() as guest:
        guest.send(frame(TEXT, "hello"), within)
        guest.expect((TEXT, "hello"))
        left = time.monotonic()
        getattr(guest, way)()
        guest.told("hello", code=1006)
        assert time.monotonic() - left < 1.0
        if way == "half_close":
            guest.expect_end()


@both_loops
@pytest.mark.spec("A-WSC-05", "A-WSC-06", "WS-CLS-07", "WS-CLS-09", "A-WSC-04")
@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": 1000, "reason": None}, 1000, ""),
        ({"code": 1001}, 1001, ""),
        ({"code": 4321, "reason": "é" * 61}, 4321, "é" * 61),
        ({"reason": "only a reason"}, 1000, "only a reason"),
    ],
)
def test_the_applications_close_waits_for_the_clients(more: Any, code: int, reason: str, loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        waiting = asyncio.ensure_future(receive())
        await send(message("last words"))
        await send({**CLOSE_EVENT, **more})
        notes.add(told(await waiting))
        notes.add(told(await receive()))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect((TEXT, "last words"))
        client.expect_close(code, reason)
        # Still open, and what the client has to say meanwhile is neither answered nor delivered.
        client.send(frame(TEXT, "too late"), frame(PING, "too late"))
        with pytest.raises(AssertionError, match="silent"):
            client.next(0.3)
        assert notes.rest() == []
        client.send(close_frame(code, reason))
        client.expect_end()
        assert notes.next()[:2] == ("disconnect", code)
        assert notes.next()[:2] == ("disconnect", code)


@both_loops
@pytest.mark.spec("A-WSC-06", "WS-CLS-11")
@pytest.mark.parametrize(("answer", "code"), [(4001, 4001), (None, 1005), (1000, 1000)])
def test_the_code_that_the_client_answers_is_told(answer: int | None, code: int, loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await send({**CLOSE_EVENT, "code": 4000})
        await read_on(receive, notes)

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect_close(4000)
        client.send(close_frame(answer))
        client.expect_end()
        assert notes.next()[:2] == ("disconnect", code)


@both_loops
@pytest.mark.spec("A-WSC-05", "A-WSC-06", "WS-CLS-07", "WS-CLS-08")
def test_a_client_that_never_answers_the_close_is_not_waited_for_long(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await send({**CLOSE_EVENT, "code": 4000})
        await read_on(receive, notes)

    with serve(app, loop=loop, ws_close_timeout_s=0.4) as site, SocketClient(site) as client:
        begun = time.monotonic()
        client.expect_close(4000)
        client.expect_end(within_s=3.0)
        assert time.monotonic() - begun > 0.3
        assert notes.next()[:2] == ("disconnect", 4000)


@both_loops
@pytest.mark.spec("A-WSC-04", "A-WSC-06")
@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
def test_a_client_that_leaves_instead_of_answering_the_close(way: str, loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await send({**CLOSE_EVENT, "code": 4000})
        await read_on(receive, notes)

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect_close(4000)
        left = time.monotonic()
        getattr(client, way)()
        assert notes.next()[1] in (4000, 1006)
        assert time.monotonic() - left < 1.0


@both_loops
@pytest.mark.spec("WS-CLS-11", "A-WSC-06")
def test_closes_that_cross_are_each_others_answer(loop: str) -> None:
    notes, crossing, sent = Notes(), Gate(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        assert told(await receive()) == "go"
        crossing.open()
        sent.wait()  # the loop stands still, so the client's frame is under way but not read
        await send({**CLOSE_EVENT, "code": 4000})
        await read_on(receive, notes)

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.send(frame(TEXT, "go"))
        crossing.wait()
        client.send(close_frame(4001, "crossed"))
        sent.open()
        client.expect_close(4000)
        client.expect_end()
        assert notes.next()[1] in (4000, 4001)


@both_loops
@pytest.mark.spec("WS-CLS-10", "WS-CTL-07", "WS-ASGI-01")
def test_nothing_behind_the_clients_close_counts(loop: str) -> None:
    with open_desk(loop=loop) as desk, desk.open() as guest:
        guest.send(
            frame(TEXT, "hello"),
            close_frame(4000, "first"),
            frame(PING, "late"),
            frame(TEXT, "late"),
            close_frame(4001, "second"),
            frame(3, "bad"),
        )
        guest.expect((TEXT, "hello"))
        guest.expect_close(4000)
        guest.expect_end()
        guest.told("hello", code=4000, reasons=("first",))


@both_loops
@pytest.mark.spec("WS-CLS-01", "A-WSM-08", "A-WSC-13")
def test_a_close_behind_messages_is_answered_once_they_are_taken(loop: str) -> None:
    begin, end = Gate(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await begin.passed()
        while not isinstance(told(await receive()), tuple):
            continue
        await end.passed()  # the application lives on; the answer does not wait for it

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.send(frame(TEXT, "one"), frame(TEXT, "two"), close_frame(4000))
        begin.open()
        client.expect_close(4000, within_s=1.5)
        client.expect_end()
        end.open()


BAD_CODES: list[Any] = [-1, 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535, 65536, 1 << 40]
BAD_CODES += ["1000", b"1000", 1000.0, True, [1000], object()]
GOOD_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]


@both_loops
@pytest.mark.spec("A-WSC-08", "A-WSC-09", "WS-CLS-09", "WS-CLS-05", "A-CORE-12", "A-CORE-13", "A-CORE-14")
def test_a_close_that_cannot_be_written_raises_and_closes_nothing(loop: str) -> None:
    notes = Notes()
    bad = [{"code": code} for code in BAD_CODES]
    reasons: list[Any] = ["x" * 124, "é" * 62, "€" * 42, "\ud800", b"bytes", 7, ["x"]]
    bad += [{"code": 4000, "reason": reason} for reason in reasons]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        for more in bad:
            notes.add((more, await raised_by(send({**CLOSE_EVENT, **more}))))
        await send(message("still open"))
        notes.add(told(await receive()))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect((TEXT, "still open"))
        for _ in bad:
            more, error = notes.next()
            assert error is not None and not isinstance(error, OSError), more
        client.send(frame(TEXT, "heard"))
        assert notes.next() == "heard"
        client.expect_close(1000)


@pytest.mark.spec("A-WSC-05", "A-WSC-08", "WS-CLS-04")
def test_every_code_that_may_be_written_is() -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await send({**CLOSE_EVENT, "code": int(scope["path"][1:]), "reason": "x" * 123})

    with serve(app) as site:
        for code in GOOD_CODES:
            with SocketClient(site, f"/{code}") as client:
                client.expect_close(code, "x" * 123)
                client.send(close_frame(code))
                client.expect_end()


@both_loops
@pytest.mark.spec("A-WSC-07", "A-WSC-13", "A-CORE-16", "A-CORE-17", "A-CORE-07")
@pytest.mark.parametrize("way", ["their close", "own close", "lost", "failed"])
def test_sending_behind_the_end_is_an_os_error_that_is_not_logged(
    way: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        if way == "own close":
            await send(CLOSE_EVENT)
            notes.add(await raised_by(send(message("at once"))))
        assert isinstance(told(await receive()), tuple)
        for event in (message("x"), message(b"x"), message("")):
            notes.add(await raised_by(send(event)))
        for _ in range(2):
            notes.add(await raised_by(send(CLOSE_EVENT)))
        assert isinstance(told(await asyncio.wait_for(receive(), 5)), tuple)
        notes.add("told again")
        async with asyncio.TaskGroup() as group:
            group.create_task(send(message("one")))
            group.create_task(send(message("two")))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        if way == "own close":
            client.expect_close(1000)
            assert isinstance(notes.next(), OSError)
            client.send(close_frame(1000))
        elif way == "their close":
            client.shake(4000)
        elif way == "failed":
            client.send(frame(3))
            client.expect_failure(1002)
        else:
            client.close()
        errors = [notes.next() for _ in range(3)]
        assert all(isinstance(error, OSError) for error in errors), errors
        assert type(errors[0]) is not OSError
        assert all(error is None or isinstance(error, OSError) for error in (notes.next(), notes.next()))
        assert notes.next() == "told again"
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-WSC-10", "WS-CLS-15")
@pytest.mark.parametrize("asked", [False, True])
def test_an_application_that_returns_closes_with_1000(asked: bool, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        if asked:
            await send(message(told(await receive())))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        if asked:
            client.send(frame(TEXT, "hello"))
            client.expect((TEXT, "hello"))
        client.expect_close(1000, "")
        client.send(frame(TEXT, "to nobody"), close_frame(1000))
        client.expect_end()
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("A-WSC-11", "A-CORE-15", "A-CORE-24", "WS-CLS-15")
@pytest.mark.parametrize("way", ["error", "cancelled", "os error", "base"])
def test_an_application_that_raises_closes_with_1011(way: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    class Fault(Exception):
        pass

    class BaseFault(BaseException):
        pass

    faults = {"error": Fault, "cancelled": asyncio.CancelledError, "os error": BrokenPipeError, "base": BaseFault}

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await receive()
        await send(message("before"))
        raise faults[way]("the secret reason")

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.send(frame(TEXT, "go"))
        client.expect((TEXT, "before"))
        assert "secret" not in client.expect_close(1011).reason
        client.send(close_frame(1011))
        client.expect_end()
    assert len(error_records(caplog)) == 1
    assert len(traceback_records(caplog, faults[way])) == 1


@both_loops
@pytest.mark.spec("A-WSC-13", "A-DISC-11")
def test_the_end_does_not_cancel_the_task(loop: str) -> None:
    notes, go_on = Notes(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        try:
            notes.add(told(await receive()))
            await go_on.passed()
            for _ in range(3):
                notes.add(told(await asyncio.wait_for(receive(), 5)))
        except asyncio.CancelledError:
            notes.add("cancelled")
            raise

    with serve(app, loop=loop) as site:
        with SocketClient(site) as client:
            client.shake(4000, "bye")
        assert notes.next() == ("disconnect", 4000, "bye")
        go_on.open()
        assert [notes.next() for _ in range(3)] == [("disconnect", 4000, "bye")] * 3


@both_loops
@pytest.mark.spec("A-CORE-21", "A-WSC-13", "A-WSC-07")
@pytest.mark.parametrize("waits", [False, True], ids=["later", "pending"])
def test_what_outlives_the_application_is_told_of_the_end(waits: bool, loop: str) -> None:
    notes, ended = Notes(), Gate()
    left_behind = set()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)

        async def linger() -> None:
            if not waits:
                await ended.passed()
            for _ in range(2):
                notes.add(told(await asyncio.wait_for(receive(), 5)))
            notes.add(await raised_by(send(message("from beyond"))))

        left_behind.add(asyncio.ensure_future(linger()))
        await asyncio.sleep(0)

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect_close(1000)
        client.send(frame(TEXT, "for nobody"), close_frame(1000))
        client.expect_end()
        ended.open()
        assert [notes.next()[0] for _ in range(2)] == ["disconnect"] * 2
        assert isinstance(notes.next(), OSError)


FAILURES = {
    "unmasked": (frame(TEXT, "x", mask=None), 1002),
    "reserved bit": (frame(TEXT, "x", rsv=2), 1002),
    "opcode 3": (frame(3, "x"), 1002),
    "long ping": (frame(PING, "x" * 126), 1002),
    "fragmented ping": (frame(PING, "x", fin=False), 1002),
    "lost continuation": (frame(CONTINUATION, "x"), 1002),
    "message within a message": (frame(TEXT, "x", fin=False) + frame(TEXT, "y"), 1002),
    "short close": (frame(CLOSE, b"\x03"), 1002),
    "close 1005": (close_frame(1005), 1002),
    "close 2999": (close_frame(2999), 1002),
    "bad text": (frame(TEXT, b"\xff"), 1007),
    "bad reason": (close_frame(1000, b"\xff"), 1007),
    "too large": (frame(BINARY, b"", length=1 << 30), 1009),
}


@both_loops
@pytest.mark.spec("WS-ASGI-01", "WS-ASGI-02", "A-WSC-12", "A-WSC-04", "WS-CLS-08", "WS-CLS-12")
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_disconnect_with_the_code_sent(name: str, loop: str) -> None:
    bad, code = FAILURES[name]
    with open_desk(loop=loop) as desk, desk.open() as guest:
        guest.send(frame(TEXT, "before"))
        guest.expect((TEXT, "before"))
        # What stands behind the bad frame, in the same segment or later, is lost without a reset.
        guest.send(bad, frame(TEXT, "behind"), close_frame(4000), b"\0" * 200_000)
        guest.fails(code, "before")


@both_loops
@pytest.mark.spec("WS-CLS-14", "A-WSC-05", "A-WSM-08")
def test_all_that_was_sent_comes_before_the_close(loop: str) -> None:
    sent = Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        task = asyncio.ensure_future(send(message(b"x" * (20 * MIB))))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(send({**CLOSE_EVENT, "code": 4000}))
        sent.open()
        await asyncio.gather(task, closing)

    with serve(app, loop=loop) as site, SocketClient(site, receive_buffer_bytes=65536) as client:
        sent.wait()
        client.expect((BINARY, b"x" * (20 * MIB)))
        client.expect_close(4000)
        client.send(close_frame(4000))
        client.expect_end()


@both_loops
@pytest.mark.spec("WS-CLS-12", "WS-CLS-07")
def test_a_client_that_goes_on_sending_still_reads_the_close(loop: str) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await receive()
        await send({**CLOSE_EVENT, "code": 4000, "reason": "enough"})

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.send(frame(TEXT, "go"))
        for _ in range(50):
            client.send(frame(BINARY, b"x" * 100_000))
        client.expect_close(4000, "enough")
        client.send(close_frame(4000))
        client.expect_end()
