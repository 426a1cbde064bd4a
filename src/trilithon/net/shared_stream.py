"""A stream of a connection whose streams are answered by several threads: one lock a connection guards them all."""

import _thread

from trilithon.foundation.files import FileSpan
from trilithon.net.connection import Connection
from trilithon.net.life import FINISHING
from trilithon.wire.exchange import LOST, OPEN, Carrier, Exchange, Receiver
from trilithon.wire.response import SentLine


class Waiter(Receiver):
    """A thread that waits for news of its exchange; whoever tells it does so one at a time."""

    def __init__(self) -> None:
        self.gate = _thread.allocate_lock()
        self.gate.acquire()
        self.told = False

    def tell(self) -> None:
        """Let the thread go on."""
        if not self.told:
            self.told = True
            self.gate.release()

    def wait(self) -> None:
        """Wait for the news, on the thread that waits."""
        self.gate.acquire()

    def body_arrived(self) -> None:
        """See Receiver."""
        self.tell()

    def lost(self) -> None:
        """See Receiver."""
        self.tell()

    def expired(self) -> None:
        """See Receiver."""
        self.tell()

    def drained(self) -> None:
        """See Receiver."""
        self.tell()


class SharedStream(Carrier):
    """Carries an exchange by its stream, whichever thread asks; the engine's thread goes on reading meanwhile."""

    def __init__(self, stream: Carrier, connection: Connection) -> None:
        super().__init__(stream.transport)
        self.stream = stream
        self.connection = connection

    def hold(self) -> None:
        """Have the connection to this thread alone."""
        connection = self.connection
        lock = connection.lock
        assert lock is not None, "streams are shared only where a lock guards them"
        lock.acquire()
        connection.held = True

    def let_go(self) -> None:
        """Let others have the connection; the engine's thread writes at the end of its turn, others at once."""
        connection = self.connection
        connection.held = False
        lock = connection.lock
        assert lock is not None, "see hold"
        try:
            if (connection.queued or connection.life is FINISHING) and not connection.dirty:
                if connection.owner.leads():
                    connection.soil()
                else:
                    connection.flush()
        finally:
            lock.release()

    def send(self, exchange: Exchange, data: bytes, final: bool) -> None:
        """See Carrier."""
        self.hold()
        try:
            self.stream.send(exchange, data, final)
        finally:
            self.let_go()

    def send_file(self, exchange: Exchange, span: FileSpan, final: bool) -> None:
        """See Carrier."""
        self.hold()
        try:
            self.stream.send_file(exchange, span, final)
        finally:
            self.let_go()

    def send_trailers(self, exchange: Exchange, lines: list[SentLine]) -> None:
        """See Carrier."""
        self.hold()
        try:
            self.stream.send_trailers(exchange, lines)
        finally:
            self.let_go()

    def inform(self, exchange: Exchange, status: int, block: bytes) -> None:
        """See Carrier."""
        self.hold()
        try:
            self.stream.inform(exchange, status, block)
        finally:
            self.let_go()

    def reset(self, exchange: Exchange) -> None:
        """See Carrier."""
        self.hold()
        try:
            self.stream.reset(exchange)
        finally:
            self.let_go()

    def refuse(self, exchange: Exchange, status: int, extra: bytes) -> None:
        """See Carrier."""
        self.hold()
        try:
            self.stream.refuse(exchange, status, extra)
        finally:
            self.let_go()

    def want_body(self, exchange: Exchange) -> None:
        """See Carrier."""
        self.hold()
        try:
            self.stream.want_body(exchange)
        finally:
            self.let_go()

    def take(self, exchange: Exchange) -> bytes:
        """See Carrier."""
        self.hold()
        try:
            return self.stream.take(exchange)
        finally:
            self.let_go()

    def engage(self, exchange: Exchange) -> None:
        """See Carrier."""
        self.hold()
        try:
            self.stream.engage(exchange)
        finally:
            self.let_go()

    def released(self, exchange: Exchange) -> None:
        """See Carrier."""
        self.hold()
        try:
            self.stream.released(exchange)
        finally:
            self.let_go()

    def congested(self) -> bool:
        """See Carrier."""
        self.hold()
        try:
            return self.stream.congested()
        finally:
            self.let_go()

    def pull(self, exchange: Exchange) -> None:
        """Wait until more of the body is there, it is complete or lost; the clock of the stream ends the waiting."""
        waiter = Waiter()
        self.hold()
        try:
            if exchange.body_bytes or exchange.inbound is not OPEN or exchange.outbound is LOST:
                return
            exchange.receiver = waiter
        finally:
            self.let_go()
        self.sleep(exchange, waiter)

    def push(self, exchange: Exchange, wait: bool) -> None:
        """Write now; with `wait`, until the stream takes more."""
        connection = self.connection
        while True:
            waiter = Waiter()
            self.hold()
            try:
                connection.flush()
                if not wait or exchange.outbound is LOST or not self.stream.congested():
                    return
                exchange.receiver = waiter
            finally:
                self.let_go()
            self.sleep(exchange, waiter)

    def sleep(self, exchange: Exchange, waiter: Waiter) -> None:
        """Wait while another thread leads, who reads what this one waits for."""
        self.connection.owner.step_aside()
        waiter.wait()
        exchange.receiver = None
