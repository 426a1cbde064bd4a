"""A server in a process of its own, to be attacked: it says how many calls run in it and how large it is."""

import asyncio
import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .applications import Message, Receive, Send, StartResponse, lifespan
from .h2_site import serve_as

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BLOCK = 16384
BLOCKS = 4096
OPTIONS = {
    "threads": 8,
    "header_timeout_s": 0.6,
    "body_timeout_s": 0.6,
    "write_timeout_s": 0.6,
    "linger_timeout_s": 30.0,
    "graceful_timeout_s": 1.0,
}


class Calls:
    """Counts the calls of the applications, and holds those of `/held` until they are released."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.release = threading.Event()
        self.running = self.most = self.started = 0

    def __enter__(self) -> None:
        with self.lock:
            self.running += 1
            self.started += 1
            self.most = max(self.most, self.running)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.lock:
            self.running -= 1

    def forget(self) -> None:
        """Count from here."""
        with self.lock:
            self.most = self.running
            self.started = 0
        self.release.clear()

    def told(self) -> dict[str, int]:
        """Return the counts, and the size of this process in bytes without what the allocator keeps for later."""
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
        with self.lock:
            return {"running": self.running, "most": self.most, "started": self.started, "size": size}


calls = Calls()


async def asgi(scope: Message, receive: Receive, send: Send) -> None:
    """Hold, stream, read or greet, as the path says."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    with calls:
        while scope["path"] == "/held" and not calls.release.is_set():
            await asyncio.sleep(0.01)
        more = scope["method"] == "POST"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/large":
            for _ in range(BLOCKS):
                await send({"type": "http.response.body", "body": bytes(BLOCK), "more_body": True})
        await send({"type": "http.response.body", "body": b"hello"})
    return None


def wsgi(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Hold, stream, read or greet, as the path says."""
    with calls:
        if environ["PATH_INFO"] == "/held":
            calls.release.wait(60.0)
        while environ["REQUEST_METHOD"] == "POST" and environ["wsgi.input"].read(65536):
            pass
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/large":
            for _ in range(BLOCKS):
                write(bytes(BLOCK))
        return [b"hello"]


def main(kind: str) -> None:
    """Serve until standard input ends; each line of it is a command, answered with one line."""
    with serve_as(kind, asgi, wsgi, **OPTIONS) as site:
        print(site.port, flush=True)
        for line in sys.stdin:
            command = line.strip()
            if command == "forget":
                calls.forget()
            elif command == "release":
                calls.release.set()
            print(json.dumps(calls.told()), flush=True)
        calls.release.set()


class Target:
    """The process, as its attacker sees it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.net.h2_target", kind],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = ("127.0.0.1", int(self.process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20.0)

    def ask(self, command: str = "tell") -> dict[str, int]:
        """Give a command and return the counts behind it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        told: dict[str, int] = json.loads(self.process.stdout.readline())
        return told


if __name__ == "__main__":
    main(sys.argv[1])
