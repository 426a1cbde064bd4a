"""Ports of this machine for servers that have to be told theirs, which no other test or measurement is given."""

import random
import socket
from pathlib import Path

from benchmarks.load import HOST

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 10_000
# What Linux gives away by itself unless told otherwise; others begin higher.
EPHEMERAL = (32_768, 60_999)

CLAIMS: list[socket.socket] = []


def free_port() -> int:
    """Return a port that nobody listens on, and that no other process is given by this function while this one lives.

    The system gives none of these to those that ask for any port, nor to clients, so that it stays free until the
    server that is told of it binds it.
    """
    ports = candidates()
    random.SystemRandom().shuffle(ports)
    for port in ports:
        claim = claimed(port)
        if claim is not None:
            CLAIMS.append(claim)
            return port
    raise OSError("no port is free")


def candidates() -> list[int]:
    """Return the ports that the system gives to nobody by itself."""
    try:
        first, last = map(int, RANGE.read_text(encoding="ascii").split())
    except OSError:
        first, last = EPHEMERAL
    return [port for port in range(FIRST, 65_536) if not first <= port <= last] or list(range(FIRST, 65_536))


def claimed(port: int) -> socket.socket | None:
    """Return the claim of a port, None where somebody has it; it is held as long as this object, or this process.

    The claim is the UDP port of the same number: one process alone can bind it, and the system takes it back.
    """
    claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        claim.bind((HOST, port))
        with socket.socket() as probe:
            probe.bind((HOST, port))
    except OSError:
        claim.close()
        return None
    return claim
