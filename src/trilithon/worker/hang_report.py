"""The report of a hang: which requests are in flight, which of them hold what, and the stack of every thread."""

import asyncio
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from trilithon.gateway.asgi import AsgiGateway
from trilithon.gateway.wsgi import WsgiGateway
from trilithon.net.engine import Engine
from trilithon.wire.exchange import Exchange, describe

MAX_REQUESTS = 32
MAX_THREADS = 64
MAX_TASKS = 32
# The innermost frames tell what is waited for; a recursion has thousands.
MAX_FRAMES = 40
MAX_OWN_FRAMES = 3
# What leads to the application: the command, the server, the loop, the beginning of a thread.
FOLDERS = (f"{Path(__file__).parents[1]}/", f"{Path(asyncio.__file__).parent}/", "<frozen runpy>", threading.__file__)
COMMAND = re.compile(r"/(bin/trilithon|site-packages/click/\w+\.py)$")

Call = tuple[Exchange, "asyncio.Task[Any] | None"]


def describe_request(exchange: Exchange, now: float) -> str:
    """Return method and path without the query, the client and the age of a request, control characters escaped."""
    client = exchange.peer.client
    origin = f" from {client[0]}" if client is not None else ""
    return f"{describe(exchange)}{origin}, {max(0.0, now - exchange.opened_at):.1f} s old"


def requests_in_flight(engines: Iterable[Engine]) -> list[Exchange]:
    """Return the open exchanges of engines that other threads are using, the oldest first."""
    found: list[Exchange] = []
    for engine in engines:
        for connection in list(engine.connections.values()):
            try:
                found += connection.protocol.open_exchanges()
            except RuntimeError:
                continue  # its streams changed while they were listed: it is not this one that is stuck
    return sorted(found, key=lambda exchange: exchange.opened_at)


def write_requests(exchanges: list[Exchange], notes: dict[Exchange, str]) -> str:
    """Return a line for each request, those with a note first."""
    now = time.monotonic()
    first = sorted(exchanges, key=lambda exchange: exchange not in notes)
    lines = []
    for exchange in first[:MAX_REQUESTS]:
        note = f" ({notes[exchange]})" if exchange in notes else ""
        lines.append(f"  {describe_request(exchange, now)}{note}")
    if len(exchanges) > MAX_REQUESTS:
        lines.append(f"  and {len(exchanges) - MAX_REQUESTS} more")
    return "\n".join(lines) or "  none"


def calls_on_loop(gateways: Iterable[AsgiGateway | WsgiGateway]) -> list[Call]:
    """Return the calls of ASGI applications with their tasks, None for one that has not come to its first wait."""
    return [
        (call.exchange, call.task)
        for gateway in gateways
        if isinstance(gateway, AsgiGateway)
        for call in list(gateway.running)
    ]


def running_task(loop: asyncio.AbstractEventLoop) -> "asyncio.Task[Any] | None":
    """Return the task that a loop of another thread is in, None for a callback."""
    try:
        return asyncio.current_task(loop)
    except RuntimeError:
        return None


def write_stacks(threads: dict[int, str]) -> str:
    """Return the stacks of all threads but this one, those alike together; `threads` says what some of them do."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    alike: dict[str, list[str]] = {}
    frames = sorted(sys._current_frames().items(), key=lambda item: item[0] not in threads)
    for ident, frame in frames[:MAX_THREADS]:
        if ident == own:
            continue
        doing = f" ({threads[ident]})" if ident in threads else ""
        alike.setdefault(write_stack(frame), []).append(f"{names.get(ident, 'unknown')}{doing}")
    return "\n".join(f"thread {', '.join(these)}:\n{stack}" for stack, these in alike.items())


def write_stack(frame: FrameType | None) -> str:
    """Return the innermost frames of a stack, the last one called last, without those that led to the application."""
    frames = traceback.extract_stack(frame)
    ours = 0
    while ours < len(frames) and is_scaffold(frames[ours].filename):
        ours += 1
    # A thread that is not in the application: where it waits is enough.
    shown = frames[ours:][-MAX_FRAMES:] if ours < len(frames) else frames[-MAX_OWN_FRAMES:]
    return "".join(traceback.format_list(shown)).rstrip("\n")


def is_scaffold(filename: str) -> bool:
    """Tell whether a file is of what leads to the application."""
    return filename.startswith(FOLDERS) or COMMAND.search(filename) is not None


def write_tasks(loop: asyncio.AbstractEventLoop) -> str:
    """Return what each task of a loop of another thread waits for."""
    try:
        tasks = [task for task in asyncio.all_tasks(loop) if task is not running_task(loop)]
    except RuntimeError:
        return "  they change too fast to be listed"
    lines = []
    for task in sorted(tasks, key=lambda task: task.get_name())[:MAX_TASKS]:
        frames = task.get_stack(limit=4)
        places = [f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" for frame in frames]
        coroutine = getattr(task.get_coro(), "__qualname__", "?")
        lines.append(f"  {task.get_name()} ({coroutine}): {', '.join(places) or 'no Python frame'}")
    if len(tasks) > MAX_TASKS:
        lines.append(f"  and {len(tasks) - MAX_TASKS} more")
    return "\n".join(lines) or "  none"
