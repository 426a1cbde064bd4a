"""One HTTP/2 connection of the traffic: several requests at a time, until the server asks us to go elsewhere."""

import asyncio
from typing import Protocol

import h2.config
import h2.connection
import h2.events

ANSWER_S = 30.0
AT_ONCE = 4
REQUEST = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]


class Ledger(Protocol):
    """Who counts what a session gets."""

    stopping: bool

    def note(self, kind: str, status: int, body: bytes) -> None:
        """Count an answer."""

    def lose(self, kind: str, why: object) -> None:
        """Count a loss."""


class Session:
    """A connection that is open; `run` uses it until the end of the traffic or of the connection."""

    def __init__(self, ledger: Ledger, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ledger = ledger
        self.reader = reader
        self.writer = writer
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.open: dict[int, tuple[int, bytes]] = {}
        self.leaving = False
        # The library takes every GOAWAY for the end, but streams that the server knows are still answered behind it.
        machine = self.http2.state_machine
        goaway = h2.connection.ConnectionInputs.RECV_GOAWAY
        advance = machine.process_input
        machine.process_input = lambda event: [] if event is goaway else advance(event)

    async def run(self) -> None:
        """Keep some requests open."""
        self.http2.initiate_connection()
        try:
            while True:
                while len(self.open) < AT_ONCE and not self.leaving and not self.ledger.stopping:
                    number = self.http2.get_next_available_stream_id()
                    self.http2.send_headers(number, REQUEST, end_stream=True)
                    self.open[number] = (0, b"")
                self.writer.write(self.http2.data_to_send())
                if not self.open:
                    break
                data = await asyncio.wait_for(self.reader.read(65536), ANSWER_S)
                if not data:
                    raise ConnectionError("the connection ended")
                for event in self.http2.receive_data(data):
                    self.take(event)
        except (OSError, TimeoutError, h2.exceptions.ProtocolError) as error:
            for number in self.open:
                self.ledger.lose("streams", f"stream {number}, {type(error).__name__} {error}")

    def take(self, event: h2.events.Event) -> None:
        """Take one event."""
        if isinstance(event, h2.events.ResponseReceived):
            self.open[event.stream_id] = (int(dict(event.headers)[b":status"]), b"")
        elif isinstance(event, h2.events.DataReceived):
            status, body = self.open[event.stream_id]
            self.open[event.stream_id] = (status, body + event.data)
            self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ledger.note("streams", *self.open.pop(event.stream_id))
        elif isinstance(event, h2.events.StreamReset):
            self.open.pop(event.stream_id, None)
            self.ledger.lose("streams", f"stream {event.stream_id} reset with {event.error_code}")
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.leaving = True
            # What is beyond was not looked at, and may be sent again (RFC 9113 6.8).
            last = event.last_stream_id or 0
            self.open = {number: state for number, state in self.open.items() if number <= last}
