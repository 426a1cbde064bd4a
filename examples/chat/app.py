"""The chat's pages and its sockets; run it with `trilithon --app-dir examples chat.app:app`."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from . import rooms

PAGE = Path(__file__).parent / "page"
LINE = Path(__file__).parent.parent / "line.js"
CLOSE_TIMEOUT_S = 5.0

house = rooms.House()


async def socket(websocket: WebSocket) -> None:
    """Let one connection into a room for as long as it lasts."""
    # Accepted first in any case: a page learns the close code and the reason only of an open socket.
    await websocket.accept()
    try:
        room = house.room(websocket.path_params["room"])
        member = rooms.member(websocket.query_params.get("name", ""))
        room.enter(member)
    except rooms.Refusal as refusal:
        await websocket.close(refusal.code, str(refusal))
        return
    tasks = {
        asyncio.create_task(listen(websocket, room, member)),
        asyncio.create_task(deliver(websocket, member)),
        asyncio.create_task(member.overrun.wait()),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        room.leave(member)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    if member.overrun.is_set():
        with suppress(OSError, TimeoutError, RuntimeError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await websocket.close(1013, "you read too slowly")
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect):
            raise outcome


async def deliver(websocket: WebSocket, member: rooms.Member) -> None:
    """Send what is told to a member; when it reads slowly, only this task waits."""
    while True:
        await websocket.send_text(await member.unread.get())


async def listen(websocket: WebSocket, room: rooms.Room, member: rooms.Member) -> None:
    """Take what a member sends until it goes; what is not understood is passed over."""
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        try:
            content = json.loads(message.get("text") or "")
        except (ValueError, RecursionError):
            continue
        if not isinstance(content, dict):
            continue
        text, ref = content.get("say"), str(content.get("ref", ""))[:40]
        if isinstance(text, str) and text.strip():
            if member.may_speak():
                room.say(member, text.strip()[: rooms.MAX_TEXT_LENGTH], ref)
            else:
                member.tell(rooms.encode({"kind": "hushed", "ref": ref}))
        elif content.get("typing") is True:
            room.typing(member)


async def listing(_: Request) -> Response:
    """Tell which rooms there are."""
    return JSONResponse(house.listing(), headers={"cache-control": "no-store"})


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
        Route("/rooms", listing),
        WebSocketRoute("/rooms/{room}/socket", socket),
    ]
)
