"""A client on a plain socket: it sends the bytes it is given, in the pieces it is given, and reads to the end."""

import socket
import time
from types import TracebackType
from typing import Self

from .replies import Reply, read_replies

DEADLINE_S = 8.0


class Client:
    """One connection; every wait ends at `DEADLINE_S` with a TimeoutError.

    A reset raises ConnectionResetError, unless `may_be_reset` makes it an end like any other.
    """

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.local_port: int = self.socket.getsockname()[1]
        self.received = bytearray()
        self.ended = False
        self.may_be_reset = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send each piece with a call of its own; a server that stopped reading is no error."""
        for piece in pieces:
            try:
                self.socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def replies(self, methods: list[str], *, count: int | None = None) -> list[Reply]:
        """Receive until the connection ends, or until `count` replies are there, and return the replies.

        A connection that ends behind a whole reply, and not within one, is asked for.
        """
        deadline = time.monotonic() + DEADLINE_S
        while True:
            if self.ended or count is not None:
                replies, rest = read_replies(bytes(self.received), methods, ended=self.ended)
                if self.ended:
                    assert not rest, f"the connection ended within a reply: {rest[:300]!r}"
                    return replies
                if count is not None and len(replies) >= count:
                    return replies
            self.receive(deadline)

    def to_end(self) -> bytes:
        """Receive until the connection ends and return everything that ever came."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.ended:
            self.receive(deadline)
        return bytes(self.received)

    def receive_some(self) -> None:
        """Receive once, within `DEADLINE_S`."""
        self.receive(time.monotonic() + DEADLINE_S)

    def receive(self, deadline: float) -> None:
        """Receive once."""
        self.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.socket.recv(262144)
        except TimeoutError:
            raise TimeoutError(f"neither end nor reply; so far came {bytes(self.received[:2000])!r}") from None
        except ConnectionResetError:
            if not self.may_be_reset:
                raise
            data = b""
        if data:
            self.received += data
        else:
            self.ended = True
