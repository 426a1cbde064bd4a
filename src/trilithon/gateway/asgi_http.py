"""An HTTP request as an ASGI application sees it: its events in, its response out (ASGI HTTP 2.5)."""

import logging
from collections.abc import Awaitable
from typing import Any

from trilithon.foundation.errors import AppStateError, AppValueError, ClientDisconnected
from trilithon.foundation.files import FileSpan
from trilithon.gateway.asgi_call import Call, Gateway, Message, to_bytes
from trilithon.gateway.asgi_file import advance, open_path, open_span
from trilithon.gateway.awaitable import SENT, Failed
from trilithon.wire.exchange import BROKEN, COMPLETE, ENDED, FLOWING, FRESH, HELD, LOST, Exchange, describe
from trilithon.wire.response import SentLine, asgi_head
from trilithon.wire.trailers import read_hints, read_trailers

log = logging.getLogger("trilithon.error")

# What applications send is a dict as good as always, and looked into at C speed when it is known to be one.
Event = dict[str, Any]


class HttpCall(Call):
    """The call of the application for one request.

    `trailers` are those that have come, None when the start promised none; `content_sent` says that they are all that
    is missing.
    """

    def __init__(self, gateway: Gateway, exchange: Exchange) -> None:
        super().__init__(gateway, exchange)
        self.body_taken = False
        self.ending = False
        self.trailers: list[SentLine] | None = None
        self.content_sent = False

    def send(self, message: Message) -> Awaitable[None]:
        """Take an event; awaiting the result raises AppError for a bad one, ClientDisconnected without a client."""
        exchange = self.exchange
        try:
            event: Event = message if type(message) is dict else dict(message)
            kind = event["type"]
            if kind == "http.response.body":
                more = event.get("more_body", False)
                self.check_welcome(more)
                body = event.get("body", b"")
                if type(body) is not bytes:
                    body = to_bytes(body)
                if self.trailers is not None:
                    self.check_content()
                if more:
                    exchange.write(body)
                    # At once: an application that blocks the loop between its events must not hold them back.
                    exchange.carrier.push(exchange, False)
                    if exchange.carrier.congested():
                        return self.wait_drained()
                elif self.trailers is None:
                    exchange.end(body)
                    if self.waiters is not None or self.writers is not None:
                        self.lost()
                else:
                    if body and not exchange.bodiless:
                        exchange.write(body)
                    self.close_content()
            elif kind == "http.response.start":
                self.check_welcome(False)
                if exchange.outbound is not FRESH:
                    exchange.check_flow()
                    raise AppStateError("http.response.start was sent before")
                head = asgi_head(event["status"])
                head.read_asgi(event.get("headers", ()))
                exchange.respond(head)
                if event.get("trailers", False):
                    self.trailers = []
            elif self.extend(kind, event):
                return self.wait_drained()
        except KeyError as error:
            return Failed(AppValueError(f"the event lacks its key {error}"))
        except Exception as error:
            return Failed(error)
        return SENT

    # Extensions.

    def extend(self, kind: object, event: Event) -> bool:
        """Take an event of an extension; raises as `send`, and returns whether the output must be waited for."""
        self.check_welcome(kind == "http.response.zerocopysend" and event.get("more_body", False))
        if kind == "http.response.zerocopysend":
            return self.send_span(event)
        if kind == "http.response.pathsend":
            self.send_path(event)
        elif kind == "http.response.trailers":
            self.send_trailers(event)
        elif kind == "http.response.early_hint":
            self.send_hint(event)
        else:
            raise AppValueError(f"event type {kind!r} is none of http.response.start, body, trailers and their like")
        return False

    def send_path(self, event: Event) -> None:
        """Send a file as the whole body, as far as its declared length goes."""
        exchange = self.exchange
        self.check_content()
        if exchange.outbound is not HELD:
            raise AppStateError("http.response.pathsend is the whole body, and some of it was sent before")
        span = open_path(event["path"])
        room = exchange.room()
        if 0 <= room < span.count:
            span.count = room
        self.send_last_span(span)

    def send_span(self, event: Event) -> bool:
        """Send a part of an open file as a piece of the body; returns whether the output must be waited for."""
        exchange = self.exchange
        more = event.get("more_body", False)
        self.check_content()
        file = event["file"]
        offset = event.get("offset")
        span = open_span(file, offset, event.get("count"))
        target = span.offset + span.count
        if more:
            exchange.write_file(span)
        else:
            self.send_last_span(span)
        if offset is None:
            advance(file, target)
        if more:
            exchange.carrier.push(exchange, False)
        return bool(more) and exchange.carrier.congested()

    def send_last_span(self, span: FileSpan) -> None:
        """Send what ends the body; it belongs to the exchange from now on."""
        exchange = self.exchange
        if self.trailers is not None:
            exchange.write_file(span)
            self.close_content()
            return
        exchange.end_with_file(span)
        if self.waiters is not None or self.writers is not None:
            self.lost()

    def check_content(self) -> None:
        """Raise unless a piece of the body may come now."""
        self.exchange.check_flow()
        if self.content_sent:
            raise AppStateError("the body is complete, http.response.trailers is to come")

    def close_content(self) -> None:
        """The body is complete, trailers are to come; raises AppValueError when it is shorter than declared."""
        exchange = self.exchange
        if not exchange.bodiless:
            exchange.check_whole()
        self.content_sent = True

    def send_trailers(self, event: Event) -> None:
        """Take trailers, and end the response behind the last ones."""
        exchange = self.exchange
        exchange.check_flow()
        if self.trailers is None or not self.content_sent:
            missing = "announced in http.response.start" if self.trailers is None else "due before the body is complete"
            raise AppStateError(f"http.response.trailers was not {missing}")
        self.trailers += read_trailers(event.get("headers", ()))
        if not event.get("more_trailers", False):
            exchange.end_with_trailers(self.trailers)
            if self.waiters is not None or self.writers is not None:
                self.lost()

    def send_hint(self, event: Event) -> None:
        """Send 103 Early Hints at once; behind the head there is no place for them any more (RFC 8297 2)."""
        exchange = self.exchange
        block = read_hints(event["links"])
        if exchange.outbound is FRESH or exchange.outbound is HELD:
            if block:
                exchange.carrier.inform(exchange, 103, block)
                exchange.carrier.push(exchange, False)
        elif exchange.outbound is not FLOWING:
            exchange.check_flow()

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
        if self.content_sent:
            log.error("%s: the application returned without the trailers it announced", describe(exchange))
            exchange.end_with_trailers(self.trailers or [])
        elif self.told or self.ending:
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
        if exchange.outbound is not FLOWING or response is None or response.length >= 0:
            return False
        if self.told or self.content_sent:
            return False
        self.ending = True
        self.lost()
        return True

    def check_welcome(self, goes_on: object) -> None:
        """Raise ClientDisconnected when nothing more is taken from the application; `goes_on`, it means to send more.

        A stream that is to end and goes on is told so by its send, unless a receive that waits is about to: an
        application that streams in one task and listens in another may be in the middle of an event just then, and is
        to end well.
        """
        if goes_on and self.ending and not self.waiters:
            self.told = True
        if self.told:
            raise ClientDisconnected("the client is gone")
