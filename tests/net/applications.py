"""Applications of both interfaces that tests hold, release and ask what became of them."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

WAIT_S = 8.0

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
StartResponse = Callable[..., Any]


async def lifespan(receive: Receive, send: Send) -> None:
    """Answer the lifespan messages."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def read_body(receive: Receive) -> bytes | None:
    """Return the request's body, None when it never became complete."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def respond(send: Send, body: bytes, status: int = 200) -> None:
    """Send a whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Held:
    """Answers `done` with the path, after `release` is set when the path begins with `/held`; reads no body.

    `started` counts the calls that began: `wait_started(n)` waits for n of them. `most` is how many ran at once.
    """

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self.release = threading.Event()
        self.condition = threading.Condition()
        self.started = 0
        self.running = 0
        self.most = 0
        self.paths: list[str] = []

    @property
    def application(self) -> Any:
        """The application in the chosen interface."""
        return self.asgi if self.interface == "asgi" else self.wsgi

    def wait_started(self, count: int) -> None:
        """Wait until `count` calls have begun."""
        with self.condition:
            assert self.condition.wait_for(lambda: self.started >= count, WAIT_S), f"only {self.started} calls began"

    def enter(self, path: str) -> None:
        """Count a call in."""
        with self.condition:
            self.started += 1
            self.running += 1
            self.most = max(self.most, self.running)
            self.paths.append(path)
            self.condition.notify_all()

    def leave(self) -> None:
        """Count a call out."""
        with self.condition:
            self.running -= 1

    async def asgi(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        self.enter(scope["path"])
        try:
            if scope["path"].startswith("/held"):
                await asyncio.get_running_loop().run_in_executor(None, self.release.wait, WAIT_S)
            await respond(send, b"done " + scope["path"].encode())
        finally:
            self.leave()
        return None

    def wsgi(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self.enter(environ["PATH_INFO"])
        try:
            if environ["PATH_INFO"].startswith("/held"):
                self.release.wait(WAIT_S)
            body = b"done " + environ["PATH_INFO"].encode("latin-1")
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        finally:
            self.leave()


class Reader:
    """Reads the body and answers with its size; `outcomes` gets the size, or the name of what ended the reading."""

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self.outcomes: list[int | str] = []
        self.called = threading.Event()
        self.ended = threading.Event()
        self.events = 0

    @property
    def application(self) -> Any:
        """The application in the chosen interface."""
        return self.asgi if self.interface == "asgi" else self.wsgi

    async def asgi(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        self.called.set()
        size = 0
        try:
            while True:
                message = await receive()
                self.events += 1
                if message["type"] == "http.disconnect":
                    self.outcomes.append("http.disconnect")
                    return None
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    break
            self.outcomes.append(size)
            await respond(send, b"%d" % size)
        finally:
            self.ended.set()
        return None

    def wsgi(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self.called.set()
        size = 0
        try:
            while block := environ["wsgi.input"].read(65536):
                self.events += 1
                size += len(block)
            self.outcomes.append(size)
        except OSError as error:
            self.outcomes.append(type(error).__name__)
            raise
        finally:
            self.ended.set()
        body = b"%d" % size
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


class Writer:
    """Answers with `blocks` blocks of `size` bytes; `outcome` tells how that ended: "whole" or the error's name."""

    def __init__(self, interface: str, *, blocks: int, size: int) -> None:
        self.interface = interface
        self.blocks = blocks
        self.block = b"w" * size
        self.written = 0
        self.outcome = ""
        self.is_oserror = False
        self.ended = threading.Event()

    @property
    def application(self) -> Any:
        """The application in the chosen interface."""
        return self.asgi if self.interface == "asgi" else self.wsgi

    async def asgi(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(self.blocks):
                await send({"type": "http.response.body", "body": self.block, "more_body": True})
                self.written += 1
            await send({"type": "http.response.body", "body": b""})
            self.outcome = "whole"
        except BaseException as error:
            self.outcome, self.is_oserror = type(error).__name__, isinstance(error, OSError)
            raise
        finally:
            self.ended.set()
        return None

    def wsgi(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        try:
            for _ in range(self.blocks):
                write(self.block)
                self.written += 1
            self.outcome = "whole"
        except BaseException as error:
            self.outcome, self.is_oserror = type(error).__name__, isinstance(error, OSError)
            raise
        finally:
            self.ended.set()
        return []
