"""Hold a server to a right answer over a WebSocket before it is measured: a client as plain as can be."""

import socket
import struct
import zlib
from dataclasses import dataclass, field

from benchmarks.load import HOST, LoadError
from benchmarks.socket_cases import WINDOW_BITS, Mode, SocketCase

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x37\xfa\x21\x3d"
FIN, RSV1, TEXT, BINARY, CLOSE, PING = 0x80, 0x40, 1, 2, 8, 9
ROUNDS = 3
"""Compressed answers refer to earlier ones, so one is not enough."""


@dataclass
class Agreed:
    """One open WebSocket; `inflate` is None when nothing is compressed."""

    peer: socket.socket
    unread: bytes
    inflate: "zlib._Decompress | None" = field(default=None)

    def take(self, length: int) -> bytes:
        """Return exactly the next `length` bytes."""
        while len(self.unread) < length:
            part = self.peer.recv(1 << 18)
            if not part:
                raise LoadError("the server closed a WebSocket")
            self.unread += part
        taken, self.unread = self.unread[:length], self.unread[length:]
        return taken

    def send(self, payload: bytes, is_text: bool) -> None:
        """Send one message in one masked frame."""
        size = len(payload)
        first = FIN | (TEXT if is_text else BINARY) | (RSV1 if self.inflate else 0)
        if size < 126:
            head = struct.pack("!BB", first, 0x80 | size)
        elif size < 65536:
            head = struct.pack("!BBH", first, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, size)
        key = int.from_bytes((MASK * (size // 4 + 1))[:size])
        self.peer.sendall(head + MASK + (int.from_bytes(payload) ^ key).to_bytes(size))

    def receive(self) -> tuple[bool, bytes]:
        """Return whether the next message is text, and what it says; control frames are passed over."""
        parts: list[bytes] = []
        kind = marks = 0
        while True:
            first, size = self.take(2)
            if size >= 126:
                size = int.from_bytes(self.take(2 if size == 126 else 8))
            payload = self.take(size)
            if first & 15 == CLOSE:
                raise LoadError("the server closed a WebSocket")
            if first & 15 > CLOSE:
                continue
            if not parts:
                kind, marks = first & 15, first
            parts.append(payload)
            if first & FIN:
                break
        whole = b"".join(parts)
        if marks & RSV1:
            if self.inflate is None:
                raise LoadError("the server compresses unasked")
            whole = self.inflate.decompress(whole + b"\x00\x00\xff\xff")
        return kind == TEXT, whole


def open_socket(case: SocketCase, port: int, path: str, timeout_s: float) -> Agreed:
    """Open one WebSocket; raises LoadError when the server agrees to something else than the case needs."""
    fields = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]
    if case.is_deflated:
        fields.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    request = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {HOST}:{port}", *fields, "", ""])
    peer = socket.create_connection((HOST, port), timeout=timeout_s)
    try:
        peer.sendall(request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            part = peer.recv(65536)
            if not part:
                raise ConnectionError("closed during the opening handshake")
            head += part
        text, _, unread = head.partition(b"\r\n\r\n")
        return Agreed(peer, unread, agreement(case, text.decode("latin-1")))
    except BaseException:
        peer.close()
        raise


def agreement(case: SocketCase, head: str) -> "zlib._Decompress | None":
    """Read the answer to the opening handshake; return what inflates the server's messages when it compresses them."""
    status, *lines = head.split("\r\n")
    if " 101 " not in status or ACCEPT not in head:
        raise LoadError(f"the opening handshake is answered {status}")
    found = [line.partition(":")[2] for line in lines if line.lower().startswith("sec-websocket-extensions:")]
    terms = [term.strip().partition("=") for term in ";".join(found).split(";")]
    if not found or not case.is_deflated:
        if bool(found) != case.is_deflated:
            raise LoadError("permessage-deflate is " + ("answered unasked" if found else "not agreed"))
        return None
    bits = next((int(value.strip('"')) for name, _, value in terms if name == "client_max_window_bits" and value), 15)
    if bits < WINDOW_BITS:
        raise LoadError(f"the server agrees only on a window of {bits} bits")
    return zlib.decompressobj(-15)


def ask_sockets(case: SocketCase, port: int, timeout_s: float) -> None:
    """Send the message some times and hold what comes back to it; a broadcast is listened to on a second socket."""
    is_told = case.mode is Mode.BROADCAST
    hearer = open_socket(case, port, "/subscribe" if is_told else "/", timeout_s)
    teller = hearer
    try:
        if is_told:
            # Echoed, so it is a member by then.
            hearer.send(case.payload, case.is_text)
            hearer.receive()
            teller = open_socket(case, port, "/publish", timeout_s)
        for _ in range(ROUNDS):
            teller.send(case.payload, case.is_text)
            is_text, answer = hearer.receive()
            if answer != case.message or is_text != case.is_text:
                right = f"{len(case.message)} bytes of {'text' if case.is_text else 'data'}"
                raise LoadError(f"wrong answer: {len(answer)} bytes where {right} are right")
    finally:
        hearer.peer.close()
        teller.peer.close()
