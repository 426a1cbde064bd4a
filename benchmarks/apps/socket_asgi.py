"""Bare ASGI applications on WebSockets: one that echoes, one that tells everybody what one says."""

from plain_asgi import lifespan


async def echo(scope, receive, send):
    """Send every message back as it came."""
    if scope["type"] != "websocket":
        await lifespan(receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


members = set()


async def broadcast(scope, receive, send):
    """Send what comes in at /publish to every other socket, one after the other."""
    if scope["type"] != "websocket":
        await lifespan(receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    is_publisher = scope["path"] == "/publish"
    if not is_publisher:
        members.add(send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            text = message["text"]
            for tell in tuple(members) if is_publisher else (send,):
                await tell({"type": "websocket.send", "text": text})
    finally:
        members.discard(send)
