"""Put load on a server: wrk for throughput, pace for a fixed rate, plain sockets for connections that do nothing."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.process import end, pinned

OVERRUN_S = 15
HOST = "127.0.0.1"
WRK_SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadError(Exception):
    """A load generator or an answer that is no use as a measurement."""


def run_load(command: list[str], core: int | None, request: bytes, seconds: float) -> bytes:
    """Run a load generator on a core to its end and return what it printed; it is ended when it overruns."""
    process = subprocess.Popen(
        pinned(command, core),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(request, timeout=seconds + OVERRUN_S)
    except subprocess.TimeoutExpired:
        raise LoadError(f"the load did not end {OVERRUN_S} s after its time") from None
    finally:
        if process.returncode is None:
            end(process)
    if process.returncode != 0:
        text = printed.decode(errors="replace")
        raise LoadError(text.strip().rpartition("\n")[2] or "the load generator failed")
    return printed


@dataclass(frozen=True)
class Driver:
    """The load generators and the core they run on."""

    wrk: str
    pace: Path
    core: int | None

    def throughput(self, case: Case, port: int, seconds: int) -> dict[str, float]:
        """Ask as fast as the connections allow (wrk, closed loop); times are in the names of the keys."""
        fields = [word for name, value in case.fields for word in ("-H", f"{name}: {value}")]
        command = [self.wrk, "-t1", f"-c{case.connections}", f"-d{seconds}s", "--timeout", "5s", *fields]
        command += ["-s", str(WRK_SCRIPT), case.url(f"{HOST}:{port}"), "--", str(case.post_bytes)]
        printed = run_load(command, self.core, b"", seconds)
        line = next((line for line in printed.splitlines() if line.startswith(b"JSON ")), None)
        if line is None:
            raise LoadError("wrk printed no result")
        return json.loads(line[5:])

    def paced(self, case: Case, port: int, rate: float, seconds: float) -> dict[str, float]:
        """Ask at a fixed rate (open loop), or as fast as possible for rate 0."""
        command = [str(self.pace), str(port), str(min(case.connections, 512)), str(rate), str(seconds)]
        return json.loads(run_load(command, self.core, case.request(f"{HOST}:{port}"), seconds))

    def settled(self, case: Case, port: int, seconds: float, settling_s: float) -> dict[str, float]:
        """Ask as fast as the connections allow, first to come to a steady state, then to be counted."""
        command = [str(self.pace), str(port), str(case.connections), "0", str(seconds), str(settling_s)]
        return json.loads(run_load(command, self.core, case.request(f"{HOST}:{port}"), seconds + settling_s))


def ask_once(case: Case, port: int, timeout_s: float, certificate: Path | None = None) -> None:
    """Ask once over HTTP/1.1, with the server's certificate over TLS, and hold the answer to what is right."""
    if certificate is None:
        connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    else:
        trusting = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection(HOST, port, timeout=timeout_s, context=trusting)
    try:
        method, body = ("POST", b"x" * case.post_bytes) if case.post_bytes else ("GET", None)
        connection.request(method, case.path, body, dict(case.fields))
        answer = connection.getresponse()
        received = answer.read()
    finally:
        connection.close()
    hold_right(case, answer.status, received)


def hold_right(case: Case, status: int, received: bytes) -> None:
    """Refuse an answer that is not the one asked for."""
    if not case.is_right(status, received):
        raise LoadError(f"wrong answer: status {status}, {len(received)} bytes where {case.body_bytes} are right")


def is_open(peer: socket.socket) -> bool:
    """Tell whether the server still holds its end of an idle connection."""
    # A socket with a time limit would wait that long for what must not come.
    peer.setblocking(False)
    try:
        return peer.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@contextlib.contextmanager
def idle_connections(case: Case, port: int) -> Iterator[list[socket.socket]]:
    """Open the case's connections, ask once on each, and leave them all open for the length of the block."""
    request = case.request(f"{HOST}:{port}")
    peers: list[socket.socket] = []
    try:
        for _ in range(case.connections):
            peer = socket.create_connection((HOST, port), timeout=5)
            peers.append(peer)
            peer.sendall(request)
            received = b""
            while not received.endswith(case.body):
                part = peer.recv(65536)
                if not part:
                    raise LoadError(f"the server closed connection {len(peers)}")
                received += part
        yield peers
    finally:
        for peer in peers:
            peer.close()
