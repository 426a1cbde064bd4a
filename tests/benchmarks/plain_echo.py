"""An honest and some dishonest WebSocket servers in a few lines: what the instruments are tried on."""

import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
TAIL = b"\x00\x00\xff\xff"

Change = Callable[[bytes], bytes]


def take(peer: socket.socket, length: int) -> bytes:
    """Read exactly `length` bytes."""
    read = b""
    while len(read) < length:
        part = peer.recv(length - len(read))
        if not part:
            raise ConnectionError("the client is gone")
        read += part
    return read


def take_frame(peer: socket.socket) -> tuple[int, bytes]:
    """Read one masked frame; return its first byte and what it says."""
    first, size = take(peer, 2)
    assert size & 0x80, "a client masks"
    size &= 0x7F
    if size >= 126:
        size = int.from_bytes(take(peer, 2 if size == 126 else 8))
    mask = take(peer, 4)
    return first, bytes(byte ^ mask[place % 4] for place, byte in enumerate(take(peer, size)))


def frame(first: int, payload: bytes) -> bytes:
    """Build one frame."""
    size = len(payload)
    length = bytes([size]) if size < 126 else struct.pack("!BH" if size < 65536 else "!BQ", 126 + (size > 65535), size)
    return bytes([first]) + length + payload


def converse(peer: socket.socket, change: Change) -> None:
    """Serve one client until it closes: everything back, changed by `change`, in two frames and behind a ping."""
    with peer:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += take(peer, 1)
        is_deflated = b"permessage-deflate" in head
        extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if is_deflated else ""
        peer.sendall((ANSWER + extension + "\r\n").encode())
        inflate, squeeze = zlib.decompressobj(-15), zlib.compressobj(6, zlib.DEFLATED, -15)
        while True:
            first, said = take_frame(peer)
            if first & 15 == 8:
                peer.sendall(frame(0x88, said))
                return
            if first & 15 == 10:
                assert said == b"there?"
                continue
            back = change(inflate.decompress(said + TAIL) if first & 0x40 else said)
            if first & 0x40:
                back = (squeeze.compress(back) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
            half = len(back) // 2
            ping = frame(0x89, b"there?")
            peer.sendall(ping + frame(first & 0x7F, back[:half]) + ping + frame(0x80, back[half:]))


def attend(peer: socket.socket, change: Change) -> None:
    """Serve one client; that it leaves is no fault."""
    try:
        converse(peer, change)
    except OSError:
        pass


@contextmanager
def echoing(change: Change = bytes) -> Iterator[int]:
    """Serve WebSockets on a free port for the length of the block; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=attend, args=(peer, change), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # Closing alone does not wake a thread that waits in accept.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
