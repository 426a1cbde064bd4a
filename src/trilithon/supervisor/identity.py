"""Who workers are to be, and whether this process may let them."""

import os

from trilithon.foundation.accounts import Identity, find_group, find_user, user_of
from trilithon.foundation.errors import ConfigError
from trilithon.foundation.worker_options import WorkerOptions

# Bits of the capabilities in /proc/self/status (capabilities(7)).
_CAP_SETGID = 1 << 6
_CAP_SETUID = 1 << 7


def identity_of(options: WorkerOptions) -> Identity:
    """Return who workers are to be, by the options user, group and umask; raises ConfigError.

    Call it before anything is bound: it refuses what cannot come true for want of a privilege.
    """
    umask = int(options.umask, 8) if options.umask else -1
    if not options.user and not options.group:
        return Identity(user_of(os.geteuid()), -1, umask)
    user = find_user(options.user, "user") if options.user else user_of(os.geteuid())
    gid = find_group(options.group, "group") if options.group else user.gid
    if gid < 0:
        raise ConfigError("user", options.user, "has no entry with a group of its own; give the option group as well")
    if (user.uid, gid) == (os.geteuid(), os.getegid()):
        return Identity(user, gid, umask)
    if not may_switch():
        name = "user" if options.user else "group"
        raise ConfigError(
            name, getattr(options, name), "only root can give workers another user or group; start as root or leave out"
        )
    return Identity(user, gid, umask, is_switched=True)


def may_switch() -> bool:
    """Tell whether this process may take on any user and group; a container's root may lack that."""
    # Others may have the capabilities too, but would keep them: only root gives them up by becoming somebody else.
    if os.geteuid() != 0:
        return False
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        return True  # no Linux
    needed = _CAP_SETGID | _CAP_SETUID
    return effective & needed == needed
