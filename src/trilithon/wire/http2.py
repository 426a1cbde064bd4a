"""HTTP/2 on one connection, as a state machine over bytes (RFC 9113)."""

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import Limits
from trilithon.wire.exchange import COMPLETE, Exchange, Peer, Transport
from trilithon.wire.h2_codes import (
    ACK,
    COMPRESSION_ERROR,
    DATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PING,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    name_error,
)
from trilithon.wire.h2_frames import (
    SETTINGS_ACK,
    Frame,
    FrameReader,
    H2Error,
    write_field_block,
    write_ping,
    write_reset,
    write_window_update,
)
from trilithon.wire.h2_guard import (
    DRIBBLE_BYTES,
    DRIBBLES,
    EMPTY_FRAMES,
    IDLE_FRAMES,
    PINGS,
    PROVOKED,
    REFUSED,
    RESETS,
    SETTINGS_FRAMES,
    WINDOW_FRAMES,
)
from trilithon.wire.h2_head import H2Head, H2HeadReader, check_trailers
from trilithon.wire.h2_priority import read_priority
from trilithon.wire.h2_session import HEAD_DUE, LEAVING, NEW, OVER, REQUEST_DUE, RETIRE_PING, RETIRING, Session
from trilithon.wire.h2_stream import BY_END, BY_PEER, BY_US, CLOSED, PEER_DONE, Stream
from trilithon.wire.hpack import Decoder, HpackError
from trilithon.wire.response import ALLOW
from trilithon.wire.terms import Terms

# Heads that a client repeats octet for octet are read once.
MAX_KEPT_HEADS = 64
MAX_KEPT_BLOCK_BYTES = 1024
# So much may be written without a window to bound it before the client has to read.
MAX_CONTROL_BYTES = 65536
# So much of what a client says to its GOAWAY goes into the log.
MAX_TOLD = 200
# Small pieces of a body are joined when there are so many, since each costs more than it holds.
MAX_PIECES = 64
SMALL_PIECE_BYTES = 1024
# The client is asked to open a new connection while it has identifiers left (RFC 9113 5.1.1).
LAST_STREAM_ID = 2**31 - 1 - 2 * 1024


class Http2(Session):
    """One HTTP/2 connection of a server: bytes in, any number of exchanges open at a time, bytes out.

    Each stream is the carrier of its exchange; `Carrier.released` must be called when the application's call for an
    exchange has returned, for until then it keeps its place. `websockets` lets clients open them (RFC 8441).
    """

    def __init__(self, transport: Transport, terms: Terms, peer: Peer, limits: Limits, websockets: bool = True) -> None:
        super().__init__(transport, terms, peer, limits, websockets)
        message = terms.limits
        most = limits.http2
        # What is too large by less than that is decoded for the table's sake, and can be answered (RFC 9113 10.5.1).
        block_bytes = message.max_head_bytes + max(message.max_head_bytes, most.h2_max_frame_bytes)
        self.reader = FrameReader(most.h2_max_frame_bytes, block_bytes, most.h2_max_continuations)
        self.decoder = Decoder(message)
        self.heads: dict[bytes, H2Head] = {}
        self.generation: int = 0
        self.head_reader = H2HeadReader(message, peer.secure or peer.proxied, websockets)
        self.opened: list[Stream] = []
        self.priorities: dict[int, int] = {}
        self.requests: int = 0

    def receive(self, data: bytes) -> Exchange | None:
        """Take bytes off the wire; exchanges that they open go to the transport. See Protocol."""
        if self.standing is NEW:
            self.begin()
        if self.standing is OVER:
            return None
        self.reader.feed(data)
        while self.standing is not OVER:
            try:
                frame = self.reader.take()
                if frame is None:
                    break
                self.handle(frame)
            except H2Error as error:
                self.fail(error)
            except HpackError as error:
                self.fail(H2Error(COMPRESSION_ERROR, error.reason))
        if self.standing is not OVER:
            self.conclude()
        if self.opened:
            streams = self.opened
            self.opened = []
            for stream in streams:
                exchange = stream.exchange
                # What was reset before anybody saw it never reaches the application.
                if stream.state is not CLOSED and exchange is not None:
                    stream.delivered = True
                    self.transport.opened(exchange)
        return None

    def conclude(self) -> None:
        """Answer what the frames of one read amount to: credit, what windows let out, and whether to read on."""
        if self.taken * 2 >= self.limits.h2_connection_window_bytes:
            # At once, whatever the applications do: a body that nobody reads holds up no other (RFC 9113 5.2.2).
            self.sender.write(write_window_update(0, self.taken))
            self.window_in += self.taken
            self.taken = 0
        self.sender.pump()
        if self.sender.control_bytes > MAX_CONTROL_BYTES and not self.paused:
            if self.transport.congested():
                if self.standing is not OVER:
                    self.paused = True
                    self.transport.pause()
            else:
                self.sender.control_bytes = 0
        self.part()

    def handle(self, frame: Frame) -> None:
        """Act on a frame; raises H2Error and HpackError."""
        kind = frame.kind
        if kind == DATA:
            self.receive_data(frame)
        elif kind == HEADERS:
            self.receive_headers(frame)
        elif kind == WINDOW_UPDATE:
            self.receive_update(frame)
        elif kind == SETTINGS:
            self.receive_settings(frame)
        elif kind == RST_STREAM:
            self.receive_reset(frame)
        elif kind == PING:
            self.guard.spend(PINGS, self.now)
            if not frame.flags & ACK:
                self.sender.write(write_ping(frame.payload, True))
            elif frame.payload == RETIRE_PING and self.standing is RETIRING:
                self.leave()
        elif kind == GOAWAY:
            self.guard.spend(IDLE_FRAMES, self.now)
            if frame.code and not self.client_leaves:
                self.transport.troubled(f"the client leaves ({name_error(frame.code)}): {frame.payload[:MAX_TOLD]!r}")
            self.client_leaves = True
        elif kind == PRIORITY_UPDATE:
            self.receive_priority(frame)
        else:
            self.guard.spend(IDLE_FRAMES, self.now)

    def receive_headers(self, frame: Frame) -> None:
        """Open a stream, or end the body of one with trailers; raises H2Error and HpackError.

        The block is decoded whatever becomes of it: the table of the connection depends on it (RFC 9113 4.3).
        """
        stream_id = frame.stream_id
        self.waiting_since[HEAD_DUE] = 0.0  # the next block has its own time, though every look meets one half come
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.receive_trailers(stream, frame)
            return
        if not stream_id & 1:
            raise H2Error(PROTOCOL_ERROR, "a client's stream has an odd identifier")
        if stream_id <= self.last_id:
            how = self.closed.find(stream_id)
            if how == BY_US:
                self.guard.spend(IDLE_FRAMES, self.now)
                self.skip_block(frame)
                return
            raise H2Error(STREAM_CLOSED if how else PROTOCOL_ERROR, "stream identifier used before")
        if self.standing is LEAVING:
            self.guard.spend(IDLE_FRAMES, self.now)
            self.skip_block(frame)
            return
        self.last_id = stream_id
        try:
            head = self.read_head(frame.payload)
            if frame.code:
                raise H2Error(frame.code, "stream depends on itself", stream_id)
            if len(self.streams) + len(self.cancelled) >= self.limits.h2_max_streams:
                self.guard.spend(REFUSED, self.now)
                self.closed.note(stream_id, BY_US)
                self.sender.write(write_reset(stream_id, REFUSED_STREAM))
            else:
                self.open(stream_id, head, bool(frame.flags & END_STREAM))
        except PeerError as error:
            self.reject(frame, error)

    def read_head(self, block: bytes) -> H2Head:
        """Return the request head that a block stands for; raises PeerError and HpackError.

        A block that did not change the table means the same as long as nothing else does.
        """
        decoder = self.decoder
        if decoder.generation != self.generation:
            self.heads.clear()
            self.generation = decoder.generation
        head = self.heads.get(block)
        if head is None:
            head = self.head_reader.read(decoder.decode(block))
            if decoder.generation == self.generation and len(block) <= MAX_KEPT_BLOCK_BYTES:
                if len(self.heads) >= MAX_KEPT_HEADS:
                    self.heads.clear()
                self.heads[block] = head
        return head

    def skip_block(self, frame: Frame) -> None:
        """Keep the table up to date with a block that means nothing any more; raises HpackError."""
        try:
            self.decoder.decode(frame.payload)
        except PeerError:
            pass  # too large, and of no interest

    def open(self, stream_id: int, head: H2Head, ended: bool) -> None:
        """Open the stream of a whole request head; raises PeerError."""
        if ended and (head.length > 0 or head.protocol is not None):
            raise PeerError(400, "the stream ends where content was announced", "RFC 9113 8.1.1")
        most = self.terms.limits.max_body_bytes
        if most and head.length > most:
            raise PeerError(413, "body larger than the limit", "RFC 9110 15.5.14")
        priority = self.priorities.pop(stream_id, head.priority) if self.priorities else head.priority
        stream = Stream(self, self.transport, stream_id, priority)
        stream.tunnel = head.protocol is not None
        self.sender.admit(stream, self.buffers.write_high_water_bytes)
        exchange = Exchange(stream, head, self.peer)
        stream.exchange = exchange
        if ended:
            stream.state = PEER_DONE
            exchange.inbound = COMPLETE
        else:
            stream.length = head.length
            stream.window_in = exchange.window_bytes = self.limits.h2_stream_window_bytes
        self.streams[stream_id] = stream
        self.opened.append(stream)
        self.requests += 1
        self.waiting_since[REQUEST_DUE] = 0.0  # however short it is, and seen by no look at the clock
        most = self.terms.max_requests
        if most and self.requests >= most:
            self.leave()
        elif most and self.requests >= most - min(most // 4, self.limits.h2_max_streams):
            self.retire()  # ahead of it, so that a client that heeds this loses nothing
        elif stream_id >= LAST_STREAM_ID:
            self.retire()

    def reject(self, frame: Frame, error: PeerError) -> None:
        """Refuse what is no request: malformed ones with a stream error (RFC 9113 8.1.1), others with an answer."""
        stream_id = frame.stream_id
        self.transport.rejected(error.status, error.reason)
        if error.status == 400:
            raise H2Error(PROTOCOL_ERROR, error.reason, stream_id)
        self.guard.spend(PROVOKED, self.now)
        block = self.sender.coder.code_own(error.status, ALLOW if error.status == 405 else b"", 0)
        self.sender.write(write_field_block(stream_id, block, True, self.sender.max_frame_bytes))
        if frame.flags & END_STREAM:
            self.closed.note(stream_id, BY_US)
        else:
            stream = self.streams[stream_id] = Stream(self, self.transport, stream_id, 0)
            stream.window_in = self.limits.h2_stream_window_bytes
            self.end_output(stream)

    def receive_trailers(self, stream: Stream, frame: Frame) -> None:
        """End a body with a trailer section; raises H2Error and HpackError."""
        try:
            fields = self.decoder.decode(frame.payload, True)
            if frame.code:
                raise H2Error(frame.code, "stream depends on itself", stream.stream_id)
            if stream.state is PEER_DONE:
                raise H2Error(STREAM_CLOSED, "HEADERS behind the end of the stream", stream.stream_id)
            if not frame.flags & END_STREAM or stream.tunnel:
                raise H2Error(PROTOCOL_ERROR, "HEADERS that do not end the stream", stream.stream_id)
            check_trailers(fields)
        except PeerError as error:
            if error.status == 400:
                raise H2Error(PROTOCOL_ERROR, error.reason, stream.stream_id) from None
            if stream.exchange is not None:
                stream.state = PEER_DONE
                self.give_up(stream, error.status)
                return
        if stream.exchange is None:
            self.close_stream(stream, BY_END)  # of a request that was answered before it was whole
        else:
            self.finish_body(stream)

    def receive_data(self, frame: Frame) -> None:
        """Take a piece of a body; raises H2Error."""
        size = frame.flow_bytes
        self.window_in -= size
        self.taken += size
        if self.window_in < 0:
            raise H2Error(FLOW_CONTROL_ERROR, "more data than the connection's window")
        stream = self.streams.get(frame.stream_id)
        if stream is None:
            self.receive_stray(frame.stream_id)
            return
        if stream.state is PEER_DONE:
            raise H2Error(STREAM_CLOSED, "DATA behind the end of the stream", frame.stream_id)
        stream.window_in -= size
        stream.taken += size
        if stream.window_in < 0:
            raise H2Error(FLOW_CONTROL_ERROR, "more data than the stream's window", frame.stream_id)
        exchange = stream.exchange
        payload = frame.payload
        ended = frame.flags & END_STREAM
        if exchange is None:
            # What the client still sends of what is over for us, until it has ended it too.
            if ended:
                self.close_stream(stream, BY_END)
            elif not payload:
                self.guard.spend(EMPTY_FRAMES, self.now)
            elif not stream.tunnel:
                self.give_back(stream, 0)  # some clients look at no answer before all of their request is sent
            return
        if payload:
            stream.body_size += len(payload)
            if 0 <= stream.length < stream.body_size:
                raise H2Error(PROTOCOL_ERROR, "more content than Content-Length", frame.stream_id)
            most = self.terms.limits.max_body_bytes
            if most and stream.body_size > most and not stream.tunnel:
                self.give_up(stream, 413)
                return
            if not stream.final:
                if len(payload) < SMALL_PIECE_BYTES and len(exchange.body) >= MAX_PIECES:
                    pieces = exchange.body
                    pieces[:] = [b"".join(pieces)]
                exchange.feed(payload)
        elif not ended:
            self.guard.spend(EMPTY_FRAMES, self.now)
            return
        if ended:
            self.finish_body(stream)
            return
        if size != len(payload):
            self.give_back(stream, exchange.body_bytes)  # padding takes room that no reading of the body would credit
        receiver = exchange.receiver  # held: it may take itself off the exchange, and compiled calls hold no reference
        if receiver is not None:
            receiver.body_arrived()

    def finish_body(self, stream: Stream) -> None:
        """The request is whole; raises H2Error when it is not as long as it said (RFC 9113 8.1.1)."""
        if 0 <= stream.length != stream.body_size:
            raise H2Error(PROTOCOL_ERROR, "less content than Content-Length", stream.stream_id)
        exchange = stream.exchange
        assert exchange is not None, "a stream that is not closed has its exchange"
        stream.state = PEER_DONE
        exchange.inbound = COMPLETE
        receiver = exchange.receiver  # held, see receive_data
        if receiver is not None:
            receiver.body_arrived()

    def receive_stray(self, stream_id: int) -> None:
        """Take DATA of a stream that is not open; raises H2Error unless we closed it. The connection is credited."""
        if self.is_idle(stream_id):
            raise H2Error(PROTOCOL_ERROR, "DATA on an idle stream")
        how = self.closed.find(stream_id)
        if how == BY_END or how == BY_PEER:
            raise H2Error(STREAM_CLOSED, "DATA on a closed stream")
        if not how and stream_id <= self.last_id:
            raise H2Error(STREAM_CLOSED, "DATA on a stream long closed", stream_id)

    def receive_update(self, frame: Frame) -> None:
        """Take a window update; raises H2Error."""
        self.guard.spend(WINDOW_FRAMES, self.now)
        stream_id = frame.stream_id
        small = frame.number < DRIBBLE_BYTES and not self.sender.least_bytes
        if not stream_id:
            if small and self.sender.schedule.count:
                self.guard.spend(DRIBBLES, self.now)
            self.sender.open_window(frame.number)
            return
        stream = self.streams.get(stream_id)
        if stream is not None:
            if small and stream.queued:
                self.guard.spend(DRIBBLES, self.now)
            self.sender.open_stream(stream, frame.number)
        elif self.is_idle(stream_id):
            raise H2Error(PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")

    def receive_reset(self, frame: Frame) -> None:
        """Take the client's reset of a stream; raises H2Error."""
        stream_id = frame.stream_id
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.guard.spend(RESETS, self.now)
            self.drop(stream, BY_PEER)
            return
        if self.is_idle(stream_id):
            raise H2Error(PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        self.guard.spend(IDLE_FRAMES, self.now)
        self.closed.note_reset(stream_id)

    def receive_settings(self, frame: Frame) -> None:
        """Take the client's settings, in order, and acknowledge them (RFC 9113 6.5.3); raises H2Error."""
        self.guard.spend(SETTINGS_FRAMES, self.now)
        if frame.flags & ACK:
            self.acknowledged = True
            return
        self.greeted = True
        for identifier, value in frame.settings or ():
            if identifier == INITIAL_WINDOW_SIZE:
                self.sender.change_initial(value, list(self.streams.values()))
            elif identifier == HEADER_TABLE_SIZE:
                self.sender.coder.encoder.limit_table(value)
            elif identifier == MAX_FRAME_SIZE:
                self.sender.max_frame_bytes = value
        self.sender.write(SETTINGS_ACK)

    def receive_priority(self, frame: Frame) -> None:
        """Take a PRIORITY_UPDATE, for a stream that may not be open yet (RFC 9218 7.1); raises H2Error."""
        self.guard.spend(IDLE_FRAMES, self.now)
        stream_id = frame.number
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.sender.schedule.reprioritize(stream, read_priority(frame.payload))
        elif not stream_id & 1:
            raise H2Error(PROTOCOL_ERROR, "PRIORITY_UPDATE of a stream that is no request")
        elif stream_id > self.last_id:
            if stream_id not in self.priorities and len(self.priorities) >= self.limits.h2_max_streams:
                raise H2Error(PROTOCOL_ERROR, "PRIORITY_UPDATE of too many idle streams")
            self.priorities[stream_id] = read_priority(frame.payload)

    def waits_for_head(self) -> bool:
        """Tell whether the preface or a field block is not complete."""
        return not self.greeted or self.reader.waits_for_head()
