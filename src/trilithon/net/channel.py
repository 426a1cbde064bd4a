"""A channel between two processes of one server: JSON messages over a socketpair, with descriptors on request."""

import array
import contextlib
import errno
import json
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

# Before a message stand its length and how many descriptors belong to it: the kernel may join one that has some to
# others that have none.
HEAD = struct.Struct("!IB")
# What is longer comes from no program of ours.
MAX_BYTES = 16 << 20
MAX_FDS = 64
FD_BYTES = array.array("i").itemsize
# Descriptors that are received are not for programs which the application starts.
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
READ_BYTES = 65536
# How long a message may wait for the other side to read; it reads nothing while it is stuck or stopped.
PATIENCE_MS = 1000


class Channel:
    """One end of a channel.

    Messages arrive whole and in order. Descriptors that come with a message are the receiver's to close.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.incoming = bytearray()
        self.fds: deque[int] = deque()
        self.ended = False

    @staticmethod
    def pair() -> "tuple[Channel, Channel]":
        """Return the two ends of a new channel."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return Channel(here), Channel(there)

    def fileno(self) -> int:
        """Return the descriptor to poll, -1 once closed."""
        return self.sock.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send a message, with copies of open descriptors; returns False when the other side is gone or stuck.

        Waits a second at most. A message that was sent in part ends the channel, for nothing could follow it.
        """
        body = json.dumps(message).encode()
        data = memoryview(HEAD.pack(len(body), len(fds)) + body)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = 0
        while sent < len(data):
            try:
                sent += self.sock.sendmsg([data[sent:]], rights)
                rights = []
            except (BlockingIOError, InterruptedError):
                if not self.wait_writable():
                    break
            except OSError:
                break
        if 0 < sent < len(data):
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        return sent == len(data)

    def wait_writable(self) -> bool:
        """Wait until the other side has made room; returns whether it has."""
        poller = select.poll()
        poller.register(self.sock, select.POLLOUT)
        return bool(poller.poll(PATIENCE_MS))

    def receive(self) -> list[tuple[Message, list[int]]]:
        """Return the messages that are there, each with its descriptors; raises EOFError when no more can come."""
        found: list[tuple[Message, list[int]]] = []
        while not self.ended:
            try:
                # Not by `recv_fds`, which forgets the flags before Python 3.12.
                data, rights, _, _ = self.sock.recvmsg(READ_BYTES, socket.CMSG_SPACE(MAX_FDS * FD_BYTES), CLOEXEC)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN, errno.EBADF):
                    raise
                data, rights = b"", []
            for _, _, numbers in rights:
                self.fds += array.array("i", numbers[: len(numbers) - len(numbers) % FD_BYTES])
            self.ended = not data
            self.incoming += data
            self.cut(found)
        if self.ended and not found:
            raise EOFError
        return found

    def cut(self, found: list[tuple[Message, list[int]]]) -> None:
        """Take the whole messages off what came."""
        while len(self.incoming) >= HEAD.size:
            length, count = HEAD.unpack_from(self.incoming)
            if length > MAX_BYTES:
                self.ended = True
                return
            end = HEAD.size + length
            if len(self.incoming) < end:
                return
            message = json.loads(bytes(self.incoming[HEAD.size : end]))
            del self.incoming[:end]
            found.append((message, [self.fds.popleft() for _ in range(count)]))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until something is there, the end included; returns False when the time is over first."""
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        return bool(poller.poll(None if timeout_s is None else timeout_s * 1000))

    def close(self) -> None:
        """Close this end; idempotent."""
        self.sock.close()
