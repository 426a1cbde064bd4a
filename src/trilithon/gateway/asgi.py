"""The ASGI gateway: an exchange becomes a scope and a call of the application, one task each (ASGI 3.0)."""

import logging
import sys
from asyncio import AbstractEventLoop, Task
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from trilithon.foundation.limits import SocketLimits
from trilithon.gateway.asgi_call import App, Call, Gateway, Scope
from trilithon.gateway.asgi_http import HttpCall
from trilithon.gateway.asgi_socket import SocketCall, SocketTerms
from trilithon.wire.exchange import OPEN, Exchange, TlsFacts, describe
from trilithon.wire.handshake import HandshakeError, is_handshake, read_handshake

log = logging.getLogger("trilithon.error")

EAGER = sys.version_info >= (3, 12)


class AsgiGateway(Gateway):
    """Calls one ASGI 3 application for exchanges, on one event loop.

    `state` is the lifespan's namespace, of which every request gets a shallow copy. `running` are the calls that
    have not ended. `on_ended` is called, when set, each time a call ends, `on_leave` with the SystemExit or
    KeyboardInterrupt that came out of the application. Calls begin in copies of the context in which the gateway was
    made, never in one that another request has written to. Once `stopping`, no handshake is taken any more.
    """

    interface = "asgi"

    def __init__(
        self, app: App, loop: AbstractEventLoop, state: dict[str, Any], sockets: SocketTerms | None = None
    ) -> None:
        super().__init__(app, loop)
        self.state = state
        self.sockets = sockets if sockets is not None else SocketTerms(SocketLimits())
        self.stopping = False
        self.context = copy_context()
        self.running: set[Call] = set()
        self.on_ended: Callable[[], None] | None = None
        self.on_leave: Callable[[BaseException], None] | None = None

    def start(self, exchange: Exchange) -> None:
        """Begin a call; on Python 3.12 and later it runs at once up to its first wait."""
        head = exchange.head
        if (head.upgrade is not None or head.protocol is not None) and is_handshake(head):
            self.start_socket(exchange)
            return
        self.launch(HttpCall(self, exchange), self.build_scope(exchange))

    def launch(self, call: Call, scope: Scope) -> None:
        """Begin a call with its scope."""
        exchange = call.exchange
        exchange.receiver = call
        exchange.carrier.engage(exchange)
        coroutine = call.run(scope)
        self.running.add(call)
        task = start_task(coroutine, self.loop, self.context.copy())
        if not task.done():
            call.task = task

    def start_socket(self, exchange: Exchange) -> None:
        """Begin the call for a WebSocket, or refuse a handshake that is none (RFC 6455 4.2, RFC 8441 5)."""
        try:
            handshake = read_handshake(exchange.head)
        except HandshakeError as error:
            exchange.refuse(error.status, error.lines)
            return
        origins = self.sockets.origins
        if exchange.head.protocol is not None and exchange.inbound is not OPEN:
            exchange.refuse(400)  # the client has ended the stream that was to be the connection
        elif origins and handshake.origin not in origins:
            exchange.refuse(403)
        elif self.stopping:
            exchange.refuse(503)
        else:
            scope = self.build_scope(exchange)
            scope["type"] = "websocket"
            del scope["method"]
            scope["scheme"] = "wss" if exchange.peer.secure else "ws"
            scope["subprotocols"] = list(handshake.protocols)
            scope["extensions"] = {"websocket.http.response": {}}
            if exchange.peer.tls is not None:
                scope["extensions"]["tls"] = describe_tls(exchange.peer.tls)
            self.launch(SocketCall(self, exchange, handshake, self.sockets), scope)

    def build_scope(self, exchange: Exchange) -> Scope:
        """Return the scope of a request; everything mutable in it is fresh."""
        head = exchange.head
        peer = exchange.peer
        start = head.start
        root_path = exchange.root_path
        path = start.text
        if root_path and path != "*" and not is_below(path, root_path):
            # A proxy has taken the root path off, but for what a mount adds: that is still there.
            path = root_path[: len(root_path) - len(exchange.mounted_at)] + path
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": start.version,
            "method": start.method,
            "scheme": peer.scheme,
            "path": path,
            "raw_path": start.path,
            "query_string": start.query,
            "root_path": root_path,
            "headers": [line.pair for line in head.lines],
            "client": peer.client,
            "server": peer.server,
            "state": self.state.copy(),
            "extensions": self.offer(exchange),
        }

    def offer(self, exchange: Exchange) -> dict[str, dict[str, Any]]:
        """Return what works for a request beyond the specification, each in its own fresh dict."""
        extensions: dict[str, dict[str, Any]] = {
            "http.response.pathsend": {},
            "http.response.zerocopysend": {},
        }
        if not exchange.head.http10:
            extensions["http.response.trailers"] = {}
        if exchange.carrier.informs(exchange):
            extensions["http.response.early_hint"] = {}
        if exchange.peer.tls is not None:
            extensions["tls"] = describe_tls(exchange.peer.tls)
        return extensions

    def ended(self, call: Call) -> None:
        """Take a finished call off the list."""
        self.running.discard(call)
        exchange = call.exchange
        exchange.carrier.released(exchange)
        if self.on_ended is not None:
            self.on_ended()

    def leave(self, error: BaseException) -> None:
        """Pass on that the application wants the server to stop."""
        log.error("the application raised %s: stopping", type(error).__name__)
        if self.on_leave is not None:
            self.on_leave(error)

    def end_streams(self) -> None:
        """The server stops: tell streams and sockets that it is over; plain requests go on."""
        told = [call for call in list(self.running) if call.end_stream()]
        for call in told:
            log.debug("%s: told that the server stops", describe(call.exchange))
        if told:
            log.info("%d open streams and WebSockets were told that the server stops", len(told))

    def cancel(self) -> list[Exchange]:
        """Cancel all calls that still run; returns their exchanges."""
        calls = list(self.running)
        for call in calls:
            call.cancel()
        return [call.exchange for call in calls]


def start_task(coroutine: Coroutine[Any, Any, None], loop: AbstractEventLoop, context: Context) -> Task[None]:
    """Make a task of the coroutine that runs in `context`; eagerly where Python can."""
    if EAGER:
        return Task(coroutine, loop=loop, context=context, eager_start=True)  # type: ignore[call-arg,unused-ignore]
    return Task(coroutine, loop=loop, context=context)


def describe_tls(facts: TlsFacts) -> dict[str, Any]:
    """Return the extension `tls` (ASGI TLS 0.2); fresh, like everything in a scope."""
    return {
        "server_cert": facts.server_cert,
        "client_cert_chain": list(facts.client_chain),
        "client_cert_name": facts.client_name,
        "client_cert_error": facts.client_error,
        "tls_version": facts.version,
        "cipher_suite": facts.cipher,
    }


def is_below(path: str, root_path: str) -> bool:
    """Tell whether a path begins with a root path at a segment boundary."""
    return path.startswith(root_path) and (len(path) == len(root_path) or path[len(root_path)] == "/")


def adapt_asgi2(app: Callable[[Scope], Callable[..., Awaitable[None]]]) -> App:
    """Return an ASGI 3 application for a double callable of ASGI 2."""

    async def single(scope: Scope, receive: Any, send: Any) -> None:
        await app(scope)(receive, send)

    return single
