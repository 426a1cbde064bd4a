"""Who workers run as: the user, the groups and the file mode mask that they take on before they load anything."""

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from trilithon.foundation.accounts import User, find_group, find_user, user_of
from trilithon.foundation.errors import ConfigError
from trilithon.foundation.worker_options import WorkerOptions

# Bits of the capabilities in /proc/self/status (capabilities(7)).
_CAP_SETGID = 1 << 6
_CAP_SETUID = 1 << 7


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is to be: a user, their groups, a mask of file modes; -1 leaves what is there."""

    user: User
    gid: int
    umask: int
    is_switched: bool = False

    def assume(self, environ: MutableMapping[str, str]) -> None:
        """Become this user for good, with HOME, USER and LOGNAME in `environ`; raises ConfigError.

        Call it once in a worker, when it holds what only the old user may open and before foreign code runs.
        """
        if self.umask >= 0:
            os.umask(self.umask)
        if not self.is_switched:
            return
        try:
            # Groups first: a process that has become the user may not change them any more.
            if self.user.name:
                os.initgroups(self.user.name, self.gid)
            else:
                os.setgroups([self.gid])
            os.setgid(self.gid)
            os.setuid(self.user.uid)
        except OSError as error:
            raise ConfigError("user", self.spell(), f"cannot be taken on: {error.strerror}") from None
        environ.update(self.variables(environ))

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return what a login would set; a home left as another user's would be searched for settings in vain."""
        if not self.user.name or self.user.uid == 0:
            return {}
        wanted = {"HOME": self.user.home, "USER": self.user.name, "LOGNAME": self.user.name}
        return {name: value for name, value in wanted.items() if value and environ.get(name) != value}

    def owner(self) -> tuple[int, int]:
        """Return the ids that files of the workers belong to, -1 for what need not change."""
        return (self.user.uid, self.gid) if self.is_switched else (-1, -1)

    def spell(self) -> str:
        """Return the user's name, or number."""
        return self.user.name or str(self.user.uid)


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
