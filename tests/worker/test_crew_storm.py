"""A storm of every kind of request at once: whatever the threads do to each other, each answer is the right one."""

import asyncio
import io
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.gateway.raw_client import Answer, RawClient, chunked, fetch, request_bytes

from trilithon.testing import serve

pytestmark = pytest.mark.real

PLAIN = [("Content-Type", "text/plain")]
CLIENTS = 8
ROUNDS = 60
LARGE = bytes(range(256)) * 1500


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer according to the first segment of the path; the last one is echoed in a field."""
    _, kind, mark = environ["PATH_INFO"].split("/")
    fields = [*PLAIN, ("X-Mark", mark)]
    if kind == "fail":
        raise LookupError(mark)
    if kind == "sleep":
        time.sleep(0.002)
    if kind == "sum":
        total = zlib.crc32(environ["wsgi.input"].read())
        start_response("200 OK", fields)
        return [b"%d" % total]
    write = start_response("200 OK", fields)
    if kind == "file":
        return environ["wsgi.file_wrapper"](io.BytesIO(LARGE))
    if kind == "stream":
        return stream(mark)
    if kind == "write":
        write(mark.encode())
        return [LARGE]
    return [mark.encode()]


async def asgi_application(scope: Any, receive: Any, send: Any) -> None:
    """Do the same on the loop."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    kind, mark = scope["path"].split("/")[-2:]
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    if kind == "fail":
        raise LookupError(mark)
    if kind == "sleep":
        await asyncio.sleep(0.002)
    fields = [(b"content-type", b"text/plain"), (b"x-mark", mark.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    if kind == "write":
        await send({"type": "http.response.body", "body": mark.encode(), "more_body": True})
    large = kind in ("file", "stream", "write")
    for start in range(0, len(LARGE) if large else 0, 50_000):
        await send({"type": "http.response.body", "body": LARGE[start : start + 50_000], "more_body": True})
    small = b"%d" % zlib.crc32(body) if kind == "sum" else mark.encode()
    await send({"type": "http.response.body", "body": b"" if large else small})


def stream(mark: str) -> Iterator[bytes]:
    """Give the large body in pieces, sometimes after a wait."""
    for start in range(0, len(LARGE), 50_000):
        if start == 100_000:
            time.sleep(0.001)
        yield LARGE[start : start + 50_000]


class Visitor:
    """One client of the storm; keeps its connection as long as that lives."""

    def __init__(self, site: Any, number: int, seed: int, prefixes: Sequence[str] = ("",)) -> None:
        self.site = site
        self.prefixes = prefixes
        self.number = number
        self.random = random.Random(seed * 1000 + number)
        self.client: RawClient | None = None
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        """Make all visits; an exception is kept for the test."""
        visits: list[Callable[[str], None]] = [
            self.quick, self.quick, self.sleep, self.small, self.large,
            self.fail, self.whole, self.pipeline, self.leave,
        ]  # fmt: skip
        try:
            for round_number in range(ROUNDS):
                self.random.choice(visits)(f"{self.number}-{round_number}")
        except BaseException as error:
            self.failure = error
        finally:
            self.close()

    def path(self, kind: str, mark: str) -> str:
        """Return a path below one of the mounts."""
        return f"{self.random.choice(self.prefixes)}/{kind}/{mark}"

    def connection(self) -> RawClient:
        """Return the connection, a new one where the last was closed."""
        if self.client is None:
            self.client = RawClient(self.site)
        return self.client

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.client is not None:
            self.client.close()
            self.client = None

    def check(self, answer: Answer, mark: str, body: bytes) -> None:
        """Assert that an answer belongs to its request and is whole."""
        assert (answer.status, answer.one("X-Mark"), answer.complete) == (200, mark, True)
        assert answer.body == body

    def quick(self, mark: str) -> None:
        """Ask for a small answer."""
        self.check(self.connection().ask(self.path("quick", mark)), mark, mark.encode())

    def sleep(self, mark: str) -> None:
        """Ask for an answer that takes a while."""
        self.check(self.connection().ask(self.path("sleep", mark)), mark, mark.encode())

    def small(self, mark: str) -> None:
        """Upload a small body, in two pieces."""
        body = self.random.randbytes(self.random.randrange(1, 5000))
        client = self.connection()
        request = request_bytes(self.path("sum", mark), "POST", body=body)
        cut = self.random.randrange(len(request))
        client.send(request[:cut])
        client.send(request[cut:])
        self.check(client.answer(), mark, b"%d" % zlib.crc32(body))

    def large(self, mark: str) -> None:
        """Upload a large body, chunked."""
        body = self.random.randbytes(self.random.randrange(100_000, 300_000))
        client = self.connection()
        head = request_bytes(self.path("sum", mark), "POST", fields=[("Transfer-Encoding", "chunked")])
        client.send(head, chunked(body[:1000], body[1000:90_000], body[90_000:]))
        self.check(client.answer(), mark, b"%d" % zlib.crc32(body))

    def fail(self, mark: str) -> None:
        """Ask for an error; the server closes behind it."""
        assert self.connection().ask(self.path("fail", mark)).status == 500
        self.close()

    def whole(self, mark: str) -> None:
        """Ask for a large answer of one of three kinds."""
        kind, before = self.random.choice([("file", b""), ("stream", b""), ("write", mark.encode())])
        self.check(self.connection().ask(self.path(kind, mark)), mark, before + LARGE)

    def pipeline(self, mark: str) -> None:
        """Send several requests at once."""
        kinds = [self.random.choice(["quick", "sleep"]) for _ in range(5)]
        client = self.connection()
        client.send(*[request_bytes(self.path(kind, f"{mark}-{index}")) for index, kind in enumerate(kinds)])
        for index in range(len(kinds)):
            self.check(client.answer(), f"{mark}-{index}", f"{mark}-{index}".encode())

    def leave(self, mark: str) -> None:
        """Ask for something and leave before it is answered."""
        kind = self.random.choice(["quick", "sleep", "file", "stream"])
        client = self.connection()
        client.send(request_bytes(self.path(kind, mark)))
        client.reset() if self.random.random() < 0.5 else client.close()
        self.client = None


def unleash(site: Any, seed: int, prefixes: Sequence[str] = ("",)) -> None:
    """Let all visitors loose on a site and assert that none of them met anything wrong."""
    visitors = [Visitor(site, number, seed, prefixes) for number in range(CLIENTS)]
    for visitor in visitors:
        visitor.thread.start()
    for visitor in visitors:
        visitor.thread.join()
    assert [visitor.failure for visitor in visitors] == [None] * CLIENTS
    for prefix in prefixes:
        assert fetch(site, f"{prefix}/quick/last").body == b"last"


def assert_only_the_applications_errors(caplog: pytest.LogCaptureFixture) -> None:
    """Assert that nothing was logged as an error but what the application raised."""
    errors = [record for record in caplog.records if record.levelno >= 40]
    assert {type(record.exc_info[1]) for record in errors if record.exc_info} <= {LookupError}
    assert all(record.exc_info for record in errors)


@pytest.mark.spec("W-CALL-03", "W-HOP-02", "W-INPUT-13")
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_answer_belongs_to_its_request(threads: int, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    with serve(application, threads=threads) as site:
        unleash(site, seed)
    assert_only_the_applications_errors(caplog)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("threads", [1, 4])
def test_connections_change_hands_between_both_interfaces(
    threads: int, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    mounts = {"/wsgi": application}
    with serve(asgi_application, threads=threads, loop=loop, mounts=mounts, lifespan="off") as site:
        unleash(site, threads, ["", "/wsgi"])
    assert_only_the_applications_errors(caplog)
