"""Traffic that never rests: clients who count every request that was sent and not answered.

`traffic.py PORT plain|tls KIND=COUNT ...` runs so many clients of each kind until its standard input ends. Whenever an
answer has a body that none had before, one line of JSON says so; the last line is what was counted.
"""

import asyncio
import contextlib
import json
import random
import select
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

if __name__ == "__main__":
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.traffic_http2 import Session
from benchmarks.traffic_streams import read_events, talk

ANSWER_S = 30.0
THINK_S = 0.3
RARE_S = 4.0
"""Longer than the grace that idle connections of a worker that leaves have by default."""
SIP_BYTES = 65536
SIP_S = 0.02
POSTED = b"x" * 512

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Traffic:
    """Clients of one server, from `run` until `stopping`; bodies that answers had are counted in `bodies`.

    What a server may close without a loss is what it closed before the client sent, and streams beyond those that a
    GOAWAY names. Everything else that gets no whole answer with status 200 is in `lost`, and so is whoever is refused.
    `ends` counts how WebSockets and event streams ended: these are open for as long as a server lets them.
    """

    def __init__(self, port: int, mix: dict[str, int], is_tls: bool = False) -> None:
        self.port = port
        self.mix = mix
        self.context = tls_context() if is_tls else None
        self.answered: Counter[str] = Counter()
        self.bodies: Counter[bytes] = Counter()
        self.ends: Counter[str] = Counter()
        self.lost: list[str] = []
        self.stopping = False
        self.on_answer: Callable[[], None] | None = None

    @property
    def total(self) -> int:
        """How many requests were answered so far."""
        return sum(self.answered.values())

    def note(self, kind: str, status: int, body: bytes) -> None:
        """Count an answer."""
        if status == 200:
            self.answered[kind] += 1
            self.bodies[body] += 1
        else:
            self.lose(kind, f"status {status} {body[:80]!r}")
        if self.on_answer is not None:
            self.on_answer()

    def lose(self, kind: str, why: object) -> None:
        """Count a loss."""
        self.lost.append(f"{kind}: {why}")

    async def run(self) -> None:
        """Run all clients until the end."""
        kinds = CLIENTS
        await asyncio.gather(*(kinds[kind](self, kind) for kind, count in self.mix.items() for _ in range(count)))

    async def connect(self, kind: str) -> Ends | None:
        """Open a connection; nobody may be refused."""
        context = self.context
        if context is not None:
            context = context["h2" if kind == "streams" else "http/1.1"]
        try:
            opening = asyncio.open_connection("127.0.0.1", self.port, ssl=context)
            return await asyncio.wait_for(opening, ANSWER_S)
        except (OSError, TimeoutError) as error:
            self.lose(kind, f"refused, {type(error).__name__} {error}")
            await asyncio.sleep(0.05)
            return None

    # Clients of HTTP/1.1.

    async def keep(self, kind: str) -> None:
        """Use each connection for as long as the server lets us."""
        think_s = {"slow": THINK_S, "rare": RARE_S}.get(kind, 0.0)
        while not self.stopping:
            ends = await self.connect(kind)
            if ends is None:
                continue
            with contextlib.suppress(OSError):
                while not self.stopping:
                    if think_s:
                        await self.think(random.uniform(0, think_s))
                    # A server may close what is idle; seen before the request was sent, nothing is lost.
                    if await is_closed(*ends) or await self.ask(kind, ends):
                        break
            await close(ends[1])

    async def think(self, seconds: float) -> None:
        """Do nothing for a time, or until the end."""
        while seconds > 0 and not self.stopping:
            await asyncio.sleep(min(seconds, 0.2))
            seconds -= 0.2

    async def fresh(self, kind: str) -> None:
        """Open a connection for each request."""
        while not self.stopping:
            ends = await self.connect(kind)
            if ends is not None:
                await self.ask(kind, ends)
                await close(ends[1])

    async def ask(self, kind: str, ends: Ends) -> bool:
        """Send a request and count its answer; returns whether the connection ends."""
        reader, writer = ends
        wanted = 1
        try:
            if kind == "post":
                fields = b"Content-Length: %d\r\n" % len(POSTED)
                writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n" + POSTED[:100])
                await asyncio.sleep(random.uniform(0, 0.01))
                writer.write(POSTED[100:])
            elif kind == "download":
                writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            elif kind == "fresh":
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            elif kind == "halves":
                writer.write(b"GET / HTTP/1.1\r\nHo")
                await asyncio.sleep(random.uniform(0, 0.05))
                writer.write(b"st: localhost\r\n\r\n")
            else:
                wanted = 4 if kind == "ahead" else 1
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * wanted)
            while wanted:
                is_last = await asyncio.wait_for(self.take_answer(kind, reader), ANSWER_S)
                wanted -= 1
                if is_last:
                    break
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            is_last = True
            wanted -= 1
            self.lose(kind, f"{type(error).__name__} {error}")
        # What was sent behind a request whose answer is the last one is known to be unserved, but it was sent.
        for _ in range(wanted):
            self.lose(kind, "not answered behind an answer that was the last")
        return is_last

    async def take_answer(self, kind: str, reader: asyncio.StreamReader) -> bool:
        """Read an answer and count it; returns whether it is the last one of its connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        values = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = await read_body(reader, values, SIP_S if kind == "download" else 0.0)
        self.note(kind, int(lines[0].split()[1]), b"" if kind == "download" else body)
        return "close" in values.get("connection", "")

    # Clients that stay.

    async def streams(self, kind: str) -> None:
        """Send several requests at a time over HTTP/2, until the server asks us to go elsewhere."""
        while not self.stopping:
            ends = await self.connect(kind)
            if ends is not None:
                await Session(self, *ends).run()
                await close(ends[1])

    async def stay(self, kind: str) -> None:
        """Keep a WebSocket or an event stream open until the server ends it."""
        stay = talk if kind == "socket" else read_events
        while not self.stopping:
            ends = await self.connect(kind)
            if ends is not None:
                end = await stay(*ends, lambda: self.stopping)
                if end:
                    self.ends[f"{kind}: {end}"] += 1
                await close(ends[1])


CLIENTS: dict[str, Callable[[Traffic, str], Awaitable[None]]] = {
    "steady": Traffic.keep,
    "slow": Traffic.keep,
    "rare": Traffic.keep,
    "fresh": Traffic.fresh,
    "post": Traffic.keep,
    "halves": Traffic.keep,
    "ahead": Traffic.keep,
    "download": Traffic.keep,
    "streams": Traffic.streams,
    "socket": Traffic.stay,
    "events": Traffic.stay,
}
"""The kinds of clients.

They ask at once again (`steady`), after a pause (`slow`, `rare`), on a new connection each time (`fresh`), with a body
behind its head (`post`), with a head in two parts (`halves`), four times before they read (`ahead`), for something
large that they read slowly (`download`), over HTTP/2 (`streams`), or stay: a WebSocket (`socket`) and an event stream
(`events`).
"""


def tls_context() -> dict[str, ssl.SSLContext]:
    """Return what trusts everybody, by the protocol that it asks for."""
    contexts = {}
    for protocol in ("h2", "http/1.1"):
        context = contexts[protocol] = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
    return contexts


async def is_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Tell whether the server was seen to close a connection, the system asked as well."""
    sock = writer.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return True
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    if not reader.at_eof() and poller.poll(0):
        await asyncio.sleep(0.002)
    return reader.at_eof() or reader.exception() is not None or writer.is_closing()


async def read_body(reader: asyncio.StreamReader, values: dict[str, str], sip_s: float) -> bytes:
    """Read a body of known length, with pauses where asked for, or in chunks."""
    body = b""
    if "chunked" not in values.get("transfer-encoding", ""):
        left = int(values["content-length"])
        while left:
            body += (part := await reader.readexactly(min(left, SIP_BYTES)))
            left -= len(part)
            if sip_s:
                await asyncio.sleep(sip_s)
        return body
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection and see it closed."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), ANSWER_S)


async def main(port: int, how: str, words: list[str]) -> None:
    """Run clients until standard input ends, and tell what they counted."""
    mix = {kind: int(count) for kind, _, count in (word.partition("=") for word in words)}
    traffic = Traffic(port, mix, how == "tls")
    told: set[bytes] = set()

    def tell() -> None:
        for body in traffic.bodies.keys() - told:
            told.add(body)
            print(json.dumps({"new": body.decode("latin-1")}), flush=True)

    def stop() -> None:
        traffic.stopping = True
        loop.remove_reader(0)

    traffic.on_answer = tell
    loop = asyncio.get_running_loop()
    loop.add_reader(0, stop)
    await traffic.run()
    counted = {"answered": traffic.answered, "ends": traffic.ends, "lost": traffic.lost}
    print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
