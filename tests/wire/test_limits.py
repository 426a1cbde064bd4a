"""Every limit of a message at N and at N+1, with the bytes cut anywhere (http.md 11)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from trilithon.foundation.limits import MessageLimits

from .inmemory import Outcome, drive
from .replies import read_replies

LIMITS = MessageLimits(
    max_method_bytes=8,
    max_request_line_bytes=60,
    max_field_bytes=50,
    max_head_bytes=200,
    max_fields=6,
    max_trailer_bytes=60,
    max_trailer_fields=3,
    max_chunk_extension_bytes=12,
    max_chunk_extensions_bytes=30,
    max_body_bytes=100,
)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Limit:
    """How a request is made that uses exactly `n` of a limit, what N is, and the statuses that may refuse N+1."""

    name: str
    request: Callable[[int], bytes]
    most: int
    refused: tuple[int, ...]
    limits: MessageLimits = LIMITS


def request_line(n: int) -> bytes:
    return b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * (n - len(b"GET / HTTP/1.1")))


def section(n: int) -> bytes:
    """A section of `n` bytes, the closing CRLF of its last line left out as that of a field is."""
    fields = b"\r\nHost: a" + b"\r\nX: %b" % (b"y" * 40) * 4
    return b"GET / HTTP/1.1" + fields + b"\r\nY: %b\r\n\r\n" % (b"z" * (n - len(fields) - len(b"\r\nY: ")))


def trailers(n: int) -> bytes:
    """A trailer section of `n` bytes, each line with its CRLF."""
    return CHUNKED + b"0\r\nX: %b\r\n" % (b"y" * 30) + b"Z: %b\r\n\r\n" % (b"z" * (n - 35 - 5))


def extensions(n: int) -> bytes:
    """A body with `n` bytes of extensions over its chunks, the semicolons counted."""
    whole, rest = divmod(n, 10)
    chunks = b"1;aaaaaaaaa\r\nx\r\n" * whole + (b"1;%b\r\nx\r\n" % (b"a" * (rest - 1)) if rest else b"")
    return CHUNKED + chunks + b"0\r\n\r\n"


def chunks(n: int) -> bytes:
    return (
        CHUNKED
        + b"5\r\nhello\r\n" * (n // 5)
        + (b"%x\r\n%b\r\n" % (n % 5, b"y" * (n % 5)) if n % 5 else b"")
        + b"0\r\n\r\n"
    )


CASES = [
    Limit("method", lambda n: b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % (b"M" * n), 8, (501,)),
    Limit("request line", request_line, 60, (414,)),
    Limit("field", lambda n: GET + b"X: %b\r\n\r\n" % (b"y" * (n - 3)), 50, (431,)),
    Limit("first field", lambda n: b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % (b"a" * (n - 6)), 50, (431,)),
    Limit("field without value", lambda n: GET + b"%b:\r\n\r\n" % (b"y" * (n - 1)), 50, (431,)),
    Limit("section", section, 200, (431,)),
    Limit("section below the limit of a field", section, 200, (431,), replace(LIMITS, max_field_bytes=4096)),
    Limit("fields", lambda n: GET + b"X:\r\n" * (n - 1) + b"\r\n", 6, (431,)),
    Limit("trailer section", trailers, 60, (431, 413, 400)),
    Limit("trailers", lambda n: CHUNKED + b"0\r\n" + b"X:\r\n" * n + b"\r\n", 3, (431, 413, 400)),
    Limit("extension", lambda n: CHUNKED + b"1;%b\r\nx\r\n0\r\n\r\n" % (b"a" * (n - 1)), 12, (400, 413)),
    Limit("extension of the last chunk", lambda n: CHUNKED + b"0;%b\r\n\r\n" % (b"a" * (n - 1)), 12, (400, 413)),
    Limit("extensions", extensions, 30, (400, 413)),
    Limit("length", lambda n: POST + b"Content-Length: %d\r\n\r\n%b" % (n, b"x" * n), 100, (413,)),
    Limit("chunked body", chunks, 100, (413,)),
    Limit("one chunk", lambda n: CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (n, b"x" * n), 100, (413,)),
]  # fmt: skip
EACH = pytest.mark.parametrize("limit", CASES, ids=[limit.name for limit in CASES])


def every_cut(data: bytes, limits: MessageLimits) -> list[tuple[str, Outcome]]:
    """Run `data` whole, cut in two at every place, and byte by byte."""
    runs = [("whole", [data])]
    runs += [(f"cut at {place}", [data[:place], data[place:]]) for place in range(1, len(data))]
    runs.append(("byte by byte", [data[place : place + 1] for place in range(len(data))]))
    return [(how, drive(pieces, limits=limits)) for how, pieces in runs]


@pytest.mark.spec(
    "H-LIM-01", "H-LIM-02", "H-LIM-03", "H-LIM-04", "H1-LINE-06", "H1-LINE-11", "H1-HDR-11", "H1-CHK-05", "H1-CHK-09",
    "H1-BODY-15",
)  # fmt: skip
@EACH
def test_what_is_allowed_is_served(limit: Limit) -> None:
    for how, outcome in every_cut(limit.request(limit.most), limit.limits):
        replies, _ = read_replies(outcome.written, [], ended=False)
        assert [reply.status for reply in replies] == [200], how
        assert not outcome.closed, how


@pytest.mark.spec(
    "H-LIM-01", "H-LIM-02", "H-LIM-03", "H-LIM-04", "H1-LINE-06", "H1-LINE-11", "H1-HDR-11", "H1-CHK-05", "H1-CHK-09",
    "H1-BODY-15",
)  # fmt: skip
@EACH
def test_one_more_is_refused(limit: Limit) -> None:
    seen = set()
    for how, outcome in every_cut(limit.request(limit.most + 1), limit.limits):
        replies, _ = read_replies(outcome.written, [], ended=False)
        assert [reply.status for reply in replies][0:1] != [200], how
        assert outcome.closed, how
        assert not any(call.complete for call in outcome.calls), how
        seen |= {reply.status for reply in replies}
    assert len(seen) == 1, f"the status depends on the cut: {seen}"
    assert seen <= set(limit.refused)


@pytest.mark.spec("H1-LINE-11", "H1-HDR-11", "H1-CHK-05", "H1-CHK-09")
@pytest.mark.parametrize(
    ("endless", "most"),
    [
        (b"GET /" + b"x" * 1000, 65),
        (b"M" * 1000, 65),
        (b"GET / HTTP/1.1\r\nHost: " + b"a" * 1000, 80),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 100, 230),
        (b"GET / HTTP/1.1\r\n" + b"X:\r\n" * 100, 60),
        (CHUNKED + b"1;" + b"a" * 1000, len(CHUNKED) + 40),
        (CHUNKED + b"0" * 1000, len(CHUNKED) + 40),
        (CHUNKED + b"0\r\nX: " + b"y" * 1000, len(CHUNKED) + 3 + 70),
        (CHUNKED + b"0\r\n" + b"X:\r\n" * 100, len(CHUNKED) + 3 + 20),
    ],
    ids=["target", "method", "field", "section", "fields", "extension", "chunk size", "trailer", "trailers"],
)
def test_what_has_no_end_is_refused_before_it_ends(endless: bytes, most: int) -> None:
    """`most` bounds how many bytes are taken in before the refusal, so that nothing grows without bound."""
    for taken in range(1, most):
        if drive([endless[place : place + 1] for place in range(taken)], limits=LIMITS).closed:
            return
    pytest.fail(f"{most} bytes were taken without a refusal")


@pytest.mark.spec("H1-BODY-15", "H1-BODY-03")
@pytest.mark.parametrize("length", [101, 2**31, 2**32 + 5, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**20 - 1])
def test_a_length_above_the_limit_is_refused_by_the_head_alone(length: int) -> None:
    outcome = drive([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length], limits=LIMITS)
    replies, _ = read_replies(outcome.written, [], ended=True)
    assert [reply.status for reply in replies] == [413]
    assert outcome.closed
    assert not outcome.calls


@pytest.mark.spec("H1-BODY-03", "H1-CHK-02")
@pytest.mark.parametrize("length", [2**31, 2**32 + 5, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**20 - 1])
def test_a_huge_length_without_a_limit_overflows_nothing(length: int) -> None:
    without = replace(LIMITS, max_body_bytes=0)
    for data in (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length,
        CHUNKED + b"%x\r\n" % min(length, 2**64 - 1),
    ):
        outcome = drive([data, b"hello", CHUNKED + b"0\r\n\r\n"], limits=without)
        assert not any(call.complete for call in outcome.calls)
        replies, _ = read_replies(outcome.written, [], ended=outcome.closed)
        assert [reply.status for reply in replies] in ([], [413], [400])
