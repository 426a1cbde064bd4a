"""Watching an application's files for `--reload`, in a process beside the supervisor, which keeps its one thread."""

import importlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.net.channel import Channel, Message
from trilithon.supervisor.reactor import Reactor
from trilithon.supervisor.sources import Sight, Sources

log = logging.getLogger("trilithon.error")

# Looking round costs; a tree so large that this takes long is looked at as much more rarely.
POLL_S = 0.5
POLL_REST = 40
# Events may stay away, as those of a host's files in a container do, so it looks round in between.
GLANCE_S = 2.0
GLANCE_REST = 100
# A change is complete once nothing has changed for so long.
SETTLE_S = 0.1
SETTLE_ROUNDS = 20
STEP_MS = 50
DEBOUNCE_MS = 400
ATTEMPTS = 3
# A watcher that ended is started anew after this.
REVIVE_S = 1.0
_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from trilithon.supervisor.watching import main; main(int(sys.argv[2]))"
)


class Watcher:
    """The supervisor's end: starts the process, hears of changes, ends it.

    `on_change` gets the absolute paths of a batch, on the reactor's thread. Changes from the moment of construction on
    are reported, however late the process is ready.
    """

    def __init__(self, reactor: Reactor, sources: Message, on_change: Callable[[list[str]], None]) -> None:
        self.reactor = reactor
        self.sources = sources
        self.on_change = on_change
        self.since_ns = time.time_ns()
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: Channel | None = None
        self.closed = False

    def start(self) -> None:
        """Start the process."""
        if self.closed:
            return
        channel, theirs = Channel.pair()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, json.dumps(sys.path), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # Out of reach of the terminal's Ctrl-C, which is for the supervisor.
            process_group=0,
        )
        theirs.close()
        channel.send({**self.sources, "since_ns": self.since_ns})
        self.channel = channel
        self.reactor.add(channel, self.hear)

    def hear(self) -> None:
        """Take what the process says."""
        channel = self.channel
        if channel is None:
            return
        try:
            messages = channel.receive()
        except EOFError:
            self.end_process()
            log.warning("the watcher of files ended by itself; another one is started")
            self.reactor.later(REVIVE_S, self.start)
            return
        changed: set[str] = set()
        for message, _ in messages:
            self.since_ns = max(self.since_ns, message.get("seen_ns", 0))
            if message["say"] == "watching":
                self.announce(message)
            changed.update(message.get("paths", ()))
        if changed:
            self.on_change(sorted(changed))

    def announce(self, message: Message) -> None:
        """Log what is watched, and how."""
        places = ", ".join(spell_path(root) for root in self.sources["roots"])
        how = f"{message['by']}" + (f", {message['why']}" if message["why"] else "")
        count = message["files"]
        log.info("watching %d %s in %s (%s)", count, "file" if count == 1 else "files", places, how)

    def end_process(self) -> None:
        """End the process, which has nothing to lose."""
        if self.channel is not None:
            self.reactor.remove(self.channel)
            self.channel.close()
            self.channel = None
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def release(self) -> None:
        """Close, in a process that was forked off the supervisor, the supervisor's end."""
        if self.channel is not None:
            self.channel.close()

    def close(self) -> None:
        """End the process and start no other; idempotent."""
        self.closed = True
        self.end_process()


def sources_of(options: Options, targets: Sequence[object]) -> Message:
    """Return what is to be watched, as the watcher's first message; raises ConfigError for what is no directory.

    `targets` are the applications: one that names a file outside of the watched directories has its directory watched.
    """
    named = list(options.reload_dirs) or [options.app_dir]
    for each in named:
        if not os.path.isdir(each):
            option = "reload_dirs" if options.reload_dirs else "app_dir"
            raise ConfigError(option, each, "is not a directory; name one that is there")
    roots = list(dict.fromkeys(os.path.realpath(each) for each in named))
    for target in targets:
        if not (target is None or isinstance(target, str)):
            raise ConfigError(
                "reload", True, "an application that is an object cannot be loaded anew; name it module:attr"
            )
        place = (target or "").partition(":")[0]
        if place.endswith(".py") and os.path.isfile(place) and not options.reload_dirs:
            directory = os.path.dirname(os.path.realpath(place))
            if not any(is_within(directory, root) for root in roots):
                roots.append(directory)
    return {"roots": roots, "include": list(options.reload_include), "exclude": list(options.reload_exclude)}


def is_within(path: str, directory: str) -> bool:
    """Tell whether `path` is `directory` or below it; both absolute."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def spell_path(path: str) -> str:
    """Return a path as a person would write it here: relative to the current directory where it is below it."""
    here = os.getcwd()
    return os.path.relpath(path, here) if is_within(path, here) else path


def main(fd: int) -> None:
    """Be the watching process, on the channel with descriptor `fd`, until the supervisor is gone."""
    import socket

    channel = Channel(socket.socket(fileno=fd))
    try:
        channel.wait()
        order = channel.receive()[0][0]
        Watch(channel, order).run()
    except (EOFError, KeyboardInterrupt):
        pass


class Watch:
    """The watching process: looks, waits until there may be something new, looks again, and reports."""

    def __init__(self, channel: Channel, order: Message) -> None:
        self.channel = channel
        self.sources = Sources(order["roots"], order["include"], order["exclude"])
        self.since_ns: int = order["since_ns"]
        self.looked_ns = 0
        self.look_s = 0.0
        self.sight = self.look()
        self.bell = Bell(self)

    def run(self) -> None:
        """Watch until the other side is gone, which raises EOFError."""
        self.bell.arm()
        # Once it is armed no change is lost any more; what happened before shows by its time.
        self.sight = self.look()
        # A time in the future is that of a wrong clock.
        early = [path for path, look in self.sight.files.items() if self.since_ns < look[0] <= time.time_ns()]
        self.say("watching", files=len(self.sight.files), by=self.bell.kind, why=self.bell.why)
        if early:
            self.say("changed", paths=sorted(early))
        while True:
            self.bell.wait()
            later = self.settled()
            changes = self.sight.changes(later)
            self.sight = later
            if changes:
                self.say("changed", paths=changes)

    def look(self) -> Sight:
        """Look round, and note how long that takes."""
        began = time.monotonic()
        self.looked_ns = time.time_ns()
        sight = self.sources.look()
        self.look_s = time.monotonic() - began
        return sight

    def settled(self) -> Sight:
        """Look until nothing changes any more: one edit, or one checkout, may be many changes."""
        before = self.look()
        if before == self.sight:
            return before
        for _ in range(SETTLE_ROUNDS):
            self.pause(SETTLE_S)
            later = self.look()
            if later == before:
                break
            before = later
        return before

    def pause(self, delay_s: float) -> None:
        """Wait; raises EOFError when the supervisor is gone."""
        if self.channel.wait(delay_s):
            self.channel.receive()

    def say(self, what: str, **facts: Any) -> None:
        """Tell the supervisor, with the moment up to which everything was seen."""
        if not self.channel.send({"say": what, "seen_ns": self.looked_ns, **facts}):
            raise EOFError


class Bell:
    """Says when there may be something new: by the kernel's events through watchfiles, else by the clock."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.why = ""
        self.notify: Any = None
        self.armed: dict[str, tuple[int, int]] = {}
        self.failures = 0
        self.module: Any = None
        try:
            self.module = importlib.import_module("watchfiles._rust_notify")
        except ImportError:
            self.why = "quicker with: pip install watchfiles"

    @property
    def kind(self) -> str:
        """The name of what rings."""
        return "watchfiles" if self.module is not None else "polling"

    def arm(self) -> None:
        """Have the kernel report what happens in the directories that are there now, if they are others than before."""
        directories = self.watch.sight.directories
        if self.module is None or (self.notify is not None and directories == self.armed):
            return
        self.disarm()
        try:
            # Each directory by itself: recursively it would take those in as well that are not entered.
            self.notify = self.module.RustNotify(sorted(directories), False, False, 300, False, True)
            self.armed = dict(directories)
            self.failures = 0
        except Exception as error:
            # A directory may have gone meanwhile; a limit of the kernel will not go away.
            self.failures += 1
            if self.failures == ATTEMPTS:
                self.module = None
                self.why = f"watchfiles failed: {error}"

    def disarm(self) -> None:
        """Stop the kernel's reports."""
        if self.notify is not None:
            self.notify.close()
            self.notify = None

    def wait(self) -> None:
        """Return when it is time to look; raises EOFError when the supervisor is gone."""
        if self.notify is not None and self.watch.sight.directories == self.armed:
            self.wait_for_events()
            return
        if self.module is not None:
            # What happened before it was armed anew has to be looked for.
            self.arm()
            self.watch.pause(0 if self.notify is not None else POLL_S)
            return
        self.watch.pause(max(POLL_S, POLL_REST * self.watch.look_s))

    def wait_for_events(self) -> None:
        """Wait for an event that matters, but not for ever."""
        until = time.monotonic() + max(GLANCE_S, GLANCE_REST * self.watch.look_s)
        while (left_s := until - time.monotonic()) > 0:
            found = self.notify.watch(DEBOUNCE_MS, STEP_MS, max(1, int(left_s * 1000)), self)
            if isinstance(found, str):
                self.watch.pause(0)
            elif any(self.matters(path) for _, path in found):
                return

    def is_set(self) -> bool:
        """Tell watchfiles, which asks at each step, whether to leave its wait."""
        return self.watch.channel.wait(0)

    def matters(self, path: str) -> bool:
        """Tell whether an event may be about a file that counts or a directory that is entered."""
        if path in self.watch.sight.directories or os.path.isdir(path):
            return True
        root = self.watch.sources.root_of(path)
        return root is not None and self.watch.sources.takes(root, path)
