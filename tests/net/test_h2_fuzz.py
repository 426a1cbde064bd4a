"""HTTP/2 against clients that send anything, over real connections: no fault, no call left behind, whole frames."""

import asyncio
import logging
import random
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest

from tests.wire.h2_bytes import raw
from tests.wire.h2_memory import GET, POST, SETTINGS_ACK, Pairs, data, headers, ping, reset, settings, update
from trilithon.wire.h2_codes import GOAWAY

from .applications import Message, Receive, Send, StartResponse, lifespan
from .h2_peer import DEADLINE_S, Peer
from .h2_site import SITES, serve_as

pytestmark = pytest.mark.real

CONNECTIONS = 60
FRAMES = 50
# GOAWAY for a client that broke a rule, or was done.
CODES = {0, 1, 3, 5, 6, 9, 11}


class Moody:
    """Reads or does not, answers in pieces or at once, little or much, as the path says; counts what runs."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0

    def count(self, change: int) -> None:
        """Count a call in or out."""
        with self.lock:
            self.running += change

    async def asgi(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        self.count(1)
        try:
            mood = int(scope["path"][1:])
            while mood & 1:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    break
            if mood & 2:
                await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(mood & 12):
                await send({"type": "http.response.body", "body": bytes(9000), "more_body": True})
            await send({"type": "http.response.body", "body": b"end"})
        except OSError:
            pass  # the client has left
        finally:
            self.count(-1)
        return None

    def wsgi(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self.count(1)
        try:
            mood = int(environ["PATH_INFO"][1:])
            while mood & 1 and environ["wsgi.input"].read(5000):
                pass
            write = start_response("200 OK", [])
            for _ in range(mood & 12):
                write(bytes(9000))
        except OSError:
            return []  # the client has left
        finally:
            self.count(-1)
        return [b"end"]


def to(chance: random.Random, pairs: Pairs) -> Pairs:
    """Return a request for any mood."""
    path = b"/%d" % chance.randrange(16)
    return [(name, path if name == b":path" else value) for name, value in pairs]


def next_frame(chance: random.Random, streams: list[int]) -> bytes:
    """Return a frame that is mostly legal."""
    new = (streams[-1] if streams else -1) + 2
    live = chance.choice(streams or [new])
    if chance.random() < 0.02:
        return raw(chance.randrange(12), chance.randrange(256), chance.choice((0, live, new)), chance.randbytes(9))
    kinds = chance.choices(range(9), [5, 4, 6, 2, 3, 2, 1, 1, 1])[0]
    if kinds < 2:
        streams.append(new)
        return headers(new, to(chance, POST if kinds else GET), end=not kinds)
    return [
        lambda: data(live, bytes(chance.randrange(9000)), end=chance.random() < 0.3),
        lambda: reset(live, chance.randrange(14)),
        lambda: update(live, chance.choice((1, 100, 30_000))),
        lambda: update(0, chance.choice((1, 70_000))),
        lambda: settings((4, chance.choice((0, 10, 65535, 100_000))), (1, chance.choice((0, 100, 4096)))),
        lambda: ping(chance.randbytes(8), ack=chance.random() < 0.5),
        lambda: raw(0x10, 0, 0, live.to_bytes(4, "big") + b"u=%d, i" % chance.randrange(8)),
    ][kinds - 2]()


def talk(address: tuple[str, int], chance: random.Random) -> None:
    """Send frames in pieces of any size, then end in one way or another, and read what there is."""
    with Peer(address, acknowledges=False) as peer:
        streams: list[int] = []
        said = SETTINGS_ACK + b"".join([next_frame(chance, streams) for _ in range(FRAMES)])
        while said:
            size = chance.choice((1, 9, 100, 5000, 100_000))
            peer.send(said[:size])
            said = said[size:]
        if chance.random() < 0.3:
            return
        try:
            peer.socket.shutdown(socket.SHUT_WR)
            peer.to_end()
        except OSError:
            return
        goodbyes = [sent.code for sent in peer.seen if sent.kind == GOAWAY]
        assert set(goodbyes) <= CODES
        assert not goodbyes or peer.seen[-1].kind == GOAWAY


@pytest.mark.parametrize("kind", SITES)
@pytest.mark.spec("H2-DOS-08", "H2-CONN-07", "H-LIM-09")
def test_a_server_survives_anything(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    moody = Moody()
    timeouts = dict.fromkeys(("header_timeout_s", "body_timeout_s", "write_timeout_s", "linger_timeout_s"), 0.2)
    with serve_as(kind, moody.asgi, moody.wsgi, threads=4, h2_max_streams=8, **timeouts) as site:
        address = (site.host, site.port)
        for seed in range(CONNECTIONS):
            talk(address, random.Random(seed))
        deadline = time.monotonic() + DEADLINE_S
        while moody.running:
            assert time.monotonic() < deadline, f"{moody.running} calls stay behind"
        with Peer(address) as peer:
            peer.send(headers(1, [(name, b"/1" if name == b":path" else value) for name, value in GET]))
            assert peer.response(1) == (200, b"end")
    faults = [entry.getMessage() for entry in caplog.records if entry.exc_info or entry.levelno >= logging.ERROR]
    assert not faults, faults
