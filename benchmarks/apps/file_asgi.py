"""ASGI applications that send the large file: by its path where the server offers that, or part by part."""

import os

from plain_asgi import lifespan, start

PATH = os.environ["BENCHMARK_FILE"]
LENGTH = os.path.getsize(PATH)
PART_BYTES = 65536


async def by_path(scope, receive, send):
    """Name the file to the server; in parts where it does not take a path."""
    if "http.response.pathsend" not in scope.get("extensions", ()):
        await by_parts(scope, receive, send)
        return
    await send(start(LENGTH))
    await send({"type": "http.response.pathsend", "path": PATH})


async def by_parts(scope, receive, send):
    """Read and send one part after the other."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    await send(start(LENGTH))
    with open(PATH, "rb", buffering=0) as file:
        while part := file.read(PART_BYTES):
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
