"""Bare ASGI applications, one per question a benchmark asks, without routing."""

import asyncio

HELLO = b"Hello, world!"
KIB_10 = b"x" * 10240
CHUNK = b"x" * 65536
CHUNKS = 16


def start(length):
    """Build the message that begins an answer of `length` bytes, or of unknown length for None."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": 200, "headers": headers}


HELLO_HEADERS = start(len(HELLO))["headers"]


async def lifespan(receive, send):
    """Answer the lifespan messages as an application with nothing to prepare does."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def constant(scope, receive, send):
    """Answer thirteen bytes."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HELLO_HEADERS})
    await send({"type": "http.response.body", "body": HELLO})


async def kib_10(scope, receive, send):
    """Answer 10 KiB."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    await send(start(len(KIB_10)))
    await send({"type": "http.response.body", "body": KIB_10})


async def echo(scope, receive, send):
    """Read the whole body and send it back."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    await send(start(len(body)))
    await send({"type": "http.response.body", "body": body})


async def swallow(scope, receive, send):
    """Read the whole body and answer its length."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    length = 0
    more = True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % length
    await send(start(len(body)))
    await send({"type": "http.response.body", "body": body})


async def stream(scope, receive, send):
    """Send 1 MiB of unannounced length in sixteen parts."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    await send(start(None))
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def sleep(scope, receive, send):
    """Wait 10 ms, as for a database, then answer thirteen bytes."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": HELLO_HEADERS})
    await send({"type": "http.response.body", "body": HELLO})
