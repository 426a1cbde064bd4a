"""HTTP/2: which field sections are requests (RFC 9113 8)."""

import pytest

from trilithon.foundation.limits import H2Limits, MessageLimits
from trilithon.wire.exchange import Inbound
from trilithon.wire.h2_codes import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, HEADERS, PROTOCOL_ERROR, RST_STREAM

from .h2_bytes import raw
from .h2_memory import GET, Pairs, Script, answer, block, headers
from .hpack_blocks import incremental, indexed, update

REST: Pairs = GET[1:]
CONNECT: Pairs = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat"),
    (b":authority", b"a.test"),
]


def changed(name: bytes, *values: bytes) -> Pairs:
    """Return a request whose field `name` has these values instead."""
    pairs = [pair for pair in GET if pair[0] != name]
    return [(name, value) for value in values] + pairs


def bad(identifier: str, *pairs: tuple[bytes, bytes]) -> object:
    """Return the case of a regular field that no request may have."""
    return pytest.param([*GET, *pairs], marks=pytest.mark.spec(identifier))


def worse(identifier: str, pairs: Pairs) -> object:
    """Return the case of a section that is no request."""
    return pytest.param(pairs, marks=pytest.mark.spec(identifier))


MALFORMED = [
    *[bad("H2-HDR-02", (name, b"x")) for name in (b"X-Upper", b"a b", b"a\x00", b"a\x7f", b"\xe4", b"a:b", b"")],
    *[bad("H2-HDR-03", (b"a", value)) for value in (b"a\0b", b"a\rb", b"a\nb", b" a", b"a ", b"\ta", b"a\t")],
    *[bad("H2-HDR-04", (name, b"x")) for name in (b"a(b", b"a,b", b"a@b")],
    *[bad("H2-HDR-04", (b"a", value)) for value in (b"a\x01b", b"a\x7fb")],
    bad("H2-HDR-05", (b"connection", b"close")),
    bad("H2-HDR-05", (b"proxy-connection", b"keep-alive")),
    bad("H2-HDR-05", (b"keep-alive", b"5")),
    bad("H2-HDR-05", (b"transfer-encoding", b"chunked")),
    bad("H2-HDR-05", (b"upgrade", b"websocket")),
    bad("H2-HDR-05", (b"te", b"gzip")),
    bad("H2-HDR-05", (b"te", b"trailers, gzip")),
    bad("H2-HDR-06", (b":status", b"200")),
    bad("H2-HDR-06", (b"a", b"b"), (b":path", b"/")),
    *[worse("H2-HDR-06", [(name, b"x"), *GET]) for name in (b":status", b":unknown", b":", b":Path")],
    *[worse("H2-HDR-06", changed(name, *[dict(GET)[name]] * 2)) for name, _ in GET],
    *[worse("H2-HDR-07", changed(name)) for name in (b":method", b":scheme", b":path")],
    *[worse("H2-HDR-07", changed(name, b"")) for name in (b":method", b":scheme", b":path")],
    *[
        worse("H2-HDR-08", changed(b":path", path))
        for path in (b"x", b"*", b"http://a.test/", b"/a b", b"/\x00", b"/#a")
    ],
    *[worse("H2-HDR-08", changed(b":path", path)) for path in (b"/\x00", b"/\xe4", b"/\x7f", b"/\r\nx: y")],
    *[worse("H2-HDR-09", changed(b":authority", value)) for value in (b"u@a.test", b"a test", b"a.test:x", b"")],
    *[worse("H2-HDR-11", changed(b":authority", value)) for value in (b"a.test,b.test", b"a.test, b.test")],
    bad("H2-HDR-10", (b"host", b"b.test")),
    bad("H2-HDR-11", (b"host", b"a.test"), (b"host", b"a.test")),
    worse("H2-HDR-11", [*changed(b":authority"), (b"host", b"a.test"), (b"host", b"a.test")]),
    *[worse("H2-HDR-12", changed(b":method", value)) for value in (b"G T", b"get", b"GET / HTTP/1.1\r\n", b"\xe4")],
    *[worse("H2-HDR-12", changed(b":scheme", value)) for value in (b"ftp", b"HTTP", b"http://a.test/x?")],
    *[bad("H2-HDR-14", (b"content-length", value)) for value in (b"", b"-1", b"+0", b"0x0", b"0, 0", b"1" * 21)],
    bad("H2-HDR-14", (b"content-length", b"0"), (b"content-length", b"1")),
    bad("H2-HDR-14", (b"content-length", b"0"), (b"content-length", b"0")),
    worse("H2-HDR-15", changed(b":authority")),
    worse("H2-HDR-15", [*changed(b":authority"), (b"host", b"")]),
    worse("H2-HDR-18", [(b":method", b"CONNECT"), *REST]),
    worse("H2-HDR-18", [(b":method", b"CONNECT")]),
    *[
        worse("WS-H2-02", [pair for pair in CONNECT if pair[0] != name])
        for name in (b":scheme", b":path", b":authority")
    ],
    worse("WS-H2-02", [*GET[:1], (b":protocol", b"websocket"), *REST]),
    pytest.param(CONNECT, marks=pytest.mark.spec("WS-H2-10")),
]


@pytest.mark.parametrize("pairs", MALFORMED)
@pytest.mark.spec("H2-STR-15")
def test_what_is_malformed_is_reset_and_no_application_called(pairs):
    script = Script()
    assert script.send(headers(1, pairs)) == []
    assert script.resets() == [(1, PROTOCOL_ERROR)]
    assert script.transport.statuses == [400]
    # And again out of the table, where nothing may be remembered as good.
    assert script.send(headers(3, pairs), headers(5, pairs)) == []
    assert script.resets() == [(3, PROTOCOL_ERROR), (5, PROTOCOL_ERROR)]
    assert script.alive()


GOOD = [
    ([*GET, (b"te", b"trailers")], (b"te", b"trailers")),
    ([*GET, (b"host", b"A.TEST")], (b"host", b"a.test")),
    ([*changed(b":authority"), (b"host", b"b.test")], (b"host", b"b.test")),
    ([*GET, (b"a", b"")], (b"a", b"")),
    ([*GET, (b"a", b"\xe4\t b")], (b"a", b"\xe4\t b")),
    ([*GET, (b"!#$%&'*+-.^_`|~09az", b"x")], (b"!#$%&'*+-.^_`|~09az", b"x")),
]


@pytest.mark.spec("H2-HDR-10", "H2-HDR-05", "H2-HDR-02")
@pytest.mark.parametrize(("pairs", "line"), GOOD)
def test_what_is_unusual_is_a_request_all_the_same(pairs, line):
    script = Script()
    head = script.one(headers(1, pairs)).head
    assert line in head.fields
    assert [name for name, _ in head.fields].count(b"host") == 1


@pytest.mark.spec("A-SCOPE-16")
def test_pseudo_fields_become_the_request_line_and_the_host():
    script = Script()
    pairs = [(b":path", b"/%C3%A4?q=%20"), (b":authority", b"a.test:81"), (b":scheme", b"http"), (b":method", b"PUT")]
    head = script.one(headers(1, [*pairs, (b"x", b"1")])).head
    assert (head.method, head.path, head.query, head.target) == ("PUT", b"/%C3%A4", b"q=%20", b"/%C3%A4?q=%20")
    assert (head.start.text, head.start.octets, head.host) == ("/\u00e4", "/\u00c3\u00a4", b"a.test:81")
    assert head.fields == [(b"host", b"a.test:81"), (b"x", b"1")]


def test_targets_with_a_query_are_not_remembered():
    script = Script()
    script.send(headers(1, changed(b":path", b"/a")), headers(3, changed(b":path", b"/a?token=x")))
    starts = script.machine.head_reader.starts
    assert starts.find((b"GET", b"/a")) is not None
    assert starts.find((b"GET", b"/a?token=x")) is None


@pytest.mark.spec("H2-HDR-08")
def test_an_asterisk_is_for_options():
    script = Script()
    head = script.one(headers(1, [(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*"), GET[3]])).head
    assert (head.method, head.path) == ("OPTIONS", b"*")


@pytest.mark.spec("H2-HDR-12")
def test_a_secure_connection_serves_https():
    script = Script(secure=True)
    assert script.one(headers(1, changed(b":scheme", b"https"))).head.path == b"/"


@pytest.mark.spec("H2-HDR-13", "A-SCOPE-18")
def test_the_crumbs_of_a_cookie_are_joined():
    script = Script()
    pairs = [*GET, (b"a", b"1"), (b"cookie", b"x=1"), (b"b", b"2"), (b"cookie", b"y=2"), (b"cookie", b"z")]
    head = script.one(headers(1, pairs)).head
    assert head.fields == [(b"host", b"a.test"), (b"a", b"1"), (b"cookie", b"x=1; y=2; z"), (b"b", b"2")]
    assert script.one(headers(3, [*GET, (b"cookie", b"x=1")])).head.fields[1] == (b"cookie", b"x=1")


def test_repeated_heads_are_read_once_and_never_mixed_up():
    script = Script()
    one = block([*GET, (b"a", b"1")])
    first = script.one(raw(HEADERS, 5, 1, one)).head
    assert script.one(raw(HEADERS, 5, 3, one)).head is first
    # The same octets mean something else once the table has changed.
    script.one(raw(HEADERS, 5, 5, block(GET) + incremental(b"x", b"old")))
    by_index = block(GET) + indexed(62)
    assert (b"x", b"old") in script.one(raw(HEADERS, 5, 7, by_index)).head.fields
    assert (b"x", b"old") in script.one(raw(HEADERS, 5, 9, by_index)).head.fields
    script.one(raw(HEADERS, 5, 11, block(GET) + incremental(b"x", b"new")))
    assert (b"x", b"new") in script.one(raw(HEADERS, 5, 13, by_index)).head.fields


@pytest.mark.spec("H2-HDR-01")
@pytest.mark.parametrize(
    "sent",
    [indexed(0), indexed(62), b"\x82" + update(0), update(4097), b"\x00\x81\xff\x01a", b"\xff" * 8, b"\x00\x05ab"],
)
def test_a_block_that_cannot_be_decoded_ends_the_connection(sent):
    script = Script()
    script.send(raw(HEADERS, 5, 1, sent))
    assert script.goodbye() == (1, COMPRESSION_ERROR)


def statuses(script: Script) -> list[bytes]:
    """Return the statuses that the server answered with, each with nothing behind it."""
    frames = [sent for sent in script.frames() if sent.kind != RST_STREAM]
    assert all(sent.ended for sent in frames)
    return [sent.fields[0][1] for sent in frames]


@pytest.mark.spec("H2-HDR-16", "H2-DOS-04", "H-LIM-02", "H-LIM-09")
def test_a_head_above_the_limits_is_answered_431_and_the_table_kept():
    script = Script(message=MessageLimits(max_fields=5))
    many = [(b"x%d" % at, b"") for at in range(6)]
    assert script.send(raw(HEADERS, 5, 1, block(GET) + incremental(b"kept", b"1") + block(many))) == []
    assert statuses(script) == [b"431"]
    assert script.transport.statuses == [431]
    head = script.one(raw(HEADERS, 5, 3, block(GET) + indexed(62))).head
    assert head.fields == [(b"host", b"a.test"), (b"kept", b"1")]


@pytest.mark.spec("H2-HDR-16", "H-LIM-02", "H-LIM-09")
@pytest.mark.parametrize(("limit", "over"), [(1000, 1), (1000, 15_000), (65536, 1), (65536, 60_000)])
def test_a_block_above_the_limit_is_answered_431_and_the_table_kept(limit: int, over: int):
    script = Script(message=MessageLimits(max_head_bytes=limit))
    sent = block(GET) + incremental(b"kept", b"1")
    while len(sent) < limit + over:
        sent += block([(b"large", b"x" * min(10_000, limit + over - len(sent)))])
    pieces = [sent[at : at + 16384] for at in range(0, len(sent), 16384)]
    frames = [raw(9, 4 if at == len(pieces) - 1 else 0, 1, piece) for at, piece in enumerate(pieces)]
    assert script.send(raw(HEADERS, 5 if len(pieces) == 1 else 1, 1, pieces[0]), *frames[1:]) == []
    assert statuses(script) == [b"431"]
    head = script.one(raw(HEADERS, 5, 3, block(GET) + indexed(62))).head
    assert (b"kept", b"1") in head.fields


@pytest.mark.spec("H2-HDR-16", "H2-DOS-03")
def test_a_block_far_above_the_limit_ends_the_connection():
    script = Script(H2Limits(h2_max_continuations=100))
    piece = block([(b"large", b"x" * 16_000)])
    assert script.send(raw(HEADERS, 1, 1, block(GET) + piece), *[raw(9, 0, 1, piece)] * 8) == []
    assert script.goodbye() == (0, ENHANCE_YOUR_CALM)


@pytest.mark.spec("H2-DOS-04")
def test_a_small_block_cannot_stand_for_a_large_head():
    script = Script()
    bomb = incremental(b"x", b"y" * 4000) + indexed(62) * 15_000
    assert script.send(raw(HEADERS, 1, 1, bomb[:16384]), raw(9, 4, 1, bomb[16384:])) == []
    assert statuses(script) == [b"431"]
    assert script.alive()


@pytest.mark.spec("H-LIM-01", "H-LIM-09")
def test_a_target_above_the_limit_is_answered_414():
    script = Script(message=MessageLimits(max_request_line_bytes=40))
    assert script.send(headers(1, changed(b":path", b"/" + b"a" * 27))) == []
    assert statuses(script) == [b"414"]
    assert len(script.send(headers(3, changed(b":path", b"/" + b"a" * 26)))) == 1


@pytest.mark.spec("H2-HDR-18", "H-SEM-05")
def test_connect_is_answered_405():
    script = Script()
    pairs = [(b":method", b"CONNECT"), (b":authority", b"a.test:80")]
    assert script.send(headers(1, pairs, end=False)) == []
    (only,) = script.frames()
    assert only.fields[0] == (b":status", b"405")
    assert b"GET" in dict(only.fields)[b"allow"]
    assert script.linger() == [(1, 0)]


@pytest.mark.spec("H-SEM-03")
def test_https_without_tls_is_answered_421():
    script = Script()
    assert script.send(headers(1, changed(b":scheme", b"https"))) == []
    (only,) = script.frames()
    assert (only.fields[0], only.ended) == ((b":status", b"421"), True)
    assert script.alive()


@pytest.mark.spec("WS-H2-03")
def test_connect_without_a_protocol_is_no_websocket():
    script = Script()
    pairs = [(b":method", b"CONNECT"), (b":authority", b"a.test:80"), (b"sec-websocket-version", b"13")]
    assert script.send(headers(1, pairs)) == []
    assert statuses(script) == [b"405"]


@pytest.mark.spec("WS-H2-02")
def test_an_extended_connect_opens_an_exchange_that_says_so():
    script = Script()
    exchange = script.one(headers(1, [*CONNECT, (b"sec-websocket-version", b"13")], end=False))
    head = exchange.head
    assert (head.method, head.protocol, head.path, head.host) == ("CONNECT", b"websocket", b"/chat", b"a.test")
    assert exchange.inbound is Inbound.OPEN
    assert script.one(headers(3, GET)).head.protocol is None


@pytest.mark.spec("WS-H2-04")
def test_another_protocol_is_answered_501():
    script = Script()
    pairs = [(name, b"chat" if name == b":protocol" else value) for name, value in CONNECT]
    assert script.send(headers(1, pairs, end=False)) == []
    assert statuses(script) == [b"501"]


@pytest.mark.spec("WS-H2-01")
def test_an_extended_connect_that_was_not_offered_is_malformed():
    script = Script(websockets=False)
    assert script.send(headers(1, CONNECT, end=False)) == []
    assert script.resets() == [(1, PROTOCOL_ERROR)]


def test_an_unknown_expectation_is_answered_417():
    script = Script()
    assert script.send(headers(1, [*GET, (b"expect", b"200-ok")])) == []
    assert statuses(script) == [b"417"]


@pytest.mark.spec("H2-STR-15")
def test_a_malformed_request_among_good_ones_hurts_no_other():
    script = Script()
    first, second = script.send(headers(1, GET), headers(3, [*GET, (b"A", b"b")]), headers(5, GET))
    answer(first, b"1")
    answer(second, b"2")
    assert [sent.stream_id for sent in script.frames() if sent.ended] == [1, 5]
