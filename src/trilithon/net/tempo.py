"""The time-outs and water marks of connections, in the form that the hot path reads."""

from trilithon.foundation.limits import Buffers, Timeouts


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
