"""TLS over time: slow handshakes, certificates that change under traffic, clients that do not read."""

import os
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from tests.wire.client import Client
from trilithon.testing import serve

from .applications import Held, Writer
from .pacing import KERNEL_BYTES, drip, seconds_to_end, stays_silent
from .tls_client import TlsClient, Trust

pytestmark = pytest.mark.real

SHORT_S = 0.4
# How late a coarse deadline may be met on a busy machine.
SLACK_S = 3.0
WAIT_S = 10.0
INTERFACES = pytest.mark.parametrize("interface", ["asgi", "wsgi"])


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    """Sign the certificates of a test."""
    return Trust(tmp_path)


def first_flight(trust: Trust) -> bytes:
    """Return what a client sends first."""
    outgoing = ssl.MemoryBIO()
    client = trust.context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.spec("H-LIM-07")
@INTERFACES
def test_a_client_that_says_nothing_is_closed(trust: Trust, interface: str) -> None:
    options = {**trust.options, "tls_handshake_timeout_s": SHORT_S}
    with serve(Held(interface).application, **options) as site, Client(site.host, site.port) as client:
        client.may_be_reset = True
        assert SHORT_S * 0.9 <= seconds_to_end(client) <= SHORT_S + SLACK_S
        assert not client.received


@pytest.mark.spec("H-LIM-07")
@INTERFACES
def test_a_handshake_that_drips_does_not_extend_its_time(trust: Trust, interface: str) -> None:
    options = {**trust.options, "tls_handshake_timeout_s": SHORT_S}
    hello = first_flight(trust)
    with serve(Held(interface).application, **options) as site, Client(site.host, site.port) as client:
        client.may_be_reset = True
        seconds = drip(client, hello, every_s=0.05)
        assert SHORT_S * 0.9 <= seconds <= SHORT_S + SLACK_S
        client.to_end()


@pytest.mark.spec("H-LIM-07")
def test_a_handshake_that_stops_half_way_is_closed(trust: Trust) -> None:
    options = {**trust.options, "tls_handshake_timeout_s": SHORT_S}
    with serve(Held("asgi").application, **options) as site, Client(site.host, site.port) as client:
        client.may_be_reset = True
        client.send(first_flight(trust))
        assert SHORT_S * 0.9 <= seconds_to_end(client) <= SHORT_S + SLACK_S
        assert client.received[:1] == b"\x16"


@pytest.mark.spec("H-LIM-07", "H-LIM-05")
def test_the_time_of_a_handshake_is_not_that_of_the_requests(trust: Trust) -> None:
    options = {**trust.options, "tls_handshake_timeout_s": SHORT_S, "header_timeout_s": 30.0}
    with serve(Held("asgi").application, **options) as site, trust.client(site) as client:
        assert stays_silent_but_for_tickets(client, SHORT_S * 2)
        assert client.fetch() == b"done /"


def stays_silent_but_for_tickets(client: TlsClient, for_s: float) -> bool:
    """Tell whether the server sends no data and does not close for a while."""
    client.socket.settimeout(for_s)
    try:
        client.socket.recv(1)
    except TimeoutError:
        return True
    return False


def test_a_client_that_is_told_nothing_of_time_may_take_it(trust: Trust) -> None:
    options = {**trust.options, "tls_handshake_timeout_s": 0, "header_timeout_s": SHORT_S}
    with serve(Held("asgi").application, **options) as site, Client(site.host, site.port) as client:
        assert stays_silent(client, SHORT_S * 2)


@INTERFACES
def test_certificates_change_under_traffic(trust: Trust, interface: str) -> None:
    """Downloads and connections that are open go on, and no connection is refused or dropped meanwhile."""
    writer = Writer(interface, blocks=200, size=50_000)
    held = Held(interface)
    options = {"certfile": str(trust.certfile), "cert_reload_s": 0.1}
    with serve(mounts=[("/w", writer.application), ("/", held.application)], **options) as site:
        keeping = trust.client(site)
        downloading = trust.client(site)
        downloading.send(b"GET /w HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        downloading.receive_some()
        assert keeping.fetch() == b"done /"
        knocking = Knocking(trust, site)
        changed = [change(trust) for _ in range(3) if knocking.sees(trust.signed.pem)]
        assert len(changed) == 3
        assert knocking.sees(trust.signed.pem)
        knocking.end()
        with keeping, downloading:
            assert keeping.fetch("/after") == b"done /after"
            (reply,) = downloading.replies(["GET"])
            assert len(reply.body) == 200 * 50_000
    assert writer.outcome == "whole"


def change(trust: Trust) -> str:
    """Put another certificate in the place of the one in use; returns it."""
    trust.signed = trust.authority.server("localhost")
    new = trust.directory / "new.pem"
    trust.signed.write(new)
    os.replace(new, trust.certfile)
    return trust.signed.pem


class Knocking:
    """A thread that connects again and again; `faults` has whatever went wrong."""

    def __init__(self, trust: Trust, site: object) -> None:
        self.trust = trust
        self.site = site
        self.seen: set[str] = set()
        self.news = threading.Condition()
        self.faults: list[BaseException] = []
        self.stopped = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Connect and ask until stopped."""
        context = self.trust.context()
        try:
            while not self.stopped:
                with TlsClient(self.site, context) as client:
                    assert client.fetch() == b"done /"
                    pem = ssl.DER_cert_to_PEM_cert(client.socket.getpeercert(True) or b"")
                with self.news:
                    self.seen.add(pem)
                    self.news.notify_all()
        except BaseException as fault:
            self.faults.append(fault)

    def sees(self, pem: str) -> bool:
        """Wait until the certificate was served."""
        with self.news:
            return self.news.wait_for(lambda: pem in self.seen or self.faults, WAIT_S) and not self.faults

    def end(self) -> None:
        """Stop; nothing may have gone wrong."""
        self.stopped = True
        self.thread.join()
        assert not self.faults


@INTERFACES
def test_a_client_that_does_not_read_makes_the_application_wait(trust: Trust, interface: str) -> None:
    writer = Writer(interface, blocks=4000, size=50_000)
    with serve(writer.application, **trust.options) as site, trust.client(site) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        client.receive_some()
        written = -1
        deadline = time.monotonic() + WAIT_S
        while written != writer.written and time.monotonic() < deadline:
            written = writer.written
            assert not writer.ended.wait(0.5)
        assert written * 50_000 < KERNEL_BYTES
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket.close()
        assert writer.ended.wait(WAIT_S)
    assert writer.is_oserror


@INTERFACES
def test_a_stuck_handshake_keeps_nobody_waiting(trust: Trust, interface: str) -> None:
    with serve(Held(interface).application, **trust.options) as site:
        stuck = [Client(site.host, site.port) for _ in range(20)]
        try:
            for client in stuck:
                client.send(first_flight(trust)[:100])
            with trust.client(site) as client:
                assert client.fetch() == b"done /"
        finally:
            for client in stuck:
                client.socket.close()
