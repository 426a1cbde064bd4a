"""The lifespan of an ASGI application: start-up before the first request, shutdown after the last (lifespan 2.0)."""

import asyncio
import logging
import traceback
from collections.abc import MutableMapping
from enum import Enum
from typing import Any

from trilithon.foundation.errors import AppStateError, AppTypeError, AppValueError
from trilithon.gateway.asgi_call import App

log = logging.getLogger("trilithon.error")


# What frameworks send when they are cancelled, too.
FAILURES = ("lifespan.startup.failed", "lifespan.shutdown.failed")


class Stage(Enum):
    """Where a lifespan stands."""

    NEW = "new"
    STARTING = "starting"
    SERVING = "serving"
    ENDING = "ending"
    ENDED = "ended"
    FAILED = "failed"
    ABSENT = "absent"  # the application does not know lifespans, or left it while serving


class Lifespan:
    """Runs one application's lifespan in the running event loop.

    Await `start` before serving, `stop` after. `state` is the namespace that requests get copies of. `mode` is "auto"
    (an application that raises on the scope is served without), "on" (that is a failure) or "off".
    """

    def __init__(self, app: App, mode: str = "auto") -> None:
        self.app = app
        self.mode = mode
        self.state: dict[str, Any] = {}
        self.stage = Stage.NEW
        self.message = ""
        self.events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False  # by this class: any other cancellation is an error of the application

    async def start(self, timeout_s: float = 0.0) -> bool:
        """Run the start-up; returns False when the application failed it, with the reason in `message`.

        A start-up that takes longer than `timeout_s` has failed; zero means no limit.
        """
        if self.mode == "off":
            self.stage = Stage.ABSENT
            return True
        self.stage = Stage.STARTING
        self.events.put_nowait({"type": "lifespan.startup"})
        self.task = asyncio.get_running_loop().create_task(self.run())
        try:
            await asyncio.wait_for(self.wait_beyond(Stage.STARTING), timeout_s or None)
        except TimeoutError:
            self.message = f"it took longer than {timeout_s:g} s"
            self.enter(Stage.FAILED)
        return self.stage is not Stage.FAILED

    async def stop(self, timeout_s: float) -> None:
        """Run the shutdown, at most for `timeout_s`; then the task is cancelled. Never raises for the application."""
        task = self.task
        if task is None:
            return
        if self.stage is Stage.SERVING:
            self.stage = Stage.ENDING
            self.events.put_nowait({"type": "lifespan.shutdown"})
            try:
                await asyncio.wait_for(self.wait_beyond(Stage.ENDING), timeout_s or None)
            except TimeoutError:
                log.error("the application's lifespan shutdown took longer than %g s: cut off", timeout_s)
        self.cancelled = True
        task.cancel()
        await asyncio.wait([task], timeout=1.0)

    async def wait_beyond(self, stage: Stage) -> None:
        """Wait until the stage is another one."""
        while self.stage is stage:
            self.changed.clear()
            await self.changed.wait()

    def enter(self, stage: Stage) -> None:
        """Go to another stage and wake whoever waits for it."""
        self.stage = stage
        self.changed.set()

    async def run(self) -> None:
        """Call the application on the lifespan scope and see to how it ends."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        error: BaseException | None = None
        try:
            await self.app(scope, self.receive, self.send)
        except BaseException as failure:
            if self.cancelled:
                if not isinstance(failure, Exception):
                    raise
                log.info("the application's lifespan was cancelled, and raised %r", failure)
                return
            error = failure
        if self.stage is Stage.STARTING:
            self.conclude_start(error)
        elif self.stage is Stage.SERVING:
            log.error("the application's lifespan ended while serving; serving goes on", exc_info=error)
            self.enter(Stage.ABSENT)
        elif self.stage is Stage.ENDING:
            if error is not None:
                log.error("exception in the application's lifespan shutdown", exc_info=error)
            self.enter(Stage.ENDED)

    def conclude_start(self, error: BaseException | None) -> None:
        """See to an application that left the lifespan before its start-up was complete."""
        if self.mode == "on" or isinstance(error, (SystemExit, KeyboardInterrupt)):
            self.message = "the application left its lifespan"
            if error is not None:
                own = error.__traceback__.tb_next if error.__traceback__ is not None else None
                written = "".join(traceback.format_exception(type(error), error, own))
                self.message += f": {error!r}\n{written.rstrip()}"
            self.enter(Stage.FAILED)
            return
        log.info("the application has no lifespan%s", f" ({error!r})" if error else "")
        self.enter(Stage.ABSENT)

    async def receive(self) -> dict[str, str]:
        """Return the next lifespan event; blocks for ever behind the shutdown."""
        return await self.events.get()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take an event of the application; raises AppError for one that is unknown or out of order."""
        try:
            kind = message["type"]
        except KeyError:
            raise AppValueError("the event lacks its type") from None
        text = message.get("message", "")
        if self.cancelled and kind in FAILURES:
            log.debug("the application's lifespan was cancelled, and says %s", kind)
        elif kind == "lifespan.startup.complete" and self.stage is Stage.STARTING:
            self.enter(Stage.SERVING)
        elif kind == "lifespan.startup.failed" and self.stage is Stage.STARTING:
            if not isinstance(text, str):
                raise AppTypeError("the message of lifespan.startup.failed must be str")
            self.message = text.rstrip()
            self.enter(Stage.FAILED)
        elif kind == "lifespan.shutdown.complete" and self.stage is Stage.ENDING:
            self.enter(Stage.ENDED)
        elif kind == "lifespan.shutdown.failed" and self.stage is Stage.ENDING:
            log.error("the application's shutdown failed: %s", text or "no reason given")
            self.enter(Stage.ENDED)
        elif isinstance(kind, str) and kind.startswith("lifespan."):
            raise AppStateError(f"event {kind!r} is unknown or out of order (the lifespan is {self.stage.value})")
        else:
            raise AppValueError(f"event type {kind!r} does not belong to a lifespan")
