"""Where a connection stands on its way to being closed."""

from enum import Enum


class Life(Enum):
    """Where a connection stands."""

    OPEN = "open"
    FINISHING = "finishing"  # closes once the queue is written
    LINGERING = "lingering"  # has said all; reads on so that the client gets it (RFC 9112 9.6)
    CLOSED = "closed"


OPEN = Life.OPEN
FINISHING = Life.FINISHING
LINGERING = Life.LINGERING
CLOSED = Life.CLOSED
