"""WebSockets that share connections and break off anywhere: every call ends as it must, and nothing is left over."""

import asyncio
import gc
import random
import threading
from collections import Counter
from typing import Any

import pytest
from asgi_apps import both_loops, error_records, wait_until
from h2_socket_client import H2Wire, Line, extended_connect
from socket_client import PING, TEXT, close_frame, frame
from test_asgi_socket_storm import ENDS, OPTIONS, Erratic
from tests.wire.h2_bytes import PREFACE, raw
from tests.wire.h2_memory import SETTINGS_ACK, H2Memory, block, data, headers
from tests.wire.inmemory import new_terms

from trilithon.foundation.limits import Limits, SocketLimits
from trilithon.gateway.asgi import AsgiGateway
from trilithon.gateway.asgi_socket import SocketTerms
from trilithon.testing import serve
from trilithon.wire.exchange import Peer
from trilithon.wire.h2_codes import END_HEADERS, END_STREAM, HEADERS, SETTINGS
from trilithon.wire.http2 import Http2

pytestmark = pytest.mark.real

WIRES = 6
ROUNDS = 20
AT_ONCE = 5
# What a connection makes and nothing may keep; of WebSockets the last one sent to is known until the next is.
KINDS = {"SocketCall", "Stream", "Exchange", "HttpCall", "NextEvent"}


def act(line: Line, chance: random.Random) -> None:
    """Do one thing that clients do, good ones and bad ones."""
    deed = chance.random()
    if line.over or line.done:
        line.end()
    elif deed < 0.6:
        line.send(frame(TEXT, "y" * chance.choice([0, 1, 200, 20_000])) + frame(PING, "p"))
    elif deed < 0.65:
        line.send(frame(TEXT, "part", fin=False) + close_frame(4001), end=chance.random() < 0.5)
    elif deed < 0.7:
        line.send(frame(3))
    elif deed < 0.75:
        line.end()
    elif deed < 0.8:
        line.cancel()
    elif deed < 0.83:
        line.done = True
        line.wire.write(raw(HEADERS, END_HEADERS | END_STREAM, line.stream_id, block([(b"x-trailer", b"1")])))
    elif deed < 0.86:
        line.credits = False
    else:
        line.send(frame(TEXT, "split")[: chance.randrange(1, 11)])


def storm(site: Any, prefix: str, seed: int, faults: list[BaseException]) -> None:
    """Open several sockets at a time on one connection, again and again, and act on each by turns."""
    chance = random.Random(seed)
    offers = [(), (("sec-websocket-extensions", "permessage-deflate"),)]
    try:
        with H2Wire(site, stream_window=chance.choice([65535, 1 << 20])) as wire:
            for _ in range(ROUNDS):
                lines = []
                for _ in range(AT_ONCE):
                    fields = extended_connect(f"{prefix}/?{chance.random()}", *chance.choice(offers))
                    early = frame(TEXT, "early") if chance.random() < 0.2 else None
                    lines.append(wire.request(fields, early=early))
                if chance.random() < 0.6:
                    assert {line.status() for line in lines} <= {200, 401, 403}
                for _ in range(6 * AT_ONCE):
                    act(chance.choice(lines), chance)
                wire.expect_alive()
                for line in lines:
                    line.credits = True
                    if not line.over and not line.done:
                        line.send(close_frame(4001), end=chance.random() < 0.5)
                for line in lines:
                    if line.reset is None and (not line.done or line.heads):
                        line.end()
                wire.expect_alive()
    except BaseException as fault:
        faults.append(fault)


def count_kinds() -> Counter[str]:
    """Count what is alive of what connections make."""
    gc.collect()
    return Counter(name for each in gc.get_objects() if (name := type(each).__name__) in KINDS)


@both_loops
@pytest.mark.spec("WS-H2-13", "WS-H2-14", "WS-H2-09", "A-WSC-13", "A-CORE-19")
@pytest.mark.parametrize("root", ["asgi", "wsgi"])
def test_ends_of_every_kind_harm_no_other_socket(root: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    erratic = Erratic()
    faults: list[BaseException] = []

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        raise AssertionError("a socket came to WSGI")

    before = count_kinds()
    options = {**OPTIONS, "loop": loop, "lifespan": "off", "linger_timeout_s": 0.3}
    prefix = "" if root == "asgi" else "/live"
    served = serve(wsgi, mounts={prefix: erratic}, threads=3, **options) if prefix else serve(erratic, **options)
    with served as site:
        threads = [threading.Thread(target=storm, args=(site, prefix, seed, faults)) for seed in range(WIRES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        wait_until(lambda: not erratic.running, "the end of every call")
    assert erratic.faults == []
    assert set(erratic.ends) <= ENDS | {1007}  # where one frame was cut short by another
    assert len(erratic.ends) > WIRES * ROUNDS * AT_ONCE / 4
    assert [record.getMessage() for record in error_records(caplog)] == []
    assert count_kinds() <= before


class Failing(H2Memory):
    """A transport that finds the client gone when it is asked for room, as an attempt to write may."""

    def __init__(self) -> None:
        super().__init__()
        self.machine: Any = None
        self.left = -1

    def congested(self) -> bool:
        self.left -= 1
        if self.left == 0:
            self.machine.lose()
        return False


@pytest.mark.spec("A-WSC-04", "A-WSC-08", "WS-H2-09")
@pytest.mark.parametrize("left", range(1, 9))
@pytest.mark.parametrize("octets", [b"", frame(TEXT, "a") + frame(PING, "b") * 3, frame(PING, "b") + close_frame(1000)])
def test_a_client_that_is_found_gone_at_any_attempt_to_write_ends_the_call(left: int, octets: bytes) -> None:
    ends: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await receive()
            await send({"type": "websocket.accept"})
            while (event := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": "b" * 20_000})
            ends.append(event["code"])
        except OSError:
            ends.append((await receive())["code"])

    async def main() -> None:
        transport = Failing()
        machine = Http2(transport, new_terms(), Peer(None, ("192.0.2.2", 80)), Limits())
        transport.machine = machine
        gateway = AsgiGateway(app, asyncio.get_running_loop(), {}, SocketTerms(SocketLimits()))
        machine.receive(PREFACE + raw(SETTINGS) + SETTINGS_ACK + headers(1, extended_connect(), end=False))
        (opened,) = transport.fresh
        transport.left = left
        gateway.start(opened)
        for _ in range(5):
            await asyncio.sleep(0)
        machine.receive(data(1, octets))
        for _ in range(5):
            await asyncio.sleep(0)
        if transport.left > 0:
            machine.lose()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not gateway.running

    asyncio.run(main())
    assert len(ends) == 1 and ends[0] in (1000, 1006)
