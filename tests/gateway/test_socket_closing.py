"""How WebSockets end: close frames of the client and of the application, failures, lost connections, and the order."""

import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_apps import Gate, Notes, Receive, Scope, Send, error_records, raised_by
from socket_apps import Desk, Held, Recorder, accepted, message, open_desk, read_on, sockets_only
from socket_client import BINARY, CLOSE, CUTS, PING, PONG, TEXT, SocketClient, close_frame, fragments, frame
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import connect

from trilithon.testing import Site, serve

pytestmark = [pytest.mark.real, pytest.mark.spec("WS-ASGI-05")]

every_cut = pytest.mark.parametrize("cut", CUTS)
both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
VALID_CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 3001, 3999, 4000, 4001, 4999]
INVALID_CODES = [0, 1, 255, 256, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 5001, 0xE800, 65535]
LATENESS_S = 1.5


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    with open_desk(loop=request.param) as found:
        yield found


# The client closes: Autobahn 7.


@every_cut
@pytest.mark.spec("WS-CLS-01", "WS-CLS-04", "WS-CLS-06", "WS-CLS-12")
@pytest.mark.parametrize("reason", ["", "why"], ids=["bare", "reason"])
@pytest.mark.parametrize("code", VALID_CODES)
def test_a_close_is_answered_with_its_code_and_the_server_ends_first(
    desk: Desk, code: int, reason: str, cut: str
) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, "on"))
        guest.expect((TEXT, "on"))
        guest.ends("on", code=code, reason=reason)


@every_cut
@pytest.mark.spec("WS-CLS-02", "WS-CLS-06")
def test_a_close_without_a_code_is_answered_and_is_1005_to_the_application(desk: Desk, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(close_frame())
        found = guest.next()
        assert found is not None and found.opcode == CLOSE and found.code in (None, 1000)
        guest.expect_end()
        guest.told(code=1005)


@every_cut
@pytest.mark.spec("WS-CLS-03", "WS-ASGI-01")
@pytest.mark.parametrize("octet", [b"\x00", b"\x03", b"a", b"\xff"], ids=bytes.hex)
def test_a_close_of_one_byte_fails(desk: Desk, octet: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(CLOSE, octet), frame(TEXT, "after"))
        guest.fails(1002)


@every_cut
@pytest.mark.spec("WS-CLS-04", "WS-CLS-09", "WS-ASGI-01")
@pytest.mark.parametrize("reason", ["", "why"], ids=["bare", "reason"])
@pytest.mark.parametrize("code", INVALID_CODES)
def test_a_code_that_must_not_be_sent_fails_and_is_not_echoed(desk: Desk, code: int, reason: str, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(close_frame(code, reason), frame(TEXT, "after"))
        guest.fails(1002)


@pytest.mark.spec("WS-CLS-05", "WS-CLS-06")
@pytest.mark.parametrize("size", [1, 2, 122, 123])
def test_a_reason_of_every_length_is_given_to_the_application(desk: Desk, size: int) -> None:
    with desk.open() as guest:
        guest.ends(code=1000, reason="x" * size)


@every_cut
@pytest.mark.spec("WS-CLS-10", "WS-CTL-07")
def test_a_second_close_is_ignored(desk: Desk, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(close_frame(3001, "first"), close_frame(3002, "second"), close_frame(999))
        guest.expect_close(3001)
        guest.expect_end()
        guest.told(code=3001, reasons=("first",))


# What was complete before is delivered, and an echo gets out, in whatever segments it came: Autobahn 7.1.1, 3.2, 4.1.3.


@every_cut
@pytest.mark.spec("WS-CLS-01", "A-WSM-08")
@pytest.mark.parametrize("count", [1, 3, 20])
def test_messages_before_a_close_are_answered_before_the_close_is(desk: Desk, count: int, cut: str) -> None:
    messages = [f"message {number}" for number in range(count)]
    with desk.open(cut=cut) as guest:
        guest.send(*(frame(TEXT, each) for each in messages), close_frame(1000, "done"))
        guest.expect(*((TEXT, each) for each in messages))
        guest.expect_close(1000)
        guest.expect_end()
        guest.told(*messages, code=1000, reasons=("done",))


@pytest.mark.spec("WS-CLS-01", "A-WSM-08")
def test_a_long_message_before_a_close_is_answered_whole(desk: Desk) -> None:
    data = b"BAsd7&jh23" * 26214
    with desk.open() as guest:
        guest.send(frame(BINARY, data), close_frame(1000), frame(PING))
        guest.expect((BINARY, data))
        guest.expect_close(1000)
        guest.expect_end()
        guest.told(data, code=1000)


@every_cut
@pytest.mark.spec("WS-ASGI-02", "WS-ASGI-01", "A-WSM-08", "WS-CLS-08")
@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(TEXT, "x", rsv=2), 1002),
        (frame(3), 1002),
        (frame(TEXT, "x", mask=None), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(0, b"x"), 1002),
        (close_frame(1005), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(BINARY, length=1 << 40), 1009),
    ],
    ids=["rsv", "opcode", "unmasked", "long ping", "continuation", "1005", "one byte", "text", "reason", "size"],
)
def test_what_came_before_a_failure_is_echoed_and_nothing_behind_it(
    desk: Desk, bad: bytes, code: int, cut: str
) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, "one"), *fragments(BINARY, [b"t", b"wo"]), bad, frame(PING, b"no"), frame(TEXT, "no"))
        guest.expect((TEXT, "one"), (BINARY, b"two"))
        guest.fails(code, "one", b"two")


@pytest.mark.spec("WS-CLS-01", "WS-CLS-08", "WS-ASGI-01")
@pytest.mark.parametrize("bad", [close_frame(3000, "bye"), frame(3), frame(TEXT, b"\xff")], ids=["close", "3", "text"])
@pytest.mark.parametrize("waiting", [0, 1, 5])
def test_an_application_that_does_not_ask_holds_an_end_up_for_a_bounded_time(bad: bytes, waiting: int) -> None:
    recorder = Held()
    messages = [f"{number}" for number in range(waiting)]
    with open_desk(recorder, ws_close_timeout_s=0.3) as desk, desk.open() as guest:
        guest.send(*(frame(TEXT, each) for each in messages), bad)
        begun = time.monotonic()
        found = guest.next()
        assert found is not None and found.opcode == CLOSE
        guest.expect_end()
        assert time.monotonic() - begun < 0.3 + LATENESS_S
        recorder.gate(guest.path).open()
        assert found.code is not None
        guest.told(*messages, code=found.code, reasons=("bye",) if found.code == 3000 else ("", found.reason))


# The application closes.


class Closing(Recorder):
    """Closes with what the query says, as `code-reason`, then notes every event."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        await accepted(receive, send)
        event: dict[str, Any] = {"type": "websocket.close"}
        code, _, reason = scope["query_string"].decode().partition("-")
        if code:
            event.update(code=int(code), reason=reason or None)
        await send(event)
        await read_on(receive, self.log(scope["path"]))


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def closing(request: pytest.FixtureRequest) -> Iterator[tuple[Site, Recorder]]:
    recorder = Closing()
    with serve(recorder, loop=request.param) as site:
        yield site, recorder


@every_cut
@pytest.mark.spec("WS-CLS-07", "WS-CLS-09", "WS-CLS-12", "A-WSC-05", "A-WSC-06")
@pytest.mark.parametrize("code", [*VALID_CODES, ""])
def test_the_applications_close_waits_for_the_clients(closing: tuple[Site, Recorder], code: Any, cut: str) -> None:
    site, recorder = closing
    reason = "so long" if code else ""
    path = f"/{code}/{cut}"
    with SocketClient(site, f"{path}?{code}-{reason.replace(' ', '.')}", cut=cut) as client:
        assert client.expect_close(code or 1000).reason == reason.replace(" ", ".")
        # What still comes is read and thrown away, and nothing is said any more.
        client.send(frame(TEXT, "late"), frame(PING, b"late"), *fragments(BINARY, [b"la", b"te"]))
        client.send(close_frame(code or 1000, "see you"))
        client.expect_end()
    assert recorder.log(path).next() == ("disconnect", code or 1000, "see you")


@pytest.mark.spec("WS-CLS-07", "A-WSC-06", "WS-CLS-06")
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (close_frame(3333, "mine"), (3333, "mine")),
        (close_frame(), (1005, "")),
        (close_frame(1000), (1000, "")),
    ],
    ids=["other code", "no code", "same code"],
)
def test_the_answer_to_the_applications_close_is_told_truthfully(
    closing: tuple[Site, Recorder], answer: bytes, told: tuple[int, str], request: pytest.FixtureRequest
) -> None:
    site, recorder = closing
    path = f"/truth/{told[0]}"
    with SocketClient(site, f"{path}?1000-") as client:
        client.expect_close(1000, "")
        client.send(answer)
        client.expect_end()
    assert recorder.log(path).next() == ("disconnect", *told)


@pytest.mark.spec("WS-CLS-07", "WS-CLS-08", "WS-CLS-10")
@pytest.mark.parametrize(
    "answer",
    [
        close_frame(1005),
        frame(CLOSE, b"x"),
        frame(TEXT, b"\xff") + close_frame(1000),
        frame(3),
        frame(PING, b"x" * 126),
    ],
    ids=["1005", "one byte", "bad text", "opcode", "long ping"],
)
def test_a_broken_answer_to_the_applications_close_ends_it_too(closing: tuple[Site, Recorder], answer: bytes) -> None:
    site, _ = closing
    with SocketClient(site, "/broken?1000-") as client:
        client.expect_close(1000)
        client.send(answer)
        client.expect_end()


@both_loops
@pytest.mark.spec("WS-CLS-07", "WS-CLS-08", "A-WSC-06")
@pytest.mark.parametrize("noise", [b"", frame(PING, b"p") + frame(TEXT, "t")], ids=["silent", "talking"])
def test_a_close_that_is_not_answered_times_out(noise: bytes, loop: str) -> None:
    recorder = Closing()
    with serve(recorder, loop=loop, ws_close_timeout_s=0.4) as site, SocketClient(site, "/slow?4000-bye") as client:
        client.expect_close(4000, "bye")
        begun = time.monotonic()
        client.send(noise)
        client.expect_end(0.4 + LATENESS_S)
        assert time.monotonic() - begun > 0.3
        found = recorder.log("/slow").next()
        assert found[:2] == ("disconnect", 4000)


@pytest.mark.spec("WS-CLS-11")
@pytest.mark.parametrize("code", [1000, 3333])
def test_closes_that_cross_each_count_as_the_answer(closing: tuple[Site, Recorder], code: int) -> None:
    site, recorder = closing
    path = f"/crossing/{code}"
    with SocketClient(site, f"{path}?4001-mine", early=close_frame(code, "crossed")) as client:
        # Whichever the server came to first: it says one close, and then nothing.
        found = client.next()
        assert found is not None and found.opcode == CLOSE and found.code in (4001, code)
        client.expect_end()
    assert recorder.log(path).next() == ("disconnect", code, "crossed")


@pytest.mark.spec("WS-CLS-14", "WS-CLS-12")
@pytest.mark.parametrize(("count", "size"), [(1, 10), (100, 100), (5, 1 << 20)])
def test_what_was_sent_before_the_close_arrives_before_it(count: int, size: int) -> None:
    notes = Notes()
    data = [bytes([number]) * size for number in range(count)]

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        for each in data:
            await send(message(each))
        await send({"type": "websocket.close", "code": 3000})
        await read_on(receive, notes)

    with serve(app) as site, SocketClient(site, receive_buffer_bytes=4096) as client:
        client.expect(*((BINARY, each) for each in data))
        client.expect_close(3000, "")
        client.send(close_frame(3000))
        client.expect_end()
        assert notes.next() == ("disconnect", 3000, "")


@pytest.mark.spec("WS-CLS-09", "WS-CLS-05", "A-WSC-08", "A-WSC-09")
def test_a_close_that_must_not_be_sent_is_refused_and_the_socket_goes_on() -> None:
    notes = Notes()
    wrong: list[tuple[Any, Any]] = [(code, "") for code in [*INVALID_CODES, -1, "1000", 1000.0, None]]
    wrong += [(1000, "x" * 124), (1000, "é" * 62), (1000, b"bytes")]

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        for code, reason in wrong:
            notes.add(await raised_by(send({"type": "websocket.close", "code": code, "reason": reason})))
        await send(message("on"))
        await send({"type": "websocket.close", "code": 1000, "reason": "é" * 61})
        await read_on(receive, notes)

    with serve(app) as site, SocketClient(site) as client:
        client.expect((TEXT, "on"))
        client.expect_close(1000, "é" * 61)
        client.send(close_frame(1000))
        client.expect_end()
    for each in wrong:
        error = notes.next()
        assert isinstance(error, Exception) and not isinstance(error, OSError), each
    assert notes.next() == ("disconnect", 1000, "")


@both_loops
@pytest.mark.spec("WS-CLS-15", "A-WSC-10", "A-WSC-11")
@pytest.mark.parametrize(("way", "code"), [("return", 1000), ("raise", 1011)])
def test_an_application_that_leaves_closes(way: str, code: int, loop: str) -> None:
    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        if way == "raise":
            raise ZeroDivisionError

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect_close(code)
        client.send(frame(TEXT, "late"), close_frame(code))
        client.expect_end()


# The connection is lost.


@pytest.mark.spec("WS-CLS-13", "WS-CLS-06", "A-WSC-03", "A-WSC-04")
@pytest.mark.parametrize("before", [b"", frame(TEXT, "whole")], ids=["at once", "behind a message"])
@pytest.mark.parametrize("way", ["half_close", "close", "reset"])
def test_a_connection_that_ends_without_a_close_is_1006(
    desk: Desk, way: str, before: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with desk.open() as guest:
        if before:
            guest.send(before)
            guest.expect((TEXT, "whole"))
        getattr(guest, way)()
        guest.told(*["whole"] if before else [], code=1006)
        if way == "half_close":
            assert guest.next() is None
    assert error_records(caplog) == []


@pytest.mark.spec("WS-CLS-13", "A-WSM-08")
def test_what_was_sent_before_the_connection_ended_is_delivered_first(desk: Desk) -> None:
    with desk.open() as guest:
        guest.send(frame(TEXT, "one"), frame(BINARY, b"two"), frame(TEXT, "half")[:-1])
        guest.half_close()
        guest.told("one", b"two", code=1006)


@pytest.mark.spec("WS-CLS-01", "WS-CLS-08", "WS-CLS-12")
@pytest.mark.parametrize(("last", "code"), [(close_frame(1001), 1001), (frame(3), 1002)], ids=["close", "failure"])
def test_a_client_that_ends_and_half_closes_is_answered(desk: Desk, last: bytes, code: int) -> None:
    # Whether the end of the stream comes with the frames or behind them is chance; so many tries meet both.
    for _ in range(40):
        with desk.open() as guest:
            guest.send(frame(TEXT, "x"), last)
            guest.half_close()
            guest.expect((TEXT, "x"))
            reason = guest.expect_close(code).reason
            guest.expect_end()
            guest.told("x", code=code, reasons=("", reason))


@pytest.mark.spec("WS-CLS-01", "WS-CLS-08")
@pytest.mark.parametrize(("last", "code"), [(close_frame(1001), 1001), (frame(3), 1002)], ids=["close", "failure"])
def test_a_half_close_does_not_take_back_an_answer_that_waits(last: bytes, code: int) -> None:
    recorder = Held()
    with open_desk(recorder, ws_close_timeout_s=0.3) as desk, desk.open() as guest:
        guest.send(frame(TEXT, "x"))
        guest.expect_alive()
        guest.send(last)
        guest.half_close()
        reason = guest.expect_close(code).reason
        guest.expect_end()
        recorder.gate(guest.path).open()
        guest.told("x", code=code, reasons=("", reason))


@pytest.mark.spec("WS-CLS-06", "WS-CLS-08", "WS-CLS-13")
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("last", [close_frame(1000), frame(3), frame(TEXT, b"\xff")], ids=["close", "opcode", "text"])
def test_a_client_that_is_gone_before_the_answer_leaves_no_trace_in_the_log(
    desk: Desk, last: bytes, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    with desk.open() as guest:
        guest.send(last)
        getattr(guest, way)()
        assert guest.log.next() == "connect"
        found = guest.log.next()
        assert found[0] == "disconnect" and found[1] in (1000, 1002, 1006, 1007)
        assert guest.log.next() == found
    assert error_records(caplog) == []


@pytest.mark.spec("WS-CLS-07", "WS-CLS-13")
def test_a_client_that_only_ends_the_connection_after_the_applications_close(closing: tuple[Site, Recorder]) -> None:
    site, recorder = closing
    with SocketClient(site, "/fin?4000-") as client:
        client.expect_close(4000)
        client.half_close()
        client.expect_end()
    found = recorder.log("/fin").next()
    assert found[0] == "disconnect" and found[1] in (1006, 4000), found


@pytest.mark.spec("WS-CLS-12", "WS-CLS-08")
@pytest.mark.parametrize("bad", [close_frame(1000), frame(3)], ids=["close", "failure"])
def test_a_client_that_goes_on_sending_still_gets_the_close_frame(desk: Desk, bad: bytes) -> None:
    with desk.open() as guest:
        guest.send(bad, frame(BINARY, bytes(1 << 20)))
        found = guest.next()
        assert found is not None and found.opcode == CLOSE
        guest.expect_end()


# The same with a client that others wrote.


@pytest.fixture(scope="module")
def address(desk: Desk) -> str:
    return f"ws://{desk.site.host}:{desk.site.port}"


@pytest.mark.spec("WS-CLS-01", "WS-CLS-06", "WS-FR-09", "WS-CTL-03")
def test_the_websockets_client_talks_and_closes(desk: Desk, address: str) -> None:
    with connect(f"{address}/library", max_size=None, proxy=None) as client:
        for each in ("", "x", b"", b"\0" * 70000, "é€😀" * 20000, [b"a", b"", b"b"], ["x", "y"]):
            client.send(each)
            whole = each if not isinstance(each, list) else each[0][:0].join(each)
            assert client.recv(timeout=5) == whole
        assert client.ping(b"payload").wait(5)
        client.close(4321, "enough")
    notes = desk.recorder.log("/library")
    told = [notes.next() for _ in range(10)]
    assert told[-2:] == [("disconnect", 4321, "enough")] * 2


@pytest.mark.spec("WS-CLS-07", "WS-CLS-14")
def test_the_websockets_client_sees_the_applications_close() -> None:
    gate = Gate()

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        await send(message("last"))
        await send({"type": "websocket.close", "code": 3210, "reason": "over"})
        assert (await receive())["code"] == 3210
        gate.open()

    with serve(app) as site, connect(f"ws://{site.host}:{site.port}/", proxy=None) as client:
        assert client.recv(timeout=5) == "last"
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (3210, "over")
        gate.wait()


@pytest.mark.spec("WS-CLS-08", "WS-FR-06")
def test_the_websockets_client_sees_a_failure() -> None:
    with open_desk(ws_max_size_bytes=100) as desk:
        url = f"ws://{desk.site.host}:{desk.site.port}/"
        with connect(url, compression=None, proxy=None) as client:
            client.send(b"x" * 101)
            with pytest.raises(ConnectionClosedError) as caught:
                client.recv(timeout=5)
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009


@pytest.mark.spec("WS-CLS-05", "WS-CTL-03")
def test_a_close_behind_a_ping_in_one_segment_answers_both(desk: Desk) -> None:
    with desk.open() as guest:
        guest.send(frame(PING, b"p"), frame(CLOSE, struct.pack("!H", 1000) + b"x" * 123))
        guest.expect((PONG, b"p"))
        guest.expect_close(1000)
        guest.expect_end()
        guest.told(code=1000, reasons=("x" * 123,))
