"""Watch an application being imported for what processes forked from it cannot share, and name the module that did it.

While it watches, three calls of the standard library and the loaders of modules are wrapped: `Thread.start` and
`Popen` and sockets for the exact line, the loaders for what native code does, which shows as new descriptors and
threads between two looks. Everything is put back at the end. An audit hook would see the same, but could never be
taken away again: every worker forked from here would go on calling it.
"""

import functools
import importlib.machinery
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from trilithon.supervisor.code_places import Place, place_of
from trilithon.supervisor.descriptors import Identity, open_descriptors

_LOADERS = (
    (importlib.machinery.SourceFileLoader, "exec_module"),
    (importlib.machinery.SourcelessFileLoader, "exec_module"),
    # A module of one-phase initialisation runs its code when it is created, one of two phases when it is executed.
    (importlib.machinery.ExtensionFileLoader, "create_module"),
    (importlib.machinery.ExtensionFileLoader, "exec_module"),
)
_TASKS = "/proc/self/task"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who did something: a module, the line (0 where native code leaves none), and what made it do so.

    `because` is empty or as in "imported by shop.web".
    """

    module: str
    line: int = 0
    because: str = ""

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        if self.because:
            return f"{self.module} ({', '.join(filter(None, (line, self.because)))})"
        return f"{self.module} ({line})" if line else self.module


class ImportWatch:
    """Collects, between `__enter__` and `__exit__`, the threads, processes and descriptors that come to be, by origin.

    For one thread: the one that imports. `target` names the application where no module can be named, as when a
    factory's native code opens something. What is still there when it is asked for is `report`'s business.
    """

    def __init__(self, target: str = "the application") -> None:
        self.anonymous = Origin(target)
        self.threads: list[tuple[threading.Thread, Origin]] = []
        self.processes: list[tuple[subprocess.Popen[Any], Origin]] = []
        self.descriptors: dict[Identity, Origin] = {}
        self.native_threads: dict[int, Origin] = {}
        self.before: set[Identity] = set()
        self.threads_before: set[int] = set()
        self.modules: list[tuple[str, Place]] = []
        self.wrapped: list[tuple[type, str, Any, bool]] = []
        self.base: FrameType | None = None
        self.importer = 0

    def __enter__(self) -> "ImportWatch":
        self.importer = threading.get_ident()
        self.base = sys._getframe(1)
        self.before = open_descriptors()
        self.threads_before = native_thread_ids()
        for loader, name in _LOADERS:
            self.wrap(loader, name, self.around_import)
        self.wrap(threading.Thread, "start", self.around_thread)
        self.wrap(subprocess.Popen, "__init__", self.around_process)
        self.wrap(socket.socket, "__init__", self.around_socket)
        return self

    def __exit__(self, *fault: object) -> None:
        self.look()
        self.base = None
        for owner, name, put, was_own in reversed(self.wrapped):
            # A tool that wrapped the call too, while it was imported, keeps its wrapping, around one that does nothing.
            if vars(owner).get(name) is put:
                if was_own:
                    setattr(owner, name, put.__wrapped__)
                else:
                    delattr(owner, name)
        self.wrapped.clear()

    def wrap(self, owner: type, name: str, around: Callable[..., Any]) -> None:
        """Put `around` in the place of a method; it is called with the method and the arguments."""
        method = getattr(owner, name)

        @functools.wraps(method)
        def call(*arguments: Any, **keywords: Any) -> Any:
            if self.base is None:
                return method(*arguments, **keywords)
            return around(method, *arguments, **keywords)

        self.wrapped.append((owner, name, call, name in vars(owner)))
        setattr(owner, name, call)

    def around_import(self, method: Callable[..., Any], loader: Any, module: Any) -> Any:
        """Import a module, or make it from its spec, and charge it with what is there afterwards and was not before."""
        if threading.get_ident() != self.importer:
            return method(loader, module)
        spec = getattr(module, "__spec__", None) or module
        self.look()
        self.modules.append((spec.name, place_of(spec.origin or "")))
        try:
            return method(loader, module)
        finally:
            if self.base is not None:
                self.look()
            self.modules.pop()

    def around_thread(self, method: Callable[..., Any], thread: threading.Thread) -> Any:
        """Start a thread, and note who did."""
        self.threads.append((thread, self.origin()))
        return method(thread)

    def around_process(
        self, method: Callable[..., Any], process: "subprocess.Popen[Any]", *arguments: Any, **keywords: Any
    ) -> Any:
        """Start a process, and note who did."""
        result = method(process, *arguments, **keywords)
        self.processes.append((process, self.origin()))
        return result

    def around_socket(self, method: Callable[..., Any], sock: socket.socket, *arguments: Any, **keywords: Any) -> Any:
        """Make a socket, and note who did."""
        result = method(sock, *arguments, **keywords)
        number = sock.fileno()
        if number >= 0:
            status = os.fstat(number)
            self.descriptors[(number, status.st_dev, status.st_ino)] = self.origin()
        return result

    def look(self) -> None:
        """Charge what is new since the last look to the module that runs, and forget what is gone."""
        here = self.module_origin()
        present = open_descriptors() - self.before
        self.descriptors = {each: self.descriptors.get(each, here) for each in present}
        threads = native_thread_ids() - self.threads_before
        self.native_threads = {each: self.native_threads.get(each, here) for each in threads}

    def module_origin(self) -> Origin:
        """Return who did what native code did since the last look: the innermost module that is being imported."""
        doer = ""
        for name, place in reversed(self.modules):
            if not doer and place is not Place.STANDARD:
                doer = name
            elif doer and place is Place.OWN:
                return Origin(doer, because=f"imported by {name}")
        return Origin(doer) if doer else self.anonymous

    def origin(self) -> Origin:
        """Return who is doing what is being done, from the frames of this thread.

        That is the innermost code of the application's own, or of a library module that is being imported; a call
        into a library is the caller's doing.
        """
        doer: Origin | None = None
        is_import = False
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self.base:
            place = place_of(frame.f_code.co_filename)
            runs_module = frame.f_code.co_name == "<module>"
            name = frame.f_globals.get("__name__", "?")
            if doer is None:
                if place is Place.OWN or (place is Place.LIBRARY and runs_module):
                    doer = Origin(name, frame.f_lineno)
                    is_import = runs_module
            elif place is Place.OWN and name != doer.module:
                return Origin(doer.module, doer.line, f"{'imported' if is_import else 'called'} by {name}")
            elif name == doer.module:
                is_import = is_import or runs_module
            frame = frame.f_back
        return doer or self.module_origin()


def native_thread_ids() -> set[int]:
    """Return the system's numbers of this process's threads, native ones too; on other systems Python's only."""
    if sys.platform == "linux":
        return {int(name) for name in os.listdir(_TASKS)}
    return {thread.native_id for thread in threading.enumerate() if thread.native_id is not None}
