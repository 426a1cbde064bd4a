"""Opening a WebSocket over HTTP/2: which streams become one, and how the others are answered (RFC 8441)."""

import asyncio
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, http_only, raised_by, respond
from h2_socket_client import H2Wire, Line, OverStream, Pairs, extended_connect
from socket_apps import accepted, message, sockets_only, told
from socket_client import TEXT, SocketClient, close_frame, frame

from trilithon.testing import serve
from trilithon.wire.h2_codes import ENABLE_CONNECT_PROTOCOL, NO_ERROR, PROTOCOL_ERROR

pytestmark = pytest.mark.real

ACCEPT = {"type": "websocket.accept"}
LEFT = ("disconnect", 1006, "")


@sockets_only
async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back what comes until the end."""
    await accepted(receive, send)
    while not isinstance(found := told(await receive()), tuple):
        await send(message(found))


def plain(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with the method."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REQUEST_METHOD"].encode()]


def without(pairs: Pairs, name: bytes) -> Pairs:
    """Return the fields but for one."""
    return [(key, value) for key, value in pairs if key != name]


def changed(pairs: Pairs, name: bytes, value: bytes) -> Pairs:
    """Return the fields with another value of one."""
    return [(key, value if key == name else old) for key, old in pairs]


def is_malformed(line: Line) -> bool:
    """Wait for the end of a stream; tell whether it was a stream error, with no answer at all."""
    line.rest()
    return line.reset == PROTOCOL_ERROR and not line.heads


@pytest.mark.spec("WS-H2-01")
@pytest.mark.parametrize(
    ("applications", "offered"),
    [({"app": echo}, 1), ({"app": plain}, None), ({"app": plain, "mounts": {"/live": echo}}, 1)],
    ids=["asgi", "wsgi", "mixed"],
)
def test_it_is_offered_where_an_application_could_take_it(applications: Any, offered: int | None) -> None:
    applications = dict(applications)
    with serve(applications.pop("app"), **applications) as site, H2Wire(site) as wire:
        assert wire.settings.get(ENABLE_CONNECT_PROTOCOL) == offered


@pytest.mark.spec("WS-H2-01", "WS-HS-19")
def test_what_was_not_offered_is_malformed_and_reaches_no_application() -> None:
    with serve(plain) as site, H2Wire(site) as wire:
        assert is_malformed(wire.request(extended_connect()))
        line = wire.get()
        assert (line.status(), line.rest()) == (200, b"GET")


@both_loops
@pytest.mark.spec("WS-H2-05", "WS-H2-07", "WS-H2-12", "H2-HDR-18")
def test_an_accept_is_a_200_that_leaves_the_stream_open(loop: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope)
        await accepted(receive, send)
        notes.add(told(await receive()))

    fields = [("x-a", "1"), ("cookie", "a=b"), ("cookie", "c=d"), ("Sec-WebSocket-Protocol", "one, two")]
    with serve(app, loop=loop) as site, H2Wire(site) as wire:
        line = wire.request(extended_connect("/caf%C3%A9/x?y=z&%20", *fields))
        assert line.status() == 200
        assert [name for name, _ in line.heads[0]] == [b":status", b"date"]
        assert not line.over
        scope = notes.next()
        assert scope["type"] == "websocket"
        assert scope["http_version"] == "2"
        assert scope["scheme"] == "ws"
        assert scope["path"] == "/café/x"
        assert scope["raw_path"] == b"/caf%C3%A9/x"
        assert scope["query_string"] == b"y=z&%20"
        assert scope["subprotocols"] == ["one", "two"]
        assert scope["extensions"]["websocket.http.response"] == {}
        assert "method" not in scope
        assert scope["headers"] == [
            (b"host", b"test.example"),
            (b"sec-websocket-version", b"13"),
            (b"x-a", b"1"),
            (b"cookie", b"a=b; c=d"),
            (b"sec-websocket-protocol", b"one, two"),
        ]
        line.send(frame(TEXT, "hello"))
        assert notes.next() == "hello"


@pytest.mark.spec("WS-H2-05", "WS-H2-06")
def test_a_key_means_nothing_and_is_not_answered() -> None:
    key = ("Sec-WebSocket-Key", "not base64")
    with serve(echo) as site, H2Wire(site) as wire, OverStream(wire, fields=[key, key]) as client:
        assert client.field("sec-websocket-accept") is None
        client.send(frame(TEXT, "hello"))
        client.expect((TEXT, "hello"))


@pytest.mark.spec("WS-H2-02", "H2-HDR-18")
@pytest.mark.parametrize("missing", [b":scheme", b":path", b":authority"])
def test_all_pseudo_fields_have_to_be_there(missing: bytes) -> None:
    with serve(echo) as site, H2Wire(site) as wire:
        assert is_malformed(wire.request(without(extended_connect(), missing)))
        wire.expect_alive()


@pytest.mark.spec("WS-H2-02", "H2-HDR-18")
@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS"])
def test_another_method_takes_no_protocol(method: bytes) -> None:
    with serve(echo) as site, H2Wire(site) as wire:
        assert is_malformed(wire.request(changed(extended_connect(), b":method", method)))
        wire.expect_alive()


@pytest.mark.spec("WS-H2-05", "H2-HDR-05")
@pytest.mark.parametrize("field", [("connection", "upgrade"), ("upgrade", "websocket"), ("transfer-encoding", "x")])
def test_the_upgrade_of_http1_is_malformed(field: tuple[str, str]) -> None:
    with serve(echo) as site, H2Wire(site) as wire:
        assert is_malformed(wire.request(extended_connect("/", field)))
        wire.expect_alive()


@pytest.mark.spec("WS-H2-03", "H2-HDR-18")
@pytest.mark.parametrize("more", [[], [(b"sec-websocket-version", b"13")]], ids=["bare", "dressed up"])
def test_a_plain_connect_is_no_websocket(more: Pairs) -> None:
    with serve(echo) as site, H2Wire(site) as wire:
        line = wire.request([(b":method", b"CONNECT"), (b":authority", b"test.example:443"), *more])
        assert line.status() == 405
        assert b"GET" in (line.field(b"allow") or b"")
        wire.expect_alive()


@pytest.mark.spec("WS-H2-04")
@pytest.mark.parametrize("protocol", [b"connect-udp", b"webtransport", b"websocket2", b"http"])
def test_an_unknown_protocol_is_not_implemented(protocol: bytes) -> None:
    with serve(echo) as site, H2Wire(site) as wire:
        assert wire.request(changed(extended_connect(), b":protocol", protocol)).status() == 501
        wire.expect_alive()


@pytest.mark.spec("WS-H2-06", "WS-HS-07", "WS-HS-08")
@pytest.mark.parametrize("versions", [[], ["12"], ["8"], ["13", "13"], ["13, 8"], ["13.0"]])
def test_a_version_other_than_13_is_a_400_that_says_so(versions: list[str]) -> None:
    pairs = without(extended_connect(), b"sec-websocket-version")
    pairs += [(b"sec-websocket-version", version.encode()) for version in versions]
    with serve(echo) as site, H2Wire(site) as wire:
        line = wire.request(pairs)
        assert line.status() == 400
        if versions in ([], ["12"], ["8"], ["13.0"]):
            assert line.field(b"sec-websocket-version") == b"13"
        assert not {b"upgrade", b"connection"} & {name for name, _ in line.heads[0]}
        line.rest()
        assert line.ended
        wire.expect_alive()


@pytest.mark.spec("WS-H2-06", "WS-HS-15", "WS-HS-14")
@pytest.mark.parametrize("field", [("content-length", "0"), ("content-length", "5")])
def test_a_handshake_with_a_length_is_refused(field: tuple[str, str]) -> None:
    with serve(echo) as site, H2Wire(site) as wire:
        assert wire.request(extended_connect("/", field)).status() == 400
        wire.expect_alive()


@pytest.mark.spec("WS-H2-10")
def test_a_stream_that_has_ended_already_carries_no_socket() -> None:
    with serve(echo) as site, H2Wire(site) as wire:
        assert is_malformed(wire.request(extended_connect(), end=True))
        wire.expect_alive()


@pytest.mark.spec("WS-H2-10", "WS-HS-19")
@pytest.mark.parametrize("early", [b"", frame(TEXT, "hello") + close_frame(1000)], ids=["empty", "filled"])
def test_a_stream_that_ends_with_its_first_content_reaches_no_application(early: bytes) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope)

    with serve(app) as site, H2Wire(site) as wire:
        line = wire.request(extended_connect(), early=early, early_end=True)
        assert line.status() == 400
        line.rest()
        assert line.ended
        wire.expect_alive()
    assert notes.rest() == []


@pytest.mark.spec("WS-H2-10", "WS-H2-09")
def test_a_stream_that_ends_before_the_decision_is_refused() -> None:
    notes, asked = Notes(), Gate()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(told(await receive()))
        asked.open()
        notes.add(told(await receive()))
        notes.add(await raised_by(send(ACCEPT)))

    with serve(app) as site, H2Wire(site) as wire:
        line = wire.request(extended_connect())
        asked.wait()
        line.end()
        assert line.status() == 400
        line.rest()
        assert line.ended
        assert notes.next() == "connect"
        assert notes.next() == LEFT
        assert isinstance(notes.next(), OSError)
        wire.expect_alive()


@pytest.mark.spec("WS-H2-06", "WS-HS-11", "WS-HS-12", "WS-HS-20")
def test_subprotocol_extensions_and_fields_of_the_accept_are_sent() -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        fields = [(b"X-A", b"1"), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d"), (b"server", b"mine")]
        await send({**ACCEPT, "subprotocol": "Two", "headers": fields})
        await receive()

    offers = [
        ("sec-websocket-protocol", "one"),
        ("sec-websocket-protocol", "Two, three"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ]
    with serve(app, server_header="theirs") as site, H2Wire(site) as wire, OverStream(wire, fields=offers) as client:
        assert client.field("sec-websocket-protocol") == "Two"
        assert client.compressed
        assert client.field("x-a") == "1"
        assert client.field("server") == "mine"
        assert [value for name, value in client.fields if name == "set-cookie"] == ["a=b", "c=d"]
        assert [name for name, _ in client.fields].count("date") == 1


@pytest.mark.spec("WS-HS-20", "A-WSH-05")
@pytest.mark.parametrize("name", [b"content-length", b"upgrade", b"sec-websocket-accept", b":status", b"connection"])
def test_an_accept_with_a_field_of_the_handshake_is_refused_to_the_application(
    name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**ACCEPT, "headers": [(name, b"1")]})

    with serve(app) as site, H2Wire(site) as wire:
        line = wire.request(extended_connect())
        assert line.status() == 500
        wire.expect_alive()
    assert len(error_records(caplog)) == 1


@both_loops
@pytest.mark.spec("WS-HS-16", "WS-H2-08")
@pytest.mark.parametrize("count", [1, 40, 1000])
def test_what_comes_before_the_accept_is_kept_for_it(count: int, loop: str) -> None:
    decide = Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await decide.passed()
        await echo(scope, receive, send)

    early = b"".join(frame(TEXT, f"{number}") for number in range(count))
    with serve(app, loop=loop, lifespan="off") as site, H2Wire(site) as wire:
        line = wire.request(extended_connect(), early=early)
        wire.expect_alive()
        decide.open()
        assert line.status() == 200
        expected = b"".join(frame(TEXT, f"{number}", mask=None) for number in range(count))
        wire.wait(lambda: len(line.data) >= len(expected), 5.0)
        assert line.data == expected


@both_loops
@pytest.mark.spec("WS-H2-07", "A-WSH-07", "WS-HS-17", "WS-ASGI-04")
def test_a_refusal_is_a_403_that_ends_the_stream(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000, "reason": "go away"})
        assert told(await receive()) == LEFT

    with serve(app, loop=loop) as site, H2Wire(site) as wire:
        lines = [wire.request(extended_connect()) for _ in range(5)]
        for line in lines:
            assert line.status() == 403
            assert line.field(b"content-length") == str(len(line.rest())).encode()
            assert line.ended
        wire.expect_alive()
    assert error_records(caplog) == []


@pytest.mark.spec("A-XDENY-02", "A-XDENY-03", "WS-H2-07")
def test_a_denial_is_a_response_like_any_other() -> None:
    parts = [b"no", b"", b" entry" * 30_000]

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        head = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"x")]}
        await send(head)
        for place, part in enumerate(parts):
            await send({"type": "websocket.http.response.body", "body": part, "more_body": place < 2})
        assert told(await receive()) == LEFT

    with serve(app) as site, H2Wire(site) as wire:
        line = wire.request(extended_connect())
        assert line.status() == 401
        assert line.field(b"www-authenticate") == b"x"
        assert line.rest() == b"".join(parts)
        assert line.ended
        wire.expect_alive()


@pytest.mark.spec("A-XDENY-02", "WS-H2-07")
@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_denial_that_would_accept_is_refused_to_the_application(status: int) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        notes.add(await raised_by(send({"type": "websocket.http.response.start", "status": status})))
        await send({"type": "websocket.close"})

    with serve(app) as site, H2Wire(site) as wire:
        assert wire.request(extended_connect()).status() == 403
        assert "HTTP/2" in str(notes.next())


@pytest.mark.spec("WS-HS-18", "WS-H2-07")
def test_an_application_that_does_not_decide_is_answered_for() -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    with serve(app, ws_handshake_timeout_s=0.3) as site, H2Wire(site) as wire:
        line = wire.request(extended_connect())
        assert line.status(3.0) == 503
        wire.expect_alive()


@pytest.mark.spec("WS-H2-07", "A-WSH-11")
def test_an_application_that_fails_before_the_decision_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    with serve(app, lifespan="off") as site, H2Wire(site) as wire:
        assert wire.request(extended_connect()).status() == 500
        assert wire.request(extended_connect()).status() == 500
    assert len(error_records(caplog)) == 2


@pytest.mark.spec("WS-HS-14")
@pytest.mark.parametrize(
    ("origins", "status"),
    [(["https://a.example"], 200), (["https://b.example"], 403), ([], 403), (["https://a.example"] * 2, 400)],
)
def test_the_origins_that_may_connect_are_those_of_http1(origins: list[str], status: int) -> None:
    with serve(echo, ws_origins=["https://a.example"]) as site, H2Wire(site) as wire:
        line = wire.request(extended_connect("/", *[("origin", origin) for origin in origins]))
        assert line.status() == status


@both_loops
@pytest.mark.spec("WS-HS-19", "WS-H2-02", "H2-HDR-18")
def test_an_application_of_wsgi_never_sees_a_connect(loop: str) -> None:
    with serve(plain, mounts={"/live": echo}, loop=loop, threads=2) as site, H2Wire(site) as wire:
        for _ in range(2):
            line = wire.request(extended_connect("/elsewhere"))
            assert line.status() == 405
            assert b"GET" in (line.field(b"allow") or b"")
            line.rest()
            with OverStream(wire, "/live/x") as client:
                client.send(frame(TEXT, "hello"))
                client.expect((TEXT, "hello"))
                client.shake()
            line = wire.get("/elsewhere")
            assert (line.status(), line.rest()) == (200, b"GET")


@pytest.mark.spec("WS-HS-19", "A-WSH-01")
def test_where_nothing_is_mounted_there_is_no_socket() -> None:
    with serve(None, mounts={"/live": echo}) as site, H2Wire(site) as wire:
        assert wire.request(extended_connect("/elsewhere")).status() == 404
        wire.expect_alive()


@pytest.mark.spec("WS-HS-19", "A-WSH-10")
def test_an_application_that_knows_no_sockets_is_a_500() -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)

    with serve(app) as site, H2Wire(site) as wire:
        assert wire.request(extended_connect()).status() == 500
        assert wire.get().status() == 200


@pytest.mark.spec("WS-H2-09", "WS-H2-07")
def test_a_refused_client_that_does_not_end_its_side_is_asked_to() -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})

    with serve(app, linger_timeout_s=0.3) as site, H2Wire(site) as wire:
        line = wire.request(extended_connect())
        line.rest()
        assert line.ended and line.reset is None
        wire.wait(lambda: line.reset is not None, 3.0)
        assert line.reset == NO_ERROR
        wire.expect_alive()


@pytest.mark.spec("A-WSH-04")
@pytest.mark.parametrize("kind", [SocketClient, OverStream])
@pytest.mark.parametrize("own", [False, True])
def test_date_and_server_are_said_once_by_the_application_or_else_by_the_server(kind: Any, own: bool) -> None:
    @sockets_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**ACCEPT, "headers": [(b"Date", b"now"), (b"Server", b"mine")] if own else []})
        await receive()

    with serve(app, server_header="ours") as site, kind(site) as client:
        assert client.field("server") == ("mine" if own else "ours")
        assert (client.field("date") == "now") == own


@pytest.mark.spec("WS-H2-13", "WS-HS-16")
def test_sockets_of_both_protocols_meet_in_one_application() -> None:
    with serve(echo) as site, SocketClient(site) as old, OverStream(site) as new:
        for client in (old, new, old, new):
            client.send(frame(TEXT, "hello"))
            client.expect((TEXT, "hello"))
