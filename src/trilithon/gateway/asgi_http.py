"""An HTTP request as an ASGI application sees it: its events in, its response out (ASGI HTTP 2.5)."""

import logging
from collections.abc import Awaitable

from trilithon.foundation.errors import AppStateError, AppValueError, ClientDisconnected
from trilithon.gateway.asgi_call import Call, Gateway, Message, to_bytes
from trilithon.gateway.awaitable import SENT, Failed
from trilithon.wire.exchange import BROKEN, COMPLETE, ENDED, FLOWING, FRESH, LOST, Exchange, describe
from trilithon.wire.response import asgi_head

log = logging.getLogger("trilithon.error")


class HttpCall(Call):
    """The call of the application for one request."""

    def __init__(self, gateway: Gateway, exchange: Exchange) -> None:
        super().__init__(gateway, exchange)
        self.body_taken = False
        self.ending = False

    def send(self, message: Message) -> Awaitable[None]:
        """Take an event; awaiting the result raises AppError for a bad one, ClientDisconnected without a client."""
        exchange = self.exchange
        try:
            kind = message["type"]
            if kind == "http.response.body":
                if self.ending and message.get("more_body", False):
                    self.told = True
                if self.told:
                    raise ClientDisconnected("the client is gone")
                body = message.get("body", b"")
                if type(body) is not bytes:
                    body = to_bytes(body)
                if message.get("more_body", False):
                    exchange.write(body)
                    # At once: an application that blocks the loop between its events must not hold them back.
                    exchange.carrier.push(exchange, False)
                    if exchange.carrier.congested():
                        return self.wait_drained()
                else:
                    exchange.end(body)
                    if self.waiters is not None or self.writers is not None:
                        self.lost()
            elif kind == "http.response.start":
                if self.told:
                    raise ClientDisconnected("the client is gone")
                if exchange.outbound is not FRESH:
                    exchange.check_flow()
                    raise AppStateError("http.response.start was sent before")
                head = asgi_head(message["status"])
                head.read_asgi(message.get("headers", ()))
                exchange.respond(head)
            else:
                raise AppValueError(f"event type {kind!r} is none of http.response.start and http.response.body")
        except KeyError as error:
            return Failed(AppValueError(f"the event lacks its key {error}"))
        except Exception as error:
            return Failed(error)
        return SENT

    # Inbound.

    def next_event(self) -> Message | None:
        """Return the event that is due now, None when it must be waited for."""
        exchange = self.exchange
        if not self.body_taken:
            if exchange.inbound is COMPLETE:
                if exchange.outbound is ENDED:
                    return self.disconnect()
                self.body_taken = True
                return {"type": "http.request", "body": exchange.take_body(), "more_body": False}
            if exchange.outbound is ENDED:
                return self.disconnect()
            if exchange.body_bytes:
                return {"type": "http.request", "body": exchange.take_body(), "more_body": True}
            if exchange.inbound is BROKEN:
                return self.disconnect()
            exchange.carrier.want_body(exchange)
            return None
        if exchange.outbound is ENDED or exchange.outbound is LOST or exchange.half_closed or self.ending:
            return self.disconnect()
        return None

    def disconnect(self) -> Message:
        """Say that it is over; from now on send raises."""
        self.goodbyes += 1
        if self.exchange.outbound is not ENDED and not self.ending:
            self.told = True
        return {"type": "http.disconnect"}

    # The end.

    def conclude(self) -> None:
        """See to an application that returned before its response was complete."""
        exchange = self.exchange
        if exchange.outbound is LOST:
            return
        if self.told or self.ending:
            self.give_up()
        elif exchange.outbound is not FRESH and exchange.room() == 0:
            exchange.end(b"")
        else:
            missing = "starting a response" if exchange.outbound is FRESH else "completing its response"
            log.error("%s: the application returned without %s", describe(exchange), missing)
            exchange.refuse(500)

    def settle(self) -> None:
        """Let nothing that the application left behind reach the connection."""
        exchange = self.exchange
        if exchange.outbound is ENDED:
            exchange.outbound = LOST  # a task left behind gets an OSError, whatever the connection does next
        self.body_taken = True  # and no part of the body any more
        self.lost()
        # Circles would be left to the garbage collector, a tenth of a small request's cost.
        exchange.receiver = None

    def end_stream(self) -> bool:
        """A response that flows without a declared end is told that its client is gone; others get their time.

        Its last event is still sent, so that it can end well; any other raises.
        """
        exchange = self.exchange
        response = exchange.response
        if exchange.outbound is not FLOWING or response is None or response.length >= 0 or self.told:
            return False
        self.ending = True
        self.lost()
        return True
