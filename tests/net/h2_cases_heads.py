"""Cases of HTTP/2 about messages: field blocks, pseudo fields, what is not allowed, bodies and their lengths."""

from itertools import pairwise

import pytest

from tests.wire.h2_bytes import raw
from tests.wire.h2_memory import GET, POST, Pairs, block, data, headers
from trilithon.wire.h2_codes import CONTINUATION, DATA, HEADERS, PRIORITY, PROTOCOL_ERROR

from .h2_peer import HEAD, Case, alive, answered, refused, was_reset
from .h2_site import GREETING

mark = pytest.mark

METHOD, SCHEME, PATH, AUTHORITY = GET
OPEN = headers(1, POST, end=False)


def declared(length: bytes) -> bytes:
    """Return the head of a POST that says how long its body is."""
    return headers(1, [*POST, (b"content-length", length)], end=False)


def cut(*pieces: int) -> list[bytes]:
    """Return a request whose block comes in CONTINUATION frames, cut at these places."""
    code = block(GET)
    places = [0, *pieces, len(code)]
    parts = [code[start:end] for start, end in pairwise(places)]
    frames = [raw(HEADERS, 1, 1, parts[0])]
    frames += [raw(CONTINUATION, 0, 1, part) for part in parts[1:-1]]
    return [*frames, raw(CONTINUATION, 4, 1, parts[-1])]


MALFORMED: list[tuple[str, pytest.MarkDecorator, Pairs]] = [
    ("8.2.1 upper case in a name", mark.spec("H2-HDR-02"), [*GET, (b"X-Judge", b"yes")]),
    ("8.2.1 a space in a name", mark.spec("H2-HDR-02"), [*GET, (b"x judge", b"yes")]),
    ("8.2.1 a control in a name", mark.spec("H2-HDR-02"), [*GET, (b"x\x01", b"yes")]),
    ("8.2.1 an octet above 0x7f in a name", mark.spec("H2-HDR-02"), [*GET, (b"x\xe9", b"yes")]),
    ("8.2.1 a colon in a name", mark.spec("H2-HDR-02"), [*GET, (b"x:y", b"yes")]),
    ("8.2.1 no name", mark.spec("H2-HDR-02"), [*GET, (b"", b"yes")]),
    ("8.2.1 a name that is no token", mark.spec("H2-HDR-04"), [*GET, (b"x{y}", b"yes")]),
    ("8.2.1 a control in a value", mark.spec("H2-HDR-04"), [*GET, (b"x", b"y\x07")]),
    ("8.2.1 NUL in a value", mark.spec("H2-HDR-03"), [*GET, (b"x", b"a\x00b")]),
    ("8.2.1 CR LF in a value", mark.spec("H2-HDR-03"), [*GET, (b"x", b"a\r\nb: c")]),
    ("8.2.1 LF in a value", mark.spec("H2-HDR-03"), [*GET, (b"x", b"a\nb")]),
    ("8.2.1 a space before a value", mark.spec("H2-HDR-03"), [*GET, (b"x", b" a")]),
    ("8.2.1 a tab behind a value", mark.spec("H2-HDR-03"), [*GET, (b"x", b"a\t")]),
    ("8.2.2 connection", mark.spec("H2-HDR-05"), [*GET, (b"connection", b"keep-alive")]),
    ("8.2.2 keep-alive", mark.spec("H2-HDR-05"), [*GET, (b"keep-alive", b"timeout=5")]),
    ("8.2.2 proxy-connection", mark.spec("H2-HDR-05"), [*GET, (b"proxy-connection", b"keep-alive")]),
    ("8.2.2 transfer-encoding", mark.spec("H2-HDR-05"), [*GET, (b"transfer-encoding", b"chunked")]),
    ("8.2.2 upgrade", mark.spec("H2-HDR-05"), [*GET, (b"upgrade", b"websocket")]),
    ("8.2.2 te of something else", mark.spec("H2-HDR-05"), [*GET, (b"te", b"trailers, deflate;q=0.5")]),
    ("8.3 an unknown pseudo field", mark.spec("H2-HDR-06"), [*GET, (b":judge", b"yes")]),
    ("8.3 a pseudo field of responses", mark.spec("H2-HDR-06"), [*GET, (b":status", b"200")]),
    ("8.3 a pseudo field behind others", mark.spec("H2-HDR-06"), [METHOD, SCHEME, (b"x", b"y"), PATH, AUTHORITY]),
    ("8.3.1 no :method", mark.spec("H2-HDR-07"), [SCHEME, PATH, AUTHORITY]),
    ("8.3.1 no :scheme", mark.spec("H2-HDR-07"), [METHOD, PATH, AUTHORITY]),
    ("8.3.1 no :path", mark.spec("H2-HDR-07"), [METHOD, SCHEME, AUTHORITY]),
    ("8.3.1 an empty :path", mark.spec("H2-HDR-07", "H2-HDR-08"), [METHOD, SCHEME, (b":path", b""), AUTHORITY]),
    ("8.3.1 :method twice", mark.spec("H2-HDR-06", "H2-HDR-07"), [METHOD, *GET]),
    ("8.3.1 :scheme twice", mark.spec("H2-HDR-06", "H2-HDR-07"), [*GET, SCHEME]),
    ("8.3.1 :path twice", mark.spec("H2-HDR-06", "H2-HDR-07"), [*GET, PATH]),
    ("8.3.1 :authority twice", mark.spec("H2-HDR-06", "H2-HDR-11"), [*GET, AUTHORITY]),
    ("8.3.1 a :path without a slash", mark.spec("H2-HDR-08"), [METHOD, SCHEME, (b":path", b"index"), AUTHORITY]),
    ("8.3.1 an asterisk for GET", mark.spec("H2-HDR-08"), [METHOD, SCHEME, (b":path", b"*"), AUTHORITY]),
    ("8.3.1 a space in :path", mark.spec("H2-HDR-08"), [METHOD, SCHEME, (b":path", b"/ HTTP/1.1"), AUTHORITY]),
    ("8.3.1 a fragment in :path", mark.spec("H2-HDR-08"), [METHOD, SCHEME, (b":path", b"/a#b"), AUTHORITY]),
    (
        "8.3.1 a request line in :method",
        mark.spec("H2-HDR-12"),
        [(b":method", b"GET / HTTP/1.1\r\nx: y"), SCHEME, PATH, AUTHORITY],
    ),
    ("8.3.1 an unknown :scheme", mark.spec("H2-HDR-12"), [METHOD, (b":scheme", b"gopher"), PATH, AUTHORITY]),
    (
        "8.3.1 user information in :authority",
        mark.spec("H2-HDR-09"),
        [METHOD, SCHEME, PATH, (b":authority", b"me@a.test")],
    ),
    ("8.3.1 an :authority that is none", mark.spec("H2-HDR-09"), [METHOD, SCHEME, PATH, (b":authority", b"a.test/b")]),
    ("8.3.1 a host that differs", mark.spec("H2-HDR-10"), [*GET, (b"host", b"b.test")]),
    ("8.3.1 host twice", mark.spec("H2-HDR-11"), [*GET[:3], (b"host", b"a.test"), (b"host", b"a.test")]),
    ("8.3.1 neither :authority nor host", mark.spec("H2-HDR-15"), GET[:3]),
    ("8.3.1 an empty :authority", mark.spec("H2-HDR-15"), [*GET[:3], (b":authority", b"")]),
    ("8.1.1 content-length that is no number", mark.spec("H2-HDR-14"), [*GET, (b"content-length", b"+1")]),
    (
        "8.1.1 content-lengths that differ",
        mark.spec("H2-HDR-14"),
        [*GET, (b"content-length", b"0"), (b"content-length", b"1")],
    ),
    ("8.1.1 content-length and no content", mark.spec("H2-STR-12"), [*POST, (b"content-length", b"1")]),
    ("8.5 CONNECT with a :path", mark.spec("H2-HDR-18"), [(b":method", b"CONNECT"), PATH, AUTHORITY]),
    ("8441 :protocol without CONNECT", mark.spec("H2-HDR-18"), [*GET, (b":protocol", b"websocket")]),
]
WELL: list[tuple[str, pytest.MarkDecorator, Pairs]] = [
    ("8.2.2 te: trailers", mark.spec("H2-HDR-05"), [*GET, (b"te", b"trailers")]),
    ("8.2.3 cookie crumbs", mark.spec("H2-HDR-13"), [*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")]),
    ("8.3.1 host alone", mark.spec("H2-HDR-10"), [*GET[:3], (b"host", b"a.test")]),
    ("8.3.1 host the same", mark.spec("H2-HDR-10"), [*GET, (b"host", b"a.test")]),
    ("8.3.1 a query", mark.spec("H2-HDR-08"), [METHOD, SCHEME, (b":path", b"/?a=b%20c"), AUTHORITY]),
    ("8.2.1 an empty value", mark.spec("H2-HDR-03"), [*GET, (b"x", b"")]),
    ("8.2.1 octets above 0x7f in a value", mark.spec("H2-HDR-04"), [*GET, (b"x", b"\xc3\xa9 \t~")]),
]
HEADS = [
    *(Case(name, lines, [headers(1, pairs), was_reset(1, PROTOCOL_ERROR)]) for name, lines, pairs in MALFORMED),
    *(Case(name, lines, [headers(1, pairs), answered(1, GREETING)]) for name, lines, pairs in WELL),
    # RFC 9113 6.10
    Case("6.10 one CONTINUATION", mark.spec("H2-STR-10"), [*cut(20), answered(1, GREETING)]),
    Case("6.10 several CONTINUATION", mark.spec("H2-STR-10"), [*cut(1, 2, 30, 30), answered(1, GREETING)]),
    Case("6.10 one behind an empty HEADERS", mark.spec("H2-STR-10"), [*cut(0), answered(1, GREETING)]),
    Case(
        "6.10 interrupted by DATA", mark.spec("H2-STR-10"), [*cut(20, 30)[:2], data(1, b"x"), refused(PROTOCOL_ERROR)]
    ),
    Case("6.10 on stream 0", mark.spec("H2-STR-10"), [*cut(20)[:1], raw(CONTINUATION, 4, 0), refused(PROTOCOL_ERROR)]),
    Case(
        "6.10 of another stream",
        mark.spec("H2-STR-10"),
        [*cut(20)[:1], raw(CONTINUATION, 4, 3), refused(PROTOCOL_ERROR)],
    ),
    Case("6.10 behind whole HEADERS", mark.spec("H2-STR-10"), [OPEN, raw(CONTINUATION, 4, 1), refused(PROTOCOL_ERROR)]),
    Case("6.10 behind its last", mark.spec("H2-STR-10"), [*cut(20), raw(CONTINUATION, 4, 1), refused(PROTOCOL_ERROR)]),
    Case(
        "6.10 behind DATA",
        mark.spec("H2-STR-10"),
        [OPEN, data(1, b"x"), raw(CONTINUATION, 4, 1), refused(PROTOCOL_ERROR)],
    ),
    Case(
        "6.10 a block within a block", mark.spec("H2-STR-10"), [*cut(20)[:1], headers(1, GET), refused(PROTOCOL_ERROR)]
    ),
    Case(
        "6.10 PRIORITY within",
        mark.spec("H2-STR-10"),
        [*cut(20)[:1], raw(PRIORITY, 0, 3, bytes(5)), refused(PROTOCOL_ERROR)],
    ),
    # RFC 9113 8.1
    Case("8.1 GET", mark.spec("H2-STR-15"), [headers(1, GET), answered(1, GREETING)]),
    Case("8.1 HEAD", mark.spec("H2-STR-15"), [headers(1, HEAD), answered(1, b"")]),
    Case("8.1 POST", mark.spec("H2-STR-15"), [OPEN, data(1, b"body", end=True), answered(1, b"body")]),
    Case("8.1 POST without a body", mark.spec("H2-STR-15"), [headers(1, POST), answered(1, b"")]),
    Case(
        "8.1 POST with trailers",
        mark.spec("H2-STR-11"),
        [OPEN, data(1, b"body"), headers(1, [(b"x-sum", b"1")]), answered(1, b"body")],
    ),
    Case(
        "8.1 trailers in CONTINUATION",
        mark.spec("H2-STR-11"),
        [OPEN, raw(HEADERS, 1, 1), raw(CONTINUATION, 4, 1), answered(1, b"")],
    ),
    Case(
        "8.1 HEADERS that do not end the stream",
        mark.spec("H2-STR-11"),
        [OPEN, data(1, b"body"), headers(1, [(b"x", b"y")], end=False), was_reset(1, PROTOCOL_ERROR)],
    ),
    Case(
        "8.1 a pseudo field in trailers",
        mark.spec("H2-STR-11", "H2-HDR-06"),
        [OPEN, data(1, b"body"), headers(1, [METHOD]), was_reset(1, PROTOCOL_ERROR)],
    ),
    Case(
        "8.1 a connection field in trailers",
        mark.spec("H2-HDR-05"),
        [OPEN, headers(1, [(b"connection", b"close")]), was_reset(1, PROTOCOL_ERROR)],
    ),
    Case(
        "8.1.1 as long as declared",
        mark.spec("H2-STR-12"),
        [declared(b"4"), data(1, b"body", end=True), answered(1, b"body")],
    ),
    Case(
        "8.1.1 shorter",
        mark.spec("H2-STR-12"),
        [declared(b"5"), data(1, b"body", end=True), was_reset(1, PROTOCOL_ERROR)],
    ),
    Case(
        "8.1.1 longer",
        mark.spec("H2-STR-12"),
        [declared(b"3"), data(1, b"body", end=True), was_reset(1, PROTOCOL_ERROR)],
    ),
    Case(
        "8.1.1 longer at once", mark.spec("H2-STR-12"), [declared(b"3"), data(1, b"body"), was_reset(1, PROTOCOL_ERROR)]
    ),
    Case(
        "8.1.1 shorter over several",
        mark.spec("H2-STR-12"),
        [declared(b"9"), data(1, b"bo"), data(1, b"dy", end=True), was_reset(1, PROTOCOL_ERROR)],
    ),
    Case(
        "8.1.1 shorter with trailers",
        mark.spec("H2-STR-12"),
        [declared(b"9"), data(1, b"body"), headers(1, [(b"x", b"y")]), was_reset(1, PROTOCOL_ERROR)],
    ),
    Case(
        "8.1.1 padding does not count",
        mark.spec("H2-STR-12"),
        [declared(b"4"), raw(DATA, 9, 1, b"\x03body\0\0\0"), answered(1, b"body")],
    ),
    Case(
        "8.5 CONNECT to somewhere else",
        mark.spec("H2-HDR-18"),
        [headers(1, [(b":method", b"CONNECT"), AUTHORITY]), answered(1, status=405), alive],
    ),
    Case(
        "8.3.1 an asterisk for OPTIONS",
        mark.spec("H2-HDR-08"),
        [headers(1, [(b":method", b"OPTIONS"), SCHEME, (b":path", b"*"), AUTHORITY]), answered(1)],
    ),
]
