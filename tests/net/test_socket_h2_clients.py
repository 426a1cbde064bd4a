"""WebSocket over HTTP/2 with clients that others wrote, over TLS and without, and with frameworks as applications."""

import json
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect, WebSocketException
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.routing import WebSocketRoute

from tests.gateway.h2_socket_client import H2Wire, OverStream, extended_connect
from tests.gateway.socket_client import BINARY, TEXT, close_frame, frame
from trilithon.testing import Site, serve

pytestmark = pytest.mark.real

DEADLINE_S = 20.0
MIB = 1 << 20


class Echo:
    """An application that notes its scopes and sends back what comes."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.codes: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        self.scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
        while (event := await receive())["type"] == "websocket.receive":
            kind = "bytes" if event.get("text") is None else "text"
            await send({"type": "websocket.send", kind: event[kind]})
        self.codes.append(event["code"])


def wait_until(condition: Any) -> None:
    """Wait until a condition that another thread brings about holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.spec("WS-H2-01", "WS-H2-07", "WS-H2-08", "WS-H2-09")
@pytest.mark.parametrize("options", [{}, {"self_signed": True}], ids=["cleartext", "tls"])
def test_nodes_client_talks_and_closes(options: Any) -> None:
    node = shutil.which("node")
    assert node, "node is not installed; on Debian: apt-get install -y nodejs"
    script = Path(__file__).with_name("socket_h2_node.js")
    app = Echo()
    with serve(app, **options) as site:
        done = subprocess.run(
            [node, str(script), site.url, "300000"], capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "echoes": [[1, 5, "hello"], [1, 300_000, "xxxxx"]],
            "end": True,
            "offered": True,
            "status": 200,
            "protocol": "one",
            "code": 4000,
            "reset": 0,
        }
        wait_until(lambda: app.codes == [4000])
    (scope,) = app.scopes
    assert (scope["http_version"], scope["scheme"]) == ("2", "wss" if options else "ws")
    assert (scope["path"], scope["query_string"], scope["subprotocols"]) == ("/node", b"a=b", ["one", "two"])


class LibraryClient:
    """A client made of the h2 library, which checks what the server sends, with frames of a WebSocket in its DATA."""

    def __init__(self, site: Site, *, tls: bool) -> None:
        self.socket: socket.socket = socket.create_connection((site.host, site.port), timeout=DEADLINE_S)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            wrapped = context.wrap_socket(self.socket, server_hostname="localhost")
            assert wrapped.selected_alpn_protocol() == "h2"
            self.socket = wrapped
        self.machine = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.machine.initiate_connection()
        self.data: dict[int, bytes] = {}
        self.heads: dict[int, dict[str, str]] = {}
        self.over: set[int] = set()
        self.flush()
        offered = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
        self.wait(lambda: self.machine.remote_settings.get(offered) == 1)

    def flush(self) -> None:
        """Send what the machine has to say."""
        self.socket.sendall(self.machine.data_to_send())

    def wait(self, condition: Any) -> None:
        """Read until a condition holds."""
        while not condition():
            data = self.socket.recv(65536)
            assert data, "the connection ended"
            for event in self.machine.receive_data(data):
                self.take(event)
            self.flush()

    def take(self, event: Any) -> None:
        """Act on what the library makes of the server's frames."""
        if isinstance(event, h2.events.ResponseReceived):
            self.heads[event.stream_id] = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
            self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.over.add(event.stream_id)
        else:
            assert not isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)), event

    def open(self, target: str, scheme: str) -> int:
        """Open a WebSocket and return its stream."""
        stream_id: int = self.machine.get_next_available_stream_id()
        pairs = [(name.decode(), value.decode()) for name, value in extended_connect(target)]
        pairs[2] = (":scheme", scheme)
        self.machine.send_headers(stream_id, pairs)
        self.flush()
        self.wait(lambda: stream_id in self.heads)
        return stream_id

    def send(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send octets as the windows allow."""
        while data:
            self.wait(lambda: self.machine.local_flow_control_window(stream_id) > 0)
            size = min(self.machine.local_flow_control_window(stream_id), self.machine.max_outbound_frame_size)
            self.machine.send_data(stream_id, data[:size], end_stream=end and size >= len(data))
            self.flush()
            data = data[size:]


@pytest.mark.spec("WS-H2-05", "WS-H2-07", "WS-H2-08", "WS-H2-09", "WS-H2-11", "WS-H2-12")
@pytest.mark.parametrize("tls", [False, True], ids=["cleartext", "tls"])
def test_a_client_made_of_the_h2_library(tls: bool) -> None:
    app = Echo()
    with serve(app, self_signed=tls) as site:
        client = LibraryClient(site, tls=tls)
        streams = [client.open(f"/{number}", "https" if tls else "http") for number in range(5)]
        assert all(client.heads[stream_id][":status"] == "200" for stream_id in streams)
        data = b"y" * (2 * MIB)
        for stream_id in streams:
            client.send(stream_id, frame(TEXT, "hello") + frame(BINARY, data))
        expected = frame(TEXT, "hello", mask=None) + frame(BINARY, data, mask=None)
        for stream_id in streams:
            client.wait(lambda stream_id=stream_id: len(client.data.get(stream_id, b"")) >= len(expected))
            assert client.data[stream_id] == expected
            client.send(stream_id, close_frame(1001), end=True)
            client.wait(lambda stream_id=stream_id: stream_id in client.over)
            assert client.data[stream_id][len(expected) :] == close_frame(1001, mask=None)
        client.socket.close()
        wait_until(lambda: app.codes == [1001] * 5)
    assert {scope["scheme"] for scope in app.scopes} == {"wss" if tls else "ws"}
    assert all(scope["headers"][0] == (b"host", b"test.example") for scope in app.scopes)


def talk_tls(site: Site, protocol: str, octets: bytes) -> bytes:
    """Say octets over TLS with this ALPN and return what came until the end, or the first answer."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    with (
        socket.create_connection((site.host, site.port), timeout=DEADLINE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.selected_alpn_protocol() == protocol
        secure.sendall(octets)
        received = b""
        while data := secure.recv(65536):
            received += data
            if b"hello" in received:
                break
        return received


@pytest.mark.spec("WS-HS-21")
def test_after_http2_was_chosen_an_upgrade_of_http1_is_nonsense() -> None:
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    handshake = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%b\r\n" % key
    app = Echo()
    with serve(app, self_signed=True) as site:
        answer = talk_tls(site, "http/1.1", handshake + frame(TEXT, "hello"))
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert answer.endswith(frame(TEXT, "hello", mask=None))
        answer = talk_tls(site, "h2", handshake)
        assert b"HTTP/1.1" not in answer
        # SETTINGS first, as always, then GOAWAY.
        assert answer[3] == 4 and b"\x07\x00\x00\x00\x00\x00" in answer
    (scope,) = app.scopes
    assert (scope["http_version"], scope["scheme"]) == ("1.1", "wss")


class Endpoint(WebSocketEndpoint):
    """Starlette's own kind of endpoint."""

    encoding = "bytes"

    async def on_receive(self, websocket: Any, data: Any) -> None:
        await websocket.send_bytes(data[::-1])


def starlette_site() -> Any:
    """Return a Starlette application."""
    return Starlette(routes=[WebSocketRoute("/turned", Endpoint)])


def fastapi_site() -> Any:
    """Return a FastAPI application."""
    app = FastAPI()

    @app.websocket("/turned")
    async def turned(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_bytes((await websocket.receive_bytes())[::-1])
        except WebSocketDisconnect:
            pass

    @app.websocket("/rooms/{room}")
    async def enter(websocket: WebSocket, room: int) -> None:
        if room > 3:
            raise WebSocketException(1008)
        await websocket.accept()
        await websocket.send_text(f"{websocket.url} {room}")
        await websocket.close(4000 + room, "leaving")

    return app


@pytest.mark.spec("WS-H2-07", "WS-H2-08", "WS-H2-12", "A-WSH-03")
@pytest.mark.parametrize("make", [starlette_site, fastapi_site])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_frameworks_notice_no_difference(make: Any, loop: str) -> None:
    with serve(make(), loop=loop) as site, H2Wire(site) as wire:
        clients = [OverStream(wire, "/turned") for _ in range(3)]
        for client in clients:
            client.send(frame(BINARY, bytes(range(256)) * 100))
            client.expect((BINARY, bytes(range(256))[::-1] * 100))
            client.expect_alive()
            client.shake()
        refused = wire.request(extended_connect("/nowhere"))
        assert refused.status() == 403
        refused.rest()
        assert refused.ended


@pytest.mark.spec("WS-H2-07", "WS-H2-12")
def test_fastapi_routes_accepts_refuses_and_closes() -> None:
    with serve(fastapi_site()) as site, H2Wire(site) as wire:
        with OverStream(wire, "/rooms/3") as client:
            client.expect((TEXT, "ws://test.example/rooms/3 3"))
            client.expect_close(4003, "leaving")
            client.send(close_frame(4003))
            client.expect_end()
        for target in ("/rooms/4", "/rooms/x"):
            assert wire.request(extended_connect(target)).status() == 403
        wire.expect_alive()
