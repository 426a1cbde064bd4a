"""What carries a case: the clients of HTTP/2, the handshakes, the certificate and the words that start a server."""

import dataclasses
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import handshakes
from benchmarks.environment import ROOT, EnvironmentFault, build, find_programs, make_certificate
from benchmarks.h2load import H2load
from benchmarks.http2_cases import HTTP2_CASES
from benchmarks.load import LoadError, ask_once
from benchmarks.ports import free_port
from benchmarks.process import running
from benchmarks.trial import wait_until

pytestmark = [pytest.mark.real, pytest.mark.once]

CONSTANT = next(case for case in HTTP2_CASES if case.name == "h2c-32-wsgi")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the floors once."""
    place = tmp_path_factory.mktemp("programs")
    for name in ("floor", "http2_floor"):
        build(ROOT / "benchmarks" / f"{name}.c", place / name)
    return place


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate once."""
    return make_certificate(command("openssl"), tmp_path_factory.mktemp("certificate"))


def command(name: str) -> str:
    """Return the path of a command of this machine."""
    path = shutil.which(name)
    assert path, f"{name} is missing"
    return path


def driver(scratch: Path) -> H2load:
    """Return the clients of HTTP/2, unpinned."""
    return H2load(command("h2load"), command("nghttp"), None, scratch)


@pytest.fixture
def floor(programs: Path, tmp_path: Path) -> Iterator[int]:
    """Run the bare HTTP/2 server; give its port."""
    port, output = free_port(), tmp_path / "output"
    words = [str(programs / "http2_floor"), str(port)]
    with running(words, core=None, environment=dict(os.environ), output=output, directory=tmp_path) as process:
        wait_until(process, lambda: driver(tmp_path).ask_once(CONSTANT, port, 5.0), output)
        yield port


def test_requests_over_http2_are_counted_and_timed(floor: int, tmp_path: Path) -> None:
    clients = driver(tmp_path)
    sized = clients.sized(dataclasses.replace(CONSTANT, connections=2), floor, 0.2)
    assert sized.requests >= 64
    figures = clients.throughput(sized, floor, 5.0)
    assert figures["requests"] == sized.requests
    assert figures["refused"] == figures["broken"] == figures["timed_out"] == 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["p999_ms"] <= figures["max_ms"]


def test_a_number_of_requests_is_kept_to_and_takes_its_time(floor: int, tmp_path: Path) -> None:
    counted = dataclasses.replace(CONSTANT, connections=2, requests=100)
    figures = driver(tmp_path).throughput(counted, floor, 5.0)
    assert figures["requests"] == 100
    assert 0 < figures["duration_us"] < 5e6


def test_a_wrong_answer_over_http2_is_said(floor: int, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="status 200, 13 bytes where 3 are right"):
        driver(tmp_path).ask_once(dataclasses.replace(CONSTANT, body=b"abc"), floor, 5.0)


def test_a_server_without_http2_is_found_out(programs: Path, tmp_path: Path) -> None:
    port, output = free_port(), tmp_path / "output"
    words = [str(programs / "floor"), str(port)]
    plain = dataclasses.replace(CONSTANT, is_http2=False)
    with running(words, core=None, environment=dict(os.environ), output=output, directory=tmp_path) as process:
        wait_until(process, lambda: ask_once(plain, port, 5.0), output)
        with pytest.raises(LoadError):
            driver(tmp_path).ask_once(CONSTANT, port, 2.0)


def test_nobody_listening_is_no_wrong_answer(tmp_path: Path) -> None:
    with pytest.raises(ConnectionRefusedError):
        driver(tmp_path).ask_once(CONSTANT, free_port(), 2.0)


def test_the_same_clients_do_without_http2(programs: Path, tmp_path: Path) -> None:
    port, output = free_port(), tmp_path / "output"
    words = [str(programs / "floor"), str(port)]
    plain = dataclasses.replace(CONSTANT, is_http2=False, connections=2, streams=1, requests=10)
    with running(words, core=None, environment=dict(os.environ), output=output, directory=tmp_path) as process:
        wait_until(process, lambda: ask_once(plain, port, 5.0), output)
        assert driver(tmp_path).throughput(plain, port, 5.0)["requests"] == 10


@contextmanager
def secure_server(certificate: Path, answer: bytes = ANSWER, is_fresh: bool = False) -> Iterator[int]:
    """Answer one request a TLS connection, with a context for all of them or, `is_fresh`, one for each."""

    def context() -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(certificate, certificate.with_suffix(".key"))
        return made

    shared = context()

    def attend(plain: socket.socket) -> None:
        with plain, (context() if is_fresh else shared).wrap_socket(plain, server_side=True) as peer:
            peer.recv(65536)
            peer.sendall(answer)
            peer.unwrap()

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                attend(listener.accept()[0])
            except ssl.SSLError:
                continue
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # Closing alone does not wake a thread that waits in accept.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_full_handshakes_resume_nothing(certificate: Path) -> None:
    with secure_server(certificate) as port:
        figures = handshakes.main("full", port, 2, 0.3, str(certificate))
    assert figures["requests"] > 2
    assert figures["resumed"] == figures["failed"] == 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]


def test_all_but_the_first_handshake_of_a_client_are_resumed(certificate: Path) -> None:
    with secure_server(certificate) as port:
        figures = handshakes.main("resumed", port, 1, 0.3, str(certificate))
    assert figures["requests"] > 2
    assert figures["resumed"] == figures["requests"] - 1


def test_a_server_that_forgets_its_tickets_is_found_out(certificate: Path) -> None:
    with secure_server(certificate, is_fresh=True) as port:
        figures = handshakes.main("resumed", port, 1, 0.3, str(certificate))
    assert figures["requests"] > 2
    assert figures["resumed"] == 0


def test_a_wrong_answer_after_a_handshake_is_a_failure(certificate: Path) -> None:
    with secure_server(certificate, b"HTTP/1.1 500 No\r\n\r\n") as port:
        figures = handshakes.main("full", port, 1, 0.2, str(certificate))
    assert figures["requests"] == 0
    assert figures["failed"] > 0


def test_an_answer_over_tls_is_asked_for_with_trust_in_the_certificate(certificate: Path) -> None:
    secure = dataclasses.replace(CONSTANT, is_http2=False, body=b"ok")
    with secure_server(certificate) as port:
        ask_once(secure, port, 5.0, certificate)


def test_the_certificate_is_of_one_curve_and_its_key_is_pkcs8(certificate: Path) -> None:
    assert certificate.with_suffix(".key").read_text().startswith("-----BEGIN PRIVATE KEY-----")
    # A P-256 key in its information block takes 138 bytes; those of the other curves differ.
    key = ssl.PEM_cert_to_DER_cert(certificate.with_suffix(".key").read_text().replace("PRIVATE KEY", "CERTIFICATE"))
    assert len(key) == 138


def test_what_cannot_be_found_is_named_with_its_package() -> None:
    with pytest.raises(EnvironmentFault, match=r"missing: no-such-load; .* apt-get install no-such-package"):
        find_programs({"no-such-load": "no-such-package"}, lambda text: None)
    assert find_programs({"sh": "dash"}, lambda text: None) == {"sh": command("sh")}
