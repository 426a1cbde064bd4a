"""The opening handshake through real sockets: every line of RFC 6455 4.2, what surrounds it, and what poses as it."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgi_apps import Gate, Notes, http_only, respond
from socket_apps import accepted, message, read_on, told
from socket_client import BINARY, TEXT, close_frame, frame
from upgrade import ACCEPT, KEY, LINES, check_opened, knock, refusal, upgrade
from wire_client import Answer, Wire, request

from trilithon.testing import Site, serve

pytestmark = pytest.mark.real

UPGRADE, CONNECTION, KEY_LINE, VERSION = LINES
CLOSED_1002 = 1002


class Door:
    """An application that notes every call, answers HTTP with its path and echoes on WebSockets.

    It chooses the client's last subprotocol, which a test can tell from the server's choosing the first.
    """

    def __init__(self) -> None:
        self.notes = Notes()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        self.notes.add((scope["type"], scope["path"]))
        if scope["type"] == "http":
            await respond(send, scope["path"].encode())
            return
        assert (await receive())["type"] == "websocket.connect"
        protocols = scope["subprotocols"]
        self.notes.add(protocols)
        await send({"type": "websocket.accept", "subprotocol": protocols[-1] if protocols else None})
        while (event := await receive())["type"] == "websocket.receive":
            await send(message(told(event)))


class House:
    """A running site with a door."""

    def __init__(self, site: Site, door: Door) -> None:
        self.host, self.port = site.host, site.port
        self.notes = door.notes

    def open(self, data: bytes) -> Wire:
        """Send bytes on a connection of their own."""
        wire = Wire(self)
        wire.send(data)
        return wire

    def answer(self, data: bytes, method: str = "GET") -> Answer:
        """Send a request and read its answer."""
        with self.open(data) as wire:
            return wire.answer(method)

    def opens(self, data: bytes, protocols: list[str] | None = None) -> None:
        """Check that a handshake opens a WebSocket that works, and that the application saw these subprotocols."""
        with self.open(data) as wire:
            head = wire.head()
            check_opened(head)
            assert head.field(b"sec-websocket-protocol") == (protocols[-1].encode() if protocols else None)
            wire.send(frame(TEXT, "hello") + close_frame(1000))
            assert wire.rest() == b"\x81\x05hello" + b"\x88\x02\x03\xe8"
        assert self.notes.next()[0] == "websocket"
        assert self.notes.next() == (protocols or [])

    def refuses(self, data: bytes, status: int) -> Answer:
        """Check that a handshake is refused and the application left out of it."""
        with self.open(data) as wire:
            answer = refusal(wire)
        assert answer.status == status, answer
        assert self.notes.rest() == []
        return answer


@pytest.fixture(scope="module")
def site_of_house() -> Iterator[House]:
    door = Door()
    with serve(door, lifespan="off") as site:
        yield House(site, door)


@pytest.fixture
def house(site_of_house: House) -> House:
    """The house, with nothing left over from the test before."""
    site_of_house.notes.rest()
    return site_of_house


@pytest.mark.spec("WS-HS-01")
@pytest.mark.parametrize(
    "lines",
    [
        LINES,
        [line.lower().replace(KEY.lower(), KEY) for line in LINES],
        ["UPGRADE: WebSocket", "CONNECTION: UPGRADE", KEY_LINE, VERSION],
        [UPGRADE, "Connection: keep-alive, Upgrade", KEY_LINE, VERSION],
        [UPGRADE, "Connection: keep-alive", "Connection: ,,upgrade ,", KEY_LINE, VERSION],
        ["Upgrade: h2c", "Upgrade: foo/1, websocket", CONNECTION, KEY_LINE, VERSION],
        [*LINES, "Content-Length: 0"],
        ["Upgrade:\twebsocket\t", "Connection:upgrade", f"Sec-WebSocket-Key:  {KEY} ", "Sec-WebSocket-Version:13"],
    ],
)
def test_a_handshake_in_every_spelling_opens_a_socket(house: House, lines: list[str]) -> None:
    house.opens(request("/spelt", *lines))


@pytest.mark.spec("WS-HS-01", "WS-HS-16")
@pytest.mark.parametrize("target", ["/", "/a/b?c=d", "http://test/absolute"])
def test_a_handshake_that_comes_byte_by_byte_opens_a_socket(house: House, target: str) -> None:
    data = upgrade(target) + frame(TEXT, "early")
    with Wire(house) as wire:
        for place in range(len(data)):
            wire.send(data[place : place + 1])
        check_opened(wire.head())
        assert wire.exactly(7) == b"\x81\x05early"


@pytest.mark.spec("WS-HS-02", "WS-HS-04")
@pytest.mark.parametrize(
    "data",
    [
        request("/plain", *LINES, version="1.0"),
        request("/plain", *LINES, "Connection: keep-alive", version="1.0"),
        request("/plain", UPGRADE, KEY_LINE, VERSION),
        request("/plain", UPGRADE, "Connection: not-upgrade", KEY_LINE, VERSION),
        request("/plain", UPGRADE, "Connection: upgrade-insecure-requests", KEY_LINE, VERSION),
        request("/plain", "Upgrade: websocket2", CONNECTION, KEY_LINE, VERSION),
        request("/plain", "Upgrade: h2c", CONNECTION, KEY_LINE, VERSION),
        request("/plain", CONNECTION, KEY_LINE, VERSION),
    ],
)
def test_what_is_no_handshake_is_served_as_http(house: House, data: bytes) -> None:
    answer = house.answer(data)
    assert (answer.status, answer.body) == (200, b"/plain")
    assert answer.field(b"sec-websocket-accept") is None
    assert house.notes.rest() == [("http", "/plain")]


@pytest.mark.spec("WS-HS-03", "WS-HS-17", "WS-HS-19")
@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "FOO"])
def test_another_method_is_405(house: House, method: str) -> None:
    with house.open(request("/", *LINES, method=method)) as wire:
        answer = wire.answer(method)
        assert (answer.status, answer.field(b"allow"), answer.field(b"connection")) == (405, b"GET", b"close")
        assert wire.has_ended()
    assert house.notes.rest() == []


@pytest.mark.spec("WS-HS-05", "WS-HS-17", "WS-HS-19")
@pytest.mark.parametrize("hosts", [[], ["Host: a", "Host: a"], ["Host: a b"], ["Host: a/b"], ["Host: [::1"]])
def test_the_host_is_checked_first(house: House, hosts: list[str]) -> None:
    house.refuses("\r\n".join(["GET / HTTP/1.1", *hosts, *LINES, "", ""]).encode(), 400)


@pytest.mark.spec("WS-HS-06", "WS-HS-17", "WS-HS-19")
@pytest.mark.parametrize(
    "keys",
    [
        [], [""], ["Zm9v"], [KEY[:-1]], [KEY + "="], [KEY.rstrip("=")], [KEY.replace("=", "A")], [KEY, KEY],
        [KEY.replace("b", "-", 1)], [KEY.replace("b", "\xe9", 1)], [KEY, "A" * 22 + "=="], [f"{KEY}, {KEY}"],
    ],
)  # fmt: skip
def test_a_key_that_is_not_one_of_16_bytes_is_400(house: House, keys: list[str]) -> None:
    lines = [f"Sec-WebSocket-Key: {key}" for key in keys]
    house.refuses(request("/", UPGRADE, CONNECTION, VERSION, *lines), 400)


@pytest.mark.spec("WS-HS-07", "WS-HS-17", "WS-HS-19", "H1-RSP-15")
@pytest.mark.parametrize("version", [None, "", "0", "8", "12", "14", "013", "13a"])
def test_another_version_is_426_and_names_the_right_one(house: House, version: str | None) -> None:
    lines = [] if version is None else [f"Sec-WebSocket-Version: {version}"]
    answer = house.refuses(request("/", UPGRADE, CONNECTION, KEY_LINE, *lines), 426)
    assert answer.field(b"sec-websocket-version") == b"13"
    assert answer.field(b"upgrade") == b"websocket"
    options = b",".join(answer.head.all(b"connection")).lower().split(b",")
    assert {option.strip() for option in options} == {b"upgrade", b"close"}


@pytest.mark.spec("WS-HS-08", "WS-HS-17")
@pytest.mark.parametrize("versions", [["13", "13"], ["13", "8"], ["8", "13"], ["13, 8"], ["8, 13"], ["13,"]])
def test_two_versions_are_400(house: House, versions: list[str]) -> None:
    lines = [f"Sec-WebSocket-Version: {version}" for version in versions]
    house.refuses(request("/", UPGRADE, CONNECTION, KEY_LINE, *lines), 400)


@pytest.mark.spec("WS-HS-09", "WS-HS-10", "WS-HS-11", "WS-HS-13", "H1-UPG-04")
def test_the_101_holds_what_it_must_and_nothing_else(house: House) -> None:
    with house.open(upgrade()) as wire:
        head = wire.head()
    assert head.raw.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    fields = dict(head.fields)
    assert fields.pop(b"date")
    assert len(head.fields) == 4
    assert fields == {b"upgrade": b"websocket", b"connection": b"Upgrade", b"sec-websocket-accept": ACCEPT}


@pytest.mark.spec("WS-HS-11", "WS-HS-12")
@pytest.mark.parametrize(
    ("values", "protocols"),
    [
        (["chat"], ["chat"]),
        (["a, b", "c"], ["a", "b", "c"]),
        (["a", "b,a", ""], ["a", "b"]),
        (["Chat,chat"], ["Chat", "chat"]),
        (["a b, ok, c;d, \xe9"], ["ok"]),
        ([",".join(f"p{number}" for number in range(500))], [f"p{number}" for number in range(500)]),
        (["", " ,, "], []),
    ],
)
def test_subprotocols_of_all_fields_reach_the_application(
    house: House, values: list[str], protocols: list[str]
) -> None:
    house.opens(upgrade("/", *[f"Sec-WebSocket-Protocol: {value}" for value in values]), protocols)


@pytest.mark.spec("WS-HS-13", "WS-PMD-02", "WS-PMD-04")
@pytest.mark.parametrize(
    "value",
    [
        "", ",", "foo", "permessage-deflate; foo", "\xff\xfe", ";" * 500, "permessage-deflate " * 50,
        'foo; bar="baz, permessage-deflate"', 'permessage-deflate; server_max_window_bits="',
        "permessage-deflate; server_max_window_bits=8", "permessage-deflate; server_max_window_bits=abc",
        "permessage-deflate; client_max_window_bits=; =",
    ],
)  # fmt: skip
def test_no_extension_that_cannot_be_kept_is_answered(house: House, value: str) -> None:
    with house.open(upgrade("/", f"Sec-WebSocket-Extensions: {value}")) as wire:
        head = wire.head()
        check_opened(head)
        assert head.field(b"sec-websocket-extensions") is None
        wire.send(frame(TEXT, "x" * 1000))
        assert wire.exactly(1004) == b"\x81\x7e\x03\xe8" + b"x" * 1000


@pytest.mark.spec("WS-HS-13", "WS-PMD-01", "WS-PMD-05")
def test_the_first_extension_that_can_be_kept_is_answered(house: House) -> None:
    offers = [
        "foo, permessage-deflate; server_max_window_bits=8",
        'permessage-deflate; client_max_window_bits="10"',
        "bar",
    ]
    with house.open(upgrade("/", *[f"Sec-WebSocket-Extensions: {offer}" for offer in offers])) as wire:
        head = wire.head()
        check_opened(head)
        (answer,) = head.all(b"sec-websocket-extensions")
        assert [part.strip() for part in answer.split(b";")] == [
            b"permessage-deflate",
            b"server_max_window_bits=12",
            b"client_max_window_bits=10",
        ]
        wire.send(frame(BINARY, bytes.fromhex("f248cdc9c90700"), rsv=4))
        assert wire.exactly(7) == b"\x82\x05Hello"


@pytest.mark.spec("WS-HS-14")
def test_the_origin_reaches_the_application_and_a_list_keeps_others_out() -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await respond(send)
            return
        notes.add([value for name, value in scope["headers"] if name == b"origin"])
        await accepted(receive, send)

    with serve(app, lifespan="off") as site:
        for lines, told_of in (
            ([], []),
            (["Origin: null"], [b"null"]),
            (["ORIGIN: https://x.y:1"], [b"https://x.y:1"]),
        ):
            with knock(site, "/", *lines) as wire:
                check_opened(wire.head())
            assert notes.next() == told_of
    with serve(app, lifespan="off", ws_origins=["https://good.example"]) as site:
        with knock(site, "/", "Origin: https://good.example") as wire:
            check_opened(wire.head())
        assert notes.next() == [b"https://good.example"]
        for lines in (
            [],
            ["Origin: https://good.example/"],
            ["Origin: https://good.example, https://evil.example"],
            ["Origin: https://good.example", "Origin: https://evil.example"],
            ["Origin: https://good.example.evil.example"],
            ["Origin: http://good.example"],
            ["X-Origin: https://good.example"],
        ):
            with knock(site, "/", *lines) as wire:
                assert refusal(wire).status == (400 if len(lines) == 2 else 403), lines
        with Wire(site) as wire:
            assert wire.ask("/", "Origin: https://evil.example").status == 200, "the list is about WebSockets alone"
    assert notes.rest() == []


SMUGGLED = request("/smuggled")


@pytest.mark.spec("WS-HS-15", "WS-HS-17")
@pytest.mark.parametrize(
    ("line", "body"),
    [
        (f"Content-Length: {len(SMUGGLED)}", SMUGGLED),
        ("Content-Length: 1", SMUGGLED),
        ("Transfer-Encoding: chunked", b"0\r\n\r\n" + SMUGGLED),
        ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
    ],
)
def test_a_handshake_with_a_body_is_400_and_the_body_no_request(house: House, line: str, body: bytes) -> None:
    house.refuses(upgrade("/", line) + body, 400)


@pytest.mark.spec("WS-HS-17", "WS-HS-19", "HS-58")
@pytest.mark.parametrize("behind", [SMUGGLED, upgrade("/smuggled"), frame(TEXT, "x") * 50, b"\x00" * 5000])
def test_nothing_behind_a_refused_handshake_is_read(house: House, behind: bytes) -> None:
    house.refuses(request("/", *LINES[:3], "Sec-WebSocket-Version: 8") + behind, 426)


@pytest.mark.spec("WS-HS-16")
@pytest.mark.parametrize("behind", [SMUGGLED, upgrade("/smuggled"), b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_request_behind_a_handshake_is_a_broken_frame(house: House, behind: bytes) -> None:
    with house.open(upgrade("/socket") + behind) as wire:
        check_opened(wire.head())
        rest = wire.rest()
    assert rest[0] == 0x88
    assert int.from_bytes(rest[2:4], "big") == CLOSED_1002
    assert len(rest) == 2 + rest[1], "nothing but one close frame"
    assert house.notes.rest() == [("websocket", "/socket"), []]


@pytest.mark.spec("WS-HS-16")
def test_a_request_inside_an_early_frame_is_a_message(house: House) -> None:
    with house.open(upgrade("/socket") + frame(BINARY, SMUGGLED) + close_frame(1000)) as wire:
        check_opened(wire.head())
        assert wire.rest() == bytes([0x82, len(SMUGGLED)]) + SMUGGLED + b"\x88\x02\x03\xe8"
    assert house.notes.rest() == [("websocket", "/socket"), []]


@pytest.mark.spec("WS-HS-16", "WS-HS-01")
@pytest.mark.parametrize("count", [1, 3])
def test_a_pipelined_handshake_waits_for_its_turn(count: int) -> None:
    notes, go_on = Notes(), Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add((scope["type"], scope["path"]))
        if scope["type"] == "http":
            await go_on.passed()
            await respond(send, scope["path"].encode())
            return
        await accepted(receive, send)
        await read_on(receive, notes)

    with serve(app, lifespan="off") as site, Wire(site) as wire:
        before = [request(f"/{number}") for number in range(count)]
        wire.send(b"".join(before) + upgrade("/socket") + frame(TEXT, "early"))
        assert notes.next() == ("http", "/0")
        assert wire.is_quiet(0.05)
        assert notes.rest() == []
        go_on.open()
        assert [wire.answer().body for _ in range(count)] == [b"/%d" % number for number in range(count)]
        check_opened(wire.head())
        wire.send(close_frame(3001, "bye"))
        assert wire.rest()[2:4] == (3001).to_bytes(2, "big")
        found = [notes.next() for _ in range(count + 2)]
    assert found[count - 1 :] == [("websocket", "/socket"), "early", ("disconnect", 3001, "bye")]


@pytest.mark.spec("WS-HS-18", "WS-HS-17")
def test_a_decision_takes_its_time_only() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    with serve(app, lifespan="off", ws_handshake_timeout_s=0.2) as site, knock(site) as wire:
        assert refusal(wire).status == 503


def plain_wsgi(notes: Notes) -> Callable[..., list[bytes]]:
    """Return a WSGI application that notes and answers with its path."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        notes.add((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["wsgi.input"].read()))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]

    return app


@pytest.mark.spec("WS-HS-19", "WS-HS-10")
@pytest.mark.parametrize("lines", [LINES, LINES[:2], [*LINES[:3], "Sec-WebSocket-Version: 8"]])
def test_a_wsgi_application_is_asked_for_a_plain_answer(lines: list[str]) -> None:
    notes = Notes()
    with serve(plain_wsgi(notes)) as site, Wire(site) as wire:
        for number in range(3):
            wire.send(request(f"/{number}", *lines))
            answer = wire.answer()
            assert (answer.status, answer.body) == (200, b"/%d" % number)
            assert answer.field(b"upgrade") is None
            assert answer.field(b"sec-websocket-accept") is None
        assert notes.rest() == [("GET", f"/{number}", b"") for number in range(3)]
        wire.send(request("/last", *lines) + frame(TEXT, "no frames here"))
        assert wire.answer().body == b"/last"
        assert wire.answer().status == 400
        assert wire.has_ended()


@pytest.mark.spec("WS-HS-19")
def test_beside_a_wsgi_application_sockets_open_where_an_asgi_one_is_mounted() -> None:
    notes, door = Notes(), Door()
    with serve(plain_wsgi(notes), lifespan="off", mounts={"/live": door}) as site:
        with knock(site, "/live/socket") as wire:
            check_opened(wire.head())
            assert door.notes.next() == ("websocket", "/live/socket")
        with knock(site, "/lively") as wire:
            assert (wire.answer().status, notes.next()) == (200, ("GET", "/lively", b""))


@pytest.mark.spec("WS-HS-19", "WS-HS-17")
def test_an_application_without_websockets_is_a_framed_500(caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)

    with serve(app) as site, knock(site) as wire:
        assert refusal(wire).status == 500


@pytest.mark.spec("WS-HS-20")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"Upgrade", b"h2c"),
        (b"connection", b"close"),
        (b"Sec-WebSocket-Accept", b"x"),
        (b"sec-websocket-EXTENSIONS", b"permessage-deflate"),
        (b"Sec-WebSocket-Protocol", b"chat"),
        (b"Sec-WebSocket-Version", b"8"),
        (b"Sec-WebSocket-Key", KEY.encode()),
        (b"Content-Length", b"0"),
        (b"Transfer-Encoding", b"chunked"),
        (b":status", b"200"),
        (b"x", b"a\r\nSec-WebSocket-Protocol: chat"),
        (b"x", b"a\nb"),
        (b"x", b"a\0b"),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"", b"a"),
    ],
)
def test_an_accept_cannot_say_what_the_handshake_decides(name: bytes, value: bytes) -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await send({"type": "websocket.accept", "headers": [(b"x-a", b"1"), (name, value)]})
        except ValueError:
            notes.add("raised")
        await send({"type": "websocket.accept", "headers": [(b"x-a", b"2")]})

    with serve(app, lifespan="off") as site, knock(site, "/", "Sec-WebSocket-Protocol: chat") as wire:
        head = wire.head()
        check_opened(head)
        assert head.all(b"x-a") == [b"2"]
        assert head.field(b"sec-websocket-protocol") is None
        assert notes.rest() == ["raised"]


@pytest.mark.spec("WS-HS-06", "WS-HS-13", "WS-HS-17", "WS-HS-19")
def test_mutated_handshakes_are_answered_and_never_with_500(house: House) -> None:
    pieces = [b"\x00", b"\t", b",", b";", b'"', b"=", b"\r\n", b"13", b"websocket", b"Upgrade", b"\xff", b": ", b"=="]
    whole = upgrade("/", "Sec-WebSocket-Protocol: a, b", 'Sec-WebSocket-Extensions: permessage-deflate; x="y", foo')
    met = set()
    for number in range(300):
        chance = random.Random(number)
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2])):
            place = chance.randrange(len(data) - 4)
            data[place : place + chance.choice([0, 1, 1, 9])] = chance.choice(pieces)
        # What comes behind ends every connection: as a broken frame, as the last request or as a broken head.
        with house.open(bytes(data) + request("/behind", "Connection: close")) as wire:
            answer = wire.rest()
        assert answer.startswith(b"HTTP/1.1 "), bytes(data)
        met.add(int(answer[9:12]))
    assert met <= {101, 200, 400, 405, 426, 501, 505}, met
    assert met >= {101, 200, 400, 426}, met
    house.notes.rest()
    house.opens(upgrade())
