"""A WebSocket as an ASGI application sees it (ASGI WebSocket 2.5): handshake, messages, close."""

import logging
from collections.abc import Awaitable
from enum import Enum

from trilithon.foundation.errors import AppStateError, AppTypeError, AppValueError, ClientDisconnected
from trilithon.foundation.limits import SocketLimits
from trilithon.gateway.asgi_call import Call, Gateway, Message, to_bytes
from trilithon.gateway.awaitable import SENT, Failed
from trilithon.wire.deflate import negotiate
from trilithon.wire.exchange import COMPLETE, ENDED, FLOWING, LOST, OPEN, Exchange, SocketAnswer, describe
from trilithon.wire.fanout import Fanout
from trilithon.wire.frame import LOST_CODE, NORMAL, RESTART, SERVER_ERROR, app_close
from trilithon.wire.handshake import Handshake, is_forbidden
from trilithon.wire.response import asgi_head
from trilithon.wire.websocket import CLOSED, WebSocket
from trilithon.wire.websocket import OPEN as TALKING

log = logging.getLogger("trilithon.error")


class Standing(Enum):
    """What the application has decided."""

    CONNECTING = "connecting"
    ACCEPTED = "accepted"
    DENYING = "denying"  # an HTTP response in the place of a socket is on its way
    OVER = "over"


CONNECTING = Standing.CONNECTING
ACCEPTED = Standing.ACCEPTED
DENYING = Standing.DENYING
OVER = Standing.OVER


class SocketTerms:
    """What holds for all sockets of a server: limits, allowed origins, none for all, and the shared framing."""

    def __init__(self, limits: SocketLimits, origins: frozenset[bytes] = frozenset()) -> None:
        self.limits = limits
        self.origins = origins
        self.fanout = Fanout(limits.ws_deflate_threshold_bytes)
        self.ping_interval_s = limits.ws_ping_interval_s
        self.ping_timeout_s = limits.ws_ping_timeout_s
        self.handshake_timeout_s = limits.ws_handshake_timeout_s
        self.close_timeout_s = limits.ws_close_timeout_s


class SocketCall(Call):
    """The call of the application for one WebSocket; outlives its task until the closing handshake is over."""

    def __init__(self, gateway: Gateway, exchange: Exchange, handshake: Handshake, terms: SocketTerms) -> None:
        super().__init__(gateway, exchange)
        self.handshake: Handshake | None = handshake
        self.terms = terms
        self.standing = CONNECTING
        self.socket: WebSocket | None = None
        self.connect_told = False
        self.settled = False
        self.going_on = False
        self.deadline = 0.0
        self.quiet_since = 0.0
        self.pinged_at = 0.0
        exchange.ticks = True

    # What the application calls.

    def send(self, message: Message) -> Awaitable[None]:
        """Take an event; see Call."""
        try:
            kind = message["type"]
            if kind == "websocket.send":
                self.send_message(message)
                if self.exchange.carrier.congested():
                    return self.wait_drained()
            elif kind == "websocket.accept":
                self.accept(message)
            elif kind == "websocket.close":
                self.close(message)
            elif kind == "websocket.http.response.start":
                self.deny(message)
            elif kind == "websocket.http.response.body":
                self.send_denial(message)
                if self.exchange.carrier.congested():
                    return self.wait_drained()
            else:
                raise AppValueError(f"event type {kind!r} is none of a WebSocket's")
        except KeyError as error:
            return Failed(AppValueError(f"the event lacks its key {error}"))
        except Exception as error:
            return Failed(error)
        return SENT

    def send_message(self, message: Message) -> None:
        """Send text or bytes."""
        payload: str | bytes
        text = message.get("text")
        data = message.get("bytes")
        if text is None:
            if not isinstance(data, bytes):
                if data is None:
                    raise AppValueError("websocket.send needs one of text and bytes, both are missing or None")
                raise AppTypeError(f"bytes must be bytes, not {type(data).__name__}")
            payload = data
        elif data is not None:
            raise AppValueError("websocket.send takes one of text and bytes, not both")
        elif not isinstance(text, str):
            raise AppTypeError(f"text must be str, not {type(text).__name__}")
        else:
            payload = text
        socket = self.socket
        exchange = self.exchange
        if socket is None:
            self.require(ACCEPTED)
        elif self.told or self.settled or exchange.outbound is not FLOWING or not socket.may_send():
            raise ClientDisconnected("the WebSocket is closed")
        else:
            parts = self.terms.fanout.frame(socket, payload)
            for part in parts:
                exchange.write(part)
            if len(parts) > 1:
                exchange.carrier.push(exchange, False)  # while it is in the cache; small ones are gathered

    def accept(self, message: Message) -> None:
        """Accept the handshake."""
        handshake = self.handshake
        self.require(CONNECTING)
        if handshake is None:
            raise ClientDisconnected("the client is gone")
        protocol = message.get("subprotocol")
        if protocol is not None and protocol not in handshake.protocols:
            raise AppValueError(f"subprotocol {protocol!r} is none of {handshake.protocols} that the client offers")
        fields = list(message.get("headers", ()))
        head = asgi_head(200)
        head.read_asgi(fields)
        for name, _ in fields:
            if is_forbidden(name.lower()):
                raise AppValueError(f"header {name!r} of an accept is the server's alone (RFC 6455 4.2.2)")
        deflate = negotiate(handshake.offers, self.terms.limits)
        answer = SocketAnswer(protocol, deflate.reply if deflate is not None else b"", head.lines)
        self.exchange.switch(handshake, answer)
        self.socket = WebSocket(self.terms.limits, deflate)
        self.handshake = None
        self.standing = ACCEPTED
        self.deadline = 0.0
        self.pump()

    def close(self, message: Message) -> None:
        """Close the socket, or refuse the handshake; without effect on what is closed already."""
        socket = self.socket
        if self.standing is CONNECTING:
            # Code and reason have no meaning here, and frameworks send reasons that would be none.
            self.standing = OVER
            self.exchange.refuse(403)
            self.lost()
        elif socket is not None:
            code, reason = app_close(message.get("code", NORMAL), message.get("reason", ""))
            socket.leave()
            socket.close(code, reason)
            self.answer()
        elif self.standing is DENYING:
            raise AppStateError("websocket.close after websocket.http.response.start")

    def deny(self, message: Message) -> None:
        """Start an HTTP response in the place of the socket."""
        self.require(CONNECTING)
        head = asgi_head(message["status"])
        if head.status > 599:
            raise AppValueError(f"status {head.status} is not one of 200 to 599")
        if head.status < 300 and self.exchange.head.protocol is not None:
            raise AppValueError(f"status {head.status} denies no WebSocket over HTTP/2, it accepts it (RFC 8441 5)")
        head.read_asgi(message.get("headers", ()))
        self.exchange.must_close = True
        self.exchange.respond(head)
        self.standing = DENYING

    def send_denial(self, message: Message) -> None:
        """Send a piece of that response."""
        self.require(DENYING)
        if self.told:
            raise ClientDisconnected("the client is gone")
        body = to_bytes(message.get("body", b""))
        if message.get("more_body", False):
            self.exchange.write(body)
            self.exchange.carrier.push(self.exchange, False)
        else:
            self.standing = OVER
            self.exchange.end(body)
            self.lost()

    def require(self, standing: Standing) -> None:
        """Raise unless the application has decided as `standing` says: what is out of order, or nobody there."""
        if self.standing is standing:
            return
        if self.standing is OVER or self.exchange.outbound is LOST:
            raise ClientDisconnected("the WebSocket is closed")
        raise AppStateError(f"the event needs a WebSocket that is {standing.value}, this one is {self.standing.value}")

    def is_cut_off(self) -> bool:
        """See Call; behind the end of the stream a message may have gone or not."""
        return self.exchange.outbound is not FLOWING

    def next_event(self) -> Message | None:
        """Return the event that is due now; see Call."""
        if not self.connect_told:
            self.connect_told = True
            return {"type": "websocket.connect"}
        socket = self.socket
        if socket is None:
            gone = self.standing is OVER or (self.standing is DENYING and self.exchange.half_closed)
            return self.disconnect(LOST_CODE, "") if gone else None
        if self.settled:
            return self.disconnect(socket.code or socket.own_code or LOST_CODE, socket.reason)
        message = socket.take()
        if self.exchange.body_bytes or socket.unfinished:
            self.pump()
            if message is None:
                message = socket.take()
        if message is not None:
            return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}
        if socket.code:
            if socket.farewell is not None:
                self.answer()
            return self.disconnect(socket.code, socket.reason)
        return None

    def disconnect(self, code: int, reason: str) -> Message:
        """Say that it is over; from now on send raises."""
        self.goodbyes += 1
        self.told = True
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    # Bytes.

    def pump(self) -> None:
        """Let the machine have what came, as far as the application keeps up, and send its answers."""
        socket = self.socket
        if socket is None:
            return
        exchange = self.exchange
        while exchange.body_bytes and not socket.unfinished and socket.has_room():
            socket.receive(exchange.take_body())
        if socket.unfinished:
            if not self.going_on and socket.has_room():
                self.going_on = True
                self.loop.call_soon(self.go_on)
        elif exchange.inbound is not OPEN and not exchange.body_bytes:
            socket.receive_end()
        if socket.out or socket.stance is CLOSED:
            self.answer()
        if self.waiters is not None and (socket.code or not socket.is_empty()):
            self.wake(self.waiters)

    def go_on(self) -> None:
        """Go on with a message that was too large for one go; other connections had their turn meanwhile."""
        self.going_on = False
        socket = self.socket
        if socket is not None and socket.unfinished:
            socket.receive(b"")
            self.pump()

    def answer(self) -> None:
        """Send what the machine has to say, and end the stream behind its last word."""
        socket = self.socket
        exchange = self.exchange
        if socket is None or exchange.outbound is not FLOWING:
            return
        if socket.farewell is not None and (socket.is_empty() or self.settled):
            socket.leave()
        out = socket.out
        if out:
            if socket.stance is TALKING and exchange.carrier.congested():
                socket.thin()  # a flood of pings from a client that does not read (RFC 6455 5.5.3)
                return
            try:
                self.put_out(socket, out)
            except ClientDisconnected:
                pass  # a stream among others may be lost at an attempt to make room for it; `lost` was called
        elif socket.stance is CLOSED and socket.farewell is None:
            exchange.end(b"")
            self.lost()

    def put_out(self, socket: WebSocket, out: list[bytes]) -> None:
        """Send frames, and the end with the last word; raises ClientDisconnected."""
        exchange = self.exchange
        last = out.pop()
        for part in out:
            exchange.write(part)
        out.clear()
        if socket.stance is CLOSED and socket.farewell is None:
            exchange.end(last)
            self.lost()
        else:
            exchange.write(last)

    def body_arrived(self) -> None:
        """See Receiver; over HTTP/1.1 there is no body to complete before the stream begins."""
        if self.exchange.inbound is COMPLETE:
            self.peer_ended()
        else:
            self.pump()

    def peer_ended(self) -> None:
        """See Receiver: of a WebSocket the end of one side is the end (RFC 8441 5, RFC 6455 7.1.4)."""
        if self.socket is not None:
            self.pump()
        elif self.standing is CONNECTING:
            if self.exchange.head.protocol is None:
                self.exchange.abort()
            else:
                self.exchange.refuse(400)
            self.lost()
        else:
            self.wake_all()

    def lost(self) -> None:
        """See Receiver; also called at an end of our own."""
        if self.socket is not None:
            self.socket.lose()
        else:
            self.standing = OVER
        self.wake_all()
        if self.settled:
            self.exchange.receiver = None

    def drained(self) -> None:
        """See Receiver."""
        if self.writers is not None:
            self.wake(self.writers)
        self.answer()

    # Time.

    def tick(self, now: float) -> None:
        """See Receiver: the handshake, the closing handshake and pings take their time only."""
        socket = self.socket
        if socket is None:
            limit_s = self.terms.handshake_timeout_s
            if self.standing is CONNECTING and limit_s and now - self.exchange.opened_at >= limit_s:
                self.exchange.refuse(503)
                self.expired()
        elif socket.stance is not TALKING:
            if not self.deadline:
                self.deadline = now + self.terms.close_timeout_s
            elif now >= self.deadline:
                socket.leave()
                socket.give_up_closing()
                self.answer()
                self.wake_all()
        elif socket.heard or not socket.has_room() or socket.unfinished:
            # What is not read for the application's sake cannot be missed.
            socket.heard = False
            self.quiet_since = now
            self.pinged_at = 0.0
        elif not self.pinged_at:
            if self.terms.ping_interval_s and now - self.quiet_since >= self.terms.ping_interval_s:
                self.pinged_at = now
                if socket.deflate is not None:
                    socket.deflate.forget()  # what is quiet need not keep a compressor
                socket.ping()
                self.answer()
        elif self.terms.ping_timeout_s and now - self.pinged_at >= self.terms.ping_timeout_s:
            socket.fail(SERVER_ERROR, "ping timeout")
            socket.leave()
            self.answer()

    def end_stream(self) -> bool:
        """The server stops: a socket is closed with 1012, an undecided handshake refused."""
        socket = self.socket
        if socket is None:
            if self.standing is not CONNECTING:
                return False
            self.exchange.refuse(503)
            self.lost()
        elif socket.stance is TALKING:
            socket.close(RESTART, b"")
            socket.code = RESTART
            self.answer()
            self.wake_all()
        else:
            return False
        return True

    # The end.

    def conclude(self) -> None:
        """See to an application that returned."""
        if self.socket is not None:
            self.hang_up(NORMAL)
        elif self.standing is not OVER and self.exchange.outbound is not LOST:
            missing = "accepting or refusing" if self.standing is CONNECTING else "completing its response"
            log.error("%s: the application returned without %s", describe(self.exchange), missing)
            self.exchange.refuse(500)

    def refuse(self) -> None:
        """Answer in the place of an application that failed."""
        if self.socket is not None:
            self.hang_up(SERVER_ERROR)
        else:
            self.exchange.refuse(500)

    def give_up(self) -> None:
        """The application knew that it was over."""
        if self.socket is not None:
            self.hang_up(NORMAL)
        else:
            self.exchange.abort()

    def hang_up(self, code: int) -> None:
        """Close the socket from this side, unless that has begun."""
        socket = self.socket
        if socket is not None:
            socket.leave()
            socket.close(code, b"")
            self.answer()

    def is_gone(self) -> bool:
        """See Call; also when the closing handshake has begun."""
        socket = self.socket
        return self.has_ended() or (socket is not None and socket.stance is not TALKING)

    def settle(self) -> None:
        """The task has ended: from now on only the closing handshake goes on."""
        self.settled = True
        self.handshake = None
        outbound = self.exchange.outbound
        if self.socket is None:
            self.standing = OVER
            if outbound is ENDED:
                self.exchange.outbound = LOST  # a task left behind gets an OSError
        if self.socket is None or outbound is not FLOWING:
            self.exchange.receiver = None
        self.wake_all()
