"""Thousands of WebSockets on a few connections: what they leave behind, and what those that never read may cost."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.gateway.h2_socket_client import H2Wire, OverStream
from tests.gateway.socket_client import BINARY, TEXT, SocketClient, close_frame, frame

from . import test_socket_backpressure, test_socket_leaks
from .test_socket_backpressure import MIB, WITHIN_S, command
from .test_socket_leaks import LOOPS, Server, compare

pytestmark = pytest.mark.real

start = test_socket_leaks.start
start_hall = pytest.fixture(name="start_hall")(test_socket_backpressure.start.__wrapped__)

WIRES = 10
MEMBERS = 90


def cycle(wire: H2Wire, number: int) -> None:
    """Open a socket, echo and end it in one of many ways."""
    way = number % 8
    offer = [("sec-websocket-extensions", "permessage-deflate; client_max_window_bits")] if number % 3 == 0 else []
    client = OverStream(wire, "/fail" if way == 5 else "/", fields=offer)
    client.send(frame(TEXT, f"message {number} " * (1 + number % 20)))
    found = client.next()
    assert found is not None and found.opcode == TEXT
    if way == 0:
        client.reset()
    elif way == 1:
        client.send(close_frame(1000))
        client.reset()
    elif way == 2:
        client.send(frame(3, "bad"))
        client.expect_failure(1002)
    elif way == 3:
        client.send(frame(TEXT, "cut off", fin=False))
        client.half_close()
        client.expect_end()
    elif way == 4:
        client.line.send(close_frame(None), end=True)
        client.next()
        client.expect_end()
    elif way == 5:
        client.expect_close(4000)
        client.send(close_frame(4000))
        client.expect_end()
    else:
        client.shake(1000, "done")


@LOOPS
@pytest.mark.spec("WS-H2-13", "WS-H2-09", "A-WSC-13", "A-CORE-21")
def test_two_thousand_sockets_on_twenty_connections_leave_nothing(start: Callable[[str], Server], loop: str) -> None:
    server = start(loop)

    def cycles(count: int) -> None:
        for first in range(0, count, 100):
            with H2Wire(server) as wire:
                for number in range(first, first + 100):
                    cycle(wire, number)
                wire.expect_alive()

    cycles(300)
    before = server.at_rest()
    cycles(2000)
    compare(before, server.settled(before), 2000)


@pytest.mark.spec("WS-H2-11", "WS-H2-13", "WS-BP-01", "WS-LIM-04", "A-WSM-07")
def test_hundreds_that_open_no_window_cost_bounded_memory_and_nobody_elses_time(start_hall: Any) -> None:
    size = 20_000
    server = start_hall(write_high_water_bytes=16384, write_low_water_bytes=4096, ws_ping_interval_s=0)
    with ExitStack() as stack:
        master = stack.enter_context(SocketClient(server, "/master"))
        wires = [stack.enter_context(H2Wire(server, stream_window=65535)) for _ in range(WIRES)]
        deaf = [OverStream(wire, "/member") for wire in wires for _ in range(MEMBERS)]
        for client in deaf:
            client.line.credits = False
        reader = OverStream(wires[0], "/member")
        wires[0].credit(reader.line, MIB)  # several messages go out before it is asked to read
        before = command(master)
        assert before["members"] == len(deaf) + 1
        rounds = 0
        report = before
        while report["busy"] < len(deaf):
            report = command(master, rounds=1, size=size)
            rounds += 1
            take(reader, size)
            for wire in wires[1:]:
                wire.expect_alive()
            assert rounds < 100, report
        # They had a window's worth, and are stuck. What is held for them is a message and the high-water mark each.
        assert report["resident"] - before["resident"] < len(deaf) * (size + 16384 + 8192) + 20 * MIB
        for _ in range(10):
            later = command(master, rounds=5, size=size)
            for _ in range(5):
                take(reader, size)
            assert later["busy"] == len(deaf)
            assert later["started"] == 5, "the one that reads got each of them"
        assert later["resident"] - report["resident"] < 5 * MIB
        assert later["failed"] == 0
        # One that begins to read gets whole messages, in order.
        woken = deaf[0]
        woken.wire.credit(woken.line, woken.line.owed)
        for _ in range(4):
            take(woken, size)


def take(client: OverStream, size: int) -> None:
    """Read one message of the broadcast."""
    found = client.next(WITHIN_S)
    assert found is not None and found.opcode == BINARY and len(found.payload) == size
