"""The ASGI gateway: an exchange becomes a scope, receive and send (ASGI 3.0, HTTP 2.5), one task each."""

import asyncio
import logging
import sys
from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from contextvars import Context, copy_context
from typing import Any

from trilithon.foundation.errors import AppStateError, AppTypeError, AppValueError, ClientDisconnected
from trilithon.wire.exchange import BROKEN, COMPLETE, ENDED, FLOWING, FRESH, LOST, Exchange, Receiver, describe
from trilithon.wire.response import asgi_head

log = logging.getLogger("trilithon.error")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[object]]], Awaitable[object]]

EAGER = sys.version_info >= (3, 12)


class Ready:
    """An awaitable that is done already: awaiting it costs no task switch and no coroutine of its own.

    It has the shape of a coroutine, so that `create_task(receive())` works as with any other server.
    """

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Any]:
        return self

    def __iter__(self) -> "Ready":
        return self

    def __next__(self) -> object:
        raise StopIteration(self.value)

    def send(self, value: object) -> object:
        """End at once with the value."""
        raise StopIteration(self.value)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> object:
        """Raise what is thrown in."""
        raise kind if value is None else value

    def close(self) -> None:
        """Nothing is held."""


class Failed(Ready):
    """An awaitable that raises: the error of a send comes out of awaiting it, as from any coroutine."""

    def __next__(self) -> object:
        raise self.value  # type: ignore[misc]

    def send(self, value: object) -> object:
        """Raise at once."""
        raise self.value  # type: ignore[misc]


SENT = Ready(None)


class NextEvent:
    """The awaitable of one receive(): it takes its event when it is awaited, not before.

    A task made of it and cancelled before its first step has therefore taken nothing that could be lost. It has the
    shape of a coroutine, and makes a real one only when it has to wait.
    """

    def __init__(self, call: "AsgiCall") -> None:
        self.call = call
        self.waiting: Coroutine[Any, Any, Message] | None = None

    def __await__(self) -> Generator[Any, None, Message]:
        return self

    def __iter__(self) -> "NextEvent":
        return self

    def __next__(self) -> object:
        if self.waiting is None:
            message = self.call.next_event()
            if message is not None:
                raise StopIteration(message)
            self.waiting = self.call.wait_event()
        return self.waiting.send(None)

    def send(self, value: object) -> object:
        """Go on; event loops send nothing but None."""
        return self.__next__()

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> object:
        """Raise what is thrown in, where it waits."""
        error = kind if value is None else value
        if self.waiting is None:
            raise error
        return self.waiting.throw(error)

    def close(self) -> None:
        """End the waiting."""
        if self.waiting is not None:
            self.waiting.close()


class AsgiCall(Receiver):
    """One call of the application: its receive and send, and what becomes of how it ends."""

    def __init__(self, gateway: "AsgiGateway", exchange: Exchange) -> None:
        self.gateway = gateway
        self.exchange = exchange
        self.body_taken = False
        self.told = False
        self.waiters: list[Future[None]] | None = None
        self.writers: list[Future[None]] | None = None
        self.task: Task[None] | None = None
        self.cancelled = False

    # What the application calls.

    def receive(self) -> Awaitable[Message]:
        """Return the next event as an awaitable; may be called from several tasks, and cancelled without loss."""
        return NextEvent(self)

    def send(self, message: Message) -> Awaitable[None]:
        """Take an event; awaiting the result raises AppError for a bad one, ClientDisconnected without a client."""
        exchange = self.exchange
        try:
            kind = message["type"]
            if kind == "http.response.body":
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
        if exchange.outbound is ENDED or exchange.outbound is LOST or exchange.half_closed:
            return self.disconnect()
        return None

    def disconnect(self) -> Message:
        """Say that it is over; from now on send raises."""
        if self.exchange.outbound is not ENDED:
            self.told = True
        return {"type": "http.disconnect"}

    async def wait_event(self) -> Message:
        """Wait for the next event; nothing is taken until the waiting is over, so a cancellation loses nothing."""
        while True:
            if self.waiters is None:
                self.waiters = []
            waiter: Future[None] = self.gateway.loop.create_future()
            self.waiters.append(waiter)
            try:
                await waiter
            finally:
                self.waiters.remove(waiter)
            message = self.next_event()
            if message is not None:
                return message

    async def wait_drained(self) -> None:
        """Wait until the output is below the low-water mark; raises ClientDisconnected when the client is lost.

        It may begin in a later turn than the send that made it: what drained in between wakes nobody any more.
        """
        exchange = self.exchange
        while exchange.carrier.congested() and exchange.outbound is FLOWING:  # the attempt to write may lose the client
            if self.writers is None:
                self.writers = []
            writer: Future[None] = self.gateway.loop.create_future()
            self.writers.append(writer)
            try:
                await writer
            finally:
                self.writers.remove(writer)
        if exchange.outbound is LOST:
            raise ClientDisconnected("the client is gone")

    def wake(self, futures: list[Future[None]]) -> None:
        """Let the tasks that wait look again."""
        for future in futures:
            if not future.done():
                future.set_result(None)

    def body_arrived(self) -> None:
        """See Receiver."""
        if self.waiters is not None:
            self.wake(self.waiters)

    def peer_ended(self) -> None:
        """See Receiver: an application that waits for the disconnect is told, one that does not answers in peace."""
        if self.waiters is not None:
            self.wake(self.waiters)

    def lost(self) -> None:
        """See Receiver; the end of the response wakes the same tasks, for there is nothing left to wait for."""
        if self.waiters is not None:
            self.wake(self.waiters)
        if self.writers is not None:
            self.wake(self.writers)

    def drained(self) -> None:
        """See Receiver."""
        if self.writers is not None:
            self.wake(self.writers)

    def expired(self) -> None:
        """See Receiver: the call is logged and cancelled, or it would outlive its request without bound."""
        log.error("%s: no answer within the request time-out, cancelled", describe(self.exchange))
        self.lost()
        self.cancel()

    # The call.

    def cancel(self) -> None:
        """Cancel the task; what then comes out of it is not the application's fault."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()

    async def run(self, scope: Scope) -> None:
        """Call the application and see to how it ends; never raises but for the cancellation of the server."""
        exchange = self.exchange
        try:
            result = await self.gateway.app(scope, self.receive, self.send)
            if result is not None:
                log.warning("%s: the application returned %r instead of None", describe(exchange), type(result))
            if exchange.outbound is not ENDED:
                self.conclude()
        except (SystemExit, KeyboardInterrupt) as error:
            exchange.refuse(500)
            self.gateway.leave(error)
        except BaseException as error:
            self.fail(error)
        finally:
            self.gateway.ended(self)
            if exchange.outbound is ENDED:
                exchange.outbound = LOST  # a task left behind gets an OSError, whatever the connection does next
            self.body_taken = True  # and no part of the body any more
            self.lost()
            # Circles would be left to the garbage collector, a tenth of a small request's cost.
            exchange.receiver = None
            self.task = None

    def conclude(self) -> None:
        """See to an application that returned before its response was complete."""
        exchange = self.exchange
        if exchange.outbound is LOST:
            return
        if self.told:
            self.give_up()
        elif exchange.outbound is not FRESH and exchange.room() == 0:
            exchange.end(b"")
        else:
            missing = "starting a response" if exchange.outbound is FRESH else "completing its response"
            log.error("%s: the application returned without %s", describe(exchange), missing)
            exchange.refuse(500)

    def fail(self, error: BaseException) -> None:
        """See to an exception of the application: 500 while nothing is sent, else the break of the exchange."""
        exchange = self.exchange
        gone = exchange.outbound is LOST or exchange.outbound is ENDED or self.told
        stopped = self.cancelled and isinstance(error, asyncio.CancelledError)
        if gone and isinstance(error.__context__, ClientDisconnected) and not isinstance(error, BaseExceptionGroup):
            # Starlette, for one, raises an error of its own in the place of ours.
            log.info("%s: the client left, and the application raised %r for it", describe(exchange), error)
        elif not stopped and not (gone and only_disconnects(error)):
            log.error("%s: exception in the application", describe(exchange), exc_info=error)
        if self.told:
            self.give_up()
        else:
            exchange.refuse(500)

    def give_up(self) -> None:
        """Break off a response that nobody waits for; 499 when nothing of it went out."""
        self.exchange.status = self.exchange.status or 499
        self.exchange.abort()


class AsgiGateway:
    """Calls one ASGI 3 application for exchanges, on one event loop.

    `state` is the lifespan's namespace, of which every request gets a shallow copy. `running` are the calls that
    have not ended. `on_ended` is called, when set, each time a call ends, `on_leave` with the SystemExit or
    KeyboardInterrupt that came out of the application. Calls begin in copies of the context in which the gateway was
    made, never in one that another request has written to.
    """

    interface = "asgi"

    def __init__(self, app: App, loop: AbstractEventLoop, state: dict[str, Any]) -> None:
        self.app = app
        self.loop = loop
        self.state = state
        self.context = copy_context()
        self.running: set[AsgiCall] = set()
        self.on_ended: Callable[[], None] | None = None
        self.on_leave: Callable[[BaseException], None] | None = None

    def start(self, exchange: Exchange) -> None:
        """Begin a call; on Python 3.12 and later it runs at once up to its first wait."""
        call = AsgiCall(self, exchange)
        exchange.receiver = call
        coroutine = call.run(self.build_scope(exchange))
        self.running.add(call)
        task = start_task(coroutine, self.loop, self.context.copy())
        if not task.done():
            call.task = task

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
            "extensions": {},
        }

    def ended(self, call: AsgiCall) -> None:
        """Take a finished call off the list."""
        self.running.discard(call)
        if self.on_ended is not None:
            self.on_ended()

    def leave(self, error: BaseException) -> None:
        """Pass on that the application wants the server to stop."""
        log.error("the application raised %s: stopping", type(error).__name__)
        if self.on_leave is not None:
            self.on_leave(error)

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


def is_below(path: str, root_path: str) -> bool:
    """Tell whether a path begins with a root path at a segment boundary."""
    return path.startswith(root_path) and (len(path) == len(root_path) or path[len(root_path)] == "/")


def adapt_asgi2(app: Callable[[Scope], Callable[..., Awaitable[None]]]) -> App:
    """Return an ASGI 3 application for a double callable of ASGI 2."""

    async def single(scope: Scope, receive: Any, send: Any) -> None:
        await app(scope)(receive, send)

    return single


def to_bytes(body: object) -> bytes:
    """Return body bytes; raises AppTypeError for what is none."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise AppTypeError(f"the body must be bytes, not {type(body).__name__}")


def only_disconnects(error: BaseException) -> bool:
    """Tell whether an error is our ClientDisconnected, alone or in groups of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(only_disconnects(inner) for inner in error.exceptions)
    return isinstance(error, ClientDisconnected)
