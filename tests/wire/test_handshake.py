"""The opening handshake: which requests are one, what is refused and how, and the head of the 101."""

import base64
import hashlib
import re

import pytest

from trilithon.foundation.errors import AppValueError, PeerError
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.handshake import (
    FORBIDDEN,
    Handshake,
    HandshakeError,
    accept_value,
    is_forbidden,
    is_handshake,
    read_handshake,
    read_offers,
    switching_head,
)
from trilithon.wire.head import RequestHead, parse_head
from trilithon.wire.response import own_answer

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
USUAL = {
    "Host": "example.org",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": KEY.decode(),
    "Sec-WebSocket-Version": "13",
}

Lines = list[tuple[str, str]]


def head_of(
    changes: dict[str, str | None] | None = None, more: Lines | None = None, start: str = "GET /chat HTTP/1.1"
) -> RequestHead:
    """Parse a handshake with fields changed, left out (None) or added behind."""
    lines = [(name, value) for name, value in {**USUAL, **(changes or {})}.items() if value is not None]
    lines += more or []
    text = "\r\n".join([start, *(f"{name}: {value}" for name, value in lines)])
    return parse_head(text.encode("latin-1"), MessageLimits(), False)


def read(changes: dict[str, str | None] | None = None, more: Lines | None = None) -> Handshake:
    """Read a handshake that is one."""
    head = head_of(changes, more)
    assert is_handshake(head)
    return read_handshake(head)


def refusal(head: RequestHead) -> HandshakeError:
    """Return how a handshake is refused."""
    assert is_handshake(head)
    with pytest.raises(HandshakeError) as caught:
        read_handshake(head)
    return caught.value


@pytest.mark.spec("WS-HS-01")
@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({}, []),
        ({"Connection": "upgrade", "Upgrade": "WebSocket"}, []),
        ({"Connection": "UPGRADE", "Upgrade": "WEBSOCKET"}, []),
        ({"Connection": "keep-alive, Upgrade"}, []),
        ({"Connection": "keep-alive,\tupgrade ,"}, []),
        ({"Connection": "keep-alive"}, [("Connection", "Upgrade")]),
        ({"Upgrade": "h2c, websocket"}, []),
        ({"Upgrade": ", websocket ,, x"}, []),
        ({"Upgrade": "h2c"}, [("Upgrade", "websocket")]),
    ],
)
def test_a_handshake_is_recognised_in_every_spelling(changes, more):
    assert read(changes, more).key == KEY


@pytest.mark.spec("WS-HS-02", "WS-HS-01")
@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"Connection": None}, []),
        ({"Connection": "keep-alive"}, []),
        ({"Connection": "not-upgrade"}, []),
        ({"Connection": "upgraded"}, []),
        ({"Connection": "x upgrade"}, []),
        ({"Connection": '"upgrade"'}, []),
        ({"Upgrade": None}, []),
        ({"Upgrade": "h2c"}, []),
        ({"Upgrade": "websockets"}, []),
        ({"Upgrade": "not-websocket"}, []),
        ({"Upgrade": "websocket/13"}, []),
        ({"Upgrade": "web, socket"}, []),
        ({"Upgrade": ""}, []),
    ],
)
def test_what_only_resembles_a_handshake_is_an_ordinary_request(changes, more):
    assert not is_handshake(head_of(changes, more))


@pytest.mark.spec("WS-HS-04")
def test_http10_never_becomes_a_websocket():
    assert not is_handshake(head_of(start="GET /chat HTTP/1.0"))
    assert not is_handshake(head_of({"Connection": "keep-alive, Upgrade"}, start="GET /chat HTTP/1.0"))


@pytest.mark.spec("WS-HS-05")
@pytest.mark.parametrize(
    ("changes", "more"),
    [({"Host": None}, []), ({"Host": "a b"}, []), ({"Host": "exa/mple"}, []), ({}, [("Host", "example.org")])],
)
def test_the_host_rules_hold_for_handshakes(changes, more):
    with pytest.raises(PeerError) as caught:
        head_of(changes, more)
    assert caught.value.status == 400


@pytest.mark.spec("WS-HS-03")
@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "DELETE", "BREW"])
def test_any_method_but_get_is_refused_with_405(method):
    refused = refusal(head_of(start=f"{method} /chat HTTP/1.1"))
    assert (refused.status, refused.lines) == (405, b"Allow: GET\r\n")


@pytest.mark.spec("WS-HS-06")
@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "Zm9v",
        base64.b64encode(b"x" * 15).decode(),
        base64.b64encode(b"x" * 17).decode(),
        base64.b64encode(b"x" * 32).decode(),
        "A" * 24,
        "A" * 23 + "=",
        "A" * 21 + "===",
        "A" * 22,
        "A" * 20 + "==" + "AA",
        "A" * 21 + "-==",
        "A" * 21 + "_==",
        "A" * 10 + " " + "A" * 11 + "==",
        "A" * 21 + "\xe9==",
        '"' + "A" * 20 + '"==',
        KEY.decode() + "=",
        "=" * 24,
    ],
)
def test_a_key_that_is_not_16_bytes_is_refused(key):
    refused = refusal(head_of({"Sec-WebSocket-Key": key}))
    assert (refused.status, refused.lines) == (400, b"")


@pytest.mark.spec("WS-HS-06")
@pytest.mark.parametrize("second", [KEY.decode(), "AAAAAAAAAAAAAAAAAAAAAA==", ""])
def test_a_second_key_is_refused(second):
    assert refusal(head_of(more=[("sec-websocket-key", second)])).status == 400


@pytest.mark.spec("WS-HS-07")
@pytest.mark.parametrize("version", [None, "", "0", "7", "8", "12", "14", "013", "13.0", "+13", "1 3", "xiii", "130"])
def test_another_version_is_answered_426_with_the_one_that_is_spoken(version):
    refused = refusal(head_of({"Sec-WebSocket-Version": version}))
    assert refused.status == 426
    answer = own_answer(refused.status, refused.lines, False)
    lines = answer.split(b"\r\n\r\n")[0].split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 426 Upgrade Required"
    assert lines.count(b"Sec-WebSocket-Version: 13") == 1
    assert lines.count(b"Upgrade: websocket") == 1
    assert [line for line in lines if line.startswith(b"Connection")] == [b"Connection: Upgrade", b"Connection: close"]


@pytest.mark.spec("WS-HS-07")
def test_an_old_client_learns_the_version_even_without_a_key():
    assert refusal(head_of({"Sec-WebSocket-Version": "8", "Sec-WebSocket-Key": None})).status == 426


@pytest.mark.spec("WS-HS-08")
@pytest.mark.parametrize(
    ("version", "more"),
    [
        ("13", [("Sec-WebSocket-Version", "13")]),
        ("13", [("Sec-WebSocket-Version", "8")]),
        ("8", [("Sec-WebSocket-Version", "13")]),
        ("13", [("sec-websocket-version", "")]),
        ("13, 8", []),
        ("8, 13", []),
        ("13,", []),
        ("13, 13", []),
    ],
)
def test_more_than_one_version_is_refused(version, more):
    refused = refusal(head_of({"Sec-WebSocket-Version": version}, more))
    assert (refused.status, refused.lines) == (400, b"")


@pytest.mark.spec("WS-HS-15")
@pytest.mark.parametrize(("name", "value"), [("Content-Length", "1"), ("Transfer-Encoding", "chunked")])
def test_a_handshake_with_a_body_is_refused(name, value):
    assert refusal(head_of(more=[(name, value)])).status == 400


@pytest.mark.spec("WS-HS-15")
def test_an_empty_body_that_is_declared_does_not_matter():
    assert read(more=[("Content-Length", "0")]).key == KEY


@pytest.mark.spec("WS-HS-09")
def test_the_accept_value_is_that_of_the_rfc():
    assert accept_value(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.spec("WS-HS-09")
def test_the_key_counts_as_it_was_received():
    # Other bits in the last character decode to the same 16 bytes; the hash is over the text (RFC 6455 4.2.2).
    key = "dGhlIHNhbXBsZSBub25jZR=="
    handshake = read({"Sec-WebSocket-Key": f" \t{key} \t"})
    assert handshake.key == key.encode()
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    assert accept_value(handshake.key) == base64.b64encode(digest) != accept_value(KEY)


@pytest.mark.spec("WS-HS-10", "WS-HS-11", "WS-HS-13")
def test_the_101_has_what_it_needs_and_nothing_else():
    assert switching_head(read(), None, b"", []) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


@pytest.mark.spec("WS-HS-10", "WS-HS-11")
def test_the_101_carries_protocol_extensions_and_fields_in_order():
    handshake = read({"Sec-WebSocket-Protocol": "chat, superchat"})
    head = switching_head(
        handshake, "superchat", b"permessage-deflate", [b"A: 1\r\n", b"Set-Cookie: b\r\n", b"A: 2\r\n"]
    )
    assert head.split(b"\r\n")[4:] == [
        b"Sec-WebSocket-Protocol: superchat",
        b"Sec-WebSocket-Extensions: permessage-deflate",
        b"A: 1",
        b"Set-Cookie: b",
        b"A: 2",
        b"",
        b"",
    ]


@pytest.mark.spec("WS-HS-11", "A-WSH-06")
@pytest.mark.parametrize("protocol", ["other", "CHAT", "chat ", "", "chat, superchat", "chat\r\nX: y"])
def test_a_subprotocol_that_was_not_offered_is_the_applications_error(protocol):
    handshake = read({"Sec-WebSocket-Protocol": "chat, superchat"})
    with pytest.raises(AppValueError, match="subprotocol"):
        switching_head(handshake, protocol, b"", [])


@pytest.mark.spec("WS-HS-12", "A-WSS-06")
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([""], []),
        (["chat"], ["chat"]),
        (["chat, superchat"], ["chat", "superchat"]),
        (["b,a", "c"], ["b", "a", "c"]),
        (["b", "a, c", "a"], ["b", "a", "c"]),
        (["a", "A", "a"], ["a", "A"]),
        ([" , a,,\t b ,"], ["a", "b"]),
        (["a b, c, d;e, f\xe9, (g), h"], ["c", "h"]),
        (['"a", b', "c=d"], ["b"]),
        (["graphql-transport-ws", "v10.stomp, %41"], ["graphql-transport-ws", "v10.stomp", "%41"]),
    ],
)
def test_subprotocols_come_from_all_fields_in_order(values, expected):
    found = read(more=[("Sec-WebSocket-Protocol", value) for value in values]).protocols
    assert found == expected
    assert all(type(protocol) is str for protocol in found)


@pytest.mark.spec("WS-HS-14")
def test_the_origin_is_kept_as_received():
    assert read().origin is None
    assert read({"Origin": "https://Example.org:8443"}).origin == b"https://Example.org:8443"
    assert read({"Origin": "null"}).origin == b"null"


@pytest.mark.spec("WS-HS-14")
def test_two_origins_are_refused():
    assert refusal(head_of({"Origin": "https://a"}, [("Origin", "https://b")])).status == 400


def offers(*values: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Read extension fields, as text that is easy to compare."""
    return [
        (
            offer.name.decode(),
            [(name.decode(), None if value is None else value.decode()) for name, value in offer.parameters],
        )
        for offer in read_offers([value.encode("latin-1") for value in values])
    ]


@pytest.mark.spec("WS-HS-13")
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        (["a"], [("a", [])]),
        (["a, b"], [("a", []), ("b", [])]),
        (["a", "b"], [("a", []), ("b", [])]),
        (["a,,\t,b,"], [("a", []), ("b", [])]),
        (["a;x"], [("a", [("x", None)])]),
        (["a ; x = 1 ;y ,b;z"], [("a", [("x", "1"), ("y", None)]), ("b", [("z", None)])]),
        (['a; x="1"'], [("a", [("x", "1")])]),
        (['a; x="\\1\\2"'], [("a", [("x", "12")])]),
        (["a; x=1; x=2"], [("a", [("x", "1"), ("x", "2")])]),
        (["a; x=1", "a"], [("a", [("x", "1")]), ("a", [])]),
        (['a; x="1" ; y="2" , b'], [("a", [("x", "1"), ("y", "2")]), ("b", [])]),
    ],
)
def test_extensions_are_read_with_parameters_and_quotes(values, expected):
    assert offers(*values) == expected


@pytest.mark.spec("WS-HS-13")
@pytest.mark.parametrize(
    "element",
    [
        ";", "a;", "a;;x", "a; =1", "a; x=", "a; x=1 2", "a b", "a=1", "a; x=1=2", "(a)", "a; x;y z", '"a"', 'a"b"',
        'a; x="', 'a; x="1', 'a; x="1\\"', 'a; x=""', 'a; x="1 2"', 'a; x="1,2"', 'a; x="1;2"', 'a; x="\\""',
        'a; x="1"2', 'a; x=1"2"', 'a; "x"=1', "\xe9", "a; x=\xe9", "a; x\xe9", 'a; x="\xe9"', "a; x='1 2'", "\x01",
    ],
)  # fmt: skip
def test_a_malformed_element_is_as_good_as_not_offered(element):
    assert offers(element) == []
    assert offers("c", element) == [("c", [])]
    assert offers(element, "c; y") == [("c", [("y", None)])]
    assert offers("c, " + element) == [("c", [])]
    if re.sub(r"\\.", "", element).count('"') % 2 == 0:
        assert offers(element + ", c") == [("c", [])]


@pytest.mark.spec("WS-HS-13")
def test_what_stands_inside_quotes_separates_nothing():
    assert offers('a; x="y, permessage-deflate; z", b') == [("b", [])]
    assert offers('a; x="\\", permessage-deflate", b') == [("b", [])]


@pytest.mark.spec("WS-HS-13")
def test_malformed_extensions_do_not_refuse_the_handshake():
    handshake = read(more=[("Sec-WebSocket-Extensions", 'foo; x="'), ("Sec-WebSocket-Extensions", "bar")])
    assert [offer.name for offer in handshake.offers] == [b"bar"]


@pytest.mark.spec("WS-HS-20", "A-WSH-05")
def test_what_the_handshake_decides_is_forbidden_to_the_application():
    for name in FORBIDDEN | {b":status", b":path", b":", b"Upgrade", b"SEC-WebSocket-Accept", b"Content-Length"}:
        assert is_forbidden(name)
    for name in (b"set-cookie", b"x-upgrade", b"sec-websocket", b"server", b"date", b""):
        assert not is_forbidden(name)
