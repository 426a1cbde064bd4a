"""ASGI applications that speak WebSocket, the notes they take for a test, and a site whose application takes notes."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asgi_apps import Event, Gate, Notes, Receive, Scope, Send
from socket_client import SocketClient

from trilithon.testing import Site, serve

Handler = Callable[[Scope, Receive, Send], Awaitable[Any]]


def message(data: str | bytes) -> Event:
    """Return the event that sends `data`, text or binary."""
    return {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}


def told(event: Event) -> Any:
    """Return what an event says: "connect", the message itself or ("disconnect", code, reason); its form is checked."""
    kind = event["type"]
    if kind == "websocket.connect":
        assert event == {"type": kind}
        return "connect"
    if kind == "websocket.disconnect":
        assert set(event) == {"type", "code", "reason"}, event
        assert type(event["code"]) is int and type(event["reason"]) is str, event
        return ("disconnect", event["code"], event["reason"])
    assert kind == "websocket.receive" and set(event) <= {"type", "text", "bytes"}, event
    found = [each for each in (event.get("text"), event.get("bytes")) if each is not None]
    assert len(found) == 1, event
    assert type(found[0]) is (bytes if event.get("text") is None else str), event
    return found[0]


def sockets_only(handler: Handler) -> Handler:
    """Make an application of a handler of WebSockets: any other scope raises, as the specification allows."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        await handler(scope, receive, send)

    return app


class Recorder:
    """Notes every event of every connection under its path, and echoes every message unless told not to.

    Behind the first disconnect it asks once more, so that each log ends with two.
    """

    def __init__(self, *, echoes: bool = True) -> None:
        self.echoes = echoes
        self._logs: dict[str, Notes] = {}

    def log(self, path: str) -> Notes:
        """Return the notes about the connection to `path`; any thread."""
        return self._logs.setdefault(path, Notes())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        log = self.log(scope["path"])
        log.add(told(await receive()))
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            log.add(told(event))
            if self.echoes:
                try:
                    await send(message(told(event)))
                except OSError:
                    # The peer has ended meanwhile; what came before that is still to be read.
                    continue
        log.add(told(event))
        log.add(told(await receive()))


class Held(Recorder):
    """Accepts, then touches nothing until the gate of its connection is opened; then notes and echoes."""

    def __init__(self) -> None:
        super().__init__()
        self._gates: dict[str, Gate] = {}

    def gate(self, path: str) -> Gate:
        """Return the gate of the connection to `path`; any thread."""
        return self._gates.setdefault(path, Gate())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        gate = self.gate(scope["path"])
        state = {"accepted": False}

        async def held_receive() -> Event:
            if state["accepted"]:
                await gate.passed()
            return await receive()

        async def marked_send(event: Event) -> None:
            await send(event)
            state["accepted"] = True

        await super().__call__(scope, held_receive, marked_send)


class Guest(SocketClient):
    """A client of a recording site, with the notes that the application takes about it."""

    numbers = itertools.count(1)

    def __init__(self, site: Site, recorder: Recorder, **more: Any) -> None:
        self.path = f"/{next(self.numbers)}"
        self.log = recorder.log(self.path)
        super().__init__(site, self.path, **more)

    def told(self, *messages: str | bytes, code: int, reasons: tuple[str, ...] = ("",)) -> None:
        """Check that the application was told exactly this: the messages, then the end, and that again when asked."""
        found = [self.log.next()]
        while not isinstance(found[-1], tuple):
            found.append(self.log.next())
        short = [each[:60] for each in found[1:-1]]
        assert found[0] == "connect"
        assert found[1:-1] == list(messages), f"{len(short)} messages came: {short}"
        assert found[-1][1] == code, found[-1]
        assert found[-1][2] in reasons, found[-1]
        assert self.log.next() == found[-1]
        assert self.log.rest() == []

    def fails(self, code: int, *messages: str | bytes) -> None:
        """Check that the server fails the connection with `code`; the application saw the messages and that code."""
        reason = self.expect_failure(code)
        self.told(*messages, code=code, reasons=("", reason))

    def ends(self, *messages: str | bytes, code: int | None = 1000, reason: str = "") -> None:
        """Close in order and check that the application was told the messages, the code and the reason."""
        self.shake(code, reason)
        self.told(*messages, code=1005 if code is None else code, reasons=(reason,))


class Desk:
    """A running site with a recorder as its application."""

    def __init__(self, site: Site, recorder: Recorder, kind: type[Guest] = Guest) -> None:
        self.site = site
        self.recorder = recorder
        self.kind = kind

    def open(self, **more: Any) -> Guest:
        """Open one more WebSocket; keywords are those of `SocketClient`."""
        return self.kind(self.site, self.recorder, **more)


@contextmanager
def open_desk(recorder: Recorder | None = None, *, kind: type[Guest] = Guest, **options: Any) -> Iterator[Desk]:
    """Serve a recorder, an echoing one unless given, to guests of this kind while the block runs; see `serve`."""
    chosen = recorder or Recorder()
    with serve(chosen, **options) as site:
        yield Desk(site, chosen, kind)


async def accepted(receive: Receive, send: Send) -> None:
    """Take the connect event and accept."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})


async def read_on(receive: Receive, log: Notes) -> None:
    """Note every event until the end."""
    while True:
        found = told(await receive())
        log.add(found)
        if isinstance(found, tuple):
            return


async def turn() -> None:
    """Let everything run that is ready."""
    for _ in range(3):
        await asyncio.sleep(0)
