"""What a watched import left behind that forked workers cannot share, in lines that name the module and the remedy."""

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trilithon.supervisor.descriptors import Identity, Opened, Sort, examine, open_descriptors
from trilithon.supervisor.import_watch import ImportWatch, Origin, native_thread_ids

_REMEDY = "in the lifespan start-up or on first use"
_SHARED = f"each worker would share it: open it {_REMEDY}"
_CONSEQUENCES = {
    Sort.CONNECTION: _SHARED,
    Sort.LISTENER: _SHARED,
    Sort.SOCKET: _SHARED,
    Sort.PAIR: _SHARED,
    Sort.PIPE: _SHARED,
    Sort.SELECTOR: f"each worker would share it: make it {_REMEDY}",
    Sort.EVENT: _SHARED,
    Sort.WATCH: _SHARED,
    Sort.DATAGRAM: f"each worker would share it, and the answers with it: open it {_REMEDY}",
    Sort.FILE: f"each worker would share its position: open it {_REMEDY}",
    Sort.DATABASE: f"SQLite connections do not survive a fork: open it {_REMEDY}",
}
# What an event loop has besides its selector.
_OF_A_LOOP = (Sort.SELECTOR, Sort.PAIR, Sort.EVENT, Sort.PIPE)
_MANY = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an import left behind: who did it, what, and what follows from it."""

    origin: Origin
    deed: str
    consequence: str

    def __str__(self) -> str:
        return f"preload: {self.origin} {self.deed} at import; {self.consequence}"


def report(watch: ImportWatch) -> list[str]:
    """Return a line for each thing that is still there: threads, processes, descriptors. Collect garbage before."""
    found = [*_threads(watch), *_processes(watch), *_descriptors(watch)]
    return [str(each) for each in found]


def report_native_threads(watch: ImportWatch) -> list[str]:
    """Return a line for each module whose native code still has threads, once this process has forked.

    Not before: libraries that are prepared for a fork, such as those of linear algebra, end their threads for it.
    """
    ours = {thread.native_id for thread in threading.enumerate()}
    left = native_thread_ids() - watch.threads_before - ours
    counts: dict[Origin, int] = {}
    for number in left:
        origin = watch.native_threads.get(number, watch.anonymous)
        counts[origin] = counts.get(origin, 0) + 1
    return [
        str(
            Finding(
                origin,
                f"started {_count(count, 'thread')} in native code",
                f"no worker would have {'them' if count > 1 else 'it'}: do it {_REMEDY}",
            )
        )
        for origin, count in counts.items()
    ]


def _threads(watch: ImportWatch) -> Iterator[Finding]:
    names: dict[tuple[str, str], tuple[Origin, list[str]]] = {}
    for thread, origin in watch.threads:
        if thread.is_alive():
            _, known = names.setdefault((origin.module, origin.because), (origin, []))
            known.append(thread.name)
    for origin, known in names.values():
        if len(known) == 1:
            yield Finding(origin, f"started the thread {known[0]!r}", f"no worker would have it: start it {_REMEDY}")
        else:
            shown = ", ".join(known[:_MANY]) + (", ..." if len(known) > _MANY else "")
            deed = f"started {len(known)} threads ({shown})"
            yield Finding(origin, deed, f"no worker would have them: start them {_REMEDY}")


def _processes(watch: ImportWatch) -> Iterator[Finding]:
    for process, origin in watch.processes:
        if process.poll() is None:
            words = process.args if isinstance(process.args, (str, bytes, os.PathLike)) else process.args[0]
            deed = f"started the process {os.path.basename(os.fsdecode(words))} ({process.pid})"
            yield Finding(origin, deed, f"it is no child of any worker: start it {_REMEDY}")


def _descriptors(watch: ImportWatch) -> Iterator[Finding]:
    by_module: dict[str, list[tuple[Origin, Opened]]] = {}
    for identity in sorted(open_descriptors() - watch.before):
        opened = _examine(identity)
        if opened is not None and opened.sort is not Sort.HARMLESS:
            origin = watch.descriptors.get(identity, watch.anonymous)
            by_module.setdefault(origin.module, []).append((origin, opened))
    loops = _count_loops() if any(_has_selector(each) for each in by_module.values()) else 0
    for opened_here in by_module.values():
        left = opened_here
        if loops and _has_selector(left):
            exact = [origin for origin, opened in left if opened.sort in _OF_A_LOOP]
            left = [(origin, opened) for origin, opened in left if opened.sort not in _OF_A_LOOP]
            yield Finding(
                max(exact, key=lambda origin: origin.line),
                "made an event loop",
                f"each worker would share its descriptors: make it {_REMEDY}",
            )
        yield from _gathered(left)


def _gathered(found: list[tuple[Origin, Opened]]) -> Iterator[Finding]:
    """Tell of equal deeds of one module, such as the connections of a pool, in one line."""
    counts: dict[Opened, int] = {}
    origins: dict[Opened, Origin] = {}
    for origin, opened in found:
        counts[opened] = counts.get(opened, 0) + 1
        origins.setdefault(opened, origin)
    for opened, count in counts.items():
        # Both ends of a pair, and of a pipe, are one thing.
        count = (count + 1) // 2 if opened.sort in (Sort.PAIR, Sort.PIPE) else count
        times = f", {count} times," if count > 1 else ""
        yield Finding(origins[opened], opened.deed + times, _CONSEQUENCES[opened.sort])


def _examine(identity: Identity) -> Opened | None:
    try:
        return examine(identity[0])
    except OSError:
        return None  # closed between two looks, by a thread


def _has_selector(found: list[tuple[Origin, Opened]]) -> bool:
    return any(opened.sort is Sort.SELECTOR for _, opened in found)


def _count_loops() -> int:
    """Count the event loops that are open; by type, since asking a lazy object for its class may bring it to life."""
    loops: list[Any] = [each for each in gc.get_objects() if issubclass(type(each), asyncio.AbstractEventLoop)]
    return sum(not loop.is_closed() for loop in loops)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}s" if number > 1 else f"a {noun}"
