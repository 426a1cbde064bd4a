"""The sending half of HTTP/1 without a socket: files among chunks, trailers behind them, hints in front."""

import os
from pathlib import Path

import pytest

from trilithon.foundation.errors import AppStateError, AppValueError, ClientDisconnected
from trilithon.foundation.files import FileSpan
from trilithon.wire.exchange import Exchange, Peer
from trilithon.wire.http1 import Http1
from trilithon.wire.response import SentLine, asgi_head

from .inmemory import DATE_LINE, Memory, new_terms

CONTENT = b"0123456789"


class Paper(Memory):
    """A transport that writes files down as what they hold."""

    def write_span(self, span: FileSpan) -> None:
        while span.count:
            self.write(span.read(3))
        span.close()


class Line:
    """One connection, and the exchange of its first request."""

    def __init__(self, request: bytes) -> None:
        self.transport = Paper()
        self.terms = new_terms()
        self.machine = Http1(self.transport, self.terms, Peer(("192.0.2.1", 1), ("192.0.2.2", 80)))
        self.exchange = self.ask(request)

    def ask(self, request: bytes) -> Exchange:
        """Open the exchange of a request."""
        exchange = self.machine.receive(request + b"\r\nHost: a\r\n\r\n")
        assert exchange is not None
        return exchange

    def start(self, *fields: tuple[bytes, bytes]) -> None:
        """Hold a head ready."""
        head = asgi_head(200)
        head.read_asgi(fields)
        self.exchange.respond(head)

    def written(self) -> bytes:
        """Return what was written, without Date."""
        data = bytes(self.transport.written).replace(DATE_LINE, b"")
        self.transport.written.clear()
        return data

    def goes_on(self) -> bool:
        """Tell whether the connection serves the next request."""
        return not self.transport.closed and self.machine.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") is not None


GET = b"GET / HTTP/1.1"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a file."""
    file = tmp_path / "content"
    file.write_bytes(CONTENT)
    return file


def span_of(path: Path, offset: int = 0, count: int = len(CONTENT)) -> FileSpan:
    """Return a span of the file."""
    return FileSpan(os.open(path, os.O_RDONLY), offset, count)


@pytest.mark.spec("A-XZERO-02", "H1-RSP-04")
def test_a_file_is_one_chunk(path: Path) -> None:
    line = Line(GET)
    line.start()
    line.exchange.write_file(span_of(path, 2, 5))
    line.exchange.write(b"ab")
    line.exchange.write_file(span_of(path, 0, 0))
    line.exchange.write_file(span_of(path, 9, 1))
    assert line.written() == CHUNKED + b"5\r\n23456\r\n2\r\nab\r\n1\r\n9\r\n"
    line.exchange.end_with_file(span_of(path, 0, 10))
    assert line.written() == b"a\r\n0123456789\r\n0\r\n\r\n"
    assert line.goes_on()


@pytest.mark.spec("A-XZERO-02")
@pytest.mark.parametrize("size", [1, 16_384, 16_385, 100_000])
@pytest.mark.parametrize("framing", ["chunked", "declared", "whole"])
def test_files_of_every_size_are_framed_alike(size: int, framing: str, path: Path) -> None:
    data = os.urandom(size)
    path.write_bytes(data)
    line = Line(GET)
    line.start(*[(b"content-length", b"%d" % (2 * size))] if framing == "declared" else [])
    if framing != "whole":
        line.exchange.write_file(span_of(path, 0, size))
    line.exchange.end_with_file(span_of(path, 0, size))
    head, _, body = line.written().partition(b"\r\n\r\n")
    if framing == "chunked":
        assert b"chunked" in head
        assert body == 2 * (b"%x\r\n%b\r\n" % (size, data)) + b"0\r\n\r\n"
    else:
        assert head.endswith(b"Content-Length: %d" % len(body))
        assert body == data * (1 if framing == "whole" else 2)
    assert line.goes_on()


@pytest.mark.spec("A-XPATH-04")
@pytest.mark.parametrize("final", [False, True])
def test_a_small_file_that_shrank_raises_and_leaves_the_answer_open(final: bool, path: Path) -> None:
    line = Line(GET)
    line.start()
    span = span_of(path)
    os.truncate(path, 5)
    with pytest.raises(EOFError):
        if final:
            line.exchange.end_with_file(span)
        else:
            line.exchange.write_file(span)
    assert span.fd == -1
    line.exchange.end(b"else")
    assert line.written().endswith(b"Content-Length: 4\r\n\r\nelse")


@pytest.mark.spec("A-XZERO-02")
def test_a_file_as_the_whole_body_declares_its_length(path: Path) -> None:
    line = Line(GET)
    line.start()
    line.exchange.end_with_file(span_of(path, 1, 4))
    assert line.written() == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1234"
    assert line.goes_on()


@pytest.mark.spec("A-XZERO-02")
def test_a_file_within_a_declared_length(path: Path) -> None:
    line = Line(GET)
    line.start((b"content-length", b"7"))
    line.exchange.write_file(span_of(path, 0, 3))
    with pytest.raises(AppValueError):
        line.exchange.write_file(span_of(path, 0, 5))
    line.exchange.end_with_file(span_of(path, 0, 4))
    assert line.written().endswith(b"Content-Length: 7\r\n\r\n0120123")


@pytest.mark.spec("A-XZERO-03")
def test_a_span_is_closed_whatever_is_raised(path: Path) -> None:
    line = Line(GET)
    spans = [span_of(path) for _ in range(4)]
    with pytest.raises(AppStateError):
        line.exchange.write_file(spans[0])
    line.start((b"content-length", b"3"))
    with pytest.raises(AppValueError):
        line.exchange.end_with_file(spans[1])
    line.exchange.end(b"abc")
    with pytest.raises(AppStateError):
        line.exchange.end_with_file(spans[2])
    line.machine.lose()
    line.exchange.lose()
    line.exchange.outbound = type(line.exchange.outbound).LOST
    with pytest.raises(ClientDisconnected):
        line.exchange.write_file(spans[3])
    assert [span.fd for span in spans] == [-1] * 4


@pytest.mark.spec("A-XTRAIL-02", "A-XTRAIL-04")
def test_trailers_stand_behind_the_last_chunk() -> None:
    line = Line(GET + b"\r\nTE: trailers")
    line.start()
    line.exchange.write(b"ab")
    line.exchange.end_with_trailers([SentLine(b"Digest", b"x"), SentLine(b"more", b"")])
    assert line.written() == CHUNKED + b"2\r\nab\r\n0\r\nDigest: x\r\nmore: \r\n\r\n"
    assert line.goes_on()


@pytest.mark.spec("A-XTRAIL-02", "A-XTRAIL-04")
@pytest.mark.parametrize(
    ("request_line", "fields", "expected"),
    [
        (GET, [], CHUNKED + b"2\r\nab\r\n0\r\n\r\n"),
        (GET + b"\r\nTE: trailers", [(b"content-length", b"2")], b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"),
        (b"GET / HTTP/1.0\r\nTE: trailers", [], b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab"),
        (b"HEAD / HTTP/1.1\r\nTE: trailers", [], b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
)
def test_trailers_that_have_no_place_are_dropped(
    request_line: bytes, fields: list[tuple[bytes, bytes]], expected: bytes
) -> None:
    line = Line(request_line)
    line.start(*fields)
    line.exchange.write(b"ab")
    line.exchange.end_with_trailers([SentLine(b"digest", b"x")])
    assert line.written() == expected


@pytest.mark.spec("A-XTRAIL-06", "A-RESP-14")
def test_trailers_do_not_make_up_for_a_short_body() -> None:
    line = Line(GET + b"\r\nTE: trailers")
    line.start((b"content-length", b"3"))
    line.exchange.write(b"ab")
    with pytest.raises(AppValueError):
        line.exchange.end_with_trailers([SentLine(b"digest", b"x")])
    assert line.transport.aborted


@pytest.mark.spec("H-EH-01", "H-EH-02")
def test_hints_stand_before_the_head_alone() -> None:
    line = Line(GET)
    carrier = line.exchange.carrier
    assert carrier.informs(line.exchange)
    carrier.inform(line.exchange, 103, b"Link: </a>\r\n")
    line.start()
    carrier.inform(line.exchange, 103, b"Link: </b>\r\n")
    assert line.written() == b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\nHTTP/1.1 103 \r\nLink: </b>\r\n\r\n"
    line.exchange.write(b"x")
    line.written()
    carrier.inform(line.exchange, 103, b"Link: </c>\r\n")
    old = line.exchange
    line.exchange.end(b"")
    line.ask(GET)
    carrier.inform(old, 103, b"Link: </d>\r\n")
    assert line.written() == b"0\r\n\r\n"


@pytest.mark.spec("H-EH-02", "A-XHINT-03")
@pytest.mark.parametrize("why", ["version", "option"])
def test_hints_may_be_unwanted(why: str) -> None:
    line = Line(b"GET / HTTP/1.0" if why == "version" else GET)
    line.terms.early_hints = why == "version"
    assert not line.exchange.carrier.informs(line.exchange)
    line.exchange.carrier.inform(line.exchange, 103, b"Link: </a>\r\n")
    assert line.written() == b""


@pytest.mark.parametrize("ahead", [b"", b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_server_that_parts_answers_what_was_read_ahead_first(ahead: bytes) -> None:
    line = Line(GET)
    assert line.machine.receive(ahead) is None if ahead else True
    line.terms.closing = line.terms.patient = True
    line.start((b"content-length", b"0"))
    line.exchange.end(b"")
    assert (b"Connection: close" in line.written()) is not bool(ahead)
    assert line.transport.closed is not bool(ahead)
    if ahead:
        following = line.machine.next()
        assert following is not None
        line.exchange = following
        line.start((b"content-length", b"0"))
        line.exchange.end(b"")
        assert b"Connection: close" in line.written()
        assert line.transport.closed


def test_a_head_that_has_begun_to_come_is_waited_for() -> None:
    line = Line(GET)
    line.start((b"content-length", b"0"))
    line.exchange.end(b"")
    assert line.machine.receive(b"GET / HTTP/1.1\r\nHo") is None
    line.terms.closing = True
    line.machine.retire()
    assert not line.transport.closed
    line.written()
    following = line.machine.receive(b"st: a\r\n\r\n")
    assert following is not None
    line.exchange = following
    line.start((b"content-length", b"0"))
    line.exchange.end(b"")
    assert b"Connection: close" in line.written()
    assert line.transport.closed
