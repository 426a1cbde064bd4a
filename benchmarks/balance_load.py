"""Put unequal load on several workers and count what each of them got.

`balance_load.py MODE PORT CONNECTIONS SECONDS RATE WORKERS`: with `uneven`, long-lived connections ask RATE times a
second in all, the second half as often as the first, the third a third as often, and so on (Zipf's law); with `burst`,
they are all opened at once, each asks once and is closed, again and again. The one line printed is JSON; workers tell
themselves apart by the process ids they answer with.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
TIMEOUT_S = 10.0
LATE_S = 0.05
"""A connection that is further behind than this does not try to catch up."""


class Tally:
    """What was counted."""

    def __init__(self) -> None:
        self.requests: Counter[bytes] = Counter()
        self.times_ms: list[float] = []
        self.bursts: list[Counter[bytes]] = []
        self.failed = 0


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Ask once and return who answered."""
    writer.write(REQUEST)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200 "):
        raise ConnectionError("not the answer")
    if b"transfer-encoding: chunked" in head:
        length = int(await reader.readline(), 16)
        body = await reader.readexactly(length)
        await reader.readuntil(b"0\r\n\r\n")
        return body
    start = head.index(b"content-length:") + len(b"content-length:")
    return await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))


async def keep_asking(tally: Tally, port: int, interval_s: float, end_s: float) -> None:
    """Ask at even intervals on one connection until the end."""
    due_s = time.monotonic() + random.random() * interval_s
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        while due_s < end_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            begun_s = time.monotonic()
            tally.requests[await asyncio.wait_for(ask(reader, writer), TIMEOUT_S)] += 1
            tally.times_ms.append((time.monotonic() - begun_s) * 1e3)
            due_s = max(due_s + interval_s, time.monotonic() - LATE_S)
        writer.close()
    except (OSError, EOFError, TimeoutError):
        tally.failed += 1


async def ask_once(tally: Tally, port: int) -> asyncio.StreamWriter | None:
    """Open a connection and ask; returns it, None when that failed."""
    begun_s = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        tally.bursts[-1][await asyncio.wait_for(ask(reader, writer), TIMEOUT_S)] += 1
    except (OSError, EOFError, TimeoutError):
        tally.failed += 1
        return None
    tally.times_ms.append((time.monotonic() - begun_s) * 1e3)
    return writer


async def uneven(tally: Tally, port: int, connections: int, seconds: float, rate: float) -> None:
    """Run the long-lived connections."""
    whole = sum(1 / rank for rank in range(1, connections + 1))
    end_s = time.monotonic() + seconds
    intervals = [rank * whole / rate for rank in range(1, connections + 1)]
    await asyncio.gather(*(keep_asking(tally, port, interval_s, end_s) for interval_s in intervals))


async def burst(tally: Tally, port: int, connections: int, seconds: float) -> None:
    """Open all connections at once, again and again."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        tally.bursts.append(Counter())
        for writer in await asyncio.gather(*(ask_once(tally, port) for _ in range(connections))):
            if writer is not None:
                writer.close()
        tally.requests += tally.bursts[-1]
        await asyncio.sleep(0.05)


def busiest(counts: Counter[bytes], workers: int) -> float:
    """Return the share of the busiest worker over the mean of all."""
    return max(counts.values()) * workers / sum(counts.values())


def main(mode: str, port: int, connections: int, seconds: float, rate: float, workers: int) -> dict[str, float]:
    """Put the load on and return what was counted."""
    tally = Tally()
    begun_s = time.monotonic()
    if mode == "uneven":
        asyncio.run(uneven(tally, port, connections, seconds, rate))
    else:
        asyncio.run(burst(tally, port, connections, seconds))
    wall_s = time.monotonic() - begun_s
    counted = {"requests": float(tally.requests.total()), "failed": float(tally.failed), "seconds": wall_s}
    if not tally.times_ms:
        return counted
    shares = sorted(busiest(each, workers) for each in tally.bursts if each)
    counted["busiest"] = shares[len(shares) // 2] if shares else busiest(tally.requests, workers)
    times_ms = sorted(tally.times_ms)
    last = len(times_ms) - 1
    quantiles = (("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999), ("max_ms", 1.0))
    return counted | {name: times_ms[min(last, int(share * len(times_ms)))] for name, share in quantiles}


if __name__ == "__main__":
    chosen_mode, *numbers = sys.argv[1:]
    port_number, connection_count, spent_s, total_rate, worker_count = map(float, numbers)
    figures = main(chosen_mode, int(port_number), int(connection_count), spent_s, total_rate, int(worker_count))
    print(json.dumps(figures))
