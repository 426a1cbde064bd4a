"""The output of a connection: bytes and files in a queue, sealed by TLS where that is on, written as there is room."""

import logging
import select
import socket
import struct
from typing import Any

from trilithon.foundation.files import FileSpan
from trilithon.foundation.leaf import gather, send
from trilithon.net.tls import SEAL_STEP_BYTES, TlsChannel
from trilithon.wire.exchange import Transport

log = logging.getLogger("trilithon.error")

# So much is sealed at once, and with the part that reaches it up to the most: enough for one write, and little to hold
# for a client that does not read. The most takes a block of 64 KiB with the head and the frames around it.
SEAL_BYTES = 65536
MOST_SEALED_BYTES = SEAL_STEP_BYTES
# Stands in for the records of connections that have none waiting; never added to.
NOTHING: list[bytes] = []
# And so much is written at once: a client that reads as fast as we write would keep all others waiting.
TURN_BYTES = 1048576
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Outlet(Transport):
    """The socket of a connection and what waits to be written to it.

    `queued` counts the bytes that wait, those of TLS records included once they are sealed.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.out: list[Any] = []
        self.out_offset = 0
        self.queued = 0
        self.tls: TlsChannel | None = None
        self.sealed: list[bytes] = NOTHING
        self.sealed_offset = 0

    def drain_queue(self) -> None:
        """Write parts until queue, room or turn ends; raises OSError, and EOFError for a short file."""
        if self.tls is not None or self.sealed:
            self.drain_sealed()
            return
        out = self.out
        written = 0
        while out and written < TURN_BYTES:
            first = out[0]
            if type(first) is not bytes:
                count = self.send_span(first)
            elif len(out) == 1:
                count = send(self.fd, first, self.out_offset)
            elif type(out[1]) is not bytes:
                count = send(self.fd, first, self.out_offset)
            else:
                count = self.send_parts(out)
            if not count:
                return
            written += count
            self.queued -= count
            if type(first) is bytes:
                self.drop(count)
            elif not first.count:
                first.close()
                del out[0]

    def send_span(self, span: FileSpan) -> int:
        """Write from a file span; raises as `drain_queue`."""
        try:
            return span.send(self.fd)
        except EOFError as fault:
            self.fell_short(fault)
            raise

    def fell_short(self, fault: Exception) -> None:
        """Log why a response with a file is broken off; see Transport."""
        log.warning("a response is broken off: %s", fault)

    def send_parts(self, out: list[Any]) -> int:
        """Write several byte parts with one call."""
        most = 1
        while most < len(out) and most < 64 and type(out[most]) is bytes:
            most += 1
        return gather(self.fd, out[:most], self.out_offset)

    def drop(self, count: int) -> None:
        """Take `count` written bytes off the front of the queue."""
        out = self.out
        if len(out) == 1 and count + self.out_offset == len(out[0]):
            out.clear()
            self.out_offset = 0
            return
        count += self.out_offset
        whole = 0
        while whole < len(out) and type(out[whole]) is bytes and count >= len(out[whole]):
            count -= len(out[whole])
            whole += 1
        del out[:whole]
        self.out_offset = count

    def try_drain(self) -> bool:
        """Write what the kernel takes, for the last time; returns whether that was all."""
        try:
            self.drain_queue()
        except (OSError, EOFError):
            return False  # the client is told by the close in any case
        return not self.queued

    def discard_output(self) -> None:
        """Drop what waits, and close the files in it."""
        for part in self.out:
            if type(part) is not bytes:
                part.close()
        self.out.clear()
        self.sealed = NOTHING
        self.sealed_offset = 0
        self.queued = 0

    def reset_on_close(self) -> None:
        """Make the close an RST, which a client cannot take for the end of a whole response."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        except OSError:
            pass  # the socket is broken already, or no TCP one

    def wait(self, events: int, timeout_s: float) -> bool:
        """Wait on this thread for the socket alone; returns whether it became ready."""
        poll = select.poll()
        poll.register(self.fd, events)
        return bool(poll.poll(max(0, int(timeout_s * 1000)) if timeout_s >= 0 else None))

    # Under TLS.

    def drain_sealed(self) -> None:
        """Write records, and seal what waits as there is room; raises as `drain_queue`."""
        sealed = self.sealed
        written = 0
        while written < TURN_BYTES:
            if sealed:
                if len(sealed) == 1:
                    count = send(self.fd, sealed[0], self.sealed_offset)
                else:
                    count = gather(self.fd, sealed, self.sealed_offset)
                if not count:
                    return
                written += count
                self.queued -= count
                self.drop_records(count)
                if sealed:
                    return  # a short write means that there is no more room
            if not self.out:
                return
            self.seal_some()
            sealed = self.sealed

    def drop_records(self, count: int) -> None:
        """Take `count` written bytes off the records."""
        sealed = self.sealed
        count += self.sealed_offset
        whole = 0
        while whole < len(sealed) and count >= len(sealed[whole]):
            count -= len(sealed[whole])
            whole += 1
        del sealed[:whole]
        self.sealed_offset = count

    def seal_some(self) -> None:
        """Make records of the front of the queue; raises EOFError for a short file, OSError when TLS is over."""
        out = self.out
        first = out[0]
        if type(first) is not bytes:
            try:
                data = first.read(SEAL_BYTES)
            except (OSError, EOFError) as fault:
                self.fell_short(fault)
                raise
            if not first.count:
                first.close()
                del out[0]
        elif len(first) > MOST_SEALED_BYTES:
            data = first[self.out_offset : self.out_offset + SEAL_BYTES]
            self.out_offset += len(data)
            if self.out_offset == len(first):
                self.out_offset = 0
                del out[0]
        else:
            # One call for many records: each lets the GIL go and wants a buffer, which costs more than the join.
            total = 0
            count = 0
            while count < len(out) and total < SEAL_BYTES and type(out[count]) is bytes:
                total += len(out[count])
                if total > MOST_SEALED_BYTES:
                    break
                count += 1
            data = first if count == 1 else b"".join(out[:count])
            del out[:count]
        tls = self.tls
        if tls is not None:
            self.queued -= len(data)
            self.seal_behind(tls.seal(data))

    def open_records(self, data: bytes) -> bytes:
        """Return what records hold, with what TLS has to say of its own queued; raises TlsError."""
        tls = self.tls
        if tls is None:
            return data
        try:
            return tls.receive(data)
        finally:
            records = tls.outgoing()
            if records:
                self.seal_behind(records)

    def seal_behind(self, records: bytes) -> None:
        """Queue records behind those that wait already; what is not sealed yet comes after them."""
        self.queued += len(records)
        if not self.sealed:
            self.sealed = [records]
        else:
            self.sealed.append(records)

    def say_farewell(self) -> None:
        """Send TLS's close_notify, by which the client knows that nothing was cut off (RFC 8446 6.1)."""
        tls = self.tls
        if tls is not None and not tls.shaking:
            try:
                send(self.fd, tls.farewell(), 0)
            except OSError:
                pass  # the client is gone, or reads nothing any more
