"""Responses made up by chance: whatever an application says, the wire carries one well-formed response or a refusal."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trilithon.foundation.errors import AppError, ClientDisconnected
from trilithon.wire.exchange import Exchange
from trilithon.wire.response import ResponseHead, asgi_head, wsgi_head

from .inmemory import Connection, new_terms
from .replies import read_replies

BOUNDED = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
SOME_NAMES = [
    "x", "X-Y", "content-type", "Content-Length", "server", "connection", "transfer-encoding", "trailer", "te",
    "upgrade", "keep-alive", "set-cookie", "vary", "x y", "x:", "", "x\r\nInjected", "x\0", "\u00e9",
]  # fmt: skip
SOME_VALUES = [
    "", "a", "0", "5", "+5", "5, 5", "close", "chunked", "a\r\nInjected: b", "a\nInjected: b", "a\rInjected: b",
    "\0", "\u00ff", " a ", "a\tb", "\x0b",
]  # fmt: skip

names = st.sampled_from(SOME_NAMES) | st.text(alphabet=st.characters(max_codepoint=0xFF), max_size=8)
values = st.sampled_from(SOME_VALUES) | st.text(alphabet=st.characters(max_codepoint=0xFF), max_size=12)
statuses = st.sampled_from([200, 201, 204, 205, 206, 299, 301, 304, 404, 413, 426, 500, 599]) | st.integers(100, 1000)
reasons = st.sampled_from(["OK", "", "Not Found", "a\r\nInjected: b", "O\0K", "\u00e9", "\x7f"])
requests = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ]
)


def opened(request: bytes) -> tuple[Connection, Exchange]:
    """Return a connection whose request is open and waits for its response."""
    connection = Connection(new_terms())
    connection.hold = True
    connection.feed(request)
    exchange = connection.exchange
    assert exchange is not None
    return connection, exchange


def make_head(interface: str, status: int, reason: str, fields: list[tuple[str, str]]) -> ResponseHead:
    """Make a head as a gateway does."""
    if interface == "wsgi":
        head = wsgi_head(f"{status} {reason}".rstrip(" "))
        head.read_wsgi(fields)
        return head
    head = asgi_head(status)
    head.read_asgi([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields])
    return head


@pytest.mark.spec(
    "H1-RSP-01", "H1-RSP-02", "H1-RSP-03", "H1-RSP-04", "H1-RSP-05", "H1-RSP-06", "H1-RSP-07", "H1-RSP-09", "H1-RSP-16"
)
@BOUNDED
@given(
    st.sampled_from(["asgi", "wsgi"]),
    requests,
    statuses,
    reasons,
    st.lists(st.tuples(names, values), max_size=4),
    st.lists(st.binary(max_size=12), max_size=4),
)
def test_what_goes_out_is_one_response_or_none(
    interface: str, request: bytes, status: int, reason: str, fields: list[tuple[str, str]], blocks: list[bytes]
) -> None:
    connection, exchange = opened(request)
    whole = False
    try:
        exchange.respond(make_head(interface, status, reason, fields))
        for block in blocks[:-1]:
            exchange.write(block)
        exchange.end(blocks[-1] if blocks else b"")
        whole = True
    except (AppError, ClientDisconnected):
        # What a gateway does with an application that broke a rule.
        exchange.refuse(500)
    outcome = connection.outcome()
    assert b"\nInjected" not in outcome.written
    assert b"\rInjected" not in outcome.written
    method = request.split(b" ")[0].decode()
    if outcome.aborted:
        assert not whole
        return
    replies, rest = read_replies(outcome.written, [method], ended=outcome.closed)
    assert not rest
    (reply,) = replies
    assert reply.status == (status if whole else 500)
    if whole and method != "HEAD" and status not in (204, 205, 304):
        assert reply.body == b"".join(blocks)
    if reply.framing == "close":
        assert outcome.closed
    if b"close" in reply.options:
        assert outcome.closed
    if b"HTTP/1.0" in request:
        assert reply.framing != "chunked"
        assert outcome.closed or b"keep-alive" in reply.options
    if reply.framing == "none" and not outcome.closed and method != "HEAD":
        assert status in (204, 304)
