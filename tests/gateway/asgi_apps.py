"""The ASGI applications, and the means to talk to a running one, that the gateway's tests share."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from wire_client import DEADLINE_S

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Scope = dict[str, Any]

both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Gate:
    """A one-way signal between a test and an application, whichever of them opens it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()  # guards the moment between looking and subscribing
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def open(self) -> None:
        with self._lock:
            self._event.set()
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    @property
    def is_open(self) -> bool:
        return self._event.is_set()

    def wait(self) -> None:
        """Block a test's thread until the gate is open; fails on the deadline."""
        assert self._event.wait(DEADLINE_S), "the gate stays shut"

    async def passed(self) -> None:
        """Suspend an application until the gate is open."""
        event = asyncio.Event()
        with self._lock:
            if self._event.is_set():
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()


class Notes:
    """What an application tells its test, in order."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def add(self, note: Any) -> None:
        self._queue.put(note)

    def next(self) -> Any:
        """Wait for the next note; fails on the deadline."""
        try:
            return self._queue.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise AssertionError("the application noted nothing") from None

    def rest(self) -> list[Any]:
        """Take what is there now."""
        found = []
        while not self._queue.empty():
            found.append(self._queue.get())
        return found


def start(status: int = 200, headers: Iterable[Any] = (), **more: Any) -> Event:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data: bytes = b"", more_body: bool = False) -> Event:
    return {"type": "http.response.body", "body": data, "more_body": more_body}


async def respond(send: Send, data: bytes = b"ok", status: int = 200, headers: Iterable[Any] = ()) -> None:
    await send(start(status, headers))
    await send(body(data))


async def read_body(receive: Receive) -> bytes:
    """Read the whole body; a disconnect before its end is a failure."""
    parts = []
    while True:
        event = await receive()
        assert event["type"] == "http.request", event
        parts.append(event["body"])
        if not event["more_body"]:
            return b"".join(parts)


def http_only(handler: Callable[[Scope, Receive, Send], Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Make an application of a handler of requests: any other scope type raises, as the specification allows."""

    async def app(scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        return await handler(scope, receive, send)

    return app


@http_only
async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, b"hello")


@http_only
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, await read_body(receive))


async def raised_by(awaitable: Awaitable[Any]) -> Exception | None:
    """Await and return what was raised."""
    try:
        await awaitable
    except Exception as error:
        return error
    return None


def wait_until(is_true: Callable[[], bool], what: str = "the condition") -> None:
    """Poll for something that another thread brings about; fails on the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.002)


def error_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What "trilithon.error" got at WARNING and above."""
    return [
        record for record in caplog.records if record.name == "trilithon.error" and record.levelno >= logging.WARNING
    ]


def traceback_records(caplog: pytest.LogCaptureFixture, error: type[BaseException]) -> list[logging.LogRecord]:
    """The records that carry the traceback of an `error`."""
    return [
        record
        for record in caplog.records
        if record.name == "trilithon.error" and record.exc_info and isinstance(record.exc_info[1], error)
    ]
