"""The servers that the judges of HTTP/2 meet: either interface, alone and beside the other."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from trilithon.testing import Site, serve

from .applications import Message, Receive, Send, StartResponse, lifespan

GREETING = b"Hello to whoever judges this.\n"
# Who answers: alone, or beside the other interface, which takes another way through the server.
SITES = ("asgi", "wsgi", "asgi-mixed", "wsgi-mixed")


async def asgi(scope: Message, receive: Receive, send: Send) -> None:
    """Answer GET with a greeting and POST with its own body."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    body = GREETING
    if scope["method"] != "GET" and scope["method"] != "HEAD":
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})
    return None


def wsgi(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer GET with a greeting and POST with its own body."""
    body = GREETING
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def open_site(kind: str, **options: Any) -> AbstractContextManager[Site]:
    """Serve the applications above, so that the root of the site is answered as `kind` says."""
    return serve_as(kind, asgi, wsgi, **options)


def serve_as(kind: str, asynchronous: Any, threaded: Any, **options: Any) -> AbstractContextManager[Site]:
    """Serve one of two applications at the root, alone or with the other one beside it."""
    interface, _, mixed = kind.partition("-")
    first, second = (asynchronous, threaded) if interface == "asgi" else (threaded, asynchronous)
    if mixed:
        return serve(None, mounts={"/": first, "/beside": second}, **options)
    return serve(first, **options)
