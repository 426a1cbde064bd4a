"""The time-outs and water marks of connections, in the form that the hot path reads."""

from trilithon.foundation.limits import Buffers, Limits, Timeouts


class Tempo:
    """The time-outs and water marks of connections, as plain attributes for the hot path; see foundation.limits."""

    def __init__(self, timeouts: Timeouts, buffers: Buffers) -> None:
        self.header_s = timeouts.header_timeout_s
        self.keep_alive_s = timeouts.keep_alive_timeout_s
        self.body_s = timeouts.body_timeout_s
        self.write_s = timeouts.write_timeout_s
        self.linger_s = timeouts.linger_timeout_s
        self.request_s = timeouts.request_timeout_s
        self.high_water = buffers.write_high_water_bytes
        self.low_water = buffers.write_low_water_bytes
        self.min_body_rate = buffers.min_body_rate


def sweep_interval(limits: Limits) -> float:
    """Return the seconds between sweeps: a quarter of the shortest time-out, between 50 ms and a second."""
    timeouts = limits.timeouts
    sockets = limits.sockets
    used = [
        seconds
        for seconds in (
            timeouts.header_timeout_s,
            timeouts.keep_alive_timeout_s,
            timeouts.body_timeout_s,
            timeouts.write_timeout_s,
            timeouts.linger_timeout_s,
            timeouts.request_timeout_s,
            sockets.ws_ping_interval_s,
            sockets.ws_ping_timeout_s,
            sockets.ws_handshake_timeout_s,
            sockets.ws_close_timeout_s,
        )
        if seconds
    ]
    return min(1.0, max(0.05, min(used, default=4.0) / 4))
