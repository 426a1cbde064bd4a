"""The remote service of the sensors: it takes about 20 ms to say by how much a station's sensors are off."""

import asyncio
import atexit
import json
import os
import threading
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote, unquote

WORK_S = 0.020
TIMEOUT_S = 10.0
# As many calls as the ASGI application has on their way at once; the WSGI application has one for each thread.
MAX_CALLS = 64

# What is off at a station lies within half of this, either way.
SPREAD = {"temperature": 0.4, "humidity": 1.5, "pressure": 0.8}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer `GET /calibration/STATION` after a while, with the offset of each quantity."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    assert scope["type"] == "http", scope["type"]
    # Below a mount, the path begins with the mount's own.
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if scope["method"] != "GET" or not path.startswith("/calibration/"):
        await answer(send, 404, {"error": "ask for /calibration/STATION"})
        return
    await asyncio.sleep(WORK_S)
    await answer(send, 200, {"offsets": offsets(path.removeprefix("/calibration/"))})


async def live(receive: Any, send: Any) -> None:
    """Follow the lifespan; there is nothing to open or to close."""
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def answer(send: Any, status: int, content: Mapping[str, Any]) -> None:
    """Send `content` as JSON."""
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def offsets(station: str) -> dict[str, float]:
    """Return the offsets of a station, the same ones every time."""
    seed = zlib.crc32(unquote(station).encode()) / 2**32
    return {quantity: round((seed - 0.5) * spread, 2) for quantity, spread in SPREAD.items()}


def path_of(station: str) -> str:
    """Return the path to ask for, below the service's address."""
    return f"/calibration/{quote(station, safe='')}"


class Neighbour:
    """Where the service is; one per process, and safe to ask from any thread."""

    def __init__(self) -> None:
        self.url = os.environ.get("SENSORS_UPSTREAM", "").rstrip("/")
        self.starting = threading.Lock()

    def address(self) -> str:
        """Return the address that SENSORS_UPSTREAM names; when it names none, start the service in this process.

        That one listens on a free port of 127.0.0.1, in a thread of its own, so that the example runs with one command.
        """
        with self.starting:
            if not self.url:
                from trilithon.testing import serve

                running = ExitStack()
                self.url = running.enter_context(serve(app)).url
                atexit.register(running.close)
            return self.url


neighbour = Neighbour()
