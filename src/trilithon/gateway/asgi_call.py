"""One call of an ASGI application, HTTP request or WebSocket: its waiting, its task and how it ends."""

import asyncio
import logging
from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any

from trilithon.foundation.errors import AppTypeError, ClientDisconnected
from trilithon.wire.exchange import ENDED, FLOWING, LOST, Exchange, Receiver, describe

log = logging.getLogger("trilithon.error")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[object]]], Awaitable[object]]


class NextEvent:
    """The awaitable of one receive(): it takes its event when it is awaited, not before.

    A task made of it and cancelled before its first step has therefore taken nothing that could be lost. It has the
    shape of a coroutine; when it has to wait, it hands the task a future as `Future.__await__` does.
    """

    def __init__(self, call: "Call") -> None:
        self.call = call
        self.waiter: Future[None] | None = None
        self.gave_way = False

    def __await__(self) -> Generator[Any, None, Any]:
        return self

    def __iter__(self) -> "NextEvent":
        return self

    def __next__(self) -> object:
        self.leave()
        call = self.call
        message = call.next_event()
        if message is not None:
            if call.goodbyes > 1 and not self.gave_way:
                # An application that never minds the disconnect must not keep the loop from everybody else.
                self.gave_way = True
                return None
            raise StopIteration(message)
        waiter: Future[None] = Future(loop=call.loop)
        if call.waiters is None:
            call.waiters = []
        call.waiters.append(waiter)
        self.waiter = waiter
        waiter._asyncio_future_blocking = True
        return waiter

    def send(self, value: object) -> object:
        """Go on; event loops send nothing but None."""
        return self.__next__()

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> object:
        """Raise what is thrown in, where it waits; nothing was taken, so a cancellation loses nothing."""
        self.leave()
        raise kind if value is None else value

    def close(self) -> None:
        """End the waiting."""
        self.leave()

    def leave(self) -> None:
        """Wait no more."""
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiters = self.call.waiters
            if waiters is not None:
                waiters.remove(waiter)


class Gateway:
    """What a call needs of its gateway: the application, its loop, and who is told how it ended."""

    def __init__(self, app: App, loop: AbstractEventLoop) -> None:
        self.app = app
        self.loop = loop

    def ended(self, call: "Call") -> None:
        """Take a finished call off the list."""

    def leave(self, error: BaseException) -> None:
        """Pass on that the application wants the server to stop."""


class Call(Receiver):
    """One call of the application: its receive and send, and what becomes of how it ends.

    `told` says that the application knows of the end: it was given the disconnect, and what it sends raises.
    `goodbyes` counts how often it was given it.
    """

    def __init__(self, gateway: Gateway, exchange: Exchange) -> None:
        self.gateway = gateway
        self.loop = gateway.loop
        self.exchange = exchange
        self.told = False
        self.goodbyes = 0
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
        raise NotImplementedError

    def next_event(self) -> Message | None:
        """Return the event that is due now, None when it must be waited for."""
        raise NotImplementedError

    # Waiting.

    async def wait_drained(self) -> None:
        """Wait until the output is below the low-water mark; raises ClientDisconnected when the client is lost.

        It may begin in a later turn than the send that made it: what drained in between wakes nobody any more.
        """
        exchange = self.exchange
        while exchange.carrier.congested() and exchange.outbound is FLOWING:  # the attempt to write may lose the client
            if self.writers is None:
                self.writers = []
            writer: Future[None] = self.loop.create_future()
            self.writers.append(writer)
            try:
                await writer
            finally:
                self.writers.remove(writer)
        if self.is_cut_off():
            raise ClientDisconnected("the client is gone")

    def is_cut_off(self) -> bool:
        """Tell whether what waits to be written will never be."""
        return self.exchange.outbound is LOST

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
        self.wake_all()

    def wake_all(self) -> None:
        """Let every task that waits look again."""
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
            self.refuse()
            self.gateway.leave(error)
        except BaseException as error:
            self.fail(error)
        finally:
            self.gateway.ended(self)
            self.settle()
            self.task = None

    def conclude(self) -> None:
        """See to an application that returned before its response was complete."""
        raise NotImplementedError

    def refuse(self) -> None:
        """Answer in the place of an application that failed: 500 while nothing is sent, else the break."""
        self.exchange.refuse(500)

    def fail(self, error: BaseException) -> None:
        """See to an exception of the application."""
        exchange = self.exchange
        gone = self.is_gone()
        stopped = self.cancelled and isinstance(error, asyncio.CancelledError)
        if gone and isinstance(error.__context__, ClientDisconnected) and not isinstance(error, BaseExceptionGroup):
            # Starlette, for one, raises an error of its own in the place of ours.
            log.info("%s: the client left, and the application raised %r for it", describe(exchange), error)
        elif not stopped and not (gone and only_disconnects(error)):
            log.error("%s: exception in the application", describe(exchange), exc_info=error)
        if self.told:
            self.give_up()
        else:
            self.refuse()

    def is_gone(self) -> bool:
        """Tell whether nothing can be sent any more, so that an error of the application may be due to that alone."""
        return self.has_ended()

    def has_ended(self) -> bool:
        """Tell whether the exchange is over, or the application knows that it is."""
        return self.exchange.outbound is LOST or self.exchange.outbound is ENDED or self.told

    def give_up(self) -> None:
        """Break off a response that nobody waits for; 499 when nothing of it went out."""
        self.exchange.status = self.exchange.status or 499
        self.exchange.abort()

    def settle(self) -> None:
        """Leave nothing of a call that has ended."""
        raise NotImplementedError

    def end_stream(self) -> bool:
        """The server stops: tell an application that streams without end that it is over; returns whether it is one."""
        return False


def only_disconnects(error: BaseException) -> bool:
    """Tell whether an error is our ClientDisconnected, alone or in groups of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(only_disconnects(inner) for inner in error.exceptions)
    return isinstance(error, ClientDisconnected)


def to_bytes(body: object) -> bytes:
    """Return body bytes; raises AppTypeError for what is none."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise AppTypeError(f"the body must be bytes, not {type(body).__name__}")
