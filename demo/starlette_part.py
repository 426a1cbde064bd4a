"""The Starlette (ASGI) part of the demo, mounted at /: coroutines on the event loop, and the page itself."""

import asyncio
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from demo.serving import describe_server

SLOW_S = 2.0
PAGE = Path(__file__).parent / "page"


def describe(request: Request) -> dict[str, Any]:
    """Return how this request was served."""
    scope = request.scope
    return {
        **describe_server(),
        "part": "Starlette",
        "interface": f"ASGI {scope['asgi']['version']}",
        "protocol": f"HTTP/{scope['http_version']}",
        "mount": ["root_path", scope["root_path"]],
        "path": ["path", scope["path"]],
        "runs": "in a task on the event loop",
    }


async def page(request: Request) -> Response:
    """Send the page."""
    return FileResponse(PAGE / "index.html")


async def asset(request: Request) -> Response:
    """Send the style or a script of the page."""
    return FileResponse(PAGE / request.url.path.removeprefix("/"))


async def quick(request: Request) -> Response:
    """Answer at once."""
    return JSONResponse(describe(request))


async def slow(request: Request) -> Response:
    """Wait for a while without holding anything up, as a call to another service would."""
    await asyncio.sleep(SLOW_S)
    return JSONResponse(describe(request))


async def echo(request: Request) -> Response:
    """Tell the size of the body that came."""
    return JSONResponse({**describe(request), "received": len(await request.body())})


app = Starlette(
    routes=[
        Route("/", page),
        Route("/style.css", asset),
        Route("/page.js", asset),
        Route("/live.js", asset),
        Route("/starlette", quick),
        Route("/starlette/slow", slow),
        Route("/starlette/echo", echo, methods=["POST"]),
    ]
)
