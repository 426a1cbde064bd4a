"""Clients that break off anywhere, against both interfaces at once: all others are served, and nothing is left over."""

import asyncio
import random
import threading
import time
from typing import Any

import pytest
from asgi_apps import body, both_loops, error_records, http_only, read_body, respond, start
from wire_client import Wire

from trilithon.testing import serve

pytestmark = pytest.mark.real
UPLOAD = bytes(range(256)) * 300
CHUNKS = b"".join(b"1000\r\n%b\r\n" % (b"c" * 4096) for _ in range(12)) + b"0\r\n\r\n"
CLIENTS = 4
CONNECTIONS = 60


@http_only
async def live(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/wait":
        await read_body(receive)
        waiting = asyncio.ensure_future(receive())
        await asyncio.wait({waiting}, timeout=0.01)
        waiting.cancel()
        await respond(send, b"waited")
        return
    await send(start())
    more_body = True
    while more_body:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        more_body = event["more_body"]
        await send(body(event["body"], more_body=True))
    await send(body(b"."))


def old(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    while piece := environ["wsgi.input"].read(10_000):
        yield piece
    yield b"."


def post(path: str, framing: str, data: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: t\r\n{framing}\r\n\r\n".encode() + data


REQUESTS = [
    (b"GET /echo HTTP/1.1\r\nHost: t\r\n\r\n", b"."),
    (b"GET /wait HTTP/1.1\r\nHost: t\r\n\r\n", b"waited"),
    (b"GET /old/echo HTTP/1.1\r\nHost: t\r\n\r\n", b"."),
    (post("/echo", f"Content-Length: {len(UPLOAD)}", UPLOAD), UPLOAD + b"."),
    (post("/old/echo", f"Content-Length: {len(UPLOAD)}", UPLOAD), UPLOAD + b"."),
    (post("/echo", "Transfer-Encoding: chunked", CHUNKS), b"c" * 49152 + b"."),
    (post("/old/echo", "Transfer-Encoding: chunked", CHUNKS), b"c" * 49152 + b"."),
]


def complete(wire: Wire, chance: random.Random) -> None:
    """Exchange some requests, one by one or pipelined, and check every answer."""
    chosen = [chance.choice(REQUESTS) for _ in range(chance.randint(1, 4))]
    small = [pair for pair in chosen if len(pair[0]) < 100]
    wire.send(b"".join(sent for sent, _ in small))
    for _, expected in small:
        assert wire.answer().body == expected
    for sent, expected in chosen:
        cut = chance.randrange(len(sent))
        wire.send(sent[:cut])
        wire.send(sent[cut:])
        assert wire.answer().body == expected


def break_off(wire: Wire, chance: random.Random) -> None:
    """Send a request or a part of it, take a part of the answer or none, and leave in one way or another."""
    sent, _ = chance.choice(REQUESTS)
    whole = chance.random() < 0.5
    wire.send(sent if whole else sent[: chance.randrange(len(sent))])
    if whole and chance.random() < 0.5:
        wire.exactly(chance.randint(1, 60))
    getattr(wire, chance.choice(["close", "reset", "finish"]))()


def client(site: Any, seed: int, faults: list[BaseException]) -> None:
    chance = random.Random(seed)
    try:
        for _ in range(CONNECTIONS):
            with Wire(site) as wire:
                if chance.random() < 0.4:
                    complete(wire, chance)
                else:
                    break_off(wire, chance)
    except BaseException as fault:
        faults.append(fault)


@both_loops
@pytest.mark.spec("A-DISC-03", "A-DISC-07", "A-REQ-11", "A-WSGI-01", "A-CORE-17")
@pytest.mark.parametrize("root", ["asgi", "wsgi"])
def test_clients_that_break_off_harm_nobody(root: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    mounts: Any = {"/old": old} if root == "asgi" else {"/echo": live, "/wait": live}
    faults: list[BaseException] = []
    with serve(live if root == "asgi" else old, mounts=mounts, loop=loop, threads=3, linger_timeout_s=0.2) as site:
        threads = [threading.Thread(target=client, args=(site, seed, faults)) for seed in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert [record.getMessage() for record in error_records(caplog)] == []
