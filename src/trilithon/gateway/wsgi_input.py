"""`wsgi.input` of a body that is still coming: reads wait on their own thread, in bounded memory (PEP 3333)."""

from collections.abc import Iterator

from trilithon.foundation.errors import IncompleteBody
from trilithon.wire.exchange import BROKEN, COMPLETE, LOST, Exchange


class InputStream:
    """A body as a binary stream: `read`, `readline`, `readlines` and iteration, exactly to its end.

    A read returns as many bytes as it asks for unless the body ends. A client that leaves, breaks the framing or
    passes a limit makes it raise IncompleteBody, never a short read that looks like the end.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.buffer = bytearray()
        self.complete = False

    def fill(self) -> bool:
        """Get more of the body into the buffer; returns False at its end."""
        if self.complete:
            return False
        exchange = self.exchange
        while True:
            # Another thread may add the last piece at any time: what was complete before the look is all there.
            complete = exchange.inbound is COMPLETE
            data = exchange.take_body()
            if data:
                self.buffer += data
                return True
            if complete:
                self.complete = True
                return False
            if exchange.inbound is BROKEN or exchange.outbound is LOST:
                raise IncompleteBody("the request body ended before it was complete")
            exchange.carrier.want_body(exchange)
            exchange.await_body()

    def take(self, size: int) -> bytes:
        """Cut `size` bytes off the buffer."""
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def read(self, size: int | None = -1, /) -> bytes:
        """Return `size` bytes, fewer only at the end, all the rest for None or a negative size."""
        if size is None or size < 0:
            while self.fill():
                pass
            return self.take(len(self.buffer))
        while len(self.buffer) < size and self.fill():
            pass
        return self.take(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return a line with its newline, at most `size` bytes of it when that is given."""
        most = -1 if size is None else size
        start = 0
        while True:
            newline = self.buffer.find(b"\n", start)
            if newline >= 0:
                end = newline + 1
                break
            start = len(self.buffer)
            if 0 <= most <= start or not self.fill():
                end = len(self.buffer)
                break
        return self.take(end if most < 0 else min(end, most))

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Return the remaining lines, or about `hint` bytes of them."""
        lines = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")
