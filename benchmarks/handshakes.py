"""Shake hands with a TLS server as often as a few clients can in some seconds.

`handshakes.py MODE PORT CLIENTS SECONDS CERTIFICATE`: MODE is `full` or `resumed`. Every connection
carries one request, since the tickets that a session is resumed with come with the first answer. The one line printed
is JSON.
"""

import json
import socket
import ssl
import sys
import threading
import time

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
TIMEOUT_S = 5.0


class Client(threading.Thread):
    """One client: connection after connection until the deadline."""

    def __init__(self, port: int, is_resuming: bool, certificate: str, deadline_s: float) -> None:
        super().__init__()
        self.port = port
        self.is_resuming = is_resuming
        self.deadline_s = deadline_s
        self.context = ssl.create_default_context(cafile=certificate)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.session: ssl.SSLSession | None = None
        self.times_ms: list[float] = []
        self.resumed = 0
        self.failed = 0

    def run(self) -> None:
        """Shake hands until the time is over; a connection that fails is counted."""
        while time.monotonic() < self.deadline_s:
            try:
                self.shake()
            except OSError:
                self.failed += 1

    def shake(self) -> None:
        """Connect, ask once, read the answer to its end, and keep the session when the next is to resume it."""
        begun_s = time.monotonic()
        with socket.create_connection((HOST, self.port), timeout=TIMEOUT_S) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.context.wrap_socket(plain, server_hostname="localhost", session=self.session) as peer:
                peer.sendall(REQUEST)
                answer = b""
                while part := peer.recv(65536):
                    answer += part
                self.resumed += bool(peer.session_reused)
                if self.is_resuming:
                    self.session = peer.session
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError("not the answer")
        self.times_ms.append((time.monotonic() - begun_s) * 1e3)


def main(mode: str, port: int, clients: int, seconds: float, certificate: str) -> dict[str, float]:
    """Run the clients and return what they counted."""
    deadline_s = time.monotonic() + seconds
    running = [Client(port, mode == "resumed", certificate, deadline_s) for _ in range(clients)]
    begun_s = time.monotonic()
    for client in running:
        client.start()
    for client in running:
        client.join()
    wall_s = time.monotonic() - begun_s
    times_ms = sorted(time_ms for client in running for time_ms in client.times_ms)
    counted = {
        "requests": len(times_ms),
        "resumed": sum(client.resumed for client in running),
        "failed": sum(client.failed for client in running),
        "seconds": wall_s,
    }
    quantiles = (("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999), ("max_ms", 1.0))
    last = len(times_ms) - 1
    return counted | {name: times_ms[min(last, int(share * len(times_ms)))] for name, share in quantiles if times_ms}


if __name__ == "__main__":
    mode, port, clients, seconds, certificate = sys.argv[1:]
    print(json.dumps(main(mode, int(port), int(clients), float(seconds), certificate)))
