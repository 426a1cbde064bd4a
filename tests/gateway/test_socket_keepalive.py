"""Keeping WebSockets alive: who is pinged, what counts as an answer, and what becomes of a client that gives none."""

import asyncio
import time
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, raised_by
from socket_apps import accepted, message, open_desk, sockets_only, told
from socket_client import CLOSE, PING, PONG, TEXT, SocketClient, close_frame, frame

from trilithon.testing import serve

pytestmark = pytest.mark.real

INTERVAL_S = 0.3
TIMEOUT_S = 0.4
PINGED = {"ws_ping_interval_s": INTERVAL_S, "ws_ping_timeout_s": TIMEOUT_S}
# For clients that live: only an answer that counts brings the next ping before this time is over.
PATIENT = {"ws_ping_interval_s": INTERVAL_S, "ws_ping_timeout_s": 8.0}
# Time from the last sign of life to the close, with room for timers that look only now and then.
BOUND_S = INTERVAL_S + TIMEOUT_S + 1.5


def ping_of(client: SocketClient, within_s: float = BOUND_S) -> bytes:
    """Read the next frame, which has to be a ping, and return its payload."""
    found = client.next(within_s)
    assert found is not None and found.opcode == PING, found
    return found.payload


def is_silent(client: SocketClient, for_s: float) -> bool:
    """Tell whether the server says nothing for so long."""
    try:
        found = client.next(for_s)
    except AssertionError as silence:
        assert "silent" in str(silence)
        return True
    raise AssertionError(f"{found} came")


@both_loops
@pytest.mark.spec("WS-KA-01", "A-WSM-03")
def test_a_silent_client_is_pinged_and_lives_on_its_pongs(loop: str) -> None:
    with open_desk(loop=loop, **PATIENT) as desk, desk.open() as guest:
        begun = time.monotonic()
        for number in range(4):
            payload = ping_of(guest)
            assert time.monotonic() - begun > 0.8 * INTERVAL_S * (number + 1)
            guest.send(frame(PONG, payload))
        guest.send(frame(TEXT, "alive"))
        guest.expect((TEXT, "alive"))
        guest.ends("alive")


@both_loops
@pytest.mark.spec("WS-KA-01", "A-WSC-04", "A-WSC-12", "WS-CLS-15", "WS-ASGI-01")
def test_a_ping_without_an_answer_is_1011_for_both_ends(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    with open_desk(loop=loop, ws_close_timeout_s=0.3, **PINGED) as desk, desk.open() as guest:
        ping_of(guest)
        asked = time.monotonic()
        guest.expect_close(1011, within_s=BOUND_S)
        assert time.monotonic() - asked > 0.8 * TIMEOUT_S
        guest.expect_end(within_s=2.0)
        found = [guest.log.next() for _ in range(3)]
        assert found[0] == "connect"
        assert found[1][:2] == ("disconnect", 1011)
        assert found[2] == found[1]
    assert error_records(caplog) == []


@pytest.mark.spec("WS-KA-01")
@pytest.mark.parametrize(
    "answer", [frame(TEXT, "busy"), frame(PONG, "another"), frame(PING, "mine"), frame(TEXT, "a", fin=False)]
)
def test_any_frame_is_a_sign_of_life(answer: bytes) -> None:
    with open_desk(**PATIENT) as desk, desk.open() as guest:
        for _ in range(4):
            ping_of(guest)
            guest.send(answer)
            if answer == frame(TEXT, "busy"):
                guest.expect((TEXT, "busy"))
            elif answer == frame(PING, "mine"):
                guest.expect((PONG, "mine"))
            elif answer == frame(TEXT, "a", fin=False):
                answer = frame(0, "b", fin=False)
        guest.expect_alive()


@pytest.mark.spec("WS-KA-01")
def test_a_client_that_talks_is_not_pinged() -> None:
    with open_desk(ws_ping_interval_s=1.0) as desk, desk.open() as guest:
        until = time.monotonic() + 2.2
        while time.monotonic() < until:
            guest.send(frame(TEXT, "talk"))
            guest.expect((TEXT, "talk"))
            assert is_silent(guest, 0.1)


@pytest.mark.spec("WS-KA-01")
def test_talking_to_a_client_is_no_sign_of_its_life() -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        error = None
        while error is None:
            error = await raised_by(send(message("tick")))
            await asyncio.sleep(0.02)
        notes.add(error)
        notes.add(told(await receive()))

    with serve(app, **PINGED) as site, SocketClient(site) as client:
        begun = time.monotonic()
        while (found := client.next()) is not None and found.opcode != CLOSE:
            assert found.opcode in (TEXT, PING)
        assert found is not None and found.code == 1011
        assert time.monotonic() - begun < BOUND_S
        assert isinstance(notes.next(), OSError)
        assert notes.next()[:2] == ("disconnect", 1011)


@both_loops
@pytest.mark.spec("WS-KA-02", "A-WSC-04", "A-RESP-11")
@pytest.mark.parametrize("waits_in", ["send", "receive"])
def test_a_client_whose_connection_is_blocked_is_given_up(waits_in: str, loop: str) -> None:
    notes, stuck = Notes(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        sending = asyncio.ensure_future(raised_by(send(message(b"x" * (40 << 20)))))
        await asyncio.sleep(0)
        stuck.open()
        if waits_in == "send":
            notes.add(await sending)
            notes.add(told(await receive()))
        else:
            found = told(await receive())
            notes.add(await sending)
            notes.add(found)

    options = {**PINGED, "ws_close_timeout_s": 0.3}
    with serve(app, loop=loop, **options) as site, SocketClient(site, receive_buffer_bytes=4096):
        stuck.wait()
        begun = time.monotonic()
        assert isinstance(notes.next(), OSError)
        code = notes.next()
        assert code[0] == "disconnect" and code[1] in (1006, 1011)
        assert time.monotonic() - begun < BOUND_S + 1.0


@pytest.mark.spec("WS-KA-03")
@pytest.mark.parametrize("by", ["application", "client"])
def test_nobody_is_pinged_behind_the_close(by: str) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        if by == "application":
            await send({"type": "websocket.close", "code": 4000})
        await receive()

    options = {**PINGED, "ws_close_timeout_s": 3.0}
    with serve(app, **options) as site, SocketClient(site) as client:
        if by == "client":
            client.send(close_frame(4000))
        client.expect_close(4000)
        if by == "application":
            assert is_silent(client, 3 * INTERVAL_S)
            client.send(close_frame(4000))
        client.expect_end()


@pytest.mark.spec("WS-KA-03")
def test_an_interval_of_zero_pings_nobody() -> None:
    with open_desk(ws_ping_interval_s=0.0, ws_ping_timeout_s=0.2) as desk, desk.open() as guest:
        assert is_silent(guest, 1.0)
        guest.ends()


@pytest.mark.spec("WS-KA-01")
def test_a_time_out_of_zero_waits_for_ever() -> None:
    with open_desk(ws_ping_interval_s=0.2, ws_ping_timeout_s=0.0) as desk, desk.open() as guest:
        ping_of(guest)
        until = time.monotonic() + 1.2
        while (left := until - time.monotonic()) > 0 and not is_silent_but_for_pings(guest, left):
            continue
        guest.send(frame(PONG, "at last"))
        guest.send(frame(TEXT, "alive"))
        while (found := guest.next()) is not None and found.opcode == PING:
            continue
        assert found is not None and found.payload == b"alive"


def is_silent_but_for_pings(client: SocketClient, for_s: float) -> bool:
    """Tell whether the server says nothing for so long; a ping that comes ends the waiting early."""
    try:
        found = client.next(for_s)
    except AssertionError as silence:
        assert "silent" in str(silence)
        return True
    assert found is not None and found.opcode == PING, found
    return False


@pytest.mark.spec("WS-KA-04")
@pytest.mark.parametrize("begun", [b"", frame(TEXT, "hello")[:4]], ids=["idle", "within a frame"])
def test_no_time_out_of_plain_http_ends_a_socket(begun: bytes) -> None:
    short = {"header_timeout_s": 0.2, "keep_alive_timeout_s": 0.2, "body_timeout_s": 0.2, "write_timeout_s": 0.2}
    short["request_timeout_s"] = 0.3
    with open_desk(**short) as desk, desk.open() as guest:
        guest.send(begun)
        assert is_silent(guest, 1.2)
        guest.send(frame(TEXT, "hello")[len(begun) :])
        guest.expect((TEXT, "hello"))
        guest.ends("hello")


@pytest.mark.spec("WS-KA-01", "WS-KA-03")
def test_many_silent_clients_are_each_pinged_and_only_the_dead_are_closed() -> None:
    with open_desk(ws_close_timeout_s=0.3, ws_ping_interval_s=0.5, ws_ping_timeout_s=1.5) as desk:
        guests = [desk.open() for _ in range(60)]
        try:
            for number, guest in enumerate(guests):
                payload = ping_of(guest)
                if number % 3:
                    guest.send(frame(PONG, payload))
            for number, guest in enumerate(guests):
                if number % 3 == 0:
                    guest.expect_close(1011, within_s=5.0)
                else:
                    guest.send(frame(TEXT, f"{number}"))
            for number, guest in enumerate(guests):
                if number % 3:
                    while (found := guest.next()) is not None and found.opcode == PING:
                        guest.send(frame(PONG, found.payload))
                    assert found is not None and found.payload == b"%d" % number
        finally:
            for guest in guests:
                guest.close()
