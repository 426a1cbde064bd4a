"""Users and groups of the system, by name or number, and how a process becomes another user."""

import grp
import os
import pwd
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from trilithon.foundation.errors import ConfigError


@dataclass(frozen=True, slots=True)
class User:
    """One user: `name` and `home` are empty and `gid` is -1 where the system knows no more than the number."""

    uid: int
    gid: int = -1
    name: str = ""
    home: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is to be: a user, their groups, a mask of file modes; -1 leaves what is there."""

    user: User = User(-1)
    gid: int = -1
    umask: int = -1
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


def find_user(text: str, option: str) -> User:
    """Return the user that `text` names, or numbers; raises ConfigError naming `option` when there is none."""
    try:
        entry = pwd.getpwnam(text)
    except KeyError:
        if not text.isdecimal():
            raise ConfigError(option, text, "this system has no such user; create it, or give a number") from None
        return user_of(number(text, option))
    return User(entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir)


def user_of(uid: int) -> User:
    """Return the user of a number, with its name where it has one."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(uid)
    return User(uid, entry.pw_gid, entry.pw_name, entry.pw_dir)


def find_group(text: str, option: str) -> int:
    """Return the id of the group that `text` names, or numbers; raises ConfigError when there is none."""
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        if not text.isdecimal():
            raise ConfigError(option, text, "this system has no such group; create it, or give a number") from None
        return number(text, option)


def number(text: str, option: str) -> int:
    """Return the id that decimal digits spell; raises ConfigError for one that no system has."""
    value = int(text)
    # The largest number stands for "none" in system calls.
    if value >= 2**32 - 1:
        raise ConfigError(option, text, "is no id of a user or group; the largest is 4294967294")
    return value


def find_owner(text: str, option: str) -> tuple[int, int]:
    """Return the ids of USER, USER:GROUP or :GROUP, -1 for what is left out; raises ConfigError."""
    user, _, group = text.partition(":")
    return find_user(user, option).uid if user else -1, find_group(group, option) if group else -1
