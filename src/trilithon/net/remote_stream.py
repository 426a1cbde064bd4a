"""A stream of a connection that belongs to an event loop, answered by a thread: each step is taken on the loop."""

import _thread
from collections.abc import Callable
from typing import TypeVar

from trilithon.foundation.files import FileSpan
from trilithon.net.connection import Owner
from trilithon.net.shared_stream import Waiter
from trilithon.wire.exchange import LOST, OPEN, Carrier, Exchange
from trilithon.wire.response import SentLine

T = TypeVar("T")


class RemoteStream(Carrier):
    """Carries an exchange by its stream on the thread of `owner`, while the calling thread waits for the outcome."""

    def __init__(self, stream: Carrier, owner: Owner) -> None:
        super().__init__(stream.transport)
        self.stream = stream
        self.owner = owner

    def across(self, call: Callable[[], T]) -> T:
        """Have `call` run on the owner's thread; returns what it returns and raises what it raises."""
        if self.owner.leads():
            return call()
        gate = _thread.allocate_lock()
        gate.acquire()
        results: list[T] = []
        faults: list[BaseException] = []

        def step() -> None:
            try:
                results.append(call())
            except BaseException as fault:
                faults.append(fault)
            gate.release()

        self.owner.post(step)
        gate.acquire()
        if faults:
            raise faults[0]
        return results[0]

    def send(self, exchange: Exchange, data: bytes, final: bool) -> None:
        """See Carrier."""
        # On its way it is not sent: its client may reset the stream meanwhile, and the log would tell of it.
        exchange.sent_bytes -= len(data)

        def step() -> None:
            exchange.sent_bytes += len(data)
            self.stream.send(exchange, data, final)

        self.across(step)

    def send_file(self, exchange: Exchange, span: FileSpan, final: bool) -> None:
        """See Carrier."""
        self.across(lambda: self.stream.send_file(exchange, span, final))

    def send_trailers(self, exchange: Exchange, lines: list[SentLine]) -> None:
        """See Carrier."""
        self.across(lambda: self.stream.send_trailers(exchange, lines))

    def inform(self, exchange: Exchange, status: int, block: bytes) -> None:
        """See Carrier."""
        self.across(lambda: self.stream.inform(exchange, status, block))

    def reset(self, exchange: Exchange) -> None:
        """See Carrier."""
        self.across(lambda: self.stream.reset(exchange))

    def refuse(self, exchange: Exchange, status: int, extra: bytes) -> None:
        """See Carrier."""
        self.across(lambda: self.stream.refuse(exchange, status, extra))

    def want_body(self, exchange: Exchange) -> None:
        """See Carrier."""
        self.across(lambda: self.stream.want_body(exchange))

    def take(self, exchange: Exchange) -> bytes:
        """See Carrier."""
        return self.across(lambda: self.stream.take(exchange))

    def engage(self, exchange: Exchange) -> None:
        """See Carrier."""
        self.across(lambda: self.stream.engage(exchange))

    def released(self, exchange: Exchange) -> None:
        """See Carrier."""
        self.across(lambda: self.stream.released(exchange))

    def congested(self) -> bool:
        """See Carrier."""
        return self.across(lambda: self.stream.congested())

    def pull(self, exchange: Exchange) -> None:
        """Wait until more of the body is there, it is complete or lost; see Carrier."""
        self.wait_while(
            exchange, lambda: not exchange.body_bytes and exchange.inbound is OPEN and exchange.outbound is not LOST
        )

    def push(self, exchange: Exchange, wait: bool) -> None:
        """Wait until the stream takes more; the loop writes by itself. See Carrier."""
        while wait and self.wait_while(exchange, lambda: exchange.outbound is not LOST and self.stream.congested()):
            pass

    def wait_while(self, exchange: Exchange, holds: Callable[[], bool]) -> bool:
        """Wait for news of the exchange if something holds now, as seen on the owner's thread; returns whether."""
        waiter = Waiter()

        def step() -> bool:
            waits = holds()
            if waits:
                exchange.receiver = waiter
            return waits

        waits = self.across(step)
        if waits:
            waiter.wait()
            exchange.receiver = None
        return waits
