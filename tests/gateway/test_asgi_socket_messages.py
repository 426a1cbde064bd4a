"""Messages of a WebSocket between client and application: what an event holds, what may be sent, in which order."""

import asyncio
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, raised_by, start
from socket_apps import accepted, message, open_desk, sockets_only, told
from socket_client import BINARY, CONTINUATION, PING, PONG, TEXT, SocketClient, close_frame, fragments, frame

from trilithon.testing import serve

pytestmark = pytest.mark.real

MIB = 1 << 20


@both_loops
@pytest.mark.spec("A-WSM-01", "A-WSM-04", "A-CORE-08", "WS-ASGI-03", "WS-FR-09", "WS-FR-10", "WS-FRG-07")
def test_each_message_is_one_event_and_goes_out_as_one_frame(loop: str) -> None:
    messages: list[str | bytes] = ["", b"", "a", b"\0", "é€🌍", "\x00\ufffe\uffff"]
    messages += ["t" * size for size in (125, 126, 127, 65535, 65536)]
    messages += [bytes([size % 256]) * size for size in (125, 126, 127, 65535, 65536, MIB + 1)]
    with open_desk(loop=loop) as desk, desk.open() as guest:
        for each in messages:
            kind = TEXT if isinstance(each, str) else BINARY
            guest.send(frame(kind, each))
            guest.expect((kind, each))
        guest.ends(*messages)


@both_loops
@pytest.mark.spec("A-WSM-02", "A-WSM-03", "WS-CTL-06", "WS-FRG-03")
def test_a_fragmented_message_is_one_event_and_pings_within_are_none(loop: str) -> None:
    with open_desk(loop=loop) as desk, desk.open() as guest:
        text = "één € 🌍".encode()
        for piece in fragments(TEXT, [text[place : place + 1] for place in range(len(text))]):
            guest.send(piece, frame(PING, "between"))
            guest.expect((PONG, "between"))
        guest.expect((TEXT, text))
        guest.send(*fragments(BINARY, [b"", b"x" * 70_000, b"", b"y" * 70_000, b""]), frame(PONG, "unasked"))
        guest.expect((BINARY, b"x" * 70_000 + b"y" * 70_000))
        guest.ends("één € 🌍", b"x" * 70_000 + b"y" * 70_000)


@both_loops
@pytest.mark.spec("A-WSM-03", "WS-CTL-03", "WS-LIM-03")
def test_pings_are_answered_whatever_the_application_does(loop: str) -> None:
    go_on, notes = Gate(), Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await go_on.passed()
        while not isinstance(found := told(await receive()), tuple):
            notes.add(found)

    with serve(app, loop=loop, ws_max_queue=8) as site, SocketClient(site) as client:
        for number in range(8):
            client.send(frame(TEXT, f"{number}"), frame(PING, f"ping {number}"))
            client.expect((PONG, f"ping {number}"))
        go_on.open()
        assert [notes.next() for _ in range(8)] == [str(number) for number in range(8)]
        client.expect_alive()
    assert notes.rest() == []


@both_loops
@pytest.mark.spec("A-WSM-05", "A-WSM-04")
def test_either_key_or_both_with_one_none_may_be_sent(loop: str) -> None:
    events = [
        {"text": "x", "bytes": None},
        {"text": None, "bytes": b"x"},
        {"text": "", "bytes": None},
        {"text": None, "bytes": b""},
        {"text": ""},
        {"bytes": b""},
    ]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        for event in events:
            await send({"type": "websocket.send", **event})
        await receive()

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect((TEXT, "x"), (BINARY, b"x"), (TEXT, ""), (BINARY, b""), (TEXT, ""), (BINARY, b""))


class Odd:
    """Neither text nor bytes."""


BAD_SENDS: list[dict[Any, Any]] = [
    {"type": "websocket.send"},
    {"type": "websocket.send", "text": None},
    {"type": "websocket.send", "bytes": None},
    {"type": "websocket.send", "text": None, "bytes": None},
    {"type": "websocket.send", "text": "x", "bytes": b"x"},
    {"type": "websocket.send", "text": "", "bytes": b""},
    {"type": "websocket.send", "text": b"x"},
    {"type": "websocket.send", "bytes": "x"},
    {"type": "websocket.send", "text": 1},
    {"type": "websocket.send", "bytes": 1},
    {"type": "websocket.send", "bytes": [1]},
    {"type": "websocket.send", "text": Odd()},
    {"type": "websocket.send", "text": False},
    {"type": "websocket.send", "bytes": 0},
    {"type": "websocket.send", "text": "\ud800"},
    {"type": "websocket.send", "text": "fine until \udfff"},
    {"type": "websocket.receive", "text": "x"},
    {"type": "websocket.disconnect"},
    {"type": "websocket.ping"},
    {"type": "websocket.accept"},
    {"type": "websocket.http.response.start", "status": 400},
    {"type": "websocket.http.response.body", "body": b"x"},
    {"type": "http.response.body", "body": b"x"},
    {"type": "lifespan.startup.complete"},
    {"type": "unknown"},
    {"type": b"websocket.send", "text": "x"},
    {"text": "x"},
    {},
]


@both_loops
@pytest.mark.spec(
    "A-WSM-05", "A-WSM-06", "A-WSM-09", "A-CORE-10", "A-CORE-11", "A-CORE-12", "A-CORE-13", "A-CORE-14", "WS-UTF-07"
)
def test_a_bad_event_raises_and_nothing_of_it_is_sent(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        for number, event in enumerate([*BAD_SENDS, start()]):
            notes.add((event, await raised_by(send(event))))
            await send(message(f"{number}"))
        await receive()

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        for number in range(len(BAD_SENDS) + 1):
            client.expect((TEXT, f"{number}"))
            event, error = notes.next()
            assert error is not None and not isinstance(error, OSError), event
        client.expect_alive()


@both_loops
@pytest.mark.spec("A-WSM-05", "A-WSC-11", "WS-UTF-07")
def test_a_bad_event_that_the_application_does_not_catch_is_its_failure(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await send(message("\ud800"))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.expect_close(1011)
        client.send(close_frame(1011))
        client.expect_end()
    assert len(error_records(caplog)) == 1


@both_loops
@pytest.mark.spec("A-WSM-08", "A-WSC-02", "WS-FRG-06")
@pytest.mark.parametrize("cut", ["whole", "random"])
def test_order_is_kept_and_all_comes_before_the_end(cut: str, loop: str) -> None:
    messages: list[str | bytes] = [f"{number}" if number % 3 else b"%d" % number for number in range(300)]
    kinds = {str: TEXT, bytes: BINARY}
    with open_desk(loop=loop, ws_max_queue=4) as desk, desk.open(cut=cut) as guest:
        frames = [frame(kinds[type(each)], each) for each in messages]
        guest.send(*frames, frame(TEXT, "never whole", fin=False), close_frame(4001, "that was all"))
        seen = []
        while (found := guest.next()) is not None and found.opcode in (TEXT, BINARY):
            seen.append(found.payload.decode() if found.opcode == TEXT else found.payload)
        assert seen == messages[: len(seen)]
        assert found is not None and found.code == 4001
        guest.expect_end()
        guest.told(*messages, code=4001, reasons=("that was all",))


@both_loops
@pytest.mark.spec("A-WSM-08", "A-WSC-03")
@pytest.mark.parametrize("way", ["close", "half_close"])
def test_what_came_before_the_client_was_lost_is_delivered(way: str, loop: str) -> None:
    go_on, notes = Gate(), Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        await go_on.passed()
        for _ in range(22):
            notes.add(told(await asyncio.wait_for(receive(), 5)))

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.send(*[frame(TEXT, f"{number}") for number in range(20)])
        getattr(client, way)()
        go_on.open()
        assert [notes.next() for _ in range(20)] == [str(number) for number in range(20)]
        assert [notes.next() for _ in range(2)] == [("disconnect", 1006, "")] * 2


@both_loops
@pytest.mark.spec("A-CORE-20", "WS-FRG-07")
def test_tasks_that_send_at_once_never_mix_their_messages(loop: str) -> None:
    sizes = [10, 70_000, 300_000]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)

        async def speak(number: int) -> None:
            for turn in range(30):
                await send(message(bytes([number, turn]) * (sizes[number % 3] // 2)))

        await asyncio.gather(*[speak(number) for number in range(9)])
        # What is not awaited between goes out in the order of the calls.
        for pending in [asyncio.ensure_future(send(message(f"{number}"))) for number in range(100)]:
            await pending

    with serve(app, loop=loop) as site, SocketClient(site, receive_buffer_bytes=65536) as client:
        turns = [0] * 9
        for _ in range(9 * 30):
            found = client.next()
            assert found is not None and found.opcode == BINARY
            number, turn = found.payload[:2]
            assert turn == turns[number]
            turns[number] += 1
            assert found.payload == bytes([number, turn]) * (sizes[number % 3] // 2)
        client.expect(*[(TEXT, f"{number}") for number in range(100)])
        client.expect_close(1000)


@both_loops
@pytest.mark.spec("A-CORE-19")
def test_a_cancelled_receive_loses_no_message(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        patience_s = 0.0
        while True:
            try:
                found = told(await asyncio.wait_for(receive(), patience_s))
            except TimeoutError:
                patience_s = (patience_s + 0.0003) % 0.002
                continue
            notes.add(found)
            if isinstance(found, tuple):
                return

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        for number in range(200):
            client.send(frame(TEXT, f"{number}"))
            if number % 7 == 0:
                client.expect_alive()
        client.send(close_frame(4000))
        assert [notes.next() for _ in range(200)] == [str(number) for number in range(200)]
        assert notes.next() == ("disconnect", 4000, "")


@both_loops
@pytest.mark.spec("A-CORE-19")
def test_several_tasks_may_receive(loop: str) -> None:
    notes, waiting = Notes(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)

        async def listen() -> None:
            while not isinstance(found := told(await receive()), tuple):
                notes.add(found)
            notes.add(found)

        tasks = [asyncio.ensure_future(listen()) for _ in range(5)]
        await asyncio.sleep(0)
        waiting.open()
        await asyncio.gather(*tasks)

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        waiting.wait()
        client.send(*[frame(TEXT, f"{number}") for number in range(50)])
        assert sorted(int(notes.next()) for _ in range(50)) == list(range(50))
        client.send(close_frame(4000, "all"))
        assert [notes.next() for _ in range(5)] == [("disconnect", 4000, "all")] * 5


@both_loops
@pytest.mark.spec("A-RESP-10", "A-WSM-08")
def test_a_message_goes_out_although_the_application_waits_for_something_else(loop: str) -> None:
    seen = [Gate() for _ in range(10)]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        for number, gate in enumerate(seen):
            await send(message(f"{number}"))
            await gate.passed()

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        for number, gate in enumerate(seen):
            client.expect((TEXT, f"{number}"))
            gate.open()
        client.expect_close(1000)


@both_loops
@pytest.mark.spec("A-WSM-08", "WS-FR-10")
def test_the_same_object_sent_to_many_reaches_each_whole(loop: str) -> None:
    members: list[Any] = []
    all_in = Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accepted(receive, send)
        members.append(send)
        if len(members) == 50:
            all_in.open()
        while not isinstance(found := told(await receive()), tuple):
            for each in members:
                await send(message("private")) if each is send else await each(message(found))

    with serve(app, loop=loop) as site:
        clients = [SocketClient(site) for _ in range(50)]
        try:
            all_in.wait()
            for text in ("short", "é" * 300, "long " * 20_000):
                clients[0].send(frame(TEXT, text))
                clients[0].expect((TEXT, "private"))
                for client in clients[1:]:
                    client.expect((TEXT, text))
        finally:
            for client in clients:
                client.close()


@both_loops
@pytest.mark.spec("WS-LIM-01", "WS-FR-06", "WS-FRG-05", "A-WSC-12", "WS-ASGI-01", "WS-ASGI-02")
def test_a_message_above_the_limit_is_1009_for_both_ends(loop: str) -> None:
    with open_desk(loop=loop, ws_max_size_bytes=1000) as desk:
        with desk.open() as guest:
            guest.send(frame(TEXT, "x" * 1000))
            guest.expect((TEXT, "x" * 1000))
            guest.send(frame(TEXT, "y" * 1001), frame(TEXT, "never delivered"))
            guest.fails(1009, "x" * 1000)
        with desk.open() as guest:
            guest.send(frame(BINARY, b"", length=1 << 40))
            guest.fails(1009)
        with desk.open() as guest:
            guest.send(frame(TEXT, "x" * 600, fin=False), frame(CONTINUATION, "x" * 401))
            guest.fails(1009)
