"""Two applications, one of each interface, that write down what they are given and answer with their call's number."""

import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

ENDED_WITHIN_S = 5.0

Message = dict[str, Any]


@dataclass
class Call:
    """One call of the application, in one form for both interfaces: text is latin-1 of the bytes on the wire.

    `complete` says that the whole body was read, `ended` that the application came to its end. `raw_path` is what
    only ASGI shows.
    """

    method: str
    path: str
    query: str
    version: str
    fields: list[tuple[str, str]]
    raw_path: str | None = None
    body: str = ""
    complete: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    def values(self, name: str) -> list[str]:
        """Return what the application saw under `name`."""
        return [value for known, value in self.fields if known == name]


class Record:
    """The calls of every connection, by the client's port; filled by the server's threads, read by the test."""

    def __init__(self) -> None:
        self.calls: dict[int, list[Call]] = defaultdict(list)
        self.lock = threading.Lock()

    def add(self, port: int, call: Call) -> int:
        """Write a call down and return its number on its connection, from 1."""
        with self.lock:
            self.calls[port].append(call)
            return len(self.calls[port])

    def forget(self, port: int) -> None:
        """Forget the calls of an earlier connection from the same port."""
        with self.lock:
            self.calls.pop(port, None)

    def take(self, port: int) -> list[Call]:
        """Return the calls of a connection once each has ended."""
        with self.lock:
            calls = self.calls.pop(port, [])
        deadline = time.monotonic() + ENDED_WITHIN_S
        for call in calls:
            assert call.ended.wait(max(0.0, deadline - time.monotonic())), f"the application still runs: {call}"
        return calls

    async def asgi(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer as an ASGI application."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        call = Call(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            version=scope["http_version"],
            fields=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
            raw_path=scope["raw_path"].decode("latin-1"),
        )
        number = self.add(scope["client"][1], call)
        try:
            body = bytearray()
            while not call.complete:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                call.complete = not message.get("more_body", False)
            call.body = body.decode("latin-1")
            answer = self.answer(call, number)
            headers = [(b"content-length", b"%d" % len(answer)), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})
        finally:
            call.ended.set()

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as a WSGI application."""
        fields = [
            (name[5:].replace("_", "-").lower(), value) for name, value in environ.items() if name.startswith("HTTP_")
        ]
        fields += [
            (name.replace("_", "-").lower(), environ[name])
            for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
            if environ.get(name)
        ]
        call = Call(
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
            query=environ["QUERY_STRING"],
            version=environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
            fields=fields,
        )
        number = self.add(int(environ["REMOTE_PORT"]), call)
        try:
            body = bytearray()
            while block := environ["wsgi.input"].read(65536):
                body += block
            call.body = body.decode("latin-1")
            call.complete = True
            answer = self.answer(call, number)
            start_response("200 OK", [("Content-Length", str(len(answer))), ("Content-Type", "text/plain")])
            return [answer]
        finally:
            call.ended.set()

    def answer(self, call: Call, number: int) -> bytes:
        """Return the body of the answer to a call."""
        return b"canary" if call.path == "/canary" else b"call %d" % number
