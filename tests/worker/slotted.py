"""A server with a place on a scoreboard, in a thread of the test's process, and the applications it serves."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import trilithon
from trilithon.foundation.scoreboard import Scoreboard, Slot, WorkerState
from trilithon.worker.running import leave_loop, loop_factory
from trilithon.worker.server import Server

DEADLINE_S = 20.0


class Site:
    """A running server: where it listens, its slot, and the server itself."""

    def __init__(self, server: Server, slot: Slot) -> None:
        self.server = server
        self.slot = slot
        self.host = "127.0.0.1"
        self.port = 0


class Stage:
    """Applications whose `/hold` goes nowhere until `release` is set; `entered` counts those who came in."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)

    def hold(self) -> None:
        """Keep the thread."""
        self.entered.release()
        assert self.release.wait(DEADLINE_S)

    def wait_entered(self, count: int = 1) -> None:
        """Wait until so many more calls have come in."""
        for _ in range(count):
            assert self.entered.acquire(timeout=DEADLINE_S)

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer by path: a status, a number of bytes, or nothing before `release`."""
        word = environ["PATH_INFO"].rpartition("/")[2]
        if word.startswith("hold"):
            self.hold()
        if word == "echo":
            body = environ["wsgi.input"].read()
        else:
            body = bytes(int(word.partition("-")[2] or 0)) if word.startswith("bytes") else b"ok"
        status = word if word.isdigit() else "200"
        start_response(f"{status} Said", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        """Do the same; `/hold` blocks the loop, `/wait` waits without."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        word = scope["path"].rpartition("/")[2]
        if word.startswith("hold"):
            self.hold()
        if word.startswith("wait"):
            self.entered.release()
            while not self.release.is_set():
                await asyncio.sleep(0.005)
        body = bytes(int(word.partition("-")[2] or 0)) if word.startswith("bytes") else b"ok"
        if word == "echo":
            body = b""
            while (event := await receive())["type"] == "http.request":
                body += event["body"]
                if not event["more_body"]:
                    break
        status = int(word) if word.isdigit() else 200
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def slotted(stage: Stage, kind: str, loop: str = "auto", **options: Any) -> Iterator[Site]:
    """Serve an application of the stage, or both, mounted, with a slot until the block ends."""
    app = None if kind == "both" else getattr(stage, kind)
    if kind == "both":
        options["mounts"] = {"/w": stage.wsgi, "/a": stage.asgi}
    board = Scoreboard.create()
    slot = board.slot(0)
    slot.occupy(os.getpid(), 1)
    server = Server(app, trilithon.Options(bind=["127.0.0.1:0"], access_log="off", **options))
    server.slot = slot
    site = Site(server, slot)
    started = threading.Event()

    async def serve() -> None:
        try:
            await server.start()
            site.port = server.addresses[0][1]
            slot.state = WorkerState.READY
        finally:
            started.set()
        await server.serve_on()

    def run() -> None:
        event_loop = loop_factory(loop, True)()
        try:
            event_loop.run_until_complete(serve())
            leave_loop(event_loop)
        finally:
            event_loop.close()

    thread = threading.Thread(target=run, name="the-loop")
    thread.start()
    try:
        assert started.wait(DEADLINE_S)
        yield site
    finally:
        stage.release.set()
        server.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        board.close()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition holds that nothing tells of; returns its value."""
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.005)
    return value
