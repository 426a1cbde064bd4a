"""The forms of a bind address: TCP over IPv4 or IPv6, a Unix socket, an inherited descriptor."""

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum

from trilithon.foundation.errors import ConfigError

FORMS = "HOST:PORT, [IPV6]:PORT, :PORT (every interface), unix:PATH or fd:NUMBER"

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, a closing NUL included.
MAX_UNIX_PATH_BYTES = 103

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_DIGITS = re.compile(r"[0-9]{1,5}")


class AddressKind(Enum):
    """What a listener has to be made of."""

    TCP = "tcp"
    UNIX = "unix"
    FD = "fd"


@dataclass(frozen=True, slots=True)
class Address:
    """One place to listen. Of `host` and `port`, `path`, `fd` only what `kind` calls for is set.

    `host` is a name or an IP address without brackets; empty means every interface, IPv4 and IPv6. `port` zero asks
    the system for a free one. A `path` that begins with @ is the name of an abstract socket.
    """

    kind: AddressKind
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    def is_abstract(self) -> bool:
        """Tell whether this is a Unix socket of Linux that has a name but no file."""
        return self.path.startswith("@")

    def __str__(self) -> str:
        """Write the address in the form that `parse_address` reads."""
        if self.kind is AddressKind.UNIX:
            return f"unix:{self.path}"
        if self.kind is AddressKind.FD:
            return f"fd:{self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str, option: str = "bind") -> Address:
    """Read one bind address; raises `ConfigError` naming `option` when it has none of the forms."""
    if text.startswith("unix:"):
        return _unix(text, option)
    if text.startswith("fd:"):
        number = text[3:].removeprefix("//")
        if not _DIGITS.fullmatch(number):
            raise ConfigError(option, text, "after fd: comes the number of an open descriptor, as in fd:3")
        return Address(AddressKind.FD, fd=int(number))
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ConfigError(option, text, _without_colon(text))
    if not _DIGITS.fullmatch(port) or int(port) > 65535:
        raise ConfigError(option, text, f"the port must be a number from 0 to 65535; the forms are {FORMS}")
    return Address(AddressKind.TCP, host=_host(host, text, option), port=int(port))


def _unix(text: str, option: str) -> Address:
    path = text[5:]
    if path.startswith("//"):
        path = path[2:]
    if path in ("", "@") or "\0" in path:
        raise ConfigError(option, text, "after unix: comes the path of a socket, as in unix:/run/site.sock")
    if len(path.encode(errors="surrogateescape")) > MAX_UNIX_PATH_BYTES:
        raise ConfigError(option, text, f"a socket path may have {MAX_UNIX_PATH_BYTES} bytes; choose a shorter one")
    return Address(AddressKind.UNIX, path=path)


def _without_colon(text: str) -> str:
    if _DIGITS.fullmatch(text):
        return f"a port alone says nothing of who may connect; type 127.0.0.1:{text} for this machine, :{text} for all"
    return f"the port is missing; the forms are {FORMS}"


def _host(host: str, text: str, option: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        literal = host[1:-1]
        try:
            ipaddress.IPv6Address(literal.partition("%")[0])
        except ValueError:
            raise ConfigError(option, text, "between the brackets must be an IPv6 address, as in [::1]:8000") from None
        return literal
    if ":" in host:
        raise ConfigError(option, text, "an IPv6 address needs brackets, as in [::1]:8000")
    if host == "*":
        return ""
    if host and not _HOST_NAME.fullmatch(host):
        raise ConfigError(option, text, f"{host!r} is neither a host name nor an IP address; the forms are {FORMS}")
    return host
