"""Files over HTTP/2 without a socket: cut into frames as windows and turns allow, closed whatever happens."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trilithon.foundation.errors import AppValueError, ClientDisconnected
from trilithon.foundation.files import FileSpan
from trilithon.wire.exchange import Exchange
from trilithon.wire.h2_codes import DATA, END_STREAM, HEADERS, RST_STREAM
from trilithon.wire.response import SentLine

from .h2_memory import GET, Script, content, headers, news, release, reset, settings, start, update

CONTENT = os.urandom(200_000)
INITIAL_WINDOW_SIZE = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a file."""
    file = tmp_path / "content"
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def spans(path: Path) -> Iterator[list[FileSpan]]:
    """Collect the spans of a test, all of which are closed at its end."""
    found: list[FileSpan] = []
    yield found
    assert [span.fd for span in found] == [-1] * len(found)


def span_of(path: Path, spans: list[FileSpan], offset: int = 0, count: int = len(CONTENT)) -> FileSpan:
    """Return a span of the file."""
    span = FileSpan(os.open(path, os.O_RDONLY), offset, count)
    spans.append(span)
    return span


def opened(script: Script, stream_id: int = 1, fields: list[tuple[bytes, bytes]] | None = None) -> Exchange:
    """Open a stream and hold a response head ready."""
    exchange = script.one(headers(stream_id, GET))
    start(exchange, 200, fields)
    return exchange


@pytest.mark.spec("A-XPATH-04", "H2-FLOW-01")
def test_a_file_is_sent_as_the_windows_allow(path: Path, spans: list[FileSpan]) -> None:
    script = Script()
    exchange = opened(script)
    exchange.end_with_file(span_of(path, spans))
    release(exchange)
    frames = script.frames()
    assert [sent.kind for sent in frames[:2]] == [HEADERS, DATA]
    assert (b"content-length", b"200000") in frames[0].fields
    got = content(frames, 1)
    assert got == CONTENT[:65535]
    assert spans[0].count == len(CONTENT) - 65535  # what is not sent is not read
    while len(got) < len(CONTENT):
        script.send(update(0, 50_000), update(1, 50_000))
        frames = script.frames()
        assert max(len(sent.payload) for sent in frames) <= 16384
        got += content(frames, 1)
    assert got == CONTENT
    assert frames[-1].flags & END_STREAM
    assert script.transport.over == [exchange]


def test_a_full_transport_is_not_read_for(path: Path, spans: list[FileSpan]) -> None:
    script = Script(greet=True)
    script.send(settings((INITIAL_WINDOW_SIZE, 2**31 - 1)), update(0, 2**31 - 65536))
    script.transport.full = True
    exchange = opened(script)
    exchange.end_with_file(span_of(path, spans))
    assert content(script.frames(), 1) == b""
    assert spans[0].count == len(CONTENT)
    script.transport.full = False
    script.machine.drained()
    assert content(script.frames(), 1) == CONTENT


def test_bytes_and_files_keep_their_order(path: Path, spans: list[FileSpan]) -> None:
    script = Script()
    exchange = opened(script)
    expected = b""
    for number in range(5):
        exchange.write(b"<%d>" % number * 5000)
        exchange.write_file(span_of(path, spans, number * 10, 20_000))
        exchange.write_file(span_of(path, spans, 0, 0))
        expected += b"<%d>" % number * 5000 + CONTENT[number * 10 : number * 10 + 20_000]
    exchange.end(b"end")
    got = content(script.frames(), 1)
    while len(got) < len(expected) + 3:
        script.send(update(0, 7001), update(1, 7001))
        got += content(script.frames(), 1)
    assert got == expected + b"end"


@pytest.mark.parametrize("way", ["reset by the client", "broken off", "connection lost", "refused"])
def test_the_file_is_closed_however_the_stream_ends(way: str, path: Path, spans: list[FileSpan]) -> None:
    script = Script()
    exchange = opened(script)
    exchange.write_file(span_of(path, spans))
    exchange.write_file(span_of(path, spans))
    assert [span.fd >= 0 for span in spans] == [True, True]
    if way == "reset by the client":
        script.send(reset(1))
    elif way == "broken off":
        exchange.abort()
    elif way == "refused":
        exchange.refuse(500)
    else:
        script.machine.lose()
    assert [span.fd for span in spans] == [-1, -1]
    with pytest.raises(ClientDisconnected):
        exchange.write_file(span_of(path, spans))


@pytest.mark.spec("A-XPATH-04", "W-FILE-03")
@pytest.mark.parametrize("final", [False, True])
def test_a_file_that_shrinks_resets_its_stream_alone(final: bool, path: Path, spans: list[FileSpan]) -> None:
    script = Script()
    exchange = opened(script)
    if final:
        exchange.end_with_file(span_of(path, spans))
    else:
        exchange.write_file(span_of(path, spans))
    script.frames()
    os.truncate(path, 1000)
    script.send(update(1, 100_000), update(0, 100_000))
    (only,) = [sent for sent in script.frames() if sent.kind != DATA]
    assert (only.kind, only.code) == (RST_STREAM, 2)
    assert script.transport.over == [exchange]
    assert "lost" in news(exchange)
    release(exchange)
    assert script.alive()


def test_more_than_declared_is_never_queued(path: Path, spans: list[FileSpan]) -> None:
    script = Script()
    exchange = opened(script, fields=[(b"content-length", b"10")])
    with pytest.raises(AppValueError):
        exchange.write_file(span_of(path, spans, 0, 11))
    with pytest.raises(AppValueError):
        exchange.end_with_file(span_of(path, spans, 0, 9))
    exchange.end_with_file(span_of(path, spans, 0, 10))
    assert content(script.frames(), 1) == CONTENT[:10]


@pytest.mark.spec("A-XTRAIL-04")
def test_trailers_wait_behind_a_file(path: Path, spans: list[FileSpan]) -> None:
    script = Script()
    exchange = script.one(headers(1, [*GET, (b"te", b"trailers")]))
    start(exchange)
    exchange.write_file(span_of(path, spans))
    exchange.end_with_trailers([SentLine(b"digest", b"abc")])
    assert script.frames()[-1].kind == DATA
    script.send(update(1, 200_000), update(0, 200_000))
    *_, before, last = script.frames()
    assert (before.kind, before.flags & END_STREAM) == (DATA, 0)
    assert (last.kind, last.flags & END_STREAM, last.fields) == (HEADERS, END_STREAM, [(b"digest", b"abc")])


@pytest.mark.spec("A-XTRAIL-02")
@pytest.mark.parametrize("held", [False, True])
def test_a_client_without_te_gets_the_end_alone(held: bool) -> None:
    script = Script()
    exchange = opened(script)
    if not held:
        exchange.write(b"x")
    exchange.end_with_trailers([SentLine(b"digest", b"abc")])
    frames = script.frames()
    assert [sent.kind for sent in frames] == ([HEADERS] if held else [HEADERS, DATA, DATA])
    assert frames[-1].ended
    assert script.alive()


@pytest.mark.spec("A-XTRAIL-02")
def test_trailers_alone_follow_a_head_without_content() -> None:
    script = Script()
    exchange = script.one(headers(1, [*GET, (b"te", b"trailers")]))
    start(exchange)
    exchange.end_with_trailers([SentLine(b"grpc-status", b"0")])
    first, second = script.frames()
    assert (first.kind, first.ended) == (HEADERS, False)
    assert (second.kind, second.ended, second.fields) == (HEADERS, True, [(b"grpc-status", b"0")])
