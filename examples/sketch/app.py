"""The sketch's page and its sockets; run it with `trilithon --app-dir examples sketch.app:app`."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .board import Artist, Board, Full

PAGE = Path(__file__).parent / "page"
LINE = Path(__file__).parent.parent / "line.js"
CLOSE_TIMEOUT_S = 5.0

board = Board()


async def socket(websocket: WebSocket) -> None:
    """Let one connection draw for as long as it lasts."""
    await websocket.accept()
    try:
        artist = board.enter()
    except Full:
        await websocket.close(1013, "there are too many artists")
        return
    tasks = {
        asyncio.create_task(listen(websocket, artist)),
        asyncio.create_task(deliver(websocket, artist)),
        asyncio.create_task(artist.overrun.wait()),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        board.leave(artist)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    if artist.overrun.is_set():
        with suppress(OSError, TimeoutError, RuntimeError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await websocket.close(1013, "you read too slowly")
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect):
            raise outcome


async def deliver(websocket: WebSocket, artist: Artist) -> None:
    """Send what is told to an artist; when it reads slowly, only this task waits."""
    while True:
        await websocket.send_text(await artist.unread.get())


async def listen(websocket: WebSocket, artist: Artist) -> None:
    """Take what an artist sends until it goes; what is not understood is passed over."""
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        try:
            content = json.loads(message.get("text") or "")
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            board.take(artist, content)


async def page(_: Request) -> Response:
    """Send the page."""
    return FileResponse(PAGE / "index.html")


def asset(path: Path) -> Route:
    """Return the route of the style or a script of the page."""

    async def send_asset(_: Request) -> Response:
        return FileResponse(path)

    return Route(f"/{path.name}", send_asset)


app = Starlette(
    routes=[
        Route("/", page),
        asset(PAGE / "style.css"),
        asset(PAGE / "page.js"),
        asset(LINE),
        WebSocketRoute("/socket", socket),
    ]
)
