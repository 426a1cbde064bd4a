"""What systemd and a service say to each other: sockets handed over, and the service's state told back."""

import logging
import os
import socket
import time
from collections.abc import Mapping, MutableMapping

from trilithon.foundation.errors import BindError

log = logging.getLogger("trilithon.error")

FIRST_FD = 3
_SOCKET_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_NOTIFY_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_MANY_FDS = 1024
_SEND_TIMEOUT_S = 1.0


def is_activated(environ: Mapping[str, str]) -> bool:
    """Tell whether systemd has sockets for this very process; changes nothing."""
    return environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS", "0") not in ("", "0")


def is_notified(environ: Mapping[str, str]) -> bool:
    """Tell whether somebody wants to hear of the service's state; changes nothing."""
    return bool(environ.get("NOTIFY_SOCKET"))


def inherited_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that systemd handed over, none when there are none or they are not for us.

    They are non-blocking and closed on exec, and the caller's to close. The variables are removed from `environ`, so
    that no child takes descriptors of ours for its own. Raises BindError for what is no listening stream socket.
    """
    values = {name: environ.pop(name, "") for name in _SOCKET_VARIABLES}
    if not values["LISTEN_FDS"]:
        return []
    if values["LISTEN_PID"] != str(os.getpid()):
        log.warning(
            "LISTEN_FDS is not used: it is meant for process %s, and this is %d; let systemd start this program itself",
            values["LISTEN_PID"] or "nobody",
            os.getpid(),
        )
        return []
    count = values["LISTEN_FDS"]
    if not count.isdecimal() or int(count) > _MANY_FDS:
        raise BindError("LISTEN_FDS", count, f"must be the number of descriptors handed over, at most {_MANY_FDS}")
    names = values["LISTEN_FDNAMES"].split(":")
    sockets: list[socket.socket] = []
    try:
        for index in range(int(count)):
            sockets.append(adopt(FIRST_FD + index, names[index] if index < len(names) else ""))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def adopt(fd: int, name: str) -> socket.socket:
    """Return the listening stream socket behind a descriptor handed over, as ours; raises BindError.

    `name` is the FileDescriptorName of its socket unit, empty when it has none.
    """
    shown = f"{fd} ({name})" if name else str(fd)
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise BindError("LISTEN_FDS", shown, f"the descriptor is no socket: {error.strerror}") from None
    fault = ""
    if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        fault = "is no stream socket; write ListenStream= in the socket unit"
    elif not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        fault = "does not listen; write Accept=no in the socket unit"
    if fault:
        sock.detach()
        raise BindError("LISTEN_FDS", shown, fault)
    os.set_inheritable(fd, False)
    sock.setblocking(False)
    return sock


class Notifier:
    """Tells the service manager how the service is, by the datagrams of sd_notify; silent where nobody asked.

    Takes its variables out of `environ`: workers and what they start are not the service. A manager that does not
    listen is no error. One thread uses it.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._values = {name: environ.pop(name, "") for name in _NOTIFY_VARIABLES}
        self._address = _address(self._values["NOTIFY_SOCKET"])
        self.interval_s = self._interval_s()

    def _interval_s(self) -> float:
        """Return half of the time in which a sign of life is due, 0.0 when none is."""
        duration, pid = self._values["WATCHDOG_USEC"], self._values["WATCHDOG_PID"]
        if not self._address or not duration.isdecimal() or pid not in ("", str(os.getpid())):
            return 0.0
        return int(duration) / 2e6

    def variables(self) -> dict[str, str]:
        """Return the variables that a process which is to become the service needs in its environment."""
        # WATCHDOG_PID stays behind: it names this process, and without it any main process is meant.
        return {name: self._values[name] for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC") if self._values[name]}

    def ready(self, status: str = "") -> None:
        """Say that the service serves, after a start as after a reload."""
        self._send("READY=1", *_status(status))

    def reloading(self, status: str = "") -> None:
        """Say that a reload has begun; `ready` ends it."""
        # systemd takes a reload that it asked for as begun once this time stamp is later than its own.
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}", *_status(status))

    def stopping(self, status: str = "") -> None:
        """Say that the service has begun to stop."""
        self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(*_status(text))

    def watchdog(self) -> None:
        """Give a sign of life, due every `interval_s` seconds where that is not zero."""
        self._send("WATCHDOG=1")

    def main_pid(self, pid: int) -> None:
        """Say which process is the service from now on."""
        self._send(f"MAINPID={pid}")

    def _send(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_SEND_TIMEOUT_S)
                sock.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError as error:
            log.debug("the service manager was not reached: %s", error)


def _address(text: str) -> str | bytes:
    """Return the address of NOTIFY_SOCKET, empty for one that is not understood."""
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])
    if text and not text.startswith("/"):
        log.warning("NOTIFY_SOCKET is not used: %r is neither a path nor @ and an abstract name", text)
        return ""
    return text


def _status(text: str) -> tuple[str, ...]:
    """Return the line that shows `text`, none when it is empty."""
    return (f"STATUS={' '.join(text.split())}",) if text else ()
