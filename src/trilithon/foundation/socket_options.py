"""The rows of the option table that belong to open connections: WebSocket and long streams."""

from collections.abc import Sequence
from dataclasses import dataclass

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.limits import SocketLimits
from trilithon.foundation.option_row import Section, row

_SOCKETS = SocketLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOptions:
    """The part of `Options` that is about connections which stay open."""

    stream_grace_s: float = row(
        3.0,
        Section.RUN,
        "After SIGINT or SIGTERM, time until open streams and WebSockets are told to end; counts within "
        "graceful_timeout_s.",
        zero="told at once",
    )
    ws_max_size_bytes: int = row(
        _SOCKETS.ws_max_size_bytes,
        Section.WEBSOCKET,
        "Largest WebSocket message, decompressed; a larger one closes the socket with 1009.",
        flag_name="ws-max-size",
        zero="no limit",
    )
    ws_max_queue: int = row(
        _SOCKETS.ws_max_queue,
        Section.WEBSOCKET,
        "Messages that wait for the application before no more are read from the client.",
        unit="messages",
        minimum=1,
    )
    ws_ping_interval_s: float = row(
        _SOCKETS.ws_ping_interval_s,
        Section.WEBSOCKET,
        "Silence after which the client is pinged.",
        zero="no pings",
    )
    ws_ping_timeout_s: float = row(
        _SOCKETS.ws_ping_timeout_s,
        Section.WEBSOCKET,
        "Time in which a ping must be answered by anything at all, or the socket is closed with 1011.",
        zero="no limit",
    )
    ws_handshake_timeout_s: float = row(
        _SOCKETS.ws_handshake_timeout_s,
        Section.WEBSOCKET,
        "Time that the application has to accept or refuse a WebSocket; then the answer is 503.",
        zero="no limit",
    )
    ws_close_timeout_s: float = row(
        _SOCKETS.ws_close_timeout_s,
        Section.WEBSOCKET,
        "Time that the client has to answer a close frame before the connection is closed.",
        minimum=0.1,
    )
    ws_origins: Sequence[str] = row(
        (),
        Section.WEBSOCKET,
        "Origin that may open WebSockets, as in https://example.org; others get 403. None given: all may. May be "
        "given several times.",
        metavar="ORIGIN",
        flag_name="ws-origin",
    )
    ws_deflate: bool = row(
        _SOCKETS.ws_deflate,
        Section.WEBSOCKET,
        "Compress messages for clients that offer it, as RFC 7692 says.",
    )
    ws_deflate_level: int = row(
        _SOCKETS.ws_deflate_level,
        Section.WEBSOCKET,
        "Effort of the compression, from fast to small.",
        unit="(1 to 9)",
        minimum=1,
        maximum=9,
    )
    ws_deflate_window_bits: int = row(
        _SOCKETS.ws_deflate_window_bits,
        Section.WEBSOCKET,
        "Size of the compression window as a power of two; a socket that compresses holds four windows.",
        unit="bits",
        minimum=9,
        maximum=15,
    )
    ws_deflate_memory_level: int = row(
        _SOCKETS.ws_deflate_memory_level,
        Section.WEBSOCKET,
        "Memory for the state of the compression; a socket that compresses holds 512 bytes times two to this power.",
        unit="(1 to 9)",
        minimum=1,
        maximum=9,
    )
    ws_deflate_threshold_bytes: int = row(
        _SOCKETS.ws_deflate_threshold_bytes,
        Section.WEBSOCKET,
        "Messages below this size are sent uncompressed.",
        flag_name="ws-deflate-threshold",
    )
    ws_deflate_takeover: bool = row(
        _SOCKETS.ws_deflate_takeover,
        Section.WEBSOCKET,
        "Keep the compression window from one message to the next: smaller messages, more memory for each socket.",
    )


def check_origins(options: SocketOptions) -> None:
    """Refuse what is no origin; raises ConfigError."""
    for origin in options.ws_origins:
        if "://" not in origin or origin.endswith("/"):
            raise ConfigError("ws_origins", origin, "an origin is scheme://host[:port], as in https://example.org")
