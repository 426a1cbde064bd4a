"""Many WebSockets on one connection: windows, limits and time-outs are each one's own, and nobody waits for another."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.gateway.h2_socket_client import H2Wire, OverStream, extended_connect
from tests.gateway.socket_client import BINARY, CLOSE, PING, PONG, TEXT, SocketClient, Squeezed, close_frame, frame
from tests.wire.h2_bytes import raw
from trilithon.testing import Site, serve
from trilithon.wire.h2_codes import CANCEL, GOAWAY, MAX_CONCURRENT_STREAMS, REFUSED_STREAM

pytestmark = pytest.mark.real

DEADLINE_S = 10.0
MIB = 1 << 20
DEFLATE = [("sec-websocket-extensions", "permessage-deflate; client_max_window_bits")]


class House:
    """An application of sockets that do what their paths say, and that counts who is in and how each ended.

    /echo sends back; /deaf never reads; /flood sends without end; /stay stays behind its socket until the doors open;
    /sink counts what comes; /member gets what anybody says to /speaker.
    """

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.inside: dict[str, int] = {}
        self.ends: dict[str, list[int]] = {}
        self.sent = 0
        self.taken = 0
        self.members: list[Any] = []
        self.doors = threading.Event()

    def wait(self, condition: Any) -> None:
        """Wait until a condition on what is counted holds."""
        with self.news:
            assert self.news.wait_for(condition, DEADLINE_S), (self.inside, self.ends, self.sent, self.taken)

    def count(self, path: str, difference: int, code: int = 0) -> None:
        """Count somebody in or out."""
        with self.news:
            self.inside[path] = self.inside.get(path, 0) + difference
            if difference < 0:
                self.ends.setdefault(path, []).append(code)
            self.news.notify_all()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        path = scope["path"]
        code = 0
        self.count(path, 1)
        try:
            await receive()
            await send({"type": "websocket.accept"})
            code = await getattr(self, path[1:])(receive, send)
            while path == "/stay" and not self.doors.is_set():
                await asyncio.sleep(0.01)
        finally:
            self.count(path, -1, code)

    async def echo(self, receive: Any, send: Any) -> int:
        while (event := await receive())["type"] == "websocket.receive":
            kind = "bytes" if event.get("text") is None else "text"
            await send({"type": "websocket.send", kind: event[kind]})
        return int(event["code"])

    stay = echo

    async def deaf(self, receive: Any, send: Any) -> int:
        while not self.doors.is_set():
            await asyncio.sleep(0.01)
        return await self.echo(receive, send)

    async def sink(self, receive: Any, send: Any) -> int:
        while (event := await receive())["type"] == "websocket.receive":
            self.taken += len(event["bytes"])
        return int(event["code"])

    async def flood(self, receive: Any, send: Any) -> int:
        try:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 10_000})
                self.sent += 1
        except OSError:
            return int((await receive())["code"])

    async def member(self, receive: Any, send: Any) -> int:
        self.members.append(send)
        return int((await receive())["code"])

    async def speaker(self, receive: Any, send: Any) -> int:
        while (event := await receive())["type"] == "websocket.receive":
            for member in self.members:
                await member({"type": "websocket.send", "text": event["text"]})
        return int(event["code"])


@contextmanager
def open_house(**options: Any) -> Iterator[tuple[Site, House]]:
    """Serve a house; its doors open at the end."""
    house = House()
    with serve(house, **options) as site:
        try:
            yield site, house
        finally:
            house.doors.set()


def is_prompt(client: SocketClient) -> bool:
    """Tell whether an echo comes well before any time-out."""
    begun = time.monotonic()
    client.send(frame(TEXT, "prompt"))
    client.expect((TEXT, "prompt"))
    return time.monotonic() - begun < 1.0


# Octets.


@pytest.mark.spec("WS-H2-08", "WS-FR-08")
@pytest.mark.parametrize("padding", [-1, 0, 1, 200])
def test_frames_and_data_have_nothing_to_do_with_each_other(padding: int) -> None:
    octets = frame(TEXT, "één €") + frame(PING, b"beat") + frame(BINARY, b"x" * 300) + frame(TEXT, b"")
    expected = [(TEXT, "één €"), (PONG, b"beat"), (BINARY, b"x" * 300), (TEXT, "")]
    with open_house() as (site, _), H2Wire(site) as wire:
        for place in range(0, len(octets), 1 if padding < 0 else 7):
            with OverStream(wire, "/echo") as client:
                client.line.frame(octets[:place], padding=padding)
                client.line.frame(octets[place:], padding=padding)
                found = [client.next() for _ in expected]
                assert sorted((each.opcode, each.payload) for each in found if each) == sorted(
                    (opcode, data.encode() if isinstance(data, str) else data) for opcode, data in expected
                )
                client.shake()


@pytest.mark.spec("WS-H2-08", "WS-H2-13")
def test_sockets_may_be_interleaved_octet_by_octet() -> None:
    with open_house() as (site, _), H2Wire(site) as wire:
        clients = [OverStream(wire, "/echo") for _ in range(20)]
        octets = [frame(TEXT, f"I am {number:02}") for number in range(20)]
        for place in range(len(octets[0])):
            for client, each in zip(clients, octets, strict=True):
                client.line.frame(each[place : place + 1])
        for number, client in enumerate(clients):
            client.expect((TEXT, f"I am {number:02}"))
            client.shake()


@pytest.mark.spec("WS-H2-08", "WS-H2-11", "WS-FR-09")
@pytest.mark.parametrize("offer", [[], DEFLATE], ids=["plain", "deflate"])
def test_the_largest_message_passes_through_small_windows_both_ways(offer: Any) -> None:
    data = bytes(range(256)) * (16 * MIB // 256)
    options = {"h2_stream_window_bytes": 65535, "h2_connection_window_bytes": 65535}
    with (
        open_house(**options) as (site, _),
        H2Wire(site, stream_window=65535) as wire,
        OverStream(wire, "/echo", fields=offer) as client,
    ):
        squeezed = Squeezed(client)
        for _ in range(2):
            squeezed.send(BINARY, data)
            assert squeezed.expect(BINARY, data) == bool(offer)
        assert max(client.line.sizes) <= 16384
        client.shake()


# Windows.


@pytest.mark.spec("WS-H2-11", "WS-H2-13", "WS-LIM-04", "A-WSM-07")
def test_send_waits_for_the_window_of_its_stream_and_nobody_else_does() -> None:
    with open_house(write_high_water_bytes=32768) as (site, house), H2Wire(site, stream_window=65535) as wire:
        line = wire.request(extended_connect("/flood"))
        line.credits = False
        others = [OverStream(wire, "/echo") for _ in range(5)]
        wire.wait(lambda: len(line.data) == 65535, DEADLINE_S)
        before = -1
        while before != house.sent:
            before = house.sent
            assert all(is_prompt(other) for other in others)
        assert house.sent * 10_000 <= 65535 + 32768 + 10_000
        # What was kept back comes whole and in order once the window opens.
        line.credits = True
        wire.credit(line, 65535)
        wire.wait(lambda: len(line.data) > 3 * MIB, DEADLINE_S)
        message = frame(BINARY, b"x" * 10_000, mask=None)
        assert bytes(line.data).startswith(message * 300)
        line.cancel()
        house.wait(lambda: house.ends.get("/flood") == [1006])
        assert all(is_prompt(other) for other in others)


@pytest.mark.spec("WS-H2-13", "WS-LIM-04", "WS-BP-01")
def test_a_client_that_opens_no_window_loses_that_stream_alone() -> None:
    with open_house(write_timeout_s=0.5) as (site, house), H2Wire(site, stream_window=65535) as wire:
        line = wire.request(extended_connect("/flood"))
        line.credits = False
        other = OverStream(wire, "/echo")
        wire.wait(lambda: line.over, 4.0)
        assert line.reset == CANCEL
        house.wait(lambda: house.ends.get("/flood") == [1006])
        assert is_prompt(other)


@pytest.mark.spec("WS-H2-11", "WS-H2-13", "WS-LIM-02", "A-WSM-08")
def test_what_the_application_does_not_take_is_not_credited() -> None:
    options = {"ws_deflate": False, "ws_ping_interval_s": 0.0}
    with open_house(**options) as (site, house), H2Wire(site) as wire:
        line = wire.request(extended_connect("/deaf"))
        other = OverStream(wire, "/echo")
        message = frame(BINARY, b"y" * 4000)
        sent = 0
        while line.window >= len(message):
            line.send(message)
            sent += 1
            assert is_prompt(other)
        assert sent * len(message) < 1 * MIB
        assert is_prompt(other)
        house.doors.set()
        # Everything that was sent is there, and as much again is taken.
        for _ in range(sent):
            line.send(message)
        expected = frame(BINARY, b"y" * 4000, mask=None) * (2 * sent)
        wire.wait(lambda: len(line.data) >= len(expected), DEADLINE_S)
        assert line.data == expected


@pytest.mark.spec("WS-H2-11", "WS-CTL-03")
def test_an_answer_to_a_ping_waits_for_the_window_like_everything_else() -> None:
    with open_house() as (site, _), H2Wire(site, stream_window=0) as wire:
        line = wire.request(extended_connect("/echo"))
        assert line.status() == 200
        line.send(frame(PING, b"beat") + frame(TEXT, "hello"))
        wire.expect_alive()
        assert not line.data
        wire.credit(line, 3)
        wire.wait(lambda: len(line.data) == 3, DEADLINE_S)
        wire.credit(line, 100)
        wire.wait(lambda: len(line.data) == 13, DEADLINE_S)
        assert line.data == frame(PONG, b"beat", mask=None) + frame(TEXT, "hello", mask=None)


# Limits and time.


@pytest.mark.spec("WS-H2-13", "WS-LIM-05")
def test_each_socket_counts_against_the_limit_of_streams() -> None:
    with open_house(h2_max_streams=5) as (site, _), H2Wire(site) as wire:
        assert wire.settings[MAX_CONCURRENT_STREAMS] == 5
        clients = [OverStream(wire, "/echo") for _ in range(5)]
        excess = wire.request(extended_connect("/echo"))
        wire.wait(lambda: excess.over, DEADLINE_S)
        assert excess.reset == REFUSED_STREAM
        clients[2].shake()
        wire.expect_alive()
        clients[2] = OverStream(wire, "/echo")
        assert all(is_prompt(client) for client in clients)


@pytest.mark.spec("WS-H2-13", "H2-DOS-01")
@pytest.mark.parametrize("way", ["shake", "reset", "half_close"])
def test_a_call_that_outlives_its_socket_keeps_its_place(way: str) -> None:
    with open_house(h2_max_streams=5) as (site, house), H2Wire(site) as wire:
        for _ in range(5):
            client = OverStream(wire, "/stay")
            getattr(client, way)()
        wire.expect_alive()
        excess = wire.request(extended_connect("/echo"))
        wire.wait(lambda: excess.over, DEADLINE_S)
        assert excess.reset == REFUSED_STREAM
        assert house.inside == {"/stay": 5}
        house.doors.set()
        house.wait(lambda: house.inside == {"/stay": 0})
        wire.expect_alive()
        assert is_prompt(OverStream(wire, "/echo"))


@pytest.mark.spec("WS-H2-10", "WS-H2-13", "WS-LIM-05")
def test_a_handshake_waits_for_its_turn_unless_its_client_has_left() -> None:
    with open_house(max_requests=1, max_queued_requests=3) as (site, house), H2Wire(site) as wire:
        first = OverStream(wire, "/echo")
        reset, ended, patient = (wire.request(extended_connect("/echo")) for _ in range(3))
        excess = wire.request(extended_connect("/echo"))
        assert excess.status() == 503
        reset.cancel()
        ended.end()
        assert is_prompt(first)
        assert not patient.heads
        first.shake()
        assert patient.status() == 200
        assert ended.status() == 400
        assert not reset.heads
        house.wait(lambda: house.inside == {"/echo": 1})
        patient.send(frame(TEXT, "at last"))
        wire.wait(lambda: len(patient.data) == 9, DEADLINE_S)


@pytest.mark.spec("WS-KA-04", "WS-H2-11")
def test_no_limit_of_requests_ends_a_socket() -> None:
    times = dict.fromkeys(
        ("body_timeout_s", "request_timeout_s", "header_timeout_s", "keep_alive_timeout_s", "write_timeout_s"), 0.3
    )
    with open_house(**times, max_body_bytes=1000) as (site, house), H2Wire(site) as wire:
        idle, within, talking = (OverStream(wire, "/echo") for _ in range(3))
        within.send(frame(TEXT, "half a mess")[:9])
        begun = time.monotonic()
        while time.monotonic() - begun < 1.2:
            talking.send(frame(BINARY, b"x" * 2000))
            talking.expect((BINARY, b"x" * 2000))
        assert house.ends == {}
        within.send(frame(TEXT, "half a mess")[9:])
        within.expect((TEXT, "half a mess"))
        for client in (idle, within, talking):
            client.shake()


@pytest.mark.spec("WS-KA-01", "WS-KA-02", "WS-H2-13")
def test_a_silent_socket_is_pinged_and_lost_alone() -> None:
    with open_house(ws_ping_interval_s=0.3, ws_ping_timeout_s=0.5) as (site, house), H2Wire(site) as wire:
        dead, alive = OverStream(wire, "/echo"), OverStream(wire, "/echo")
        begun = time.monotonic()
        while time.monotonic() - begun < 1.6:
            found = alive.next()
            assert found is not None and found.opcode == PING
            alive.send(frame(PONG, found.payload))
        found = dead.next()
        assert found is not None and found.opcode == PING
        dead.expect_close(1011)
        dead.expect_end()
        assert house.ends == {"/echo": [1011]}
        assert alive.line.reset is None and not alive.line.ended


@pytest.mark.spec("WS-KA-02", "WS-H2-11")
def test_a_ping_that_no_window_lets_through_is_an_unanswered_one() -> None:
    options = {"ws_ping_interval_s": 0.2, "ws_ping_timeout_s": 0.3, "write_timeout_s": 0.8}
    with open_house(**options) as (site, house), H2Wire(site, stream_window=0) as wire:
        line = wire.request(extended_connect("/echo"))
        assert line.status() == 200
        house.wait(lambda: house.ends == {"/echo": [1011]})
        wire.wait(lambda: line.over, 4.0)
        assert line.reset == CANCEL
        wire.expect_alive()


# Many.


@pytest.mark.spec("WS-H2-13", "WS-PMD-01", "A-WSM-07")
def test_what_is_said_to_all_reaches_sockets_of_every_kind() -> None:
    words = ["hello", "x" * 2000, "é" * 30_000]
    with open_house() as (site, house), H2Wire(site) as wire, ExitStack() as stack:
        clients: list[SocketClient] = []
        for offer in ([], DEFLATE):
            clients += [stack.enter_context(OverStream(wire, "/member", fields=offer)) for _ in range(20)]
            clients += [stack.enter_context(SocketClient(site, "/member", fields=offer)) for _ in range(5)]
        house.wait(lambda: len(house.members) == 50)
        squeezed = [Squeezed(client) for client in clients]
        speaker = stack.enter_context(OverStream(wire, "/speaker"))
        for word in words:
            speaker.send(frame(TEXT, word))
            assert sum(each.expect(TEXT, word.encode()) for each in squeezed) == (25 if len(word) > 1000 else 0)


@pytest.mark.spec("WS-H2-13", "WS-H2-14", "WS-BP-01")
def test_of_many_sockets_some_stall_some_fail_and_the_rest_go_on() -> None:
    with open_house(write_timeout_s=30.0) as (site, house), H2Wire(site, stream_window=65535) as wire:
        stalled = [wire.request(extended_connect("/flood")) for _ in range(20)]
        for line in stalled:
            line.credits = False
        clients = [OverStream(wire, "/echo") for _ in range(30)]
        for number, client in enumerate(clients):
            if number % 3 == 0:
                client.send(frame(TEXT, b"\xff"))
                client.expect_failure(1007)
            elif number % 3 == 1:
                assert is_prompt(client)
            else:
                client.reset()
        house.wait(lambda: sorted(house.ends.get("/echo", [])) == [1006] * 10 + [1007] * 10)
        assert all(is_prompt(client) for client in clients[1::3])
        for line in stalled:
            line.cancel()
        house.wait(lambda: house.ends.get("/flood") == [1006] * 20)


@pytest.mark.spec("WS-H2-13", "H2-CONN-08")
def test_a_client_that_leaves_keeps_its_sockets_until_they_end() -> None:
    with open_house() as (site, _), H2Wire(site) as wire:
        clients = [OverStream(wire, "/echo") for _ in range(3)]
        wire.write(raw(GOAWAY, 0, 0, bytes(8)))
        for client in clients:
            assert is_prompt(client)
            client.shake()
        wire.to_end()


@pytest.mark.spec("WS-H2-13", "H2-CONN-09")
def test_a_connection_that_has_served_enough_keeps_its_sockets() -> None:
    with open_house(max_keep_alive_requests=3) as (site, _), H2Wire(site) as wire:
        clients = [OverStream(wire, "/echo") for _ in range(3)]
        wire.wait(lambda: wire.goaways, DEADLINE_S)
        for _ in range(3):
            assert all(is_prompt(client) for client in clients)
        for client in clients:
            client.shake()
        wire.to_end()


@pytest.mark.spec("WS-H2-13", "H2-DOS-01")
def test_thousands_of_sockets_come_and_go_on_one_connection() -> None:
    with open_house() as (site, house), H2Wire(site) as wire:
        for _ in range(100):
            clients = [OverStream(wire, "/echo") for _ in range(20)]
            for client in clients:
                client.line.send(frame(TEXT, "hello") + close_frame(1000), end=True)
            for client in clients:
                client.expect((TEXT, "hello"))
                client.expect_close(1000)
                wire.lines.pop(client.line.stream_id)
        house.wait(lambda: house.ends.get("/echo") == [1000] * 2000)
        (connection,) = site.server.looping.engine.connections.values() if site.server.looping else ()
        wire.expect_alive()
        assert not connection.protocol.open_exchanges()
        assert len(connection.protocol.cancelled) == 0
        found = [each for each in clients if each.closed_by is None or each.closed_by.opcode != CLOSE]
        assert not found
