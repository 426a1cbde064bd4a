"""The same site of large bodies twice, in Flask and in Starlette: it takes them and gives them in pieces."""

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from flask import Flask
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

MIB = 1 << 20


def blocks(count: int) -> Iterator[bytes]:
    """Yield `count` different blocks of one MiB."""
    filler = bytes(range(256)) * 4096
    for number in range(count):
        yield b"%016d" % number + filler[16:]


def checksum(count: int) -> int:
    """Return the checksum of all of `blocks(count)`."""
    value = 0
    for block in blocks(count):
        value = zlib.crc32(block, value)
    return value


wsgi = Flask(__name__)


@wsgi.post("/upload")
def take() -> str:
    """Answer with size and checksum of the body."""
    value = size = 0
    while piece := flask_request.stream.read(65536):
        value, size = zlib.crc32(piece, value), size + len(piece)
    return f"{size} {value}"


@wsgi.get("/download/<int:count>")
def give(count: int) -> Any:
    """Stream `count` MiB."""
    return wsgi.response_class(blocks(count), headers={"Content-Length": str(count * MIB)})


async def upload(request: Request) -> Response:
    """Answer with size and checksum of the body."""
    value = size = 0
    async for piece in request.stream():
        value, size = zlib.crc32(piece, value), size + len(piece)
    return PlainTextResponse(f"{size} {value}")


async def download(request: Request) -> Response:
    """Stream `count` MiB."""
    count = int(request.path_params["count"])

    async def stream() -> AsyncIterator[bytes]:
        for block in blocks(count):
            yield block

    return StreamingResponse(stream(), headers={"Content-Length": str(count * MIB)})


asgi = Starlette(routes=[Route("/upload", upload, methods=["POST"]), Route("/download/{count:int}", download)])
