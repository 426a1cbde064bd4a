"""Thousands of sockets and streams come and go: no descriptor, task, object or memory of them stays."""

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.socket_client import TEXT, SocketClient, close_frame, frame
from tests.wire.client import Client

pytestmark = pytest.mark.real

MIB = 1 << 20
PAGE_BYTES = 4096
DEADLINE_S = 10.0
REMEMBERED_LINES = 2048
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def census() -> dict[str, Any]:
    """Count what this process holds: descriptors, tasks, objects of the server and of all, resident bytes."""
    gc.collect()
    objects = gc.get_objects()
    own = Counter(type(each).__name__ for each in objects if str(type(each).__module__).startswith("trilithon"))
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "tasks": len(asyncio.all_tasks()),
        "objects": len(objects),
        "own": dict(own),
        "resident": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
    }


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Echo over sockets, close or refuse where the path says so, stream events, and answer with the census."""
    if scope["type"] == "websocket":
        await converse(scope["path"], receive, send)
    elif scope["path"] == "/census":
        body = json.dumps(census()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
    else:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"event", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"


async def converse(path: str, receive: Any, send: Any) -> None:
    """Serve one socket."""
    await receive()
    if path == "/refuse":
        await send({"type": "websocket.close"})
        return
    if path == "/deny":
        await send({"type": "websocket.http.response.start", "status": 401})
        await send({"type": "websocket.http.response.body", "body": b"no"})
        return
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
        if path == "/fail":
            await send({"type": "websocket.close", "code": 4000})


class Server:
    """The application in a process of its own."""

    def __init__(self, loop: str) -> None:
        code = """
            import sys
            import trilithon
            from tests.net.test_socket_leaks import application

            options = {"bind": ["fd:" + sys.argv[1]], "access_log": "off", "log_level": "error", "loop": sys.argv[2]}
            sys.exit(trilithon.run(application, lifespan="off", graceful_timeout_s=1.0, **options))
        """
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            self.host, self.port = listener.getsockname()
            self.process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code), str(listener.fileno()), loop],
                pass_fds=[listener.fileno()],
            )

    def census(self) -> dict[str, Any]:
        """Ask for the census, on a connection that is the only one then."""
        with Client(self.host, self.port) as client:
            client.send(b"GET /census HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            (reply,) = client.replies([])
        found: dict[str, Any] = json.loads(reply.body)
        return found

    def at_rest(self) -> dict[str, Any]:
        """Take the census once two in a row agree on descriptors and tasks."""
        last = self.census()
        while (found := self.settled(last)) != last:
            if all(found[key] == last[key] for key in ("descriptors", "tasks")):
                return found
            last = found
        return last

    def settled(self, before: dict[str, Any]) -> dict[str, Any]:
        """Ask until descriptors and tasks are back where they were, or the deadline has passed."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            found = self.census()
            back = all(found[key] <= before[key] for key in ("descriptors", "tasks"))
            if back or time.monotonic() > deadline:
                return found


@pytest.fixture
def start() -> Iterator[Callable[[str], Server]]:
    """Start a server that ends with the test."""
    servers: list[Server] = []

    def starter(loop: str) -> Server:
        servers.append(Server(loop))
        return servers[-1]

    yield starter
    for each in servers:
        each.process.terminate()
        assert each.process.wait(DEADLINE_S) == 0


def cycle(server: Server, number: int) -> None:
    """Open a socket, echo and end it in one of many ways."""
    way = number % 8
    offer = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")] if number % 3 == 0 else []
    with SocketClient(server, "/fail" if way == 5 else "/", fields=offer) as client:
        text = f"message {number} " * (1 + number % 20)
        client.send(frame(TEXT, text))
        found = client.next()
        assert found is not None and found.opcode == TEXT
        if way == 0:
            client.reset()
        elif way == 1:
            client.close()
        elif way == 2:
            client.send(frame(3, "bad"))
            client.expect_failure(1002)
        elif way == 3:
            client.send(frame(TEXT, "cut off", fin=False))
            client.half_close()
            client.expect_end()
        elif way == 4:
            client.send(close_frame(None))
            client.next()
            client.expect_end()
        elif way == 5:
            client.expect_close(4000)
            client.send(close_frame(4000))
            client.expect_end()
        else:
            client.shake(1000, "done")


def compare(before: dict[str, Any], after: dict[str, Any], cycles: int) -> None:
    """Check that nothing grew with the cycles."""
    assert after["descriptors"] <= before["descriptors"]
    assert after["tasks"] <= before["tasks"]
    # Lines of heads are remembered, a bounded number of them, and each handshake brings one that is new.
    lines = after["own"].pop("FieldLine")
    assert lines <= REMEMBERED_LINES
    lines -= before["own"]["FieldLine"]
    # So are fields of responses over HTTP/2, of which the date is another one each second that the test takes.
    assert after["own"].pop("CodedField", 0) <= REMEMBERED_LINES
    grown = {name: count - before["own"].get(name, 0) for name, count in after["own"].items()}
    assert not {name: count for name, count in grown.items() if count > 2}
    # A cache or two may still have been filled; a single object of each cycle would be far more.
    assert after["objects"] - before["objects"] - lines < cycles / 4
    assert after["resident"] - before["resident"] < 4 * MIB


@LOOPS
@pytest.mark.spec("WS-CLS-12", "A-WSC-13", "A-CORE-21")
def test_two_thousand_sockets_leave_nothing(start: Callable[[str], Server], loop: str) -> None:
    server = start(loop)
    for number in range(300):
        cycle(server, number)
    before = server.at_rest()
    for number in range(2000):
        cycle(server, number)
    compare(before, server.settled(before), 2000)


@LOOPS
@pytest.mark.spec("A-WSH-07", "A-WSH-11", "A-XDENY-02", "A-DISC-03")
def test_refused_and_undecided_sockets_and_streams_leave_nothing(start: Callable[[str], Server], loop: str) -> None:
    server = start(loop)

    def visits(count: int) -> None:
        for number in range(count):
            path = (b"/refuse", b"/deny", b"/stream", b"/")[number % 4]
            with Client(server.host, server.port) as client:
                client.may_be_reset = True
                upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                upgrade += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, b"" if path == b"/stream" else upgrade))
                if path in (b"/refuse", b"/deny"):
                    assert client.replies([])[0].status in (401, 403)
                elif number % 8 != 3:
                    client.receive_some()

    visits(200)
    before = server.at_rest()
    visits(1000)
    compare(before, server.settled(before), 1000)
