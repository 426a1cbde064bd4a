"""The WSGI gateway: an exchange becomes environ, start_response and an iterable (PEP 3333)."""

import logging
from collections.abc import Callable, Iterable
from contextvars import Context
from io import BytesIO
from types import TracebackType
from typing import Any

from trilithon.foundation.errors import AppError, AppStateError, AppTypeError, ClientDisconnected
from trilithon.gateway.wsgi_environ import base_environ, fill_environ
from trilithon.gateway.wsgi_file import FileWrapper
from trilithon.gateway.wsgi_input import InputStream
from trilithon.wire.exchange import COMPLETE, ENDED, FLOWING, HELD, OPEN, Exchange, Receiver, describe
from trilithon.wire.response import ALLOW, wsgi_head
from trilithon.wire.trailers import read_hint_fields

log = logging.getLogger("trilithon.error")

Environ = dict[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
App = Callable[[Environ, Callable[..., Callable[[bytes], None]]], Iterable[bytes]]


class BodyGate(Receiver):
    """Keeps a request off the crew until its body is complete, or large enough to be streamed.

    So a client that is slow to send a small body never holds a thread.
    """

    def __init__(self, gateway: "WsgiGateway", exchange: Exchange) -> None:
        self.gateway = gateway
        self.exchange = exchange

    def body_arrived(self) -> None:
        """See Receiver."""
        exchange = self.exchange
        if exchange.inbound is COMPLETE or self.gateway.has_enough(exchange):
            exchange.receiver = None
            self.gateway.start(exchange)


class WsgiCall:
    """One call of the application, on one thread from its beginning to its end."""

    def __init__(self, gateway: "WsgiGateway", exchange: Exchange) -> None:
        self.gateway = gateway
        self.exchange = exchange
        self.started = False
        self.written = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Hold status and headers ready; see PEP 3333. Raises AppError for what cannot be sent."""
        exchange = self.exchange
        if exc_info is not None:
            try:
                if exchange.outbound is FLOWING or exchange.outbound is ENDED:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.started:
            raise AppStateError("start_response was called twice without exc_info (PEP 3333)")
        self.started = True
        head = wsgi_head(status)
        head.read_wsgi(headers)
        exchange.replace(head)
        return self.write

    def write(self, data: bytes) -> None:
        """Send a block at once, head first; see PEP 3333. Raises AppError, and ClientDisconnected without a client."""
        if type(data) is not bytes:
            raise AppTypeError(f"write() takes bytes, not {type(data).__name__} (PEP 3333)")
        self.written = True
        exchange = self.exchange
        exchange.write(data)
        exchange.await_drain()

    def early_hints(self, headers: list[tuple[str, str]]) -> None:
        """Send 103 Early Hints at once (RFC 8297); nothing to HTTP/1.0 and behind the head. Raises AppError."""
        exchange = self.exchange
        exchange.carrier.inform(exchange, 103, read_hint_fields(headers))
        exchange.carrier.push(exchange, False)

    def run(self) -> None:
        """Call the application, send what it returns and close it; never raises."""
        exchange = self.exchange
        iterable: Any = None
        try:
            environ = self.gateway.build_environ(exchange)
            environ["wsgi.early_hints"] = self.early_hints
            iterable = self.gateway.app(environ, self.start_response)
            self.send(iterable)
        except BaseException as error:
            self.fail(error)
        if type(iterable) is not list:
            self.close(iterable)

    def send(self, iterable: Any) -> None:
        """Send the blocks of the response; raises what the iteration raises, AppError and ClientDisconnected."""
        kind = type(iterable)
        if kind is list or kind is tuple:
            self.send_known(iterable)
        elif kind is FileWrapper:
            self.send_file(iterable)
        elif iterable is None or kind is str or kind is bytes or kind is bytearray:
            raise AppTypeError(f"the application returned {kind.__name__} instead of an iterable of bytes (PEP 3333)")
        else:
            self.send_blocks(iterable, known_length(iterable))

    def send_file(self, wrapper: FileWrapper) -> None:
        """Send a wrapped file: by the kernel or out of memory where nothing waits for the client, else in blocks."""
        if not self.written and wrapper.send(self.exchange, self.started):
            return
        room = self.exchange.room()
        if wrapper.in_memory():
            self.finish(wrapper.file.read(room))
        else:
            self.send_blocks(wrapper if room < 0 else wrapper.up_to(room), -1)

    def send_known(self, blocks: Any) -> None:
        """Send blocks that are all there: nothing waits for the client, and their sum is the length."""
        count = len(blocks)
        exchange = self.exchange
        if count == 1:
            block = blocks[0]
            if type(block) is not bytes:
                raise_for_block(block)
            self.finish(block)
            return
        total = 0
        for block in blocks:
            if type(block) is not bytes:
                raise_for_block(block)
            total += len(block)
        if not self.started:
            raise AppStateError("the application returned without calling start_response (PEP 3333)")
        response = exchange.response
        # Without a body of its own an answer must not claim the length of one (RFC 9110 8.6).
        if exchange.outbound is HELD and response is not None and response.length < 0 and not exchange.bodiless:
            response.length = total
        for block in blocks:
            if block:
                room = exchange.room()
                if 0 <= room <= len(block):
                    self.finish(block)
                    return
                exchange.write(block)
        exchange.end(b"")

    def finish(self, block: bytes) -> None:
        """Send the last block, what exceeds the declared length cut off."""
        if not self.started:
            raise AppStateError("the application returned without calling start_response (PEP 3333)")
        exchange = self.exchange
        room = exchange.room()
        if 0 <= room < len(block):
            log.error("%s: the application sent more than its Content-Length", describe(exchange))
            block = block[:room]
            exchange.must_close = True
        exchange.end(block)

    def send_blocks(self, iterable: Any, count: int) -> None:
        """Send blocks as the application makes them, each on its way before the next is asked for."""
        exchange = self.exchange
        for block in iterable:
            if type(block) is not bytes:
                raise_for_block(block)
            if not block:
                continue
            room = exchange.room()
            if exchange.bodiless and count != 1:
                break  # nothing of it is sent, and the length of one block is not that of all
            if 0 <= room <= len(block) or count == 1:
                self.finish(block)
                return
            if not self.started:
                raise AppStateError("a block came before start_response was called (PEP 3333)")
            exchange.write(block)
            exchange.await_drain()
            if self.gateway.streams_over and room < 0:
                log.info("%s: the server stops, the stream is broken off", describe(exchange))
                exchange.abort()
                raise ClientDisconnected("the server stops")
        self.finish(b"")

    def fail(self, error: BaseException) -> None:
        """See to an exception: 500 while nothing is sent, else the break of the exchange."""
        exchange = self.exchange
        # Raised by the server alone. What the exchange says of its end may lag behind the thread that saw it.
        if isinstance(error, ClientDisconnected):
            log.debug("%s: the client left", describe(exchange))
        else:
            log.error("%s: exception in the application", describe(exchange), exc_info=error)
        exchange.refuse(500)

    def close(self, iterable: Any) -> None:
        """Close what the application returned, if it can be closed; an error of that is logged."""
        close = getattr(iterable, "close", None)
        if close is not None:
            try:
                close()
            except BaseException as error:
                log.error("%s: exception in close()", describe(self.exchange), exc_info=error)


class WsgiGateway:
    """Calls one WSGI application for exchanges, on the threads of a crew.

    `start` is called, on the engine's thread, with an exchange whose call can begin. Bodies up to `buffer_bytes` are
    complete by then. `injected` are environ entries of the deployer's; `refuse_underscores` answers 400 to a field
    name with an underscore instead of leaving it out. Once `streams_over`, a response without a declared length is
    broken off at its next block.
    """

    interface = "wsgi"

    def __init__(
        self,
        app: App,
        multithread: bool,
        buffer_bytes: int,
        injected: dict[str, str],
        refuse_underscores: bool,
    ) -> None:
        self.app = app
        self.base = base_environ(multithread)
        self.buffer_bytes = buffer_bytes
        self.injected = injected
        self.refuse_underscores = refuse_underscores
        self.start: Callable[[Exchange], None] = no_start
        self.streams_over = False

    def admit(self, exchange: Exchange) -> bool:
        """Return whether the call can begin now; when not, `start` will be called once it can."""
        if self.refuse_underscores and has_underscore(exchange.head.fields):
            exchange.refuse(400)
            return False
        if exchange.head.protocol is not None:
            # A WebSocket over HTTP/2 is no request that an application of WSGI could answer.
            exchange.refuse(405, ALLOW)
            return False
        if exchange.inbound is not OPEN:
            return exchange.inbound is COMPLETE
        # A client that waits for 100 Continue gets it when the application reads, so the call comes first.
        if exchange.head.expects_continue or self.has_enough(exchange):
            return True
        exchange.receiver = BodyGate(self, exchange)
        return False

    def has_enough(self, exchange: Exchange) -> bool:
        """Tell whether so much of a body is there that the application is to read the rest as it comes.

        A client sends no more than a window before that, so half of one has to be enough.
        """
        window = exchange.window_bytes
        return exchange.body_bytes >= (min(self.buffer_bytes, window // 2) if window else self.buffer_bytes)

    def end_streams(self) -> None:
        """The server stops: responses that flow without a declared length end; from any thread."""
        self.streams_over = True

    def run(self, exchange: Exchange) -> None:
        """Make the call, in a context of its own; on a crew thread that has the connection to itself. Never raises."""
        call = WsgiCall(self, exchange)
        carrier = exchange.carrier
        carrier.engage(exchange)
        Context().run(call.run)
        carrier.released(exchange)

    def build_environ(self, exchange: Exchange) -> Environ:
        """Return a fresh environ."""
        environ = self.base.copy()
        fill_environ(environ, exchange)
        if exchange.inbound is COMPLETE:
            body = exchange.take_body()
            environ["wsgi.input"] = BytesIO(body)
            if body and "CONTENT_LENGTH" not in environ:
                # It came in chunks or streams without one, and Django, for one, reads no more than is declared.
                environ["CONTENT_LENGTH"] = str(len(body))
        else:
            environ["wsgi.input"] = InputStream(exchange)
        if self.injected:
            environ.update(self.injected)
        return environ


def has_underscore(fields: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether a field name holds an underscore."""
    return any(b"_" in name for name, _ in fields)


def no_start(exchange: Exchange) -> None:
    """Stand in until a driver says what `start` does."""
    raise AppError("no driver is connected to this gateway")


def known_length(iterable: Any) -> int:
    """Return len() of an iterable that has one, -1 otherwise (PEP 3333, Handling the Content-Length Header)."""
    try:
        return len(iterable)
    except Exception:
        return -1


def raise_for_block(block: object) -> None:
    """Raise for a block of the wrong type."""
    raise AppTypeError(f"a response block must be bytes, not {type(block).__name__} (PEP 3333)")
