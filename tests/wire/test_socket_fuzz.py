"""Mutated WebSocket streams: in memory against a plain reading of the RFC, and over the wire against a live server."""

import logging
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.socket_client import SENDABLE, SocketClient, close_frame, fragments, frame, pieces_of
from trilithon.foundation.limits import SocketLimits
from trilithon.testing import serve

from .mutation import cuts
from .socket_oracle import drive, every_cut, judge
from .test_socket_splits import new_deflate, random_frame

SECONDS = 3.0
MOST_STREAMS = 6000
LIVE_STREAMS = 500
LIMIT_BYTES = 2000
# What a server may fail a client with, beside the codes that it answers in kind.
FAILURES = {1002, 1007, 1008, 1009}
HELLO = bytes.fromhex("f248cdc9c90700")
SEEDS = [
    frame(1, "Hello") + frame(2, b"\0\xff" * 40) + close_frame(1000, "bye"),
    b"".join(fragments(1, ["é€😀".encode()[:4], "é€😀".encode()[4:]])) + frame(9, b"ping") + frame(10),
    frame(1, "a" * 126) + frame(2, b"b" * 400) + frame(9, b"c" * 125),
    frame(1, "", fin=False) + frame(9) + frame(0, "x", fin=False) + frame(0, "", fin=False) + frame(0, "y"),
    frame(1, HELLO, rsv=4) + frame(1, bytes.fromhex("f200110000"), rsv=4) + close_frame(),
    frame(2, bytes.fromhex("f348cdc9c9070000"), rsv=4) + frame(2, HELLO[:3], rsv=4, fin=False) + frame(0, HELLO[3:]),
    frame(2, length=1 << 62) + frame(8, b"\x03\xe8"),
    close_frame(4000, "€" * 41) + frame(1, "late"),
]
INSERTS = [b"\x00", b"\x80", b"\xff", b"\x81", b"\x88\x80", b"\x89\xfe", b"\xc1\x85", b"\x82\xff\x80", b"\x01\x80"]


def mutated(chance: random.Random) -> bytes:
    """Return a stream of sound frames, spliced with others and changed in a few places."""
    data = bytearray(b"".join(chance.choices(SEEDS, k=chance.randrange(1, 4))))
    if chance.random() < 0.5:
        data += b"".join(random_frame(chance) for _ in range(chance.randrange(6)))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1 and place < len(data):
            data[place] = chance.randrange(256)
        elif kind == 2:
            del data[place : place + chance.randrange(1, 10)]
        elif kind == 3:
            data[place:place] = data[place : place + chance.randrange(1, 30)]
        elif kind == 4:
            data[place:place] = random_frame(chance)
        else:
            data[place:place] = chance.choice(INSERTS)
    return bytes(data[:4000])


def streams(seed: int, most: int) -> Iterator[tuple[bytes, random.Random]]:
    """Yield mutated streams, always the same ones for a seed, until the time is over."""
    end = time.monotonic() + SECONDS
    for number in range(most):
        if time.monotonic() > end:
            return
        chance = random.Random(seed * 1_000_003 + number)
        yield mutated(chance), chance


@pytest.mark.spec("WS-FR-08", "WS-FR-02", "WS-FR-03", "WS-FRG-01", "WS-UTF-03", "WS-CLS-04", "WS-CTL-01")
@pytest.mark.parametrize("seed", range(3))
def test_the_machine_does_with_a_mutated_stream_what_the_rfc_says(seed: int) -> None:
    limits = SocketLimits(ws_max_size_bytes=LIMIT_BYTES)
    count = 0
    for data, chance in streams(seed, MOST_STREAMS):
        expected = judge(data, limit=LIMIT_BYTES)
        for how, pieces in every_cut(data, chance):
            found = drive(pieces, limits=limits)
            assert found == expected, f"{data.hex()} {how}: {found} instead of {expected}"
        count += 1
    assert count > 20


@pytest.mark.spec("WS-FR-08", "WS-PMD-08", "WS-PMD-12", "WS-PMD-13")
@pytest.mark.parametrize("seed", range(10, 12))
def test_a_mutated_compressed_stream_ends_alike_however_it_is_cut(seed: int) -> None:
    limits = SocketLimits(ws_max_size_bytes=LIMIT_BYTES)
    count = 0
    for data, chance in streams(seed, MOST_STREAMS):
        expected = drive([data], limits=limits, deflate=new_deflate())
        assert expected.sent_close is None or expected.sent_close in FAILURES | SENDABLE | {1005}
        for how, pieces in every_cut(data, chance):
            found = drive(pieces, limits=limits, deflate=new_deflate())
            assert found == expected, f"{data.hex()} {how}: {found} instead of {expected}"
        count += 1
    assert count > 20


class Echo:
    """Echoes, and keeps the code that each connection ended with."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.ended = threading.Condition()  # guards `codes`, which the server's thread writes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            try:
                await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
            except OSError:
                continue
        with self.ended:
            self.codes[scope["path"]] = event["code"]
            self.ended.notify_all()

    def code(self, path: str) -> int:
        """Wait for the code that the connection to `path` ended with."""
        with self.ended:
            assert self.ended.wait_for(lambda: path in self.codes, 5.0), f"{path} was not told of its end"
            return self.codes[path]


@pytest.mark.real
@pytest.mark.spec("WS-FR-08", "WS-CLS-08", "WS-ASGI-01", "WS-CLS-06")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_live_server_survives_mutated_streams(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    echo = Echo()
    count = 0
    with serve(echo, loop=loop, ws_max_size_bytes=LIMIT_BYTES) as site:
        for data, chance in streams(77 if loop == "asyncio" else 78, LIVE_STREAMS):
            path = f"/{count}"
            offer = [("Sec-WebSocket-Extensions", "permessage-deflate")] if chance.random() < 0.5 else []
            with SocketClient(site, path, fields=offer) as client:
                for piece in cuts(data, chance) if chance.random() < 0.7 else list(pieces_of(data, "whole")):
                    client.send(bytes(piece))
                try:
                    client.half_close()
                except OSError:
                    pass  # the server has closed already
                while client.next() is not None:
                    pass
                sent_close = client.closed_by
            told = echo.code(path)
            if sent_close is None:
                assert told == 1006, data.hex()
            else:
                assert told == (sent_close.code or 1005), data.hex()
                assert told in FAILURES | SENDABLE | {1005}, data.hex()
            if not offer:
                expected = judge(data, limit=LIMIT_BYTES)
                assert told == (expected.code or 1006), data.hex()
            count += 1
        with SocketClient(site, "/last") as client:
            client.send(frame(1, "alive"))
            client.expect((1, "alive"))
            client.shake()
    assert count > 20
    faults = [entry.getMessage() for entry in caplog.records if entry.exc_info or entry.levelno >= logging.ERROR]
    assert not faults, faults
