"""A thousand clients that never read, or send without end: memory stays bounded and nobody else waits for them."""

import asyncio
import json
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.socket_client import BINARY, TEXT, SocketClient, close_frame, frame
from tests.wire.client import Client
from trilithon.testing import serve

from .pacing import send_until_full, stays_silent

pytestmark = pytest.mark.real

MANY = 1000
MIB = 1 << 20
PAGE_BYTES = 4096
WITHIN_S = 20.0


class Hall:
    """An application of three kinds of sockets: /member is sent to, /hold is never read, others give commands.

    Each member is sent to by a task of its own and skipped while its last message is not gone, as a careful
    application does it.
    """

    def __init__(self) -> None:
        self.members: dict[Any, asyncio.Task[None] | None] = {}
        self.failed = 0
        self.codes: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/member":
            self.members[send] = None
            self.codes.append((await receive())["code"])
            del self.members[send]
        elif scope["path"] == "/hold":
            await asyncio.Event().wait()
        else:
            while (event := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": json.dumps(await self.obey(json.loads(event["text"])))})

    async def obey(self, command: dict[str, int]) -> dict[str, Any]:
        """Broadcast so many messages of so many bytes, and report."""
        started = 0
        for number in range(command.get("rounds", 0)):
            message = {"type": "websocket.send", "bytes": number.to_bytes(4, "big") * (command["size"] // 4)}
            for send, task in self.members.items():
                if task is None or task.done():
                    self.members[send] = asyncio.ensure_future(self.give(send, message))
                    started += 1
            await asyncio.sleep(0)
        busy = sum(task is not None and not task.done() for task in self.members.values())
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
        report = {"members": len(self.members), "busy": busy, "started": started, "resident": resident}
        return {**report, "failed": self.failed, "codes": sorted(set(self.codes))}

    async def give(self, send: Any, message: Any) -> None:
        """Send, and count those that can be given nothing any more."""
        try:
            await send(message)
        except OSError:
            self.failed += 1


SERVER = """
    import json, sys
    import trilithon
    from tests.net.test_socket_backpressure import Hall

    options = {"bind": ["fd:" + sys.argv[1]], "access_log": "off", "log_level": "warning", "graceful_timeout_s": 1.0}
    options |= {"lifespan": "off", "stream_grace_s": 0.0, **json.loads(sys.argv[2])}
    sys.exit(trilithon.run(Hall(), **options))
"""


class Process:
    """A hall in a process of its own, whose memory is nobody else's; reached like a site."""

    def __init__(self, **options: Any) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            self.host, self.port = listener.getsockname()
            self.process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(SERVER), str(listener.fileno()), json.dumps(options)],
                pass_fds=[listener.fileno()],
            )


@pytest.fixture
def start() -> Iterator[Any]:
    """Start processes that end with the test."""
    processes: list[Process] = []

    def starter(**options: Any) -> Process:
        processes.append(Process(**options))
        return processes[-1]

    yield starter
    for each in processes:
        each.process.terminate()
        try:
            each.process.wait(10.0)
        except subprocess.TimeoutExpired:
            each.process.kill()
            each.process.wait()
            raise


def command(client: SocketClient, **what: int) -> dict[str, Any]:
    """Give a command and return the report."""
    client.send(frame(TEXT, json.dumps(what)))
    found = client.next(WITHIN_S)
    assert found is not None and found.opcode == TEXT, found
    report: dict[str, Any] = json.loads(found.payload)
    return report


@pytest.mark.spec("WS-BP-01", "WS-LIM-04", "A-RESP-11", "A-WSM-07")
def test_a_thousand_that_never_read_cost_bounded_memory_and_nobody_elses_time(start: Any) -> None:
    size = 20_000
    server = start(write_high_water_bytes=16384, write_low_water_bytes=4096, ws_ping_interval_s=0)
    with ExitStack() as stack:
        master = stack.enter_context(SocketClient(server, "/master"))
        deaf = [stack.enter_context(SocketClient(server, "/member", receive_buffer_bytes=4096)) for _ in range(MANY)]
        reader = stack.enter_context(SocketClient(server, "/member"))
        before = command(master)
        assert before["members"] == MANY + 1
        rounds = 0
        report = before
        while report["busy"] < MANY:
            report = command(master, rounds=1, size=size)
            rounds += 1
            reader_takes(reader, size)
            assert rounds < 500, report
        # All but the reader are stuck. What is held for them is no more than a message and the high-water mark each.
        assert report["resident"] - before["resident"] < MANY * (size + 16384 + 8192) + 20 * MIB
        for _ in range(10):
            begun = time.monotonic()
            later = command(master, rounds=5, size=size)
            for _ in range(5):
                reader_takes(reader, size)
            assert time.monotonic() - begun < 2.0
            assert later["busy"] == MANY
            assert later["started"] == 5, "the one that reads got each of them"
        assert later["resident"] - report["resident"] < 5 * MIB
        assert later["failed"] == 0
        # One that begins to read gets whole messages, in order.
        first = deaf[0].next()
        assert first is not None and first.opcode == BINARY and len(first.payload) == size


def reader_takes(reader: SocketClient, size: int) -> None:
    """Read one message of the broadcast."""
    found = reader.next(WITHIN_S)
    assert found is not None and found.opcode == BINARY and len(found.payload) == size


@pytest.mark.spec("WS-BP-01", "WS-LIM-04", "A-WSC-03", "A-WSC-07")
def test_a_thousand_that_never_read_are_closed_by_the_write_time_out(start: Any) -> None:
    server = start(
        write_high_water_bytes=16384,
        write_low_water_bytes=4096,
        write_timeout_s=2.0,
        ws_ping_interval_s=0,
        ws_close_timeout_s=1.0,
    )
    with ExitStack() as stack:
        master = stack.enter_context(SocketClient(server, "/master"))
        for _ in range(MANY):
            stack.enter_context(SocketClient(server, "/member", receive_buffer_bytes=4096))
        begun = time.monotonic()
        report = command(master, rounds=1, size=4 * MIB)
        assert report["busy"] == MANY
        while report["members"]:
            assert time.monotonic() - begun < WITHIN_S, report
            report = command(master)
        assert report["failed"] == MANY
        assert set(report["codes"]) <= {1006, 1011}
        master.expect_alive()


@pytest.mark.spec("WS-LIM-02", "WS-LIM-03", "A-WSM-07")
def test_hundreds_that_send_to_nobody_cost_bounded_memory(start: Any) -> None:
    server = start(read_ahead_bytes=65536, request_buffer_bytes=0)
    with ExitStack() as stack:
        master = stack.enter_context(SocketClient(server, "/master"))
        senders = [stack.enter_context(SocketClient(server, "/hold")) for _ in range(200)]
        before = command(master)
        block = frame(BINARY, b"x" * 1000)
        sent = 0
        for sender in senders:
            sender.socket.setblocking(False)
        # Round and round, until the kernel takes no more from any of them.
        while (taken := sum(send_some(sender, block * 64) for sender in senders)) > 0:
            sent += taken
            assert sent < 4 << 30
        assert sent > 200 * 65536
        report = command(master)
        # A queue of messages and what was read ahead for the control frames in it: a tenth of what came.
        assert report["resident"] - before["resident"] < 200 * 400_000 + 10 * MIB
        begun = time.monotonic()
        command(master)
        assert time.monotonic() - begun < 1.0


def send_some(sender: SocketClient, data: bytes) -> int:
    """Send what the kernel takes at once."""
    try:
        return sender.socket.send(data)
    except BlockingIOError:
        return 0


@pytest.mark.spec("WS-LIM-02", "WS-LIM-03", "WS-CTL-03")
def test_a_full_queue_stops_reading_and_reading_goes_on_with_receive() -> None:
    go_on = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        loops.append(asyncio.get_running_loop())
        await go_on.wait()
        count = 0
        while (event := await receive())["type"] == "websocket.receive":
            count += 1
            if event["text"] == "report":
                await send({"type": "websocket.send", "text": f"{count}"})

    with serve(app, lifespan="off", ws_max_queue=4) as site, SocketClient(site) as client:
        # Below the bound control frames are answered although nobody reads.
        client.send(frame(TEXT, "1"), frame(TEXT, "2"))
        client.expect_alive()
        block = b"".join(frame(TEXT, f"{number:0100}") for number in range(100))
        sent = send_until_full(client.socket, block)
        assert sent < 20 * MIB
        loops[0].call_soon_threadsafe(go_on.set)
        rest = -sent % len(block)
        client.send(block[len(block) - rest :] if rest else b"", frame(TEXT, "report"))
        count = 2 + (sent + rest) // len(block) * 100 + 1
        client.expect((TEXT, f"{count}"), within_s=WITHIN_S)
        client.shake()


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.spec("WS-LIM-05")
@pytest.mark.parametrize("limit", ["max_connections", "max_requests"])
def test_sockets_beyond_a_limit_wait_or_get_503_until_one_ends(limit: str) -> None:
    options = {limit: 3} | ({"max_queued_requests": 1} if limit == "max_requests" else {})
    with serve(Hall(), lifespan="off", stream_grace_s=0.0, **options) as site, ExitStack() as stack:
        sockets = [stack.enter_context(SocketClient(site, "/member")) for _ in range(3)]
        late = [stack.enter_context(Client(site.host, site.port)) for _ in range(2)]
        refused = 0
        for client in late:
            client.send(HANDSHAKE)
            if not stays_silent(client, 0.3):
                (reply,) = client.replies([])
                assert reply.status == 503
                assert reply.one("retry-after")
                refused += 1
        assert refused == (limit == "max_requests")
        sockets[0].send(close_frame(1000))
        sockets[0].expect_close(1000)
        sockets[0].expect_end()
        sockets[0].close()
        waiting = late[0]
        while b"\r\n\r\n" not in waiting.received:
            waiting.receive_some()
        assert waiting.received.startswith(b"HTTP/1.1 101 ")
