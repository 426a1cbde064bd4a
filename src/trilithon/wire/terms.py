"""What an engine lays down for all its HTTP/1 connections: limits, the current date, the server's name."""

from trilithon.foundation.limits import MessageLimits
from trilithon.wire.head import HeadReader


class Stamp:
    """The current Date field line; whoever owns the clock refreshes `line` once a second."""

    def __init__(self) -> None:
        self.line = b""


class Terms:
    """What an engine lays down for all its connections.

    `read_ahead_bytes` bounds what is buffered of a body or of pipelined requests. `early_hints` says whether clients of
    HTTP/1.1 get 103 responses. `closing` makes every further response the last one of its connection; while `patient`
    besides, connections without a request stay open for one more.
    """

    def __init__(self, limits: MessageLimits, read_ahead_bytes: int, stamp: Stamp, server: bytes = b"") -> None:
        self.limits = limits
        self.reader = HeadReader(limits)
        self.read_ahead_bytes = read_ahead_bytes
        self.stamp = stamp
        self.server_line = b"Server: " + server + b"\r\n" if server else b""
        self.max_requests = 0
        self.early_hints = True
        self.closing = False
        self.patient = False
