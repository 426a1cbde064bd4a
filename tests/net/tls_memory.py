"""A TLS client in memory that talks to a TlsChannel, its ciphertext cut into pieces as a test wants it."""

import ssl
from collections.abc import Callable, Iterable

from trilithon.net.certificates import TlsStore
from trilithon.net.tls import TlsChannel

Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    """Deliver everything at once."""
    return [data] if data else []


def singly(data: bytes) -> Iterable[bytes]:
    """Deliver one byte at a time."""
    return [data[at : at + 1] for at in range(len(data))]


class MemoryClient:
    """The client's side of one connection, and the channel that it talks to."""

    def __init__(
        self,
        store: TlsStore,
        context: ssl.SSLContext,
        name: str | None = "localhost",
        cut: Cut = whole,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.channel = TlsChannel(store)
        self.cut = cut
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)
        self.received = b""

    def shake(self) -> "MemoryClient":
        """Do the whole handshake; raises what either side raises."""
        for _ in range(10):
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            except ssl.SSLError:
                self.deliver()
                raise
            self.deliver()
            if done and not self.channel.shaking:
                return self
        raise AssertionError("the handshake does not end")

    def deliver(self) -> None:
        """Carry what the client has written to the channel and what that answers back."""
        try:
            for piece in self.cut(self.outgoing.read()):
                self.received += self.channel.receive(piece)
        finally:
            self.incoming.write(self.channel.outgoing())

    def send(self, data: bytes) -> None:
        """Send data to the server."""
        self.tls.write(data)
        self.deliver()

    def read(self) -> bytes:
        """Return all plaintext that came from the server."""
        parts = []
        while True:
            try:
                part = self.tls.read(65536)
            except ssl.SSLWantReadError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)

    def answer(self, data: bytes) -> bytes:
        """Have the server send data; returns what the client reads of it."""
        self.incoming.write(self.channel.seal(data))
        return self.read()
