"""The part of systemd in a test: sockets that it hands over, and the datagrams that it hears from a service."""

import array
import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
import time

DEADLINE_S = 40.0
CREDENTIALS = struct.Struct("3i")

# Becomes the program after it has put the sockets where systemd puts them; the process id stays the same.
ACTIVATE = """
import json, os, sys
fds, environ, command = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
for place, fd in enumerate(fds, 3):
    os.dup2(fd, place)
    os.close(fd)
os.environ.update({name: str(os.getpid()) if value == "own" else value for name, value in environ.items()})
os.execv(command[0], command)
"""


def activation(sockets, **environ):
    """Return the command that is to stand before a program's arguments, and the descriptors to pass.

    `sockets` have to stay open until the program has started. `environ` may change what it is told of them; the value
    "own" stands for the process id.
    """
    told = {"LISTEN_PID": "own", "LISTEN_FDS": str(len(sockets)), **environ}
    # Numbers far from those that they are to get.
    fds = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 60 + index) for index, sock in enumerate(sockets)]
    program = [sys.executable, "-m", "trilithon"]
    return [sys.executable, "-c", ACTIVATE, json.dumps(fds), json.dumps(told), *program], fds


class Manager:
    """Hears what services say on NOTIFY_SOCKET, and who said it."""

    def __init__(self, address):
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.heard = []

    def listen(self, deadline):
        """Take the next datagram in, as a dict of its lines with the sender's process id as `pid`."""
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))
        data, ancillary, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS.size))
        pid = CREDENTIALS.unpack(array.array("i", ancillary[0][2]).tobytes())[0]
        self.heard.append({**dict(line.split("=", 1) for line in data.decode().split("\n")), "pid": pid})
        return self.heard[-1]

    def wait_for(self, name):
        """Wait for the next datagram that has a line of that name, and return it."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                told = self.listen(deadline)
            except TimeoutError:
                raise AssertionError(f"{name} did not come; heard {self.heard}") from None
            if name in told:
                return told

    def close(self):
        """Hear no more."""
        self.sock.close()
        if not self.address.startswith("@"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.address)
