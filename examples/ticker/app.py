"""The ticker's page and its stream, plain ASGI; run it with `trilithon --app-dir examples ticker.app:app`."""

import asyncio
from pathlib import Path
from typing import Any

from . import market

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/style.css": ("style.css", b"text/css; charset=utf-8"),
    "/chart.js": ("chart.js", b"text/javascript; charset=utf-8"),
    "/page.js": ("page.js", b"text/javascript; charset=utf-8"),
}
RETRY_MS = 1000


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer one request."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    if scope["type"] != "http":
        raise ValueError(f"the ticker speaks HTTP, not {scope['type']}")
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if scope["method"] not in ("GET", "HEAD"):
        await answer(send, 405, b"text/plain", b"the ticker is only read\n")
    elif path == "/events" and scope["method"] == "GET":
        await stream(scope, receive, send)
    elif path in FILES:
        name, kind = FILES[path]
        await answer(send, 200, kind, (PAGE / name).read_bytes())
    else:
        await answer(send, 404, b"text/plain", b"there is no such page\n")


async def live(receive: Any, send: Any) -> None:
    """Follow the lifespan; there is nothing to open or to close."""
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def answer(send: Any, status: int, kind: bytes, body: bytes) -> None:
    """Send one whole response."""
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Send every tick as it comes, those first that the reader has missed, until the reader or the server goes."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.create_task(leaving(receive))
    last = seen(scope)
    try:
        await send({"type": "http.response.body", "body": b"retry: %d\n\n" % RETRY_MS, "more_body": True})
        while not gone.done():
            now = market.current()
            numbers = market.missed(last, now)
            # Waiting in `send` for a slow reader is no harm: what came meanwhile follows in one piece.
            if len(numbers) == 1:
                await send({"type": "http.response.body", "body": market.event(now), "more_body": True})
            elif numbers:
                body = b"".join(market.event(number) for number in numbers)
                await send({"type": "http.response.body", "body": body, "more_body": True})
            last = now
            await asyncio.wait({gone}, timeout=market.seconds_until(now + 1))
        await send({"type": "http.response.body", "body": b""})
    except OSError:
        return  # The reader left in the middle of an event.
    finally:
        gone.cancel()


async def leaving(receive: Any) -> None:
    """Return when the reader has gone, or when the server stops and wants the stream to end."""
    while (await receive())["type"] != "http.disconnect":
        pass


def seen(scope: dict[str, Any]) -> int:
    """Return the number of the last tick that the reader has seen; 0 when it comes for the first time.

    EventSource says it in a field when it comes back by itself. A page that opens a new one puts it into the query.
    """
    named = dict(scope["headers"]).get(b"last-event-id") or scope["query_string"].removeprefix(b"after=")
    return int(named) if named.isdigit() and len(named) < 16 else 0
