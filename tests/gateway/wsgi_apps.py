"""WSGI applications that the gateway tests serve: they keep what they were given and do exactly what they are told."""

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

PLAIN = [("Content-Type", "text/plain")]
DEADLINE_S = 10.0


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with a constant."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def describe(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with the CGI part of environ as JSON."""
    body = json.dumps({key: value for key, value in environ.items() if "." not in key}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class Keep:
    """Application that keeps every environ (shallow copy) and answers with a constant."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.environs.append(dict(environ))
        environ["wsgi.input"].read(-1)
        return hello(environ, start_response)

    @property
    def last(self) -> dict[str, Any]:
        """Return the environ of the latest request."""
        return self.environs[-1]


class Attempt:
    """Application that makes one call, keeps what it returned or raised, and then answers 200 "attempted" either way.

    The answer uses exc_info, so that it is legal after a `start_response` that worked as after one that raised.
    """

    def __init__(self, call: Callable[[dict[str, Any], Callable[..., Any]], Any]) -> None:
        self.call = call
        self.result: Any = None
        self.error: BaseException | None = None
        self.calls = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.calls += 1
        try:
            self.result = self.call(environ, start_response)
        except Exception as error:
            self.error = error
        try:
            raise LookupError("to have an exc_info")
        except LookupError:
            start_response("200 OK", list(PLAIN), sys.exc_info())
        return [b"attempted"]


class Blocks:
    """Iterable that an application returns: gives the blocks, calls those that are callable, counts `close()`.

    `closed` is set by the first close, `closes` counts them, `threads` and `produced` say who iterated and how far.
    """

    def __init__(self, blocks: Iterable[Any], on_close: Callable[[], None] | None = None) -> None:
        self.source = iter(blocks)
        self.on_close = on_close
        self.closes = 0
        self.closed = threading.Event()
        self.threads: list[int] = []
        self.produced = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.threads.append(threading.get_ident())
        block = next(self.source)
        if callable(block):
            block = block()
        self.produced += 1
        return block

    def close(self) -> None:
        """Count, say so, and do what the test asked for."""
        self.closes += 1
        self.closed.set()
        if self.on_close is not None:
            self.on_close()


def answering(
    body: Any, status: str = "200 OK", fields: list[tuple[str, str]] | None = None
) -> Callable[[dict[str, Any], Callable[..., Any]], Any]:
    """Make an application that starts with `status` and `fields` and returns `body`, or what `body()` gives."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response(status, list(PLAIN if fields is None else fields))
        return body() if callable(body) else body

    return application


def wait_for(event: threading.Event) -> None:
    """Wait inside an application; an event that never comes fails the request instead of hanging it."""
    if not event.wait(DEADLINE_S):
        raise TimeoutError("the test did not set the event")
