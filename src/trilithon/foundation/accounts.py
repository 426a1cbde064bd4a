"""Users and groups of the system, by name or number, as options name them."""

import grp
import pwd
from dataclasses import dataclass

from trilithon.foundation.errors import ConfigError


@dataclass(frozen=True, slots=True)
class User:
    """One user: `name` and `home` are empty and `gid` is -1 where the system knows no more than the number."""

    uid: int
    gid: int = -1
    name: str = ""
    home: str = ""


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
