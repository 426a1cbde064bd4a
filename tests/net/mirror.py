"""Applications that answer with what they were told of a connection, and clients that ask for it over any protocol."""

import http.client
import json
import socket
import struct
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, StreamEnded
from websockets.sync.client import connect as connect_socket

from .applications import Receive, Send, lifespan, respond

DEADLINE_S = 10.0
AUTHORITY = "site.example"


def told_by_scope(scope: dict[str, Any]) -> dict[str, Any]:
    """Return what an ASGI application is told."""
    fields = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
    return {
        "client": scope["client"] and list(scope["client"]),
        "server": list(scope["server"]),
        "scheme": scope["scheme"],
        "root_path": scope["root_path"],
        "path": scope["path"],
        "host": [value for name, value in fields if name == "host"],
        "version": scope["http_version"],
        "fields": fields,
    }


async def mirror_asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer with what the scope says; a WebSocket gets it as its only message."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    told = json.dumps(told_by_scope(scope))
    if scope["type"] == "http":
        await respond(send, told.encode())
        return
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": told})
    await receive()


def mirror_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with what the environ says, in the same words."""
    client = [environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"])] if "REMOTE_ADDR" in environ else None
    assert environ.get("HTTPS") == ("on" if environ["wsgi.url_scheme"] == "https" else None)
    told = {
        "client": client,
        "server": [environ["SERVER_NAME"], int(environ["SERVER_PORT"])],
        "scheme": environ["wsgi.url_scheme"],
        "root_path": environ["SCRIPT_NAME"],
        "path": environ["SCRIPT_NAME"] + environ["PATH_INFO"],
        "host": [environ["HTTP_HOST"]] if "HTTP_HOST" in environ else [],
        "version": environ["SERVER_PROTOCOL"].partition("/")[2],
        "fields": [(key[5:].lower().replace("_", "-"), each) for key, each in environ.items() if key[:5] == "HTTP_"],
    }
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


MIRRORS: dict[str, Any] = {"asgi": mirror_asgi, "wsgi": mirror_wsgi}


def dial(address: tuple[str, int] | str, first: bytes = b"", source: str = "") -> socket.socket:
    """Return a connection to (host, port), from `source`, or to the path of a Unix socket; `first` was sent on it."""
    if isinstance(address, str):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(DEADLINE_S)
        made.connect(address)
    else:
        origin = (source, 0) if source else None
        made = socket.create_connection(address, timeout=DEADLINE_S, source_address=origin)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.sendall(first)
    return made


class Http1Asker:
    """Asks over HTTP/1.1 on one connection that stays open."""

    def __init__(self, sock: socket.socket) -> None:
        self.connection = http.client.HTTPConnection(AUTHORITY)
        self.connection.sock = sock

    def ask(self, path: str = "/", fields: dict[str, str] | None = None) -> dict[str, Any]:
        """Return what the application was told of a request."""
        self.connection.request("GET", path, headers=fields or {})
        answer = self.connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return dict(json.loads(body))


class Http2Asker:
    """Asks over HTTP/2 on one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.connection.initiate_connection()
        self.sock.sendall(self.connection.data_to_send())

    def ask(self, path: str = "/", fields: dict[str, str] | None = None) -> dict[str, Any]:
        """Return what the application was told of a request."""
        stream_id = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream_id, self._head("GET", path, fields), end_stream=True)
        body = b""
        while True:
            for event in self._events():
                if isinstance(event, DataReceived) and event.stream_id == stream_id:
                    body += event.data
                elif isinstance(event, StreamEnded) and event.stream_id == stream_id:
                    return dict(json.loads(body))

    def ask_socket(self, path: str = "/", fields: dict[str, str] | None = None) -> dict[str, Any]:
        """Return the first message of a WebSocket (RFC 8441)."""
        while not any(isinstance(event, RemoteSettingsChanged) for event in self._events()):
            pass
        stream_id = self.connection.get_next_available_stream_id()
        more = {"sec-websocket-version": "13", **(fields or {})}
        head = [(":method", "CONNECT"), (":protocol", "websocket"), *self._head("CONNECT", path, more)[1:]]
        self.connection.send_headers(stream_id, head)
        data = b""
        while True:
            for event in self._events():
                if isinstance(event, DataReceived):
                    data += event.data
            if len(data) >= 4 and len(data) >= 4 + struct.unpack_from("!H", data, 2)[0]:
                assert data[:2] == b"\x81\x7e", "one text frame with a length of 16 bits"
                return dict(json.loads(data[4 : 4 + struct.unpack_from("!H", data, 2)[0]]))

    def _head(self, method: str, path: str, fields: dict[str, str] | None) -> list[tuple[str, str]]:
        fixed = [(":method", method), (":scheme", "http"), (":path", path), (":authority", AUTHORITY)]
        return [*fixed, *((name.lower(), value) for name, value in (fields or {}).items())]

    def _events(self) -> list[Any]:
        self.sock.sendall(self.connection.data_to_send())
        data = self.sock.recv(65536)
        assert data, "the connection ended"
        return self.connection.receive_data(data)


ASKERS: dict[str, Any] = {"http1": Http1Asker, "http2": Http2Asker}


def ask_socket(sock: socket.socket, path: str = "/", fields: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the first message of a WebSocket over HTTP/1.1."""
    with connect_socket(
        f"ws://{AUTHORITY}{path}", sock=sock, additional_headers=fields, open_timeout=DEADLINE_S, compression=None
    ) as client:
        return dict(json.loads(client.recv(DEADLINE_S)))
