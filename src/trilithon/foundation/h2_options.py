"""The rows of the option table that belong to HTTP/2."""

from dataclasses import dataclass

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.limits import H2Limits
from trilithon.foundation.option_row import Section, row
from trilithon.foundation.socket_options import SocketOptions

_H2 = H2Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class H2Options(SocketOptions):
    """The part of `Options` that is about HTTP/2."""

    http2: bool = row(
        True,
        Section.HTTP2,
        "Speak HTTP/2: offered to TLS clients by ALPN, to others as h2c says.",
    )
    h2c: str = row(
        "auto",
        Section.HTTP2,
        "HTTP/2 without TLS, for clients that begin with it (prior knowledge); auto allows it on loopback addresses "
        "and Unix sockets only.",
        choices=("auto", "on", "off"),
    )
    h2_max_streams: int = row(
        _H2.h2_max_streams,
        Section.HTTP2,
        "Requests that one connection may have open at once, calls that still run for cancelled ones included.",
        unit="streams",
        minimum=1,
        maximum=10000,
    )
    h2_stream_window_bytes: int = row(
        _H2.h2_stream_window_bytes,
        Section.HTTP2,
        "What a client may send of one body ahead of the application.",
        flag_name="h2-stream-window",
        minimum=65535,
        maximum=2**31 - 1,
    )
    h2_connection_window_bytes: int = row(
        _H2.h2_connection_window_bytes,
        Section.HTTP2,
        "What a client may have under way on one connection in all.",
        flag_name="h2-connection-window",
        minimum=65535,
        maximum=2**31 - 1,
    )
    h2_max_frame_bytes: int = row(
        _H2.h2_max_frame_bytes,
        Section.HTTP2,
        "Largest frame that a client may send.",
        flag_name="h2-max-frame",
        minimum=16384,
        maximum=2**24 - 1,
    )
    h2_max_continuations: int = row(
        _H2.h2_max_continuations,
        Section.HTTP2,
        "CONTINUATION frames that one request head may be spread over.",
        unit="frames",
        minimum=1,
    )


def check_windows(options: H2Options) -> None:
    """Refuse windows that do not fit together; raises ConfigError."""
    if options.h2_connection_window_bytes < options.h2_stream_window_bytes:
        raise ConfigError(
            "h2_connection_window_bytes",
            options.h2_connection_window_bytes,
            "must not be smaller than h2_stream_window_bytes, or one body would fill it",
        )
