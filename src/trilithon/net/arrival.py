"""What comes before a connection's protocol: the PROXY header, the TLS handshake, and the choice of HTTP version."""

import logging

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import Limits
from trilithon.foundation.networks import Networks
from trilithon.net.certificates import TlsStore
from trilithon.net.connection import Connection
from trilithon.net.tls import TlsChannel
from trilithon.wire.exchange import Exchange, Peer
from trilithon.wire.h2_frames import PREFACE
from trilithon.wire.http1 import Http1
from trilithon.wire.http2 import Http2
from trilithon.wire.phase import ARRIVAL
from trilithon.wire.protocol import Protocol
from trilithon.wire.proxy_header import ProxyHeader
from trilithon.wire.terms import Terms

log = logging.getLogger("trilithon.error")


class Doorway:
    """What a listener asks of the connections that come in through it.

    `trusted` are the proxies whose word counts, None for none. `proxy_version` is that of the PROXY header, which only
    they may send, in `proxy_s` seconds; empty for no header. `store` has the certificates where TLS is spoken, `tls_s`
    is the time for its handshake. `prior_knowledge` lets clients without TLS begin with HTTP/2, `websockets` lets them
    open some over it.
    """

    def __init__(self, terms: Terms, limits: Limits) -> None:
        self.terms = terms
        self.limits = limits
        self.proxy_version = ""
        self.trusted: Networks | None = None
        self.proxy_s = 0.0
        self.store: TlsStore | None = None
        self.tls_s = 0.0
        self.prior_knowledge = False
        self.websockets = True

    def enter(self, connection: Connection, peer: Peer) -> None:
        """Let a connection speak its first protocol."""
        if self.trusted is not None and self.trusted.trusts(peer.client):
            peer.proxied = True
        if self.proxy_version or self.store is not None or self.prior_knowledge:
            connection.speak(Arrival(self, connection, peer))
        else:
            connection.speak(Http1(connection, self.terms, peer))


class Arrival(Protocol):
    """A connection that has not shown yet what it speaks, and perhaps not even for whom.

    What comes in is taken by the PROXY header first, where one is due, then by TLS, then by the protocol that ALPN or
    the first bytes name.
    """

    def __init__(self, doorway: Doorway, connection: Connection, peer: Peer) -> None:
        super().__init__(connection, doorway.terms, peer)
        self.phase = ARRIVAL
        self.doorway = doorway
        self.connection = connection
        self.header = ProxyHeader(doorway.proxy_version) if doorway.proxy_version else None
        self.caller = peer
        self.deadline = 0.0

    def begin(self) -> None:
        """Let the time run that the client has to show itself; see Protocol."""
        self.grant(self.doorway.proxy_s if self.header is not None else self.opening_s())

    def opening_s(self) -> float:
        """Return the time for what comes behind a PROXY header, in seconds; zero is for ever."""
        doorway = self.doorway
        return doorway.tls_s if doorway.store is not None else doorway.limits.timeouts.header_timeout_s

    def grant(self, seconds: float) -> None:
        """Set the deadline of what the client has to do next."""
        self.deadline = self.now + seconds if seconds else 0.0

    def receive(self, data: bytes) -> Exchange | None:
        """Take what came first, and what TLS makes of it; see Protocol."""
        if self.header is not None:
            rest = self.read_header(self.header, data)
            if not rest:
                return None
            data = rest
        tls = self.connection.tls
        if tls is not None:
            return None if tls.shaking else self.choose_by_alpn(tls, data)
        store = self.doorway.store
        if store is not None:
            self.connection.tls = TlsChannel(store)
            self.connection.unseal(data)  # comes back here with what the records hold
            return None
        return self.choose_by_preface(data)

    def read_header(self, header: ProxyHeader, data: bytes) -> bytes | None:
        """Take a PROXY header; returns what follows it. Who may not send one, or sends none, is not answered."""
        if not self.caller.proxied:
            self.turn_away("it is no trusted proxy")
            return None
        try:
            rest = header.feed(data)
        except PeerError as error:
            self.turn_away(str(error))
            return None
        if rest is None:
            return None
        self.header = None
        if header.server is not None:
            self.caller = Peer(header.client, header.server)
            self.caller.proxied = True
        else:
            # Even one that speaks for itself (LOCAL): HAProxy says so for clients of its own Unix sockets.
            self.caller.hearsay = True
        self.grant(self.opening_s())
        return rest

    def turn_away(self, reason: str) -> None:
        """Close on who has not begun with the PROXY header that is due."""
        log.debug("no PROXY header from %s: %s", self.caller.client, reason)
        self.transport.abort(False)

    def choose_by_alpn(self, tls: TlsChannel, data: bytes) -> Exchange | None:
        """Go on with what the handshake agreed on (RFC 9113 3.2)."""
        caller = self.caller
        peer = Peer(caller.client, caller.server, True)
        peer.hearsay = caller.hearsay
        peer.proxied = caller.proxied
        peer.tls = tls.facts()
        return self.go_on_with(self.open_http2(peer) if peer.tls.alpn == "h2" else self.open_http1(peer), data)

    def choose_by_preface(self, data: bytes) -> Exchange | None:
        """Go on with what the first bytes say: no request of HTTP/1 is an HTTP/2 preface (RFC 9113 3.3, 3.4)."""
        caller = self.caller
        if not self.doorway.prior_knowledge:
            return self.go_on_with(self.open_http1(caller), data)
        data = self.ahead + data
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self.ahead = data
            return None
        self.ahead = b""
        return self.go_on_with(self.open_http2(caller) if data.startswith(PREFACE) else self.open_http1(caller), data)

    def open_http1(self, peer: Peer) -> Protocol:
        """Return HTTP/1 for this connection."""
        return Http1(self.transport, self.terms, peer)

    def open_http2(self, peer: Peer) -> Protocol:
        """Return HTTP/2 for this connection."""
        doorway = self.doorway
        return Http2(self.transport, self.terms, peer, doorway.limits, doorway.websockets)

    def go_on_with(self, protocol: Protocol, data: bytes) -> Exchange | None:
        """Let the connection speak the protocol that was chosen, beginning with what has come in already."""
        self.connection.speak(protocol)
        return protocol.receive(data) if data else None

    def receive_end(self) -> None:
        """Take the end of a client that has not shown what it speaks: a request would have; see Protocol."""
        self.end_seen = True
        self.transport.finish(False)

    def look(self, now: float) -> None:
        """Close what has not shown itself in time; see Protocol."""
        if self.deadline and now >= self.deadline:
            log.debug("%s did not show in time what it speaks", self.caller.client)
            self.transport.abort(False)

    def is_new(self) -> bool:
        """Tell that the client has not shown itself; see Protocol."""
        return True

    def retire(self) -> None:
        """Close at once: nothing was asked yet; see Protocol."""
        self.transport.finish(False)
