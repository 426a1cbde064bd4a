"""What the traffic asks for, as an ASGI application: the process that answers, something large, what stays open."""

import asyncio
import os

LARGE = b"x" * 1048576
PAUSE_S = 0.1


async def app(scope, receive, send):
    """Serve whatever comes."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    elif scope["path"] == "/events":
        await events(receive, send)
    else:
        while (await receive()).get("more_body"):
            pass
        body = LARGE if scope["path"] == "/large" else b"%d" % os.getpid()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def lifespan(receive, send):
    """Have nothing to prepare."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def echo(receive, send):
    """Send back what a WebSocket brings."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def events(receive, send):
    """Send events until told that it is enough."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    left = asyncio.create_task(leave(receive))
    while not left.done():
        await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
        await asyncio.wait([left], timeout=PAUSE_S)
    await send({"type": "http.response.body", "body": b""})


async def leave(receive):
    """Wait for the end of a client, or of the server."""
    while (await receive())["type"] != "http.disconnect":
        pass
