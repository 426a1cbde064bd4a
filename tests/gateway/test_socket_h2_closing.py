"""The end of a WebSocket over HTTP/2: it ends its stream, in order or not, and no other (RFC 8441 5)."""

import asyncio
import time
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, raised_by
from h2_socket_client import H2Wire, OverStream, extended_connect
from socket_apps import Recorder, accepted, message, read_on, sockets_only, told
from socket_client import BINARY, PING, TEXT, close_frame, frame
from tests.wire.h2_bytes import raw
from tests.wire.h2_memory import block

from trilithon.testing import serve
from trilithon.wire.h2_codes import (
    CANCEL,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    INTERNAL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
)

pytestmark = pytest.mark.real

LOST = ("disconnect", 1006, "")


def end_of(notes: Notes) -> Any:
    """Return what the application was told last of all, which is how its socket ended."""
    while not isinstance(found := notes.next(), tuple):
        pass
    return found


@both_loops
@pytest.mark.spec("WS-H2-09", "WS-CLS-01", "WS-CLS-12")
def test_behind_the_closing_handshake_the_server_ends_the_stream_and_resets_nothing(loop: str) -> None:
    recorder = Recorder()
    with serve(recorder, loop=loop) as site, H2Wire(site) as wire:
        for number in range(5):
            client = OverStream(wire, f"/{number}")
            client.send(close_frame(4000, "enough"))
            client.expect_close(4000)
            client.expect_end()
            wire.expect_alive()
            assert client.line.ended and client.line.reset is None
            assert client.line.sizes == [4], "the end did not come with the close frame"
            assert end_of(recorder.log(f"/{number}")) == ("disconnect", 4000, "enough")


@pytest.mark.spec("WS-H2-09")
def test_a_client_may_end_its_side_with_its_close_frame() -> None:
    recorder = Recorder()
    with serve(recorder) as site, H2Wire(site) as wire:
        client = OverStream(wire, "/a")
        client.line.send(frame(TEXT, "last") + close_frame(1000), end=True)
        client.expect((TEXT, "last"))
        client.expect_close(1000)
        client.expect_end()
        wire.expect_alive()
        assert client.line.reset is None
        assert end_of(recorder.log("/a")) == ("disconnect", 1000, "")


@pytest.mark.spec("WS-H2-09", "WS-CLS-07")
def test_a_client_that_does_not_end_its_side_is_asked_to_in_time() -> None:
    with serve(Recorder(), linger_timeout_s=0.4) as site, H2Wire(site) as wire, OverStream(wire) as client:
        line = client.line
        line.send(close_frame(1000))
        line.rest()
        begun = time.monotonic()
        assert line.ended and line.reset is None
        # What it still sends meanwhile means nothing, and is not credited for ever.
        line.frame(b"x" * 5000)
        line.frame(frame(PING, "late"))
        wire.wait(lambda: line.reset is not None, 3.0)
        assert line.reset == NO_ERROR
        assert time.monotonic() - begun > 0.2
        line.frame(b"even later")
        wire.expect_alive()


@pytest.mark.spec("WS-H2-09")
def test_a_client_may_reset_a_stream_whose_socket_is_over() -> None:
    with serve(Recorder()) as site, H2Wire(site) as wire, OverStream(wire) as client:
        client.line.send(close_frame(1000))
        client.line.rest()
        client.reset()
        wire.expect_alive()
        assert client.line.reset is None


@both_loops
@pytest.mark.spec("WS-H2-09", "WS-CLS-13", "A-WSC-03", "A-WSC-04")
@pytest.mark.parametrize("way", ["half_close", "reset"])
@pytest.mark.parametrize("within", [b"", frame(TEXT, "cut off")[:5], frame(TEXT, "never whole", fin=False)])
def test_the_end_of_a_stream_without_a_close_frame_is_1006(way: str, within: bytes, loop: str) -> None:
    recorder = Recorder()
    with serve(recorder, loop=loop) as site, H2Wire(site) as wire:
        client = OverStream(wire, "/a")
        other = OverStream(wire, "/b")
        client.send(frame(TEXT, "hello"), within)
        client.expect((TEXT, "hello"))
        left = time.monotonic()
        getattr(client, way)()
        assert end_of(recorder.log("/a")) == LOST
        assert time.monotonic() - left < 1.0
        if way == "half_close":
            client.expect_end()
            wire.expect_alive()
            assert client.line.reset is None
        other.send(frame(TEXT, "still here"))
        other.expect((TEXT, "still here"))


@both_loops
@pytest.mark.spec("WS-H2-09", "A-WSC-08", "A-WSC-09")
@pytest.mark.parametrize("way", ["half_close", "reset"])
def test_sending_behind_the_end_is_an_os_error(way: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await read_on(receive, notes)
        notes.add(await raised_by(send(message("too late"))))
        await send(message("and again"))

    with serve(app, loop=loop) as site, H2Wire(site) as wire:
        client = OverStream(wire)
        getattr(client, way)()
        assert notes.next() == LOST
        assert isinstance(notes.next(), OSError)
        wire.expect_alive()
    assert error_records(caplog) == []


@pytest.mark.spec("WS-H2-09", "H2-HDR-18")
@pytest.mark.parametrize("flags", [END_HEADERS, END_HEADERS | END_STREAM])
@pytest.mark.parametrize("moment", ["open", "over"])
def test_trailers_are_malformed(flags: int, moment: str) -> None:
    recorder = Recorder()
    with serve(recorder) as site, H2Wire(site) as wire:
        client, other = OverStream(wire, "/a"), OverStream(wire, "/b")
        line = client.line
        if moment == "over":
            line.send(close_frame(1000))
            line.rest()
        wire.write(raw(HEADERS, flags, line.stream_id, block([(b"x-trailer", b"1")])))
        wire.wait(lambda: line.reset is not None, 3.0)
        assert line.reset == PROTOCOL_ERROR
        assert end_of(recorder.log("/a"))[1] == (1000 if moment == "over" else 1006)
        other.send(frame(TEXT, "still here"))
        other.expect((TEXT, "still here"))


@pytest.mark.spec("WS-H2-11", "WS-H2-14", "WS-LIM-02")
@pytest.mark.parametrize("moment", ["open", "over"])
def test_more_than_the_window_ends_the_stream(moment: str) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        if moment == "over":
            await send({"type": "websocket.close"})
        await asyncio.Event().wait()

    options = {"h2_stream_window_bytes": 65535, "ws_deflate": False, "graceful_timeout_s": 0.0}
    with serve(app, **options) as site, H2Wire(site) as wire:
        client = OverStream(wire)
        line = client.line
        if moment == "over":
            client.expect_close(1000)
            line.frame(close_frame(1000))
            line.rest()
        else:
            line.frame(frame(TEXT, "never taken") * 100)
        # What is parsed for the sake of pings, then the window, then one frame more than that.
        for _ in range(12):
            line.frame(frame(BINARY, b"x" * 16_000))
        wire.wait(lambda: line.reset is not None, 3.0)
        assert line.reset == FLOW_CONTROL_ERROR
        wire.expect_alive()


@both_loops
@pytest.mark.spec("WS-H2-14", "WS-CLS-08", "WS-ASGI-01")
@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (frame(TEXT, "bare", mask=None), 1002),
        (frame(3, "opcode"), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(BINARY, length=1 << 40), 1009),
    ],
    ids=["mask", "opcode", "text", "size"],
)
def test_a_socket_that_fails_ends_its_stream_alone(octets: bytes, code: int, loop: str) -> None:
    recorder = Recorder()
    with serve(recorder, loop=loop) as site, H2Wire(site) as wire:
        others = [OverStream(wire, f"/{number}") for number in range(4)]
        failing = OverStream(wire, "/failing")
        failing.send(frame(TEXT, "before"), octets, b"x" * 5000)
        failing.expect((TEXT, "before"))
        failing.expect_failure(code)
        assert end_of(recorder.log("/failing"))[1] == code
        for other in others:
            other.send(frame(TEXT, "on"))
            other.expect((TEXT, "on"))
            other.shake()
        wire.expect_alive()


@both_loops
@pytest.mark.spec("WS-H2-09", "A-WSC-05", "A-WSC-06", "WS-CLS-07", "WS-CLS-14")
def test_the_applications_close_waits_for_the_clients(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await send(message("last words"))
        await send({"type": "websocket.close", "code": 4321, "reason": "bye"})
        await read_on(receive, notes)

    with serve(app, loop=loop) as site, H2Wire(site) as wire:
        client = OverStream(wire)
        client.expect((TEXT, "last words"))
        client.expect_close(4321, "bye")
        wire.expect_alive()
        assert not client.line.over
        assert notes.rest() == []
        client.send(frame(TEXT, "ignored"), close_frame(4321))
        client.expect_end()
        assert notes.next()[:2] == ("disconnect", 4321)


@pytest.mark.spec("WS-H2-09", "WS-CLS-07", "WS-CLS-08")
def test_a_close_that_is_not_answered_ends_the_stream_in_time() -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await send({"type": "websocket.close", "code": 4000})

    options = {"ws_close_timeout_s": 0.4, "linger_timeout_s": 0.4}
    with serve(app, **options) as site, H2Wire(site) as wire:
        client = OverStream(wire)
        client.expect_close(4000)
        wire.wait(lambda: client.line.ended, 3.0)
        assert client.line.reset is None
        wire.wait(lambda: client.line.reset is not None, 3.0)
        assert client.line.reset == NO_ERROR
        wire.expect_alive()


@both_loops
@pytest.mark.spec("WS-H2-14", "A-WSC-10", "A-WSC-11")
def test_an_application_that_fails_closes_with_1011(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        if told(await receive()) == "fail":
            raise RuntimeError("broken")

    with serve(app, loop=loop) as site, H2Wire(site) as wire:
        for word, code in (("fail", 1011), ("leave", 1000)):
            client = OverStream(wire)
            client.send(frame(TEXT, word))
            client.expect_close(code)
            client.send(close_frame(code))
            client.expect_end()
        wire.expect_alive()
    assert len(error_records(caplog)) == 1


@pytest.mark.spec("WS-H2-13", "WS-SHUT-01", "H2-CONN-09")
def test_a_stop_sends_goaway_and_closes_sockets_with_1012(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    with serve(recorder, stream_grace_s=1.0, graceful_timeout_s=20.0) as site, H2Wire(site) as wire:
        clients = [OverStream(wire, f"/{number}") for number in range(20)]
        site.server.stop()
        stopped = time.monotonic()
        wire.wait(lambda: wire.goaways, 3.0)
        # Within the grace all of them live, and none is opened any more.
        clients[0].send(frame(TEXT, "still here"))
        clients[0].expect((TEXT, "still here"))
        assert time.monotonic() - stopped < 0.9
        for client in clients:
            client.expect_close(1012)
            client.send(close_frame(1012))
            client.expect_end()
        assert all(end_of(recorder.log(f"/{number}"))[1] == 1012 for number in range(20))
        assert wire.goaways[-1] == (clients[-1].line.stream_id, NO_ERROR)
        wire.to_end()
    assert time.monotonic() - stopped < 5.0
    assert error_records(caplog) == []


@pytest.mark.spec("WS-H2-13", "WS-SHUT-01")
def test_a_handshake_on_its_way_when_the_server_stops_is_refused() -> None:
    asked = Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        asked.open()
        await receive()

    with serve(app, stream_grace_s=0.5) as site, H2Wire(site) as wire:
        client = OverStream(wire)
        asked.wait()
        site.server.stop()
        wire.wait(lambda: wire.goaways, 3.0)
        # The GOAWAY may have crossed it.
        line = wire.request(extended_connect())
        client.expect_close(1012)
        client.send(close_frame(1012))
        client.expect_end()
        wire.wait(lambda: line.over or wire.ended or len(wire.goaways) == 2, 3.0)
        assert not line.heads or line.status() == 503


@pytest.mark.spec("WS-H2-09", "WS-CLS-13")
@pytest.mark.parametrize("way", ["close", "half_close"])
def test_the_end_of_the_connection_is_the_end_of_every_socket(way: str) -> None:
    recorder = Recorder()
    with serve(recorder) as site, H2Wire(site) as wire:
        clients = [OverStream(wire, f"/{number}") for number in range(10)]
        over = OverStream(wire, "/over")
        over.line.send(close_frame(1000))
        over.line.rest()
        assert len(clients) == 10
        if way == "close":
            wire.socket.close()
        else:
            wire.socket.shutdown(1)
        assert [end_of(recorder.log(f"/{number}")) for number in range(10)] == [LOST] * 10
        assert end_of(recorder.log("/over")) == ("disconnect", 1000, "")


@pytest.mark.spec("WS-H2-09", "WS-H2-14")
@pytest.mark.parametrize("code", [CANCEL, NO_ERROR, INTERNAL_ERROR])
def test_a_reset_gives_the_messages_that_came_before_it(code: int) -> None:
    notes, go_on = Notes(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await go_on.passed()
        await read_on(receive, notes)

    with serve(app) as site, H2Wire(site) as wire:
        client = OverStream(wire)
        client.send(frame(TEXT, "one"), frame(TEXT, "two"))
        wire.expect_alive()
        client.line.cancel(code)
        wire.expect_alive()
        go_on.open()
        assert [notes.next() for _ in range(3)] == ["one", "two", LOST]
