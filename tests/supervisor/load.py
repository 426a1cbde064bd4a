"""Continuous load over HTTP/1.1 and HTTP/2 that counts every request which was sent and not answered."""

import asyncio
import contextlib
import random
import threading
from collections import Counter

import h2.config
import h2.connection
import h2.events

ANSWER_S = 30.0


class Load:
    """Clients in a thread of their own, from entering the block to leaving it.

    `steady` clients keep their HTTP/1.1 connection and send at once again, `slow` ones wait up to `think_s` between
    requests, `fresh` ones open a connection for each request, `streams` are HTTP/2 connections (prior knowledge) with
    several requests at a time. What a server may close without a loss is what it closes before it was sent, and streams
    beyond those that a GOAWAY names. Everything else that gets no whole answer is in `lost`.
    """

    def __init__(self, port, *, steady=4, slow=4, fresh=2, streams=1, think_s=0.3):
        self.port = port
        self.think_s = think_s
        self.answered = Counter()
        self.bodies = Counter()
        self.lost = []
        self.stopping = False
        kinds = [
            (self.keep, steady, 0.0),
            (self.keep, slow, think_s),
            (self.fresh, fresh, 0.0),
            (self.stream, streams, 0.0),
        ]
        self.clients = [(client, think) for client, count, think in kinds for _ in range(count)]
        self.news = threading.Condition()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    def __enter__(self):
        self.thread.start()
        self.wait_for_more(20)
        return self

    def __exit__(self, *fault):
        self.stopping = True
        self.thread.join(ANSWER_S + 10)
        assert not self.thread.is_alive(), "the load does not end: an answer is owed for ever"

    @property
    def total(self):
        """How many requests were answered so far."""
        return sum(self.answered.values())

    def wait_for_more(self, count):
        """Wait until so many more requests were answered."""
        wanted = self.total + count
        with self.news:
            assert self.news.wait_for(lambda: self.total >= wanted, ANSWER_S), (
                f"no answers any more; lost: {self.lost[:5]}"
            )

    def note(self, kind, status, body):
        """Count an answer."""
        with self.news:
            self.answered[kind] += 1
            self.bodies[body] += 1
            self.news.notify_all()
        if status != 200:
            self.lost.append(f"{kind}: status {status} {body[:80]!r}")

    async def run(self):
        """Run all clients until the end."""
        await asyncio.gather(*(client(think) for client, think in self.clients))

    # HTTP/1.1.

    async def connect(self, kind):
        """Open a connection; nobody may be refused."""
        try:
            return await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            self.lost.append(f"{kind}: refused, {error}")
            await asyncio.sleep(0.05)
            return None

    async def keep(self, think_s):
        """Use each connection for as long as the server lets us."""
        kind = "slow" if think_s else "steady"
        while not self.stopping:
            ends = await self.connect(kind)
            if ends is None:
                continue
            reader, writer = ends
            with contextlib.suppress(OSError):
                while not self.stopping:
                    if think_s:
                        await asyncio.sleep(random.uniform(0, think_s))
                    # A server may close what is idle; seen before the request was sent, nothing is lost.
                    if reader.at_eof() or reader.exception() is not None:
                        break
                    if await self.ask(kind, reader, writer, b""):
                        break
            await close(writer)

    async def fresh(self, think_s):
        """Open a connection for each request."""
        while not self.stopping:
            ends = await self.connect("fresh")
            if ends is not None:
                reader, writer = ends
                await self.ask("fresh", reader, writer, b"Connection: close\r\n")
                await close(writer)

    async def ask(self, kind, reader, writer, fields):
        """Send a request and count its answer; returns whether the connection ends."""
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_S)
            lines = head.decode("latin-1").lower().split("\r\n")
            values = dict(line.split(": ", 1) for line in lines[1:] if line)
            body = await asyncio.wait_for(self.read_body(reader, values), ANSWER_S)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.lost.append(f"{kind}: {type(error).__name__} {error}")
            return True
        self.note(kind, int(lines[0].split()[1]), body)
        return "close" in values.get("connection", "")

    async def read_body(self, reader, values):
        """Read a body of known length, or in chunks."""
        if "chunked" not in values.get("transfer-encoding", ""):
            return await reader.readexactly(int(values["content-length"]))
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return body

    # HTTP/2.

    async def stream(self, think_s):
        """Send several requests at a time on a connection, until the server asks us to go elsewhere."""
        while not self.stopping:
            ends = await self.connect("stream")
            if ends is not None:
                await Session(self, *ends).run()


async def close(writer):
    """Close a connection and see it closed."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class Session:
    """One HTTP/2 connection of the load."""

    def __init__(self, load, reader, writer):
        self.load = load
        self.reader = reader
        self.writer = writer
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.open = {}
        self.leaving = False
        # The library takes every GOAWAY for the end, but streams that the server knows are still answered behind it.
        machine = self.http2.state_machine
        goaway = h2.connection.ConnectionInputs.RECV_GOAWAY
        advance = machine.process_input
        machine.process_input = lambda event: [] if event is goaway else advance(event)

    async def run(self):
        """Keep four requests open until the end of the load or of the connection."""
        self.http2.initiate_connection()
        try:
            while True:
                while len(self.open) < 4 and not self.leaving and not self.load.stopping:
                    number = self.http2.get_next_available_stream_id()
                    names = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]
                    self.http2.send_headers(number, names, end_stream=True)
                    self.open[number] = [0, b""]
                self.writer.write(self.http2.data_to_send())
                if not self.open:
                    break
                data = await asyncio.wait_for(self.reader.read(65536), ANSWER_S)
                if not data:
                    raise ConnectionError("the connection ended")
                for event in self.http2.receive_data(data):
                    self.take(event)
        except (OSError, TimeoutError) as error:
            self.load.lost += [f"stream {number}: {type(error).__name__} {error}" for number in self.open]
        await close(self.writer)

    def take(self, event):
        """Take one event."""
        if isinstance(event, h2.events.ResponseReceived):
            self.open[event.stream_id][0] = int(dict(event.headers)[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            self.open[event.stream_id][1] += event.data
            self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            status, body = self.open.pop(event.stream_id)
            self.load.note("stream", status, body)
        elif isinstance(event, h2.events.StreamReset):
            self.open.pop(event.stream_id, None)
            self.load.lost.append(f"stream {event.stream_id}: reset with {event.error_code}")
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.leaving = True
            # What is beyond was not looked at, and may be sent again (RFC 9113 6.8).
            self.open = {number: state for number, state in self.open.items() if number <= event.last_stream_id}
