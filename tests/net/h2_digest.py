"""Applications that say what they were sent, and send as much as they are asked for: for clients that check both."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from trilithon.testing import Site

from .applications import Message, Receive, Send, StartResponse, lifespan, respond
from .h2_site import serve_as
from .tls_client import Trust

# Whoever cuts, swaps or repeats a part of this is found out.
BLOCK = b"".join(hashlib.sha256(b"%d" % at).digest() for at in range(2048))


def content(size: int) -> Iterator[bytes]:
    """Yield so many bytes that a client can check, in blocks."""
    at = 0
    while size > 0:
        block = b"%016d" % at + BLOCK
        yield block[:size]
        size -= len(block)
        at += 1


def digest_of(size: int) -> str:
    """Return the digest of `content(size)`."""
    digest = hashlib.sha256()
    for block in content(size):
        digest.update(block)
    return digest.hexdigest()


def told(size: int, digest: str, version: str, query: str) -> bytes:
    """Return what an upload is answered with."""
    return json.dumps({"size": size, "digest": digest, "version": version, "query": query}).encode()


async def asgi(scope: Message, receive: Receive, send: Send) -> None:
    """Answer /down/SIZE with content, /trailers with trailers, and anything else with the digest of its body.

    /early/STATUS is answered without having read any.
    """
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["path"].startswith("/early/"):
        return await respond(send, b"early", int(scope["path"][7:]))
    digest, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        digest.update(message["body"])
        size += len(message["body"])
        more = message.get("more_body", False)
    path = scope["path"]
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
    if path.startswith("/down/"):
        await send(start)
        for block in content(int(path[6:])):
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif path == "/trailers":
        await send({**start, "trailers": True})
        await send({"type": "http.response.body", "body": b"followed by trailers"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"42")]})
    else:
        await send(start)
        body = told(size, digest.hexdigest(), scope["http_version"], scope["query_string"].decode())
        await send({"type": "http.response.body", "body": body})
    return None


def wsgi(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer /down/SIZE with content, /early/STATUS at once, and anything else with the digest of its body."""
    if environ["PATH_INFO"].startswith("/early/"):
        start_response(environ["PATH_INFO"][7:] + " Early", [("Content-Type", "text/plain")])
        return [b"early"]
    digest, size = hashlib.sha256(), 0
    while block := environ["wsgi.input"].read(65536):
        digest.update(block)
        size += len(block)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"].startswith("/down/"):
        return content(int(environ["PATH_INFO"][6:]))
    return [told(size, digest.hexdigest(), environ["SERVER_PROTOCOL"][5:], environ["QUERY_STRING"])]


class Place:
    """A site for clients, with TLS or without."""

    def __init__(self, kind: str, site: Site, trust: Trust | None) -> None:
        self.kind = kind
        self.site = site
        self.trust = trust
        scheme, host = ("https", "localhost") if trust else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{site.port}"


@contextmanager
def open_place(kind: str, trust: Trust | None, **options: Any) -> Iterator[Place]:
    """Serve the applications above, with the certificate of `trust` where there is one."""
    if trust is not None:
        options.update(trust.options)
    with serve_as(kind, asgi, wsgi, **options) as site:
        yield Place(kind, site, trust)
