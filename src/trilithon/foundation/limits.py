"""Limits and time-outs as small groups, each handed to the floor that enforces it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """Sizes of one HTTP message, in bytes or fields. For `max_body_bytes` zero means no limit."""

    max_method_bytes: int = 32
    max_request_line_bytes: int = 8192
    max_field_bytes: int = 16384
    max_head_bytes: int = 65536
    max_fields: int = 100
    max_trailer_bytes: int = 8192
    max_trailer_fields: int = 32
    max_chunk_extension_bytes: int = 1024
    max_chunk_extensions_bytes: int = 16384
    max_body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each phase of a connection may take, in seconds; zero turns a time-out off."""

    header_timeout_s: float = 20.0
    keep_alive_timeout_s: float = 75.0
    body_timeout_s: float = 20.0
    write_timeout_s: float = 60.0
    linger_timeout_s: float = 2.0
    request_timeout_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much is taken on at once; zero means no limit.

    `max_requests` counts the application calls that run; beyond it `max_queued_requests` wait in order, and what
    comes then is answered 503 with `Retry-After: retry_after_s`.
    """

    max_connections: int = 8192
    max_requests: int = 0
    max_queued_requests: int = 1024
    retry_after_s: int = 2
    max_keep_alive_requests: int = 0


@dataclass(frozen=True, slots=True)
class Buffers:
    """High and low water marks of one connection, in bytes.

    `request_buffer_bytes`: a WSGI body up to this size is complete before the application is called; a larger one
    streams. `min_body_rate` is in bytes per second, counted after `Timeouts.body_timeout_s`.
    """

    read_ahead_bytes: int = 65536
    write_high_water_bytes: int = 65536
    write_low_water_bytes: int = 16384
    request_buffer_bytes: int = 65536
    min_body_rate: int = 240


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """How WebSockets are kept: sizes in bytes, times in seconds; zero turns a time-out or a limit off.

    `ws_max_queue` counts messages that wait for the application. The `ws_deflate` fields are the parameters of
    permessage-deflate (RFC 7692): the window applies to both directions, `ws_deflate_takeover` keeps it from one
    message to the next, and messages below `ws_deflate_threshold_bytes` are sent as they are.
    """

    ws_max_size_bytes: int = 16 * 1024 * 1024
    ws_max_queue: int = 32
    ws_ping_interval_s: float = 20.0
    ws_ping_timeout_s: float = 20.0
    ws_handshake_timeout_s: float = 30.0
    ws_close_timeout_s: float = 5.0
    ws_deflate: bool = True
    ws_deflate_level: int = 1
    ws_deflate_window_bits: int = 12
    ws_deflate_memory_level: int = 5
    ws_deflate_threshold_bytes: int = 128
    ws_deflate_takeover: bool = True


@dataclass(frozen=True, slots=True)
class H2Limits:
    """What one HTTP/2 connection may hold, in streams, frames or bytes.

    `h2_stream_window_bytes` is what a client may send of one body ahead of the application,
    `h2_connection_window_bytes` what it may have under way in all; both are at least the 65,535 that it may send before
    it has seen our settings.
    """

    h2_max_streams: int = 100
    h2_stream_window_bytes: int = 131072
    h2_connection_window_bytes: int = 1024 * 1024
    h2_max_frame_bytes: int = 16384
    h2_max_continuations: int = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """All groups together, as the worker hands them down."""

    message: MessageLimits = field(default_factory=MessageLimits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    capacity: Capacity = field(default_factory=Capacity)
    buffers: Buffers = field(default_factory=Buffers)
    sockets: SocketLimits = field(default_factory=SocketLimits)
    http2: H2Limits = field(default_factory=H2Limits)
