"""Cost that grows with the bytes and not with how they are cut: tiny segments, tiny chunks, many fields."""

import time
from collections.abc import Callable

import pytest

from tests.wire.client import Client
from tests.wire.inmemory import Connection, drive, new_terms
from trilithon.foundation.limits import MessageLimits
from trilithon.testing import serve

from .applications import Reader

INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])
# Twice the input may cost twice the time; three times is noise, four times is a rescan.
GROWTH = 3.0


def seconds(run: Callable[[], object]) -> float:
    """Return the least processor time of three runs."""
    return min(timed(run) for _ in range(3))


def timed(run: Callable[[], object]) -> float:
    """Return the processor time of one run."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def grows_linearly(make: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Tell whether twice the size costs no more than a little over twice the time; noise gets three chances."""
    return any(seconds(make(2 * size)) < GROWTH * seconds(make(size)) for _ in range(3))


def bytewise(data: bytes, limits: MessageLimits) -> Callable[[], object]:
    """Return a run that feeds `data` byte by byte."""
    pieces = [data[place : place + 1] for place in range(len(data))]
    return lambda: drive(pieces, limits=limits)


WIDE = MessageLimits(max_request_line_bytes=10**7, max_field_bytes=10**7, max_head_bytes=10**7, max_fields=10**6)


@pytest.mark.spec("H1-HDR-11")
@pytest.mark.parametrize(
    ("unit", "size"),
    [(b"X: yyyyyyyyyyyyyyyy\r\n", 1500), (b"X:\r\n", 6000)],
    ids=["fields", "empty fields"],
)
def test_a_head_in_tiny_segments(unit: bytes, size: int) -> None:
    def make(count: int) -> Callable[[], object]:
        return bytewise(b"GET / HTTP/1.1\r\nHost: a\r\n" + unit * count + b"\r\n", WIDE)

    assert grows_linearly(make, size)


@pytest.mark.spec("H1-HDR-11", "H1-LINE-11")
@pytest.mark.parametrize(
    ("before", "behind"),
    [(b"GET /", b" HTTP/1.1\r\nHost: a\r\n\r\n"), (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n\r\n")],
    ids=["target", "value"],
)
def test_a_long_line_in_tiny_segments(before: bytes, behind: bytes) -> None:
    assert grows_linearly(lambda count: bytewise(before + b"y" * count + behind, WIDE), 20_000)


@pytest.mark.spec("H1-HDR-11")
def test_many_fields_in_one_piece() -> None:
    def make(count: int) -> Callable[[], object]:
        fields = b"".join(b"X-%d: y\r\n" % number for number in range(count))
        return lambda: drive([b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"], limits=WIDE)

    assert grows_linearly(make, 4000)


@pytest.mark.spec("H1-CHK-12")
@pytest.mark.parametrize("cut", [1, 7, 65536])
def test_tiny_chunks_in_memory(cut: int) -> None:
    def make(count: int) -> Callable[[], object]:
        data = (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * count + b"0\r\n\r\n"
        )
        pieces = [data[place : place + cut] for place in range(0, len(data), cut)]
        return lambda: drive(pieces)

    assert grows_linearly(make, 6000)


@pytest.mark.spec("H1-CON-04")
def test_many_pipelined_requests_in_memory() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

    def make(count: int) -> Callable[[], object]:
        def run() -> None:
            connection = Connection(new_terms())
            for place in range(0, count, 1000):
                connection.feed(request * min(1000, count - place))

        return run

    assert grows_linearly(make, 4000)


HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = MessageLimits(
    max_request_line_bytes=10**7,
    max_field_bytes=10**7,
    max_head_bytes=10**7,
    max_chunk_extension_bytes=10**7,
    max_chunk_extensions_bytes=10**7,
)


@pytest.mark.spec("H1-HDR-11", "H1-HOST-03", "H1-CHK-05")
@pytest.mark.parametrize(
    ("before", "unit", "behind"),
    [
        (b"GET / HTTP/1.1\r\nHost: ", b"a.", b"/\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: [", b":1", b"\r\n\r\n"),
        (b"GET http://", b"%41", b"@ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET ", b"a+", b":/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET /", b"%2", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (HEAD + b"X:", b" ", b"\r\n\r\n"),
        (HEAD + b"X: y", b" \t", b"z\r\n\r\n"),
        (HEAD + b"Connection: ", b", ,", b"close\r\n\r\n"),
        (HEAD + b"Transfer-Encoding: ", b"x,", b"chunked\r\n\r\n"),
        (HEAD + b"Content-Length: ", b"1", b"\r\n\r\n"),
        (HEAD + b"Expect: ", b"100-continue,", b"\r\n\r\n"),
        (CHUNKED + b"1", b";a=b", b";\r\nx\r\n0\r\n\r\n"),
        (CHUNKED + b'1;a="', b"\\x", b"\r\nx\r\n0\r\n\r\n"),
        (CHUNKED + b"1;a", b" ", b"!(\r\nx\r\n0\r\n\r\n"),
        (CHUNKED + b"1", b" ", b"!\r\nx\r\n0\r\n\r\n"),
        (CHUNKED, b"0", b"\r\n\r\n"),
        (CHUNKED + b"0\r\nX: ", b"y", b"\r\n\r\n"),
    ],
)
def test_no_value_makes_a_check_run_back_and_forth(before: bytes, unit: bytes, behind: bytes) -> None:
    def make(count: int) -> Callable[[], object]:
        data = before + unit * count + behind
        return lambda: drive([data], limits=LONG)

    assert grows_linearly(make, 40_000)


@pytest.mark.real
@pytest.mark.spec("H1-CHK-12")
@INTERFACES
def test_a_million_chunks_of_one_byte(interface: str) -> None:
    reader = Reader(interface)
    with serve(reader.application) as site, Client(site.host, site.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = b"1\r\nx\r\n" * 10_000
        for _ in range(100):
            client.send(block)
        client.send(b"0\r\n\r\n")
        (reply,) = client.replies(["POST"], count=1)
        assert reply.body == b"1000000"
        assert reader.events < 20_000
