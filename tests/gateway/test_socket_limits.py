"""Limits of WebSockets: sizes, queues, slow readers beside fast ones, capacity, the stop, and nothing left behind."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from asgi_apps import Gate, Notes, Receive, Scope, Send, error_records, wait_until
from raw_client import RawClient
from socket_apps import Desk, Held, accepted, message, open_desk, read_on, sockets_only, told
from socket_client import BINARY, PING, PONG, TEXT, SocketClient, Squeezed, close_frame, fragments, frame

from trilithon.testing import serve

pytestmark = [pytest.mark.real, pytest.mark.spec("WS-ASGI-05")]

both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
MIB = 1 << 20
OFFERS = [
    None,
    "permessage-deflate",
    "permessage-deflate; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits=9",
    "permessage-deflate; client_max_window_bits; client_no_context_takeover",
]
HANDSHAKE = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with open_desk() as found:
        yield found


def offered(offer: str | None) -> dict[str, Any]:
    """Return the keywords of a client that offers this."""
    return {"fields": [("Sec-WebSocket-Extensions", offer)] if offer else []}


# Sizes.


@pytest.mark.spec("WS-LIM-01", "WS-FR-06")
@pytest.mark.parametrize("limit", [1, 125, 126, 65535, 65536, 100_000])
def test_every_limit_is_exact(limit: int) -> None:
    with open_desk(ws_max_size_bytes=limit) as desk:
        with desk.open() as guest:
            data = b"x" * limit
            guest.send(frame(BINARY, data), *fragments(BINARY, [data[:1], data[1:], b""]))
            guest.expect((BINARY, data), (BINARY, data))
            guest.send(frame(BINARY, length=limit + 1))
            guest.fails(1009, data, data)
        with desk.open() as guest:
            guest.send(frame(TEXT, b"x" * limit, fin=False), frame(0, b"x"))
            guest.fails(1009)


@pytest.mark.spec("WS-LIM-01")
def test_a_limit_of_zero_is_none() -> None:
    with open_desk(ws_max_size_bytes=0) as desk, desk.open() as guest:
        data = bytes(20 * MIB)
        guest.send(frame(BINARY, data))
        guest.expect((BINARY, data))
        guest.ends(data)


@pytest.mark.spec("WS-LIM-01", "WS-FR-06")
def test_a_large_length_reserves_no_memory(desk: Desk) -> None:
    with ExitStack() as stack:
        guests = [stack.enter_context(desk.open()) for _ in range(20)]
        tracemalloc.start()
        try:
            for guest in guests:
                guest.send(frame(BINARY, b"begin", length=16 * MIB))
                guest.send(b"x")
            with desk.open() as other:
                other.expect_alive()
                other.ends()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4 * MIB, f"{peak >> 20} MiB are held for what was only announced"


# The queue.


@pytest.mark.spec("WS-LIM-02", "WS-LIM-03", "A-WSM-08")
@pytest.mark.parametrize("queue", [1, 2, 32])
def test_a_full_queue_loses_nothing_and_pings_behind_it_are_answered(queue: int) -> None:
    recorder = Held()
    messages = [f"message {number}" for number in range(queue + 5)]
    with open_desk(recorder, ws_max_queue=queue) as desk, desk.open() as guest:
        for each in messages:
            # One by one, so that each is read behind a queue that is seen to be full.
            guest.send(frame(TEXT, each))
            guest.expect_alive()
        recorder.gate(guest.path).open()
        guest.expect(*((TEXT, each) for each in messages))
        guest.ends(*messages)


@pytest.mark.spec("WS-LIM-02", "WS-LIM-03", "WS-PMD-14")
def test_a_full_queue_of_compressed_messages_loses_nothing() -> None:
    recorder = Held()
    with open_desk(recorder, ws_max_queue=2) as desk, desk.open(**offered("permessage-deflate")) as guest:
        first = bytes.fromhex("f248cdc9c90700")
        guest.send(*[frame(TEXT, first, rsv=4)] * 50, close_frame(1000, "done"))
        recorder.gate(guest.path).open()
        guest.expect(*[(TEXT, "Hello")] * 50)
        guest.expect_close(1000)
        guest.expect_end()
        guest.told(*["Hello"] * 50, code=1000, reasons=("done",))


@pytest.mark.spec("WS-LIM-02", "WS-PMD-12", "WS-PMD-14")
@pytest.mark.parametrize("offer", [None, "permessage-deflate"], ids=["plain", "compressed"])
def test_large_messages_fill_the_queue_by_their_size_whatever_their_number(offer: str | None) -> None:
    recorder = Held()
    message_bytes = bytes(MIB)
    with open_desk(recorder) as desk, desk.open(**offered(offer)) as guest:
        side = Squeezed(guest)
        wire = frame(BINARY, side.payload(message_bytes), rsv=4) if offer else frame(BINARY, message_bytes)
        # Compressed, all of it is a few segments; it must not be inflated before somebody wants it.
        stream = wire + frame(BINARY, side.payload(message_bytes), rsv=4) * 50 if offer else wire * 50
        guest.socket.settimeout(0.5)
        tracemalloc.start()
        try:
            guest.socket.sendall(stream)
            assert offer, "50 MiB were taken off the client"
            with desk.open() as other:
                # Each answer is a turn in which more could be inflated.
                for _ in range(100):
                    other.expect_alive()
                recorder.gate(other.path).open()
        except TimeoutError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        guest.reset()
        recorder.gate(guest.path).open()
        assert peak < 10 * MIB, f"{peak >> 20} MiB wait for an application that does not ask"


@pytest.mark.spec("WS-LIM-02")
def test_empty_messages_fill_the_queue_too() -> None:
    recorder = Held()
    batch = frame(BINARY) * 10_000
    with open_desk(recorder) as desk, desk.open() as guest:
        guest.expect_alive()
        guest.socket.settimeout(0.5)
        sent = 0
        tracemalloc.start()
        try:
            while sent < 16 * MIB:
                sent += guest.socket.send(batch)
        except TimeoutError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        guest.reset()
        recorder.gate(guest.path).open()
        assert sent < 16 * MIB, "the server never stopped reading"
        assert peak < 4 * MIB


@both_loops
@pytest.mark.spec("WS-CLS-01", "WS-CLS-08", "A-WSM-08")
@pytest.mark.parametrize(("last", "code"), [(close_frame(4000), 4000), (frame(3), 1002)], ids=["close", "failure"])
def test_the_answer_goes_out_when_the_application_is_told_not_when_it_returns(
    last: bytes, code: int, loop: str
) -> None:
    notes, may_return = Notes(), Gate()

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        await read_on(receive, notes)
        await may_return.passed()

    with serve(app, loop=loop) as site, SocketClient(site) as client:
        client.send(frame(TEXT, "one"), frame(TEXT, "two"), last)
        client.expect_close(code, within_s=2.0)
        client.expect_end()
        assert [notes.next(), notes.next(), notes.next()[1]] == ["one", "two", code]
        may_return.open()


# One slow, others fast.


@both_loops
@pytest.mark.spec("WS-BP-01", "WS-LIM-04")
def test_readers_that_stand_still_hold_up_nobody_and_are_given_up(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    slow_count, fast_messages = 100, 300
    block = b"x" * 20_000
    ends = Notes()

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        try:
            while True:
                await send(message(block))
                await asyncio.sleep(0)
        except OSError:
            ends.add((scope["path"], told(await receive())))

    with serve(app, loop=loop, write_timeout_s=2.5) as site, ExitStack() as stack:
        tracemalloc.start()
        try:
            slow = [
                stack.enter_context(SocketClient(site, "/slow", receive_buffer_bytes=4096)) for _ in range(slow_count)
            ]
            fast = stack.enter_context(SocketClient(site, "/fast"))
            for _ in range(fast_messages):
                fast.expect((BINARY, block), within_s=2.0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < slow_count * 400_000, f"{peak // slow_count} bytes are held for each slow reader"
        for _ in slow:
            # The fast one is read on, or it would be slow as well.
            fast.expect(*[(BINARY, block)] * 3)
        fast.close()
        found = [ends.next() for _ in range(slow_count + 1)]
        assert {path for path, _ in found} == {"/slow", "/fast"}
        assert all(end[:2] in (("disconnect", 1006), ("disconnect", 1011)) for _, end in found), found
    assert error_records(caplog) == []


@both_loops
@pytest.mark.spec("WS-BP-01", "WS-PMD-06", "WS-PMD-09")
def test_a_broadcast_reaches_sockets_of_every_agreement_between_their_own_messages(loop: str) -> None:
    members: list[Send] = []

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        members.append(send)
        while not isinstance(found := told(await receive()), tuple):
            if isinstance(found, bytes):
                await send(message(found))
            else:
                await asyncio.gather(*(each(message(found)) for each in members))

    with serve(app, loop=loop) as site, ExitStack() as stack:
        clients = [stack.enter_context(SocketClient(site, **offered(offer))) for offer in OFFERS * 3]
        sides = [Squeezed(client) for client in clients]
        wait_until(lambda: len(members) == len(clients), "every member")
        for number, side in enumerate(sides):
            own = f"{number} the quick brown fox {'jumps ' * 40}".encode()
            # Four texts for all, so that some are said twice in a row and some return later.
            shared = f"{number // 2 % 4} over the lazy dog {'and sleeps ' * 40}".encode()
            side.send(BINARY, own)
            side.send(TEXT, shared)
            side.send(BINARY, own)
            side.expect(BINARY, own)
            for each in sides:
                each.expect(TEXT, shared)
            side.expect(BINARY, own)
        for client in clients:
            client.shake()


# Capacity and the stop.


@pytest.mark.spec("WS-LIM-05")
def test_handshakes_beyond_what_may_run_and_wait_get_503() -> None:
    with open_desk(max_requests=1, max_queued_requests=1) as desk, desk.open() as guest:
        guest.expect_alive()
        with RawClient(desk.site) as second, RawClient(desk.site) as third:
            second.send(b"GET /second HTTP/1.1\r\nHost: t\r\n", fields_of(HANDSHAKE))
            guest.expect_alive()
            answer = third.ask("/third", fields=HANDSHAKE)
            assert (answer.status, answer.complete) == (503, True)
            assert answer.one("Sec-WebSocket-Accept") is None
            guest.ends()
            assert second.answer().status == 101
            second.send(frame(TEXT, "at last"))
            assert second.exactly(9) == b"\x81\x07at last"


def fields_of(lines: list[tuple[str, str]]) -> bytes:
    """Return field lines as octets, with the empty line behind them."""
    return "".join(f"{name}: {value}\r\n" for name, value in lines).encode() + b"\r\n"


@both_loops
@pytest.mark.spec("WS-SHUT-01", "WS-CLS-15", "WS-CLS-08", "A-WSC-12")
def test_a_stop_closes_with_1012_and_waits_for_the_answers_but_not_for_ever(loop: str) -> None:
    with ExitStack() as stack:
        with open_desk(loop=loop, stream_grace_s=0.1, ws_close_timeout_s=0.5) as desk:
            polite, deaf, talking = (stack.enter_context(desk.open()) for _ in range(3))
            for guest in (polite, deaf, talking):
                guest.expect_alive()
            talking.send(frame(TEXT, "half", fin=False))
            begun = time.monotonic()
            desk.site.server.stop()
            for guest in (polite, deaf, talking):
                guest.expect_close(1012)
            polite.send(frame(TEXT, "late"), close_frame(1012))
            polite.expect_end()
            talking.send(frame(0, "late"), frame(PING, b"late"))
            deaf.expect_end(2.0)
            talking.expect_end(2.0)
        assert time.monotonic() - begun < 4.0
        for guest in (polite, deaf, talking):
            guest.told(code=1012)


# Nothing is left.


@both_loops
@pytest.mark.spec("WS-CLS-01", "WS-BP-01")
def test_hundreds_of_sockets_leave_nothing_behind(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    def living() -> int:
        gc.collect()
        return sum(
            type(each).__name__ in ("WebSocket", "SocketCall", "Deflate", "Exchange") for each in gc.get_objects()
        )

    with open_desk(loop=loop) as desk:
        before = living()
        for number in range(200):
            with desk.open(**offered(OFFERS[number % len(OFFERS)])) as guest:
                guest.send(frame(TEXT, "hello " * 50))
                assert guest.next() is not None
                if number % 4 == 0:
                    guest.send(frame(3))
                elif number % 4 == 1:
                    guest.reset()
                    continue
                elif number % 4 == 2:
                    guest.send(close_frame(1000))
                else:
                    guest.send(frame(TEXT, "part", fin=False))
                    guest.half_close()
                while guest.next() is not None:
                    pass
        # The last broadcast or echo may keep its socket until the next one.
        wait_until(lambda: living() <= before + 8, "the end of the sockets")
    assert error_records(caplog) == []


# Much to say on both sides at once.


@both_loops
@pytest.mark.spec("WS-CTL-03", "WS-FRG-07", "WS-FR-10")
def test_a_pong_does_not_land_inside_a_message_that_is_on_its_way(loop: str) -> None:
    block = bytes(range(256)) * 8192

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        for _ in range(4):
            await send(message(block))
        await receive()

    with serve(app, loop=loop) as site, SocketClient(site, receive_buffer_bytes=4096) as client:
        client.send(*(frame(PING, f"{number}") for number in range(20)))
        messages, pongs = [], []
        while len(messages) < 4 or b"19" not in pongs:
            found = client.next()
            assert found is not None and found.opcode in (BINARY, PONG)
            (messages if found.opcode == BINARY else pongs).append(found.payload)
        assert messages == [block] * 4
        assert pongs == sorted(pongs, key=int)
        client.shake()


@both_loops
@pytest.mark.spec("WS-CLS-01", "WS-CLS-14", "WS-CLS-12")
def test_a_close_that_comes_before_the_client_has_read_all_is_answered_behind_it(loop: str) -> None:
    sent, notes = Gate(), Notes()
    block = b"x" * 40_000

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        await send(message(block))
        sent.open()
        await read_on(receive, notes)

    with serve(app, loop=loop) as site, SocketClient(site, receive_buffer_bytes=4096) as client:
        sent.wait()
        client.send(close_frame(4000, "enough"))
        assert notes.next() == ("disconnect", 4000, "enough")
        client.expect((BINARY, block))
        client.expect_close(4000)
        client.expect_end()


@both_loops
@pytest.mark.spec("WS-CLS-08", "WS-LIM-04", "WS-ASGI-01", "A-WSC-04")
@pytest.mark.parametrize(
    ("last", "codes"), [(frame(3), (1002, 1006)), (close_frame(4000), (4000, 1006))], ids=["failure", "close"]
)
def test_a_client_that_ends_it_without_reading_is_let_go_in_time(
    last: bytes, codes: tuple[int, ...], loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, notes = Gate(), Notes()

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        reading = asyncio.ensure_future(read_on(receive, notes))
        try:
            while True:
                task = asyncio.ensure_future(send(message(b"x" * 100_000)))
                if not (await asyncio.wait({task}, timeout=0.2))[0]:
                    stuck.open()
                await task
        except OSError:
            await reading
            notes.add("over")

    with (
        serve(app, loop=loop, write_timeout_s=1.0, ws_close_timeout_s=0.5) as site,
        SocketClient(site, receive_buffer_bytes=4096) as client,
    ):
        stuck.wait()
        begun = time.monotonic()
        client.send(last)
        found = notes.next()
        assert found[0] == "disconnect" and found[1] in codes, found
        assert notes.next() == "over"
        assert time.monotonic() - begun < 6.0
    assert error_records(caplog) == []
