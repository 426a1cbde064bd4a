"""A client of the tests over TLS; an end without close_notify is an error to it."""

import ssl
from pathlib import Path
from typing import Any

from tests.wire.client import Client
from trilithon.testing import Site

from .tls_authority import Authority


class Trust:
    """An authority with a certificate for localhost in files, and contexts of clients that trust it."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority()
        self.directory = directory
        self.certfile = directory / "site.pem"
        self.ca_certs = self.authority.write(directory / "ca.pem")
        self.signed = self.authority.server("localhost")
        self.signed.write(self.certfile)

    @property
    def options(self) -> dict[str, Any]:
        """Return the options of a server that uses the certificate."""
        return {"certfile": str(self.certfile)}

    def context(self, *alpn: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """Return a client's context."""
        context = self.authority.trusting()
        context.maximum_version = version
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def client(self, site: Site, *alpn: str, **more: Any) -> "TlsClient":
        """Return a connected client."""
        return TlsClient(site, self.context(*alpn, **more))


class TlsClient(Client):
    """One TLS connection to a site."""

    socket: ssl.SSLSocket

    def __init__(self, site: Site, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        super().__init__(site.host, site.port)
        try:
            self.socket = context.wrap_socket(
                self.socket, server_hostname="localhost", suppress_ragged_eofs=False, session=session
            )
        except BaseException:
            self.socket.close()
            raise

    def finish(self) -> None:
        """Say that nothing more will be sent, as TLS does (close_notify), and go on reading.

        A server that has given the connection up by then is no error.
        """
        self.socket.setblocking(False)
        try:
            self.socket.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLEOFError, ConnectionError):
            return
        finally:
            self.socket.setblocking(True)

    def receive(self, deadline: float) -> None:
        """Receive once."""
        try:
            super().receive(deadline)
        except ssl.SSLZeroReturnError:
            # What the ssl module makes of the other's close_notify behind its own.
            self.ended = True

    def fetch(self, target: str = "/", fields: str = "", body: bytes = b"", method: str = "GET") -> bytes:
        """Ask for one thing and return the body of a 200 answer."""
        self.received.clear()
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}{fields}\r\n".encode() + body)
        (reply,) = self.replies([method], count=1)
        assert reply.status == 200, reply
        return bytes(reply.body)
