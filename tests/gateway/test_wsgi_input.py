"""wsgi.input behaves as a file: whatever mixture of reads, whatever framing, no byte lost and no byte too many."""

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from raw_client import DEADLINE_S, RawClient, chunked, fetch, request_bytes
from wsgi_apps import PLAIN, hello, wait_for

from trilithon.testing import serve

pytestmark = pytest.mark.real

LINES = b"first\n\n\nlonger line \xff\xfe\r\nlast without end"
SMALL = LINES
LARGE = (LINES + b"\n") * 6000 + b"x" * 100_000

Reader = Callable[[Any], Any]


def read_with(reader: Reader, body: bytes, framing: str) -> Any:
    """Serve one upload of `body` and return what `reader(wsgi.input)` returned."""
    results: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        results.append(reader(environ["wsgi.input"]))
        return hello(environ, start_response)

    with serve(application, request_buffer_bytes=16384) as site, RawClient(site) as client:
        if framing == "length":
            client.send(request_bytes("/", "POST", body=body))
        elif framing == "streamed":
            # Whoever waits to be asked is being read while the application runs, however small the body is.
            client.send(
                request_bytes("/", "POST", fields=[("Expect", "100-continue"), ("Content-Length", str(len(body)))])
            )
            assert client.head().status == 100
            client.send(body)
        else:
            cuts = [body[start : start + 7919] for start in range(0, len(body), 7919)]
            client.send(request_bytes("/", "POST", fields=[("Transfer-Encoding", "chunked")], body=chunked(*cuts)))
        assert client.answer().status == 200
        # The connection is still in step: what was read was exactly the body.
        assert client.ask("/", "POST", body=b"next").status == 200
    return results[0]


def _lines(body: bytes) -> list[bytes]:
    return body.splitlines(keepends=True) if b"\r" not in body.replace(b"\r\n", b"") else []


READERS: dict[str, tuple[Reader, Callable[[bytes], Any]]] = {
    "read": (lambda stream: stream.read(), lambda body: body),
    "read(-1)": (lambda stream: stream.read(-1), lambda body: body),
    "read(None)": (lambda stream: stream.read(None), lambda body: body),
    "read of the length": (lambda stream: stream.read(2_000_000), lambda body: body),
    "small reads": (lambda stream: b"".join(iter(lambda: stream.read(1021), b"")), lambda body: body),
    "exact counts": (
        lambda stream: [len(stream.read(size)) for size in (5, 20, -1)],
        lambda body: [5, 20, len(body) - 25],
    ),
    "read(0)": (lambda stream: (stream.read(0), stream.read()), lambda body: (b"", body)),
    "iteration": (lambda stream: list(stream), _lines),
    "readlines": (lambda stream: stream.readlines(), _lines),
    "readline": (lambda stream: list(iter(stream.readline, b"")), _lines),
    "readline(7)": (lambda stream: b"".join(iter(lambda: stream.readline(7), b"")), lambda body: body),
    "mixture": (
        lambda stream: b"".join(
            [stream.read(5), stream.readline(3), stream.readline(), *stream.readlines(9), stream.read(2), *stream]
        ),
        lambda body: body,
    ),
    "read then rest": (
        lambda stream: (stream.read(5), stream.read(), list(stream)),
        lambda body: (body[:5], body[5:], []),
    ),
}


@pytest.mark.spec(
    "W-INPUT-01", "W-INPUT-02", "W-INPUT-04", "W-INPUT-06", "W-INPUT-07", "W-INPUT-08", "W-WSGI-03", "W-HOP-01"
)
@pytest.mark.parametrize("framing", ["length", "chunked", "streamed"])
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", READERS)
def test_every_way_to_read_gives_the_whole_body(name: str, body: bytes, framing: str) -> None:
    reader, expected = READERS[name]
    assert read_with(reader, body, framing) == expected(body)


@pytest.mark.spec("W-INPUT-01", "W-VAL-07", "W-VAL-11")
@pytest.mark.parametrize("body", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_results_are_exactly_bytes(body: bytes) -> None:
    def reader(stream: Any) -> Any:
        pieces = [stream.read(3), stream.readline(4), stream.readline()]
        lines = stream.readlines(10)
        return {type(piece) for piece in [*pieces, *lines, *stream, stream.read(1)]}, type(lines)

    assert read_with(reader, body, "length") == ({bytes}, list)


@pytest.mark.spec("W-INPUT-03")
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("body", [b"", b"abc\n", LARGE], ids=["empty", "small", "large"])
def test_the_end_does_not_block_on_a_living_connection(body: bytes, framing: str) -> None:
    def reader(stream: Any) -> Any:
        whole = stream.read()
        return whole, stream.read(), stream.read(5), stream.readline(), stream.readlines(), list(stream)

    assert read_with(reader, body, framing) == (body, b"", b"", b"", [], [])


@pytest.mark.spec("W-INPUT-03", "W-HOP-02")
def test_a_read_does_not_reach_the_pipelined_request() -> None:
    bodies: list[bytes] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        bodies.append(environ["wsgi.input"].read(1_000_000))
        start_response("200 OK", list(PLAIN))
        return [environ["PATH_INFO"].encode()]

    with serve(application) as site, RawClient(site) as client:
        client.send(
            request_bytes("/1", "POST", body=b"one"),
            request_bytes("/2", "POST", fields=[("Transfer-Encoding", "chunked")], body=chunked(b"t", b"wo")),
            request_bytes("/3", "GET"),
            request_bytes("/4", "POST", body=b"four"),
        )
        assert [client.answer().body for _ in range(4)] == [b"/1", b"/2", b"/3", b"/4"]
    assert bodies == [b"one", b"two", b"", b"four"]


@pytest.mark.spec("W-INPUT-05")
@pytest.mark.parametrize("framing", ["length", "chunked", "streamed"])
def test_readline_honours_its_size(framing: str) -> None:
    def reader(stream: Any) -> Any:
        return [
            stream.readline(3),
            stream.readline(0),
            stream.readline(10),
            stream.readline(1),
            stream.readline(-1),
            stream.read(),
        ]

    body = b"abcdef\n\nghi\njkl"
    assert read_with(reader, body, framing) == [b"abc", b"", b"def\n", b"\n", b"ghi\n", b"jkl"]


@pytest.mark.spec("W-INPUT-10")
@pytest.mark.parametrize("framing", ["length", "chunked", "streamed"])
def test_readlines_hint_stops_after_about_that_much(framing: str) -> None:
    def reader(stream: Any) -> Any:
        some = stream.readlines(100)
        return some, list(stream)

    body = b"0123456789\n" * 3000
    some, others = read_with(reader, body, framing)
    assert b"".join(some + others) == body
    assert 100 <= sum(map(len, some)) < 112


@pytest.mark.spec("W-INPUT-06")
@pytest.mark.parametrize("seed", range(6))
def test_random_mixtures_lose_nothing(seed: int) -> None:
    rng = random.Random(seed)
    calls: list[Callable[[Any], bytes]] = [
        lambda stream: stream.read(rng.randrange(3000)),
        lambda stream: stream.readline(),
        lambda stream: stream.readline(rng.randrange(40)),
        lambda stream: b"".join(stream.readlines(rng.randrange(1, 2000))),
        lambda stream: next(iter(stream), b""),
    ]

    def reader(stream: Any) -> bytes:
        return b"".join([rng.choice(calls)(stream) for _ in range(60)] + [stream.read()])

    body = bytes(rng.choice(b"abc\n") for _ in range(rng.choice([50, 40_000])))
    assert read_with(reader, body, rng.choice(["length", "chunked"])) == body


@pytest.mark.spec("W-INPUT-08")
def test_chunk_extensions_and_trailers_are_not_in_the_body() -> None:
    bodies: list[tuple[bytes, bool]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        bodies.append((environ["wsgi.input"].read(), "HTTP_X_TRAILER" in environ))
        return hello(environ, start_response)

    with serve(application) as site, RawClient(site) as client:
        client.send(
            request_bytes("/", "POST", fields=[("Transfer-Encoding", "chunked")]),
            b"3;name=value\r\nabc\r\n2;x\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n",
        )
        assert client.answer().status == 200
    assert bodies == [(b"abcde", False)]


BREAKS: dict[str, tuple[list[tuple[str, str]], bytes]] = {
    "length cut short": ([("Content-Length", "500000")], b"x" * 150_000),
    "chunk cut short": ([("Transfer-Encoding", "chunked")], b"30000\r\n" + b"x" * 150_000),
    "no last chunk": ([("Transfer-Encoding", "chunked")], b"20000\r\n" + b"x" * 0x20000 + b"\r\n"),
    "chunk size is no number": ([("Transfer-Encoding", "chunked")], b"20000\r\n" + b"x" * 0x20000 + b"\r\nzz\r\n"),
    "chunk without its end": ([("Transfer-Encoding", "chunked")], b"20000\r\n" + b"x" * 0x20000 + b"yy"),
}


@pytest.mark.spec("W-INPUT-09")
@pytest.mark.parametrize("method", ["read", "read(n)", "readline", "iterate"])
@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_upload_raises_instead_of_ending(broken: str, method: str, caplog: pytest.LogCaptureFixture) -> None:
    outcome: list[Any] = []
    done = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        try:
            if method == "read":
                outcome.append(stream.read())
            elif method == "read(n)":
                outcome.append(list(iter(lambda: stream.read(10_000), b"")))
            elif method == "readline":
                outcome.append(stream.readline())
            else:
                outcome.append(list(stream))
        except OSError as error:
            outcome.append(error)
            raise
        finally:
            done.set()
        return hello(environ, start_response)

    fields, body = BREAKS[broken]
    with serve(application, request_buffer_bytes=16384) as site, RawClient(site) as client:
        client.send(request_bytes("/", "POST", fields=fields), body)
        client.half_close()
        assert done.wait(DEADLINE_S)
        assert b"200" not in client.rest().split(b"\r\n")[0]
    assert len(outcome) == 1 and isinstance(outcome[0], OSError)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


@pytest.mark.spec("W-INPUT-09")
@pytest.mark.parametrize(
    "fields", [[("Content-Length", "10")], [("Transfer-Encoding", "chunked")]], ids=["length", "chunked"]
)
def test_a_small_broken_upload_never_looks_complete(fields: list[tuple[str, str]]) -> None:
    whole: list[bytes] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        whole.append(environ["wsgi.input"].read())
        return hello(environ, start_response)

    with serve(application) as site, RawClient(site) as client:
        client.send(request_bytes("/", "POST", fields=fields), b"5\r\nabc")
        client.half_close()
        assert b" 200 " not in client.rest()
        assert fetch(site, "/", "POST", body=b"later").status == 200
    assert whole == [b"later"]


@pytest.mark.spec("W-INPUT-11", "W-INPUT-07")
def test_an_upload_that_nobody_reads_is_not_taken_in() -> None:
    release = threading.Event()
    sizes: list[int] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        wait_for(release)
        sizes.append(sum(map(len, iter(lambda: environ["wsgi.input"].read(65536), b""))))
        return hello(environ, start_response)

    total = 64_000_000
    with serve(application) as site, RawClient(site) as client:
        client.send(request_bytes("/", "POST", fields=[("Content-Length", str(total))]))
        client.socket.settimeout(0.3)
        block = b"x" * 500_000
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < total:
                sent += client.socket.send(block)
        # What the kernel's two buffers and the read-ahead hold, and no more.
        assert sent < 24_000_000
        release.set()
        client.socket.settimeout(DEADLINE_S)
        while sent < total:
            sent += client.socket.send(block[: total - sent])
        assert client.answer().status == 200
    assert sizes == [total]


@pytest.mark.spec("W-INPUT-12")
@pytest.mark.parametrize("size", [40, 30_000, 400_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_unread_body_is_never_the_next_request(framing: str, size: int) -> None:
    paths: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        paths.append(environ["PATH_INFO"])
        return hello(environ, start_response)

    hidden = request_bytes("/hidden") * (size // 40)
    with serve(application, request_buffer_bytes=16384) as site, RawClient(site) as client:
        if framing == "length":
            first = request_bytes("/first", "POST", body=hidden)
        else:
            first = request_bytes("/first", "POST", fields=[("Transfer-Encoding", "chunked")], body=chunked(hidden))
        sender = threading.Thread(target=_send_what_is_taken, args=(client, first + request_bytes("/second")))
        sender.start()
        assert client.answer().status == 200
        if not client.at_end():
            assert client.answer().body == b"hello"
        sender.join(DEADLINE_S)
    assert paths in (["/first"], ["/first", "/second"])


def _send_what_is_taken(client: RawClient, data: bytes) -> None:
    try:
        client.send(data)
    except ConnectionError:
        return


@pytest.mark.spec("W-INPUT-13")
def test_reading_after_the_answer_does_not_touch_the_next_request() -> None:
    kept: list[Any] = []
    late: list[Any] = []
    bodies: list[bytes] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for stream in kept:
            for method in ("read", "readline", "readlines"):
                try:
                    late.append(getattr(stream, method)())
                except (OSError, ValueError):
                    late.append(b"")
        kept.append(environ["wsgi.input"])
        if environ["PATH_INFO"] != "/unread":
            bodies.append(environ["wsgi.input"].read())
        return hello(environ, start_response)

    with serve(application) as site, RawClient(site) as client:
        client.send(
            request_bytes("/unread", "POST", body=b"old\n"),
            request_bytes("/read", "POST", body=b"second\n"),
            request_bytes("/read", "POST", body=b"third\n"),
        )
        for _ in range(3):
            assert client.answer().body == b"hello"
    assert bodies == [b"second\n", b"third\n"]
    # What was left of the old body may still be given; nothing of a later one.
    assert b"".join(piece if isinstance(piece, bytes) else b"".join(piece) for piece in late) in (b"", b"old\n")
