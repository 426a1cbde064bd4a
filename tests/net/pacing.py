"""Waiting that is never a bare sleep: for an end, for silence, and sending at a pace."""

import select
import socket
import time

from tests.wire.client import Client

# What the kernels of both ends may hold on loopback, with room to spare.
KERNEL_BYTES = 16_000_000


def seconds_to_end(client: Client) -> float:
    """Receive until the connection ends and return how long that took."""
    start = time.monotonic()
    client.to_end()
    return time.monotonic() - start


def stays_silent(client: Client, for_s: float) -> bool:
    """Tell whether neither bytes nor the end of the connection come for `for_s` seconds."""
    return not select.select([client.socket], [], [], for_s)[0]


def drip(client: Client, data: bytes, *, every_s: float, block: int = 1, for_s: float = 8.0) -> float:
    """Send `data` block by block, one every `every_s`, until the server answers; return the seconds that took."""
    start = time.monotonic()
    for position in range(0, len(data), block):
        try:
            client.socket.sendall(data[position : position + block])
        except OSError:
            break
        if select.select([client.socket], [], [], every_s)[0] or time.monotonic() - start > for_s:
            break
    return time.monotonic() - start


def reset(client: Client) -> None:
    """Close the connection with a reset instead of an end."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.close()


def send_until_full(connection: socket.socket, block: bytes) -> int:
    """Send `block` again and again until nothing is taken for a while, and return how much was."""
    connection.setblocking(False)
    sent = 0
    while sent < 10 * KERNEL_BYTES and select.select([], [connection], [], 0.3)[1]:
        try:
            sent += connection.send(block)
        except BlockingIOError:
            continue
    connection.setblocking(True)
    return sent
