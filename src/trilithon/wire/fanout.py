"""Messages on their way to many WebSockets: the same message costs one frame and one compression for all of them."""

from trilithon.wire.frame import BINARY, COMPRESSED, FIN, TEXT, frame_parts
from trilithon.wire.websocket import WebSocket

# A longer message is known by its identity alone: comparing would cost as much as framing it.
MAX_COMPARED = 4096
# A larger message is not kept for the next socket.
MAX_KEPT_BYTES = 1048576


class Fanout:
    """Frames messages, and remembers the last one: whoever sends it to the next socket gets the same octets.

    Sockets that compress alike share one compression that refers to nothing sent before; their own compression
    contexts are dropped then, for they know nothing of it.
    """

    def __init__(self, threshold_bytes: int) -> None:
        self.threshold = threshold_bytes
        self.message: str | bytes | None = None
        self.payload = b""
        self.first: WebSocket | None = None
        self.plain: list[bytes] | None = None
        self.shared: dict[tuple[int, ...], list[bytes]] = {}

    def frame(self, socket: WebSocket, message: str | bytes) -> list[bytes]:
        """Return the octets that carry `message` to `socket`; raises UnicodeEncodeError for text that is none."""
        kept = self.message
        if message is not kept and (len(message) > MAX_COMPARED or type(message) is not type(kept) or message != kept):
            return self.frame_new(socket, message)
        deflate = socket.deflate
        if deflate is None or len(self.payload) < self.threshold:
            if self.plain is None:
                self.plain = frame_parts(self.first_byte(), self.payload)
            return self.plain
        if socket is self.first:
            return frame_parts(self.first_byte() | COMPRESSED, deflate.compress(self.payload))
        parts = self.shared.get(deflate.shape)
        if parts is None:
            parts = frame_parts(self.first_byte() | COMPRESSED, deflate.compress_alone(self.payload))
            self.shared[deflate.shape] = parts
        deflate.forget()
        return parts

    def frame_new(self, socket: WebSocket, message: str | bytes) -> list[bytes]:
        """Return the octets of a message that was not the last one, and keep it."""
        payload = message.encode("utf-8") if isinstance(message, str) else message
        first = FIN | (TEXT if isinstance(message, str) else BINARY)
        deflate = socket.deflate
        self.plain = None
        if self.shared:
            self.shared = {}
        if deflate is None or len(payload) < self.threshold:
            parts = frame_parts(first, payload)
            self.plain = parts
        else:
            parts = frame_parts(first | COMPRESSED, deflate.compress(payload))
        if len(payload) <= MAX_KEPT_BYTES:
            self.message = message
            self.payload = payload
            self.first = socket
        else:
            self.message = None
            self.payload = b""
            self.first = None
            self.plain = None
        return parts

    def first_byte(self) -> int:
        """Return the first byte of a frame with the message that is kept."""
        return FIN | (TEXT if isinstance(self.message, str) else BINARY)
