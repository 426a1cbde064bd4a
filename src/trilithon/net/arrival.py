"""What comes before a connection's protocol: the PROXY header, the TLS handshake, and the choice of HTTP version."""

from trilithon.foundation.limits import Limits
from trilithon.net.connection import Connection
from trilithon.wire.exchange import Exchange, Peer
from trilithon.wire.h2_frames import PREFACE
from trilithon.wire.http1 import Http1
from trilithon.wire.http2 import Http2
from trilithon.wire.phase import ARRIVAL
from trilithon.wire.protocol import Protocol
from trilithon.wire.terms import Terms



class Doorway:
    """What a listener asks of the connections that come in through it.

    `prior_knowledge` lets clients without TLS begin with HTTP/2, `websockets` lets them open some over it.
    """

    def __init__(self, terms: Terms, limits: Limits) -> None:
        self.terms = terms
        self.limits = limits
        self.prior_knowledge = False
        self.websockets = True

    def is_plain(self) -> bool:
        """Tell whether nothing comes before HTTP/1."""
        return not self.prior_knowledge

    def enter(self, connection: Connection, peer: Peer) -> None:
        """Let a connection speak its first protocol."""
        if self.is_plain():
            connection.speak(Http1(connection, self.terms, peer))
        else:
            connection.speak(Arrival(self, connection, peer))


class Arrival(Protocol):
    """A connection that has not shown yet what it speaks."""

    def __init__(self, doorway: Doorway, connection: Connection, peer: Peer) -> None:
        super().__init__(connection, doorway.terms, peer)
        self.phase = ARRIVAL
        self.doorway = doorway
        self.connection = connection
        self.deadline = 0.0

    def begin(self) -> None:
        """Let the time run that the client has to show itself; see Protocol."""
        header_s = self.doorway.limits.timeouts.header_timeout_s
        self.deadline = self.now + header_s if header_s else 0.0

    def receive(self, data: bytes) -> Exchange | None:
        """Take what came first; see Protocol."""
        data = self.ahead + data
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self.ahead = data
            return None
        self.ahead = b""
        if data.startswith(PREFACE):
            return self.settle(self.open_http2(), data)
        return self.settle(Http1(self.transport, self.terms, self.peer), data)

    def open_http2(self) -> Protocol:
        """Return HTTP/2 for this connection."""
        doorway = self.doorway
        return Http2(self.transport, self.terms, self.peer, doorway.limits, doorway.websockets)

    def settle(self, protocol: Protocol, data: bytes) -> Exchange | None:
        """Go on with the protocol that was chosen, beginning with what has come in already."""
        self.connection.speak(protocol)
        return protocol.receive(data) if data else None

    def receive_end(self) -> None:
        """Take the end of a client that has not shown what it speaks: a whole request has more than it sent."""
        self.end_seen = True
        self.transport.finish(False)

    def look(self, now: float) -> None:
        """Close what has not shown itself in time; see Protocol."""
        if self.deadline and now >= self.deadline:
            self.transport.abort(False)

    def retire(self) -> None:
        """Close at once: nothing was asked yet; see Protocol."""
        self.transport.finish(False)
