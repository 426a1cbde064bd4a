"""Clients and applications that break off anywhere: every call ends as it must, and nothing is left over."""

import asyncio
import random
import threading
import time
from typing import Any

import pytest
from asgi_apps import both_loops, error_records, wait_until
from socket_apps import message, told
from socket_client import PING, TEXT, SocketClient, close_frame, frame

from trilithon.testing import serve

pytestmark = pytest.mark.real

CLIENTS = 8
CONNECTIONS = 25
SIZES = [0, 1, 1000, 200_000]
ENDS = {1000, 1002, 1005, 1006, 1011, 4000, 4001}
OPTIONS = {"ws_close_timeout_s": 0.5, "ws_ping_interval_s": 0.3, "ws_ping_timeout_s": 0.4, "write_timeout_s": 1.0}


class Erratic:
    """An application that decides by chance, which the query seeds; it notes what no application may ever see."""

    def __init__(self) -> None:
        self.running = 0
        self.faults: list[Any] = []
        self.ends: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        self.running += 1
        chance = random.Random(scope["query_string"])
        try:
            if told(await receive()) != "connect":
                self.faults.append("no connect")
            if await self.decide(chance, send):
                await self.converse(chance, receive, send)
        except OSError:
            pass  # the client left within the decision
        finally:
            self.running -= 1

    async def decide(self, chance: random.Random, send: Any) -> bool:
        """Accept, mostly; or refuse, or deny in parts."""
        await asyncio.sleep(chance.choice([0, 0, 0.005]))
        if chance.random() < 0.8:
            await send({"type": "websocket.accept"})
            return True
        if chance.random() < 0.5:
            await send({"type": "websocket.close"})
            return False
        await send({"type": "websocket.http.response.start", "status": 401})
        for size in chance.sample(SIZES, 2):
            await send({"type": "websocket.http.response.body", "body": b"x" * size, "more_body": True})
        await send({"type": "websocket.http.response.body"})
        return False

    async def converse(self, chance: random.Random, receive: Any, send: Any) -> None:
        """Receive until the end, or leave before it; send now and then, also several messages at once."""
        while chance.random() > 0.03:
            try:
                event = await asyncio.wait_for(receive(), chance.choice([0.001, 5]))
            except TimeoutError:
                continue
            if event["type"] == "websocket.disconnect":
                return await self.check_end(event, receive, send)
            sends = [send(message(b"x" * chance.choice(SIZES))) for _ in range(chance.choice([0, 1, 1, 5]))]
            if chance.random() < 0.05:
                sends.append(send({"type": "websocket.close", "code": 4000}))
            for outcome in await asyncio.gather(*map(asyncio.ensure_future, sends), return_exceptions=True):
                if not (outcome is None or isinstance(outcome, OSError)):
                    self.faults.append(outcome)
        return None

    async def check_end(self, event: Any, receive: Any, send: Any) -> None:
        """Check that the end is one and the same for ever, and that nothing can be sent behind it."""
        self.ends.append(told(event)[1])
        if await asyncio.wait_for(receive(), 1.0) != event:
            self.faults.append(f"another end behind {event}")
        try:
            await send(message("from beyond"))
            self.faults.append(f"sent behind {event}")
        except OSError:
            pass


def visit(site: Any, prefix: str, chance: random.Random) -> None:
    """Open one socket and do by chance what clients do, good ones and bad ones."""
    offer = [("Sec-WebSocket-Extensions", "permessage-deflate")] if chance.random() < 0.4 else []
    try:
        client = SocketClient(
            site, f"{prefix}/?{chance.random()}", fields=offer, receive_buffer_bytes=chance.choice([0, 4096])
        )
    except AssertionError as refused:
        assert "401" in str(refused) or "403" in str(refused), refused
        return
    with client:
        for _ in range(chance.randrange(10)):
            deed = chance.random()
            if deed < 0.7:
                client.send(frame(TEXT, "y" * chance.choice([0, 1, 200, 70_000])), frame(PING, "p"))
            elif deed < 0.8:
                client.send(frame(TEXT, "part", fin=False), close_frame(4001))
            elif deed < 0.85:
                client.send(frame(3))
            else:
                getattr(client, chance.choice(["half_close", "reset", "close"]))()
                return
        if chance.random() < 0.7:
            client.send(close_frame(4001))
            while client.next() is not None:
                continue


def storm(site: Any, prefix: str, seed: int, faults: list[BaseException]) -> None:
    """Visit again and again."""
    chance = random.Random(seed)
    try:
        for _ in range(CONNECTIONS):
            visit(site, prefix, chance)
    except BaseException as fault:
        faults.append(fault)


@both_loops
@pytest.mark.spec("A-WSC-04", "A-WSC-13", "A-WSC-07", "A-WSH-11", "A-CORE-17", "A-CORE-19", "A-CORE-20")
@pytest.mark.parametrize("root", ["asgi", "wsgi"])
def test_ends_of_every_kind_harm_nobody(root: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    erratic = Erratic()
    faults: list[BaseException] = []

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        raise AssertionError("a socket came to WSGI")

    prefix = "" if root == "asgi" else "/live"
    served: Any = serve(erratic, loop=loop, lifespan="off", **OPTIONS)
    if prefix:
        # Each connection comes in at the threads' engine and moves to the loop's.
        served = serve(wsgi, mounts={prefix: erratic}, loop=loop, lifespan="off", threads=3, **OPTIONS)
    with served as site:
        threads = [threading.Thread(target=storm, args=(site, prefix, seed, faults)) for seed in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        wait_until(lambda: not erratic.running, "the end of every call")
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert erratic.faults == []
    assert set(erratic.ends) <= ENDS
    assert len(erratic.ends) > CLIENTS * CONNECTIONS / 4
    assert [record.getMessage() for record in error_records(caplog)] == []
