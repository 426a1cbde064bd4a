"""The phases of a connection: what the bytes that come in next belong to."""

from enum import Enum


class Phase(Enum):
    """What the bytes that come in next belong to."""

    IDLE = "idle"  # between requests, nothing received
    HEAD = "head"  # a head that has begun
    BODY = "body"  # the body of the open exchange
    WAIT = "wait"  # nothing yet: the response to a whole request is awaited, what comes is read ahead
    TUNNEL = "tunnel"  # a WebSocket: frames, none of our business here
    DRAIN = "drain"  # a body whose response is complete, thrown away
    STREAMS = "streams"  # HTTP/2: each stream has its own, and the protocol its own clock
    ARRIVAL = "arrival"  # what a connection begins with before its protocol is known
    OVER = "over"  # no request any more: everything is thrown away


IDLE, HEAD, BODY, WAIT, TUNNEL, DRAIN, STREAMS, ARRIVAL, OVER = Phase
