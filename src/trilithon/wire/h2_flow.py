"""The sending side of an HTTP/2 connection: response frames, both windows, and whose turn it is (RFC 9113 6.9)."""

from trilithon.foundation.errors import InternalError
from trilithon.wire.exchange import Receiver, Transport
from trilithon.wire.h2_codes import FLOW_CONTROL_ERROR
from trilithon.wire.h2_data import FRAME_BYTES, cut_frames
from trilithon.wire.h2_frames import (
    MAX_WINDOW_BYTES,
    MIN_MAX_FRAME_BYTES,
    H2Error,
    write_data,
    write_field_block,
)
from trilithon.wire.h2_guard import Guard
from trilithon.wire.h2_priority import Schedule
from trilithon.wire.h2_response import ResponseCoder, declared_length
from trilithon.wire.h2_stream import CLOSED, Link, Stream
from trilithon.wire.response import SentLine, own_body
from trilithon.wire.terms import Terms

DEFAULT_WINDOW_BYTES = 65535
# So much of a stream goes out at once, in several frames, where no other has a turn to take.
BURST_BYTES = 65536
# A client that credits each frame by its size would get ever smaller ones, silly windows (RFC 1122 4.2.3.4):
# for it no frame is cut shorter than this while more waits. Where windows are tiny there is nothing to choose.
LEAST_PIECE_BYTES = 256
LEAST_WINDOW_BYTES = 256


class Sender:
    """Sends the responses of one connection, within what the client and the transport take.

    Heads and what is small go out at once; the rest waits in the queue of its stream, and `pump` sends it by priority
    as long as the transport is not congested. Call `drained` when that is over. `control_bytes` counts what was
    written without any window to bound it, since the transport was last seen to keep up. `holding` says that something
    waits for a window of `least_bytes`; call `send_held` when that has lasted. `moved` says that data was sent since
    whoever looks at the clock took it back.
    """

    def __init__(self, link: Link, transport: Transport, terms: Terms, guard: Guard) -> None:
        self.link = link
        self.transport = transport
        self.guard = guard
        self.coder = ResponseCoder(terms)
        self.schedule = Schedule()
        self.window: int = DEFAULT_WINDOW_BYTES
        self.initial_window: int = DEFAULT_WINDOW_BYTES
        self.max_frame_bytes: int = MIN_MAX_FRAME_BYTES
        self.control_bytes: int = 0
        self.least_bytes: int = 0
        self.holding = False
        self.pumping = False
        self.moved = False

    def admit(self, stream: Stream, high_water: int) -> None:
        """Give a new stream its window, and the high-water mark of its queue in bytes; the low one is a quarter."""
        stream.window_out = self.initial_window
        stream.high_water = high_water

    def write(self, data: bytes) -> None:
        """Write what no window bounds."""
        self.control_bytes += len(data)
        self.transport.write(data)

    # Responses.

    def respond(self, stream: Stream, data: bytes, final: bool) -> None:
        """Send a piece of a response, its head first."""
        exchange = stream.exchange
        assert exchange is not None, "a stream that is not closed has its exchange"
        head = b""
        if not stream.headed:
            response = exchange.response
            if response is None:
                raise InternalError("no response head is held")
            stream.headed = True
            exchange.status = response.status
            length = declared_length(response, exchange.bodiless, len(data) if final else -1)
            block = self.coder.code_head(response, length)
            if length < 0 and not final and not stream.priority & 1:
                # It may never end, so it takes turns where others would wait for its end (RFC 9218 10).
                self.schedule.reprioritize(stream, stream.priority | 1)
            ends = final and (exchange.bodiless or not (data or stream.queued))
            head = write_field_block(stream.stream_id, block, ends, self.max_frame_bytes)
            if ends:
                stream.final = True
                self.write(head)
                self.link.sent(stream)
                return
        self.send(stream, head, b"" if exchange.bodiless else data, final)

    def answer(self, stream: Stream, status: int, extra: bytes, bodiless: bool) -> None:
        """Send an answer of the server's own; `extra` are lines of HTTP/1."""
        body = own_body(status)
        block = self.coder.code_own(status, extra, len(body))
        stream.headed = True
        head = write_field_block(stream.stream_id, block, bodiless, self.max_frame_bytes)
        if bodiless:
            stream.final = True
            self.write(head)
            self.link.sent(stream)
        else:
            self.send(stream, head, body, True)

    def send(self, stream: Stream, head: bytes, data: bytes, final: bool) -> None:
        """Send `head`, frames that are ready, and then data: at once where nothing stands in the way."""
        size = len(data)
        clear = not self.transport.congested()
        if stream.state is CLOSED:
            return  # the transport tried to write, and so learnt that the client is gone
        stream.final = final
        if not stream.queued:
            if not size:
                if final:
                    head += write_data(stream.stream_id, b"", True)
                if head:
                    self.write(head)
                if final:
                    self.link.sent(stream)
                return
            fits = size <= BURST_BYTES and size <= self.window and size <= stream.window_out
            if clear and fits and not self.schedule.count:
                self.write_frames(stream, head, data, size, final)
                if final:
                    self.link.sent(stream)
                return
        if head:
            self.write(head)
        if size:
            stream.put(data, size)
        if stream.window_out > 0:
            self.schedule.add(stream)
        self.pump()

    def write_frames(self, stream: Stream, head: bytes, data: bytes, size: int, last: bool) -> None:
        """Write `size` bytes of data, from the stream's offset on, in frames behind `head`; the windows have room."""
        self.window -= size
        stream.window_out -= size
        stream.stalled_at = 0.0
        self.moved = True
        self.guard.earn_updates((size + FRAME_BYTES - 1) // FRAME_BYTES)
        start = stream.offset
        self.transport.write(cut_frames(head, stream.stream_id, data, start, start + size, last))

    def trail(self, stream: Stream, lines: list[SentLine]) -> None:
        """End a response with trailers, behind what is queued."""
        stream.final = True
        stream.trailers = lines
        if not stream.queued:
            self.write_trailers(stream, lines)

    def write_trailers(self, stream: Stream, lines: list[SentLine]) -> None:
        """Write the trailer section; an empty one is an empty DATA frame."""
        block = self.coder.code_trailers(lines)
        if block:
            self.write(write_field_block(stream.stream_id, block, True, self.max_frame_bytes))
        else:
            self.write(write_data(stream.stream_id, b"", True))
        self.link.sent(stream)

    def inform(self, stream: Stream, status: int, lines: bytes) -> None:
        """Send an interim response."""
        block = self.coder.code_interim(status, lines)
        self.write(write_field_block(stream.stream_id, block, False, self.max_frame_bytes))

    # The queues.

    def pump(self) -> None:
        """Send what is queued, the most urgent first, until a window or the transport is full.

        What ends meanwhile may start another response: the inner call leaves the sending to the outer one.
        """
        if self.pumping:
            return
        self.pumping = True
        try:
            while self.window > 0 and self.schedule.count and not self.transport.congested():
                stream = self.schedule.first()
                if stream is None:
                    return
                room = min(self.window, stream.window_out)
                if room >= self.least_bytes or room >= stream.queued:
                    self.send_piece(stream)
                    continue
                self.holding = True
                if self.window < stream.window_out:
                    return
                self.schedule.remove(stream)
        finally:
            self.pumping = False

    def send_held(self, streams: list[Stream]) -> None:
        """Send what was held back for a larger window: a client may wait for the last octet of this one."""
        self.holding = False
        least_bytes = self.least_bytes
        self.least_bytes = 0
        for stream in streams:
            if stream.queued and stream.window_out > 0:
                self.schedule.add(stream)
        self.pump()
        self.least_bytes = least_bytes

    def send_piece(self, stream: Stream) -> None:
        """Send of a stream that is scheduled: a frame, or several where no other stream has a turn to take."""
        room = min(self.window, stream.window_out)
        try:
            data = stream.first_queued(room)
        except (OSError, EOFError) as fault:
            self.transport.fell_short(fault)
            self.cut_short(stream)
            return
        most = BURST_BYTES if self.schedule.count == 1 else FRAME_BYTES
        size = min(room, most, len(data) - stream.offset)
        last = stream.final and stream.queued == size
        self.write_frames(stream, b"", data, size, last and stream.trailers is None)
        stream.take_queued(size)
        if not stream.queued or stream.window_out <= 0:
            self.schedule.remove(stream)
        else:
            self.schedule.rotate(stream)
        if last:
            if stream.trailers is not None:
                self.write_trailers(stream, stream.trailers)
            else:
                self.link.sent(stream)
        elif stream.clogged and stream.queued * 4 <= stream.high_water:
            self.wake(stream)

    def cut_short(self, stream: Stream) -> None:
        """Reset a stream whose file does not hold what was promised; its gateway is told."""
        exchange = stream.exchange
        self.link.break_off(stream)
        if exchange is not None:
            exchange.lose()

    def wake(self, stream: Stream) -> None:
        """Tell a gateway that waits that its stream takes more."""
        stream.clogged = False
        exchange = stream.exchange
        # A local reference: a receiver may take itself off its exchange while it runs.
        receiver: Receiver | None = exchange.receiver if exchange is not None else None
        if receiver is not None:
            receiver.drained()

    def drained(self, streams: list[Stream]) -> None:
        """The transport takes more: send on, and wake the gateways that waited for it."""
        self.control_bytes = 0
        self.pump()
        for stream in streams:
            if stream.clogged and stream.queued * 4 <= stream.high_water:
                self.wake(stream)

    def forget(self, stream: Stream) -> None:
        """Drop what a stream had to send."""
        self.schedule.remove(stream)
        stream.drop_queued()
        stream.trailers = None

    # The windows.

    def open_window(self, increment: int) -> None:
        """Take a WINDOW_UPDATE of the connection; raises H2Error (RFC 9113 6.9.1)."""
        self.window += increment
        if increment * 2 < self.initial_window:
            self.grow_patient()
        if self.window > MAX_WINDOW_BYTES:
            raise H2Error(FLOW_CONTROL_ERROR, "connection window too large")

    def open_stream(self, stream: Stream, increment: int) -> None:
        """Take a WINDOW_UPDATE of a stream; raises H2Error, an error of that stream alone."""
        stream.window_out += increment
        if increment * 2 < self.initial_window:
            self.grow_patient()
        if stream.window_out > MAX_WINDOW_BYTES:
            raise H2Error(FLOW_CONTROL_ERROR, "stream window too large", stream.stream_id)
        if stream.queued and stream.window_out > 0:
            self.schedule.add(stream)

    def grow_patient(self) -> None:
        """The client credits little at a time, so more credit comes before a window is used up."""
        if self.initial_window >= LEAST_WINDOW_BYTES:
            self.least_bytes = min(LEAST_PIECE_BYTES, self.initial_window // 4)

    def change_initial(self, value: int, streams: list[Stream]) -> None:
        """Take SETTINGS_INITIAL_WINDOW_SIZE: all windows change by the difference, and may become negative (6.9.2)."""
        difference = value - self.initial_window
        self.initial_window = value
        self.least_bytes = 0
        for stream in streams:
            stream.window_out += difference
            if stream.window_out > MAX_WINDOW_BYTES:
                raise H2Error(FLOW_CONTROL_ERROR, "stream window too large")
            if stream.window_out <= 0:
                self.schedule.remove(stream)
            elif stream.queued:
                self.schedule.add(stream)
