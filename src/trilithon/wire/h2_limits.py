"""How much an HTTP/2 connection takes on: streams, windows, frames and queues."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class H2Limits:
    """What one HTTP/2 connection may hold, in streams, frames or bytes.

    `stream_window_bytes` is what a client may send of one body ahead of the application, `connection_window_bytes` what
    it may have under way in all; both are at least the 65,535 that it may send before it has seen our settings.
    `queue_high_bytes` is the high-water mark of what one stream has to send, a quarter of it the low one. `websockets`
    lets clients open them by Extended CONNECT (RFC 8441). `min_body_rate` is in bytes per second.
    """

    max_streams: int = 100
    stream_window_bytes: int = 131072
    connection_window_bytes: int = 1024 * 1024
    max_frame_bytes: int = 16384
    max_continuations: int = 8
    queue_high_bytes: int = 65536
    min_body_rate: int = 240
    websockets: bool = True
