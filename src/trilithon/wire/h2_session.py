"""The streams of an HTTP/2 connection: how they answer, and how they and the connection come to an end."""

from enum import Enum

from trilithon.foundation.limits import H2Limits, Limits
from trilithon.wire.exchange import Exchange, Peer, Transport
from trilithon.wire.h2_codes import (
    CANCEL,
    ENABLE_CONNECT_PROTOCOL,
    ENHANCE_YOUR_CALM,
    INITIAL_WINDOW_SIZE,
    INTERNAL_ERROR,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    NO_RFC7540_PRIORITIES,
    REFUSED_STREAM,
    SETTINGS_TIMEOUT,
    name_error,
)
from trilithon.wire.h2_flow import DEFAULT_WINDOW_BYTES, Sender
from trilithon.wire.h2_frames import (
    MAX_WINDOW_BYTES,
    H2Error,
    write_field_block,
    write_goaway,
    write_ping,
    write_reset,
    write_settings,
    write_window_update,
)
from trilithon.wire.h2_guard import PROVOKED, Guard
from trilithon.wire.h2_stream import (
    BY_END,
    BY_PEER,
    BY_US,
    CLOSED,
    OPEN_BOTH,
    PEER_DONE,
    WE_DONE,
    ClosedStreams,
    Link,
    Stream,
)
from trilithon.wire.phase import STREAMS
from trilithon.wire.response import SentLine
from trilithon.wire.terms import Terms

# Our own PING: once it is answered, what the client sent before it saw our first GOAWAY has come.
RETIRE_PING = b"retiring"
# So many clients that still send may read their answer before they are told to stop; others are told at once.
MAX_LINGERING = 16
# What a look at the clock may find the connection waiting for.
HEAD_DUE = 0
ACK_DUE = 1
REQUEST_DUE = 2
PARTING = 3


class Standing(Enum):
    """Where a connection stands."""

    NEW = "new"  # our SETTINGS are not sent
    SERVING = "serving"
    RETIRING = "retiring"  # the client was asked to open no further streams; those under way are still served
    LEAVING = "leaving"  # what is open is completed, what is new is ignored
    OVER = "over"


NEW, SERVING, RETIRING, LEAVING, OVER = Standing


class Session(Link):
    """What an HTTP/2 connection is apart from the frames that come in: see Http2."""

    def __init__(self, transport: Transport, terms: Terms, peer: Peer, limits: Limits, websockets: bool) -> None:
        super().__init__(transport, terms, peer)
        self.phase = STREAMS
        self.limits: H2Limits = limits.http2
        self.timeouts = limits.timeouts
        self.buffers = limits.buffers
        self.websockets = websockets
        self.standing = NEW
        self.guard = Guard()
        self.sender = Sender(self, transport, terms, self.guard)
        self.streams: dict[int, Stream] = {}
        self.closed = ClosedStreams()
        self.cancelled: set[Exchange] = set()
        self.last_id: int = 0
        self.window_in: int = 0
        self.taken: int = 0
        self.greeted = False
        self.acknowledged = False
        self.client_leaves = False
        self.waiting_since = [0.0, 0.0, 0.0, 0.0]

    def begin(self) -> None:
        """Send our SETTINGS, the first frame of the connection (RFC 9113 3.4); idempotent."""
        if self.standing is not NEW:
            return
        self.standing = SERVING
        limits = self.limits
        settings = [
            (MAX_CONCURRENT_STREAMS, limits.h2_max_streams),
            (INITIAL_WINDOW_SIZE, limits.h2_stream_window_bytes),
            (MAX_FRAME_SIZE, limits.h2_max_frame_bytes),
            (MAX_HEADER_LIST_SIZE, self.terms.limits.max_head_bytes),
            (NO_RFC7540_PRIORITIES, 1),
        ]
        if self.websockets:
            settings.append((ENABLE_CONNECT_PROTOCOL, 1))
        greeting = write_settings(settings)
        self.window_in = limits.h2_connection_window_bytes
        if self.window_in > DEFAULT_WINDOW_BYTES:
            greeting += write_window_update(0, self.window_in - DEFAULT_WINDOW_BYTES)
        self.sender.write(greeting)

    # What streams ask for.

    def respond(self, stream: Stream, data: bytes, final: bool) -> None:
        """Send a piece of the response; see Link."""
        self.sender.respond(stream, data, final)

    def trail(self, stream: Stream, lines: list[SentLine]) -> None:
        """End the response with trailers; see Link."""
        self.sender.trail(stream, lines)

    def send_interim(self, stream: Stream, status: int, block: bytes) -> None:
        """Send an interim response; see Link."""
        self.sender.inform(stream, status, block)

    def break_off(self, stream: Stream) -> None:
        """Reset a stream whose response cannot be completed; see Link."""
        self.sender.write(write_reset(stream.stream_id, INTERNAL_ERROR))
        exchange = self.close_stream(stream, BY_US)
        if exchange is not None and stream.delivered:
            self.keep_cancelled(stream, exchange)
            self.transport.ended(exchange)
        self.part()

    def decline(self, stream: Stream, status: int, extra: bytes) -> None:
        """Send an answer of the server's own; see Link."""
        exchange = stream.exchange
        assert exchange is not None, "a stream that is not closed has its exchange"
        exchange.status = status
        self.sender.answer(stream, status, extra, exchange.head.method == "HEAD")

    def credit(self, stream: Stream) -> None:
        """Give back what the application has taken; see Link. Often enough that the client need not stop."""
        exchange = stream.exchange
        assert exchange is not None, "a stream that is not closed has its exchange"
        if not stream.asked:
            stream.asked = True
            if exchange.head.expects_continue and not stream.body_size and not stream.headed:
                self.sender.inform(stream, 100, b"")
        self.give_back(stream, exchange.body_bytes)

    def give_back(self, stream: Stream, held_bytes: int) -> None:
        """Credit a stream with what came of it and is not held any more, once that is worth a frame."""
        owed = stream.taken - held_bytes
        if owed * 2 < self.limits.h2_stream_window_bytes:
            return
        if 0 <= stream.length - stream.body_size <= stream.window_in:
            return  # the rest of the body fits into the window as it is
        self.sender.write(write_window_update(stream.stream_id, owed))
        stream.taken -= owed
        stream.window_in += owed

    def sent(self, stream: Stream) -> None:
        """Close a stream behind its response; see Link."""
        exchange = stream.exchange
        if exchange is not None and stream.tunnel:
            # A client may end any number of sockets whose calls take long to notice.
            self.keep_cancelled(stream, exchange)
        self.end_output(stream)
        if exchange is not None and stream.delivered:
            self.transport.ended(exchange)
        self.part()

    # How streams end.

    def end_output(self, stream: Stream) -> Exchange | None:
        """Close a stream whose last frame is written; returns its exchange.

        A client that still sends is told to stop, without an error (RFC 9113 8.1), and what comes is dropped. But not
        at once: one that meets the reset together with the answer may never look at that, as curl does, or waits until
        it has sent all. Of a WebSocket the client has an end to send as well, and the same moment to do so.
        """
        if stream.state is not OPEN_BOTH:
            return self.close_stream(stream, BY_END)
        exchange = stream.exchange
        if self.timeouts.linger_timeout_s and (stream.tunnel or self.may_linger(stream, exchange)):
            self.sender.forget(stream)
            stream.exchange = None
            stream.state = WE_DONE
            stream.seen_at = 0.0
            return exchange
        self.sender.write(write_reset(stream.stream_id, NO_ERROR))
        return self.close_stream(stream, BY_US)

    def may_linger(self, stream: Stream, exchange: Exchange | None) -> bool:
        """Tell whether a client that still sends may go on for a moment.

        Of a success curl has to be told at once, or it goes on for ever, unless it can end its request by itself.
        """
        if self.lingering() >= MAX_LINGERING:
            return False
        return exchange is None or exchange.status >= 300 or 0 <= stream.length - stream.body_size <= stream.window_in

    def lingering(self) -> int:
        """Count the streams whose clients still send behind the answer, WebSockets aside."""
        count = 0
        for stream in self.streams.values():
            if stream.state is WE_DONE and not stream.tunnel:
                count += 1
        return count

    def close_stream(self, stream: Stream, how: int) -> Exchange | None:
        """Forget a stream, but for how it ended; returns its exchange, which accounts for what is not sent any more."""
        exchange = stream.exchange
        if exchange is not None and stream.queued:
            exchange.sent_bytes = max(0, exchange.sent_bytes - stream.queued)  # an answer of our own was not counted
        self.sender.forget(stream)
        stream.state = CLOSED
        self.streams.pop(stream.stream_id, None)
        self.closed.note(stream.stream_id, how)
        stream.exchange = None
        return exchange

    def keep_cancelled(self, stream: Stream, exchange: Exchange) -> None:
        """Count a call whose stream is gone: a reset frees no place while the application runs (CVE-2023-44487)."""
        if stream.engaged:
            self.cancelled.add(exchange)

    def call_over(self, stream: Stream, exchange: Exchange) -> None:
        """Give the place of a call back; see Link."""
        self.cancelled.discard(exchange)

    def drop(self, stream: Stream, how: int) -> None:
        """Close a stream that broke; its gateway is told."""
        self.part_with(stream, self.close_stream(stream, how))

    def part_with(self, stream: Stream, exchange: Exchange | None) -> None:
        """Tell the gateway of an exchange that its stream is gone."""
        if exchange is not None and stream.delivered:
            self.keep_cancelled(stream, exchange)
            exchange.lose()
            self.transport.ended(exchange)
        self.part()

    def give_up(self, stream: Stream, status: int) -> None:
        """Answer a request that broke a limit, while nothing else was answered, and drop it."""
        stream_id = stream.stream_id
        if stream.headed:
            self.sender.write(write_reset(stream_id, CANCEL))
            self.drop(stream, BY_US)
            return
        block = self.sender.coder.code_own(status, b"", 0)
        self.sender.write(write_field_block(stream_id, block, True, self.sender.max_frame_bytes))
        if stream.exchange is not None:
            stream.exchange.status = status
        self.part_with(stream, self.end_output(stream))

    def is_idle(self, stream_id: int) -> bool:
        """Tell whether a stream was never opened, nor ignored (RFC 9113 5.1)."""
        return not stream_id & 1 or (stream_id > self.last_id and self.standing is not LEAVING)

    # How the connection ends.

    def fail(self, error: H2Error) -> None:
        """Answer an error: of a stream by its reset, unless there were too many; of the connection by GOAWAY."""
        stream_id = error.stream_id
        if stream_id and not self.is_idle(stream_id):  # nothing is sent on an idle stream, so this ends the connection
            try:
                self.guard.spend(PROVOKED, self.now)
            except H2Error as worse:
                error = worse
            else:
                self.transport.troubled(f"stream {stream_id} is reset ({name_error(error.code)}): {error.reason}")
                self.sender.write(write_reset(stream_id, error.code))
                stream = self.streams.get(stream_id)
                if stream is not None:
                    self.drop(stream, BY_US)
                else:
                    self.closed.note(stream_id, BY_US)
                return
        self.close(error.code, error.reason)

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and close; whatever is open is lost."""
        if self.standing is OVER:
            return
        self.begin()
        if reason:
            self.transport.troubled(f"the connection is ended ({name_error(code)}): {reason}")
        self.sender.write(write_goaway(self.last_id, code, reason.encode("ascii")))
        self.lose()
        self.transport.finish(True)

    def lose(self) -> None:
        """The connection broke: whatever is open is lost; idempotent."""
        self.standing = OVER
        for stream in list(self.streams.values()):
            self.drop(stream, BY_PEER)

    def cut_off(self) -> bool:
        """Reset what is open, so that nobody takes it for whole, and say goodbye; see Protocol.

        What no application has seen can be sent again (RFC 9113 8.7).
        """
        if self.standing is not OVER:
            for stream in self.streams.values():
                code = INTERNAL_ERROR if stream.engaged or stream.headed else REFUSED_STREAM
                self.sender.write(write_reset(stream.stream_id, NO_ERROR if stream.exchange is None else code))
            self.close(NO_ERROR, "")
        return False

    def receive_end(self) -> None:
        """Take the end of the client's stream: bodies that are not whole are lost, whole requests still answered."""
        self.end_seen = True
        for stream in list(self.streams.values()):
            exchange = stream.exchange
            if exchange is None or stream.state is OPEN_BOTH or self.is_stalled(stream):
                self.drop(stream, BY_PEER)
            else:
                exchange.half_closed = True
                receiver = exchange.receiver  # held: it may take itself off the exchange
                if receiver is not None:
                    receiver.peer_ended()
        if self.standing is not OVER:
            if not self.paused:
                self.paused = True
                self.transport.pause()
            self.part()

    def retire(self) -> None:
        """Ask the client to go elsewhere (RFC 9113 6.8); what it sends until it knows is still served. Idempotent."""
        self.begin()
        if self.standing is not SERVING:
            return
        if not self.greeted:
            # Browsers open connections ahead, and leave them silent until they have something to ask.
            self.standing = OVER
            self.sender.write(write_goaway(0, NO_ERROR))
            self.transport.finish(False)
        else:
            self.standing = RETIRING
            self.sender.write(write_goaway(MAX_WINDOW_BYTES, NO_ERROR) + write_ping(RETIRE_PING, False))

    def leave(self) -> None:
        """Take no further streams; the connection closes behind those that are open."""
        if self.standing is SERVING or self.standing is RETIRING:
            self.standing = LEAVING
            self.sender.write(write_goaway(self.last_id, NO_ERROR))
            self.part()

    def part(self) -> None:
        """Close a connection that is not needed any more."""
        if self.terms.patient and self.standing is SERVING and self.last_id and not self.streams:
            # Not before nothing is under way: to clients of a common library any GOAWAY is the end of all streams.
            self.retire()
            return
        if self.streams or not (self.standing is LEAVING or self.client_leaves or self.end_seen):
            return
        if self.standing is OVER:
            return
        if self.standing is not LEAVING and self.greeted:
            self.sender.write(write_goaway(self.last_id, NO_ERROR))
        self.standing = OVER
        self.transport.finish(not self.end_seen)

    # The transport and the clock.

    def drained(self) -> None:
        """The transport takes more: send on, and read on. Called below the low-water mark."""
        if self.standing is OVER:
            return
        self.sender.drained(list(self.streams.values()))
        if self.paused and not self.end_seen and self.standing is not OVER:
            self.paused = False
            self.transport.resume()

    def waits_for_head(self) -> bool:
        """Tell whether the preface or a field block is not complete."""
        return not self.greeted

    def open_exchanges(self) -> list[Exchange]:
        """Return the exchanges of all streams; see Protocol."""
        return [stream.exchange for stream in self.streams.values() if stream.exchange is not None]

    def look(self, now: float) -> None:
        """End what has taken too long; see Protocol. Costs a look at each stream."""
        self.now = now
        timeouts = self.timeouts
        if self.is_late(HEAD_DUE, self.waits_for_head(), timeouts.header_timeout_s):
            self.close(ENHANCE_YOUR_CALM if self.greeted else NO_ERROR, "head not complete in time")
        elif self.is_late(ACK_DUE, self.greeted and not self.acknowledged, timeouts.header_timeout_s):
            self.close(SETTINGS_TIMEOUT, "settings not acknowledged")
        elif self.is_late(REQUEST_DUE, self.greeted and not self.streams, timeouts.keep_alive_timeout_s):
            self.close(NO_ERROR, "idle")
        elif self.is_late(PARTING, self.standing is RETIRING, timeouts.linger_timeout_s):
            self.leave()
        streams = list(self.streams.values())
        if self.sender.holding:
            self.sender.send_held(streams)
        for stream in streams:
            self.check_stream(stream, now)
        self.sender.moved = False

    def is_late(self, what: int, waiting: bool, limit_s: float) -> bool:
        """Tell whether something has been waited for longer than it may take; `limit_s` zero is for ever."""
        since = self.waiting_since
        if not waiting or not limit_s or self.standing is OVER:
            since[what] = 0.0
            return False
        if not since[what]:
            since[what] = self.now
        return self.now - since[what] >= limit_s

    def check_stream(self, stream: Stream, now: float) -> None:
        """End a stream whose client neither opens its window nor sends what the application waits for."""
        exchange = stream.exchange
        if exchange is None:
            self.check_lingering(stream, now)
            return
        receiver = exchange.receiver  # held: it may take itself off the exchange
        if exchange.ticks and receiver is not None:
            receiver.tick(now)
        whole = stream.state is PEER_DONE or stream.tunnel
        limit_s = self.timeouts.request_timeout_s
        if limit_s and whole and not exchange.ticks and now - exchange.opened_at >= limit_s:
            # The application did not answer in time: its response is not waited for any longer.
            exchange.refuse(503)
            if receiver is not None:
                receiver.expired()
        if stream.state is CLOSED:
            return
        limit_s = self.timeouts.write_timeout_s
        if self.is_stalled(stream) and (limit_s or self.end_seen):
            if self.end_seen:
                self.drop(stream, BY_PEER)  # whose client cannot open the window any more
                return
            if not stream.stalled_at or (stream.window_out > 0 and self.sender.moved):
                # It is not the client who holds it up when the window of the connection goes to others.
                stream.stalled_at = now
            elif now - stream.stalled_at >= limit_s:
                self.transport.troubled(f"stream {stream.stream_id} is reset (CANCEL): no window opens in time")
                self.sender.write(write_reset(stream.stream_id, CANCEL))
                self.drop(stream, BY_US)
                return
        limit_s = self.timeouts.body_timeout_s
        if whole or not limit_s or self.keeps_waiting(stream, exchange):
            stream.seen_at = 0.0
        elif not stream.seen_at:
            stream.seen_at = now
            stream.body_seen = stream.body_size
        elif now - stream.seen_at >= limit_s:
            if stream.body_size - stream.body_seen < self.buffers.min_body_rate * (now - stream.seen_at):
                self.give_up(stream, 408)
            else:
                stream.seen_at = now
                stream.body_seen = stream.body_size

    def is_stalled(self, stream: Stream) -> bool:
        """Tell whether a response waits for the client to open a window."""
        return bool(stream.queued) and (stream.window_out <= 0 or self.sender.window <= 0)

    def keeps_waiting(self, stream: Stream, exchange: Exchange) -> bool:
        """Tell whether a client has reason not to send: what came is not taken, its window is closed, no 100 was sent.

        What a gateway gathers before it calls the application is no reason, or half a body would wait for ever.
        """
        if exchange.head.expects_continue and not stream.asked:
            return True
        return stream.window_in <= 0 or (stream.engaged and exchange.body_bytes > 0)

    def check_lingering(self, stream: Stream, now: float) -> None:
        """Close a stream whose client does not end what is over."""
        if not stream.seen_at:
            stream.seen_at = now
        elif now - stream.seen_at >= self.timeouts.linger_timeout_s:
            self.sender.write(write_reset(stream.stream_id, NO_ERROR))
            self.drop(stream, BY_US)
