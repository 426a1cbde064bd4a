"""HTTP/2: what waits for a window that the client does not open, or cannot open any more (RFC 9113 5.2)."""

import pytest

from trilithon.foundation.limits import H2Limits, Timeouts
from trilithon.wire.exchange import Inbound, Outbound
from trilithon.wire.h2_codes import DATA

from .h2_bytes import raw
from .h2_memory import GET, POST, Script, answer, headers, settings, start, update


@pytest.mark.spec("H2-FLOW-07", "H-PRIO-05")
def test_who_waits_while_the_window_goes_to_another_is_not_given_up():
    script = Script(timeouts=Timeouts(write_timeout_s=60))
    script.send(settings((4, 2**31 - 1)))
    answer(script.one(headers(1, GET)), bytes(1_000_000))
    answer(script.one(headers(3, GET)), b"small")
    for _ in range(50):
        script.pass_time(5.0)
        script.send(update(0, 1000))
    assert script.resets() == []
    script.pass_time(60.0)  # and when nothing moves any more
    script.pass_time(60.0)
    assert {stream_id for stream_id, _ in script.resets()} == {1, 3}


@pytest.mark.spec("H1-CON-12", "A-RESP-11")
@pytest.mark.parametrize("setting", [0, 65535])
def test_a_client_that_is_gone_opens_no_window(setting):
    script = Script()
    script.send(settings((4, setting)))
    exchange = script.one(headers(1, GET))
    answer(exchange, bytes(100_000))
    script.machine.receive_end()
    assert script.transport.over == [exchange]
    assert script.transport.closed


@pytest.mark.spec("H1-CON-12", "A-RESP-11")
def test_a_window_that_closes_behind_the_client_ends_the_stream():
    script = Script()
    exchange = script.one(headers(1, GET))
    start(exchange)
    script.machine.receive_end()
    assert exchange.outbound is Outbound.HELD
    exchange.write(bytes(100_000))
    script.pass_time(0.5)
    assert exchange.outbound is Outbound.LOST
    assert script.transport.closed


@pytest.mark.spec("H2-STR-06")
def test_padding_is_credited_though_nobody_reads():
    script = Script(H2Limits(h2_stream_window_bytes=65536))
    exchange = script.one(headers(1, POST, end=False))
    for _ in range(2000):
        script.send(raw(DATA, 0x8, 1, b"\xffx" + bytes(255)))
    assert (exchange.body_bytes, exchange.inbound) == (2000, Inbound.OPEN)
    assert script.resets() == []
