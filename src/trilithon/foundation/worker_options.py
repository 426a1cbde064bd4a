"""The rows of the option table that belong to several processes: workers, their replacement, who they run as."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.option_row import AUTO, Section, row
from trilithon.foundation.proxy_options import ProxyOptions
from trilithon.foundation.scoreboard import MAX_WORKERS

_MODE = re.compile(r"0?[0-7]{3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions(ProxyOptions):
    """The part of `Options` that is about the processes of a server."""

    workers: int = row(
        0,
        Section.WORKERS,
        "Worker processes under a supervisor; auto takes one for each processor that this process may use. An option "
        "that needs a supervisor brings one worker.",
        short="-w",
        unit="workers",
        zero="one process, no supervisor",
        maximum=MAX_WORKERS,
        automatic=True,
        everyday=True,
    )
    preload: bool = row(
        False,
        Section.WORKERS,
        "Import the application once, in a process that the workers are forked from, so that they share its memory.",
    )
    start_method: str = row(
        "auto",
        Section.WORKERS,
        "How workers come to be: fork, or spawn, which starts a new interpreter for each; auto forks on Linux.",
        choices=("auto", "fork", "spawn"),
    )
    balance: str = row(
        "auto",
        Section.WORKERS,
        "How connections are spread over workers: hand-over gives new and idle ones to the worker with the least to "
        "do, shared lets whoever is first accept them; auto hands over where there are several workers.",
        choices=("auto", "hand-over", "shared"),
    )
    hang_timeout_s: float = row(
        60.0,
        Section.WORKERS,
        "Time after which a worker counts as hung and is replaced, its stacks and requests logged: its event loop is "
        "blocked that long, or none of its threads gets on with its call. Less than a second counts as one; with "
        "reload nothing hangs.",
        zero="never",
    )
    idle_grace_s: float = row(
        2.0,
        Section.WORKERS,
        "Time in which a worker that was replaced still answers on idle connections, closing each behind its answer.",
        zero="idle connections are closed at once",
    )
    recycle_requests: int = row(
        0,
        Section.WORKERS,
        "Requests after which a worker is replaced, as looked at once a second.",
        unit="requests",
        zero="no limit",
    )
    recycle_age_s: float = row(0.0, Section.WORKERS, "Age at which a worker is replaced.", zero="no limit")
    recycle_rss_bytes: int = row(0, Section.WORKERS, "Resident memory at which a worker is replaced.", zero="no limit")
    recycle_jitter: int = row(
        10,
        Section.WORKERS,
        "Part of a recycle limit by which each worker's own is lowered at random, so that they do not end together.",
        unit="percent",
        maximum=100,
    )
    control_socket: str = row(
        "",
        Section.WORKERS,
        "Unix socket on which trilithon ctl reaches the supervisor; only its owner may connect. Empty for none.",
        metavar="PATH",
    )
    pid_file: str = row(
        "", Section.WORKERS, "File that holds the supervisor's process id while it runs.", metavar="PATH"
    )
    upgrade_standby_s: float = row(
        60.0,
        Section.WORKERS,
        "Time in which the program before an upgrade stands by, without workers, as the way back.",
        zero="it leaves at once",
    )
    user: str = row("", Section.WORKERS, "User, by name or number, that workers run as.", metavar="USER")
    group: str = row("", Section.WORKERS, "Group, by name or number, that workers run as.", metavar="GROUP")
    umask: str = row(
        "", Section.WORKERS, "Octal mask of the modes of files that workers make, as in 027.", metavar="MODE"
    )
    unix_mode: str = row(
        "", Section.LISTEN, "Octal mode of Unix sockets that are listened on, as in 660.", metavar="MODE"
    )
    unix_owner: str = row(
        "", Section.LISTEN, "Owner of Unix sockets that are listened on: USER, USER:GROUP or :GROUP.", metavar="OWNER"
    )
    reload: bool = row(
        False,
        Section.DEVELOPMENT,
        "Start anew when a file of the application changes; for development. Errors are shown in the browser too.",
        everyday=True,
    )
    reload_dirs: Sequence[str] = row(
        (),
        Section.DEVELOPMENT,
        "Directory to watch instead of app_dir. May be given several times.",
        flag_name="reload-dir",
        metavar="DIRECTORY",
    )
    reload_include: Sequence[str] = row(
        ("*.py",),
        Section.DEVELOPMENT,
        "Pattern of file names, or of paths where it has a slash, to watch. May be given several times.",
        metavar="PATTERN",
        minimum=1,
    )
    reload_exclude: Sequence[str] = row(
        (),
        Section.DEVELOPMENT,
        "Pattern of file names, or of paths where it has a slash, not to watch. May be given several times.",
        metavar="PATTERN",
    )

    def worker_count(self) -> int:
        """Return how many workers are wanted, at least one."""
        return usable_processors() if self.workers == AUTO else max(1, self.workers)


def usable_processors() -> int:
    """Return how many processors this process may use, by its affinity and the quota of its control group."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            # Half a processor is one worker, two and a half are three: an idle one costs little.
            count = min(count, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass  # no control group, or one of the first version
    return count


def check_workers(options: WorkerOptions) -> None:
    """Refuse what does not fit together; raises ConfigError."""
    for name in ("umask", "unix_mode"):
        text = getattr(options, name)
        if text and not _MODE.fullmatch(text):
            raise ConfigError(name, text, "must be three octal digits, as in 027")
    if options.preload and options.start_method == "spawn":
        raise ConfigError("preload", True, "workers are forked from what was loaded; choose start_method fork, or none")
    if options.preload and options.reload:
        raise ConfigError("reload", True, "starts one process anew each time; leave preload out")
    owner, _, group = options.unix_owner.partition(":")
    if options.unix_owner and (not (owner or group) or ":" in group):
        raise ConfigError("unix_owner", options.unix_owner, "must be USER, USER:GROUP or :GROUP")
