"""Applications that hang in every way there is, and one that takes its time to be imported."""

HANGS = '''
"""Hangs when it is asked to."""

import asyncio
import ctypes
import os
import re
import time

if os.environ.get("SLOW_IMPORT"):
    time.sleep(float(os.environ["SLOW_IMPORT"]))

WAYS = {
    "block": lambda: time.sleep(1000),
    # Both hold the GIL: no Python runs in the process until they come back.
    "regex": lambda: re.match(r"(a+)+$", "a" * 60 + "b"),
    "foreign": lambda: ctypes.PyDLL(None).sleep(1000),
}


def hang(path):
    WAYS.get(path.strip("/"), bool)()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return
    if scope["path"] == "/wait":
        await asyncio.sleep(1000)
    hang(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})


def wsgi(environ, start_response):
    hang(environ["PATH_INFO"])
    if environ["PATH_INFO"] == "/up":
        print("takes an upload", file=environ["wsgi.errors"], flush=True)
        environ["wsgi.input"].read()
    body = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
'''
