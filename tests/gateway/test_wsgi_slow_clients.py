"""Slow clients never hold a thread of the crew, and large bodies pass in bounded memory."""

import io
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from raw_client import DEADLINE_S, RawClient, request_bytes
from wsgi_apps import PLAIN, hello

from trilithon.testing import serve

pytestmark = pytest.mark.real

SLOW_CLIENTS = 30
LARGE = b"x" * 5_000_000


def site_application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer /hello, /list (one large block), /blocks (a list of them), /memory and /file (wrappers) and POST /echo."""
    path = environ["PATH_INFO"]
    if path == "/hello":
        return hello(environ, start_response)
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", list(PLAIN))
        return [body]
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(LARGE)))])
    if path == "/list":
        return [LARGE]
    if path == "/blocks":
        return [LARGE[:1_000_000]] * 5
    if path == "/memory":
        return environ["wsgi.file_wrapper"](io.BytesIO(LARGE))
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the wrapper closes it
    file.write(LARGE)
    file.seek(0)
    return environ["wsgi.file_wrapper"](file)


@pytest.fixture
def site() -> Iterator[Any]:
    """Serve the site with two threads."""
    with serve(site_application, threads=2) as served:
        yield served


def assert_fast(site: Any) -> None:
    """Ask /hello on a new connection and on a kept one; the slow clients must not be felt."""
    begin = time.monotonic()
    with RawClient(site) as client:
        for _ in range(10):
            assert client.ask("/hello").body == b"hello"
    # Far below any time-out that would free a held thread.
    assert time.monotonic() - begin < 2.0


@pytest.mark.spec("W-CALL-05")
@pytest.mark.parametrize("way", ["length", "chunked", "head"])
def test_slow_uploaders_of_small_bodies_do_not_delay_others(site: Any, way: str) -> None:
    fields = [("Transfer-Encoding", "chunked")] if way == "chunked" else [("Content-Length", "1000")]
    request = request_bytes("/echo", "POST", fields=fields)
    first, second = {
        "length": (request + b"a" * 500, b"a" * 500),
        "chunked": (request + b"1f4\r\n" + b"a" * 500 + b"\r\n", b"1f4\r\n" + b"a" * 500 + b"\r\n0\r\n\r\n"),
        "head": (request[:-10], request[-10:] + b"a" * 1000),
    }[way]
    with ExitStack() as stack:
        slow = [stack.enter_context(RawClient(site)) for _ in range(SLOW_CLIENTS)]
        for client in slow:
            client.send(first)
        assert_fast(site)
        for client in slow:
            client.send(second)
        for client in slow:
            assert client.answer().body == b"a" * 1000
        assert_fast(site)


@pytest.mark.spec("W-CALL-05")
@pytest.mark.parametrize("path", ["/list", "/blocks", "/memory", "/file"])
def test_slow_readers_of_large_answers_do_not_delay_others(site: Any, path: str) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(RawClient(site, receive_buffer_bytes=4096)) for _ in range(SLOW_CLIENTS)]
        for client in slow:
            client.send(request_bytes(path))
        for client in slow:
            assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert_fast(site)
        for client in slow[:3]:
            assert client.exactly(len(LARGE)) == LARGE
        assert_fast(site)
        for client in slow[3:]:
            client.reset()
        assert_fast(site)


@pytest.mark.spec("W-CALL-05", "W-ITER-12")
def test_idle_connections_do_not_delay_others(site: Any) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(RawClient(site))
            assert client.ask("/hello").body == b"hello"
        assert_fast(site)


@pytest.mark.spec("W-INPUT-11", "W-ITER-13")
def test_a_large_body_is_echoed_while_it_arrives() -> None:
    """The upload cannot be complete before the answer begins: what is in flight is limited on both sides."""
    total = 20_000_000

    def echo(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [*PLAIN, ("Content-Length", str(total))])
        return iter(lambda: environ["wsgi.input"].read(65536), b"")

    with serve(echo, threads=2) as site, RawClient(site) as client:
        client.send(request_bytes("/", "POST", fields=[("Content-Length", str(total))]))
        sender = threading.Thread(target=client.send, args=(b"y" * total,))
        sender.start()
        assert client.answer().body == b"y" * total
        sender.join(DEADLINE_S)
        assert not sender.is_alive()
