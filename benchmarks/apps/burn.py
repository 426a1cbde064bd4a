"""Some milliseconds of Python a request, over both interfaces."""

NUMBERS = range(250000)
FIELD = ("Content-Type", "text/plain")


def work():
    """Compute something."""
    return b"%d" % sum(NUMBERS)


async def asgi(scope, receive, send):
    """Answer a sum."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = work()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    """Answer a sum."""
    body = work()
    start_response("200 OK", [FIELD, ("Content-Length", str(len(body)))])
    return [body]
