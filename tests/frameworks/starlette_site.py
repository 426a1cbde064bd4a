"""A Starlette site: lifespan state, streams, files, middleware, mounts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

events: list[str] = []


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[dict[str, list[str]]]:
    """Hand a list to every request, which they all share."""
    events.append("started")
    yield {"visitors": []}
    events.append("ended")


class Stamp(BaseHTTPMiddleware):
    """Adds a field to every answer, with the machinery that sits between the server and many real sites."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Pass the request on and stamp the answer."""
        response = await call_next(request)
        response.headers["X-Stamp"] = request.url.path
        return response


async def visit(request: Request) -> Response:
    """Sign the shared list."""
    request.state.visitors.append(request.path_params["name"])
    return JSONResponse(request.state.visitors)


async def stream(request: Request) -> Response:
    """Stream lines."""

    async def lines() -> AsyncIterator[bytes]:
        for number in range(200):
            if number % 20 == 0:
                await asyncio.sleep(0)
            yield b"line %d\n" % number

    return StreamingResponse(lines(), media_type="text/plain")


async def endless(request: Request) -> Response:
    """Stream until the client leaves, and note that."""

    async def blocks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 10_000
                await asyncio.sleep(0)
        finally:
            events.append("left")

    return StreamingResponse(blocks(), media_type="text/plain")


async def file(request: Request) -> Response:
    """Send this file."""
    return FileResponse(__file__, media_type="text/x-python")


async def echo(request: Request) -> Response:
    """Answer with the body, read in pieces."""
    try:
        pieces = [piece async for piece in request.stream()]
    except ClientDisconnect:
        events.append("upload broken")
        raise
    return Response(b"".join(pieces), media_type="application/octet-stream")


async def where(request: Request) -> Response:
    """Tell how Starlette sees the address."""
    return JSONResponse({"url": str(request.url), "root": request.scope["root_path"], "path": request.scope["path"]})


async def fail(request: Request) -> Response:
    """Fail."""
    raise RuntimeError("the secret reason")


async def text(request: Request) -> Response:
    """Answer with enough text to compress."""
    return PlainTextResponse("stone " * 1000)


app = Starlette(
    routes=[
        Route("/visit/{name}", visit),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/file", file),
        Route("/echo", echo, methods=["POST", "PUT"]),
        Route("/fail", fail),
        Route("/text", text),
        Mount("/inner", routes=[Route("/{rest:path}", where)]),
    ],
    middleware=[Middleware(Stamp), Middleware(GZipMiddleware, minimum_size=1000)],
    lifespan=lifespan,
)
