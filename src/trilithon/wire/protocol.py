"""What a connection asks of its protocol, whichever that is."""

from trilithon.wire.exchange import Carrier, Exchange, Peer, Transport
from trilithon.wire.phase import IDLE
from trilithon.wire.terms import Terms


class Protocol(Carrier):
    """The protocol of one connection: bytes in, exchanges out; for one thread at a time.

    It carries its exchanges itself, or has a carrier for each. `phase` says what comes in next and so which time-out
    applies, `exchange` is the one that is open where there is never more than one, `ahead` what was read of later
    requests. `now` is the time in seconds, from a clock that never goes back, as its owner last told it. `paused`
    says that it has stopped the reading, `end_seen` that the client has ended its side.
    """

    def __init__(self, transport: Transport, terms: Terms, peer: Peer) -> None:
        super().__init__(transport)
        self.terms = terms
        self.peer = peer
        self.phase = IDLE
        self.exchange: Exchange | None = None
        self.ahead = b""
        self.now = 0.0
        self.paused = False
        self.end_seen = False

    def begin(self) -> None:
        """Say what the server says first, before anything came in."""

    def receive(self, data: bytes) -> Exchange | None:
        """Take bytes off the wire; returns an exchange that they opened. Never raises for what a client sent.

        A protocol that may open several at once hands them to `Transport.opened` instead.
        """
        return None

    def next(self) -> Exchange | None:
        """Go on with what was read ahead; returns as `receive`."""
        return None

    def receive_end(self) -> None:
        """Take the end of the client's stream."""

    def lose(self) -> None:
        """The connection broke: whatever is open is lost; idempotent."""

    def cut_off(self) -> bool:
        """The server ends with work undone: say so as far as the protocol can, and lose what is open; idempotent.

        Returns whether the client can tell by a reset of the connection alone.
        """
        self.lose()
        return False

    def drained(self) -> None:
        """The output has fallen below the low-water mark after `Transport.congested` was true."""

    def time_out(self) -> None:
        """The phase took too long."""

    def look(self, now: float) -> None:
        """Look at the clock; called at each sweep."""

    def retire(self) -> None:
        """The server stops: take no further request, and end the connection behind what is under way; idempotent."""

    def is_new(self) -> bool:
        """Tell whether the client has just come, and is to be waited for even if the server stops."""
        return False

    def open_exchanges(self) -> list[Exchange]:
        """Return the exchanges that are open now."""
        return [self.exchange] if self.exchange is not None else []
