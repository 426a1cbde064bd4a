"""Mutated cases against a running server: it answers well-formed or ends the connection, logs no fault, and lives."""

import logging

import pytest

from trilithon.testing import serve

from .client import Client
from .mutation import cuts, mutations
from .recording import Record
from .replies import read_replies

pytestmark = pytest.mark.real

RUNS = 2500
STATUSES = {200, 400, 405, 408, 413, 414, 417, 431, 501, 503, 505}
GOOD = b"GET /canary HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.mark.spec("HS-74", "H1-LINE-01", "H1-HDR-01", "H1-CHK-10")
@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
def test_a_server_survives_mutations(interface: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    record = Record()
    with serve(getattr(record, interface), interface=interface) as site:
        for number, (data, chance) in enumerate(mutations(RUNS, 77)):
            with Client(site.host, site.port) as client:
                record.forget(client.local_port)
                client.may_be_reset = True
                client.send(*cuts(data, chance))
                client.finish()
                received = client.to_end()
                methods = [call.method for call in record.take(client.local_port)]
            replies, rest = read_replies(received, methods, ended=True)
            assert not rest, f"{data!r} is answered in part: {rest!r}"
            assert {reply.status for reply in replies} <= STATUSES, f"{data!r}: {replies}"
            if number % 20 == 0:
                with Client(site.host, site.port) as client:
                    record.forget(client.local_port)
                    client.send(GOOD)
                    assert [reply.body for reply in client.replies([])] == [b"canary"], f"behind {data!r}"
    faults = [entry.getMessage() for entry in caplog.records if entry.exc_info or entry.levelno >= logging.ERROR]
    assert not faults, faults
