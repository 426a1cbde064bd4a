"""What tests of an upgrade share: the steps of one, and an application that starts when the test lets it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

from service import until

# Written beside an application, this module blocks whoever imports it until the test opens the gate.
GATED = """
open("gate").read()
from pids import app, wsgi
"""


def upgrade(service, number=1, by=None):
    """Have a service upgraded, by the process `by`, and return the process id of the new program."""
    if by not in (None, service.pid):
        # Before that it refuses, for the program before it could still be the one that serves.
        service.wait_for(rf"\[{by}\] INFO in charge now|process {by} goes on alone")
    os.kill(by or service.pid, signal.SIGUSR2)
    return upgraded(service, number)


def upgraded(service, number=1):
    """Wait until the upgrade of that number is done, and return the process id of the new program."""
    found = int(service.wait_for(r"INFO upgraded: process (\d+) serves", number)[1])
    service.wait_for(rf"\[{found}\] INFO trilithon .* serves .* with \d+ worker")
    return found


def is_gone(pid):
    """Tell whether a process has ended; one that nobody has waited for yet has."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(") ")[2][0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_gone(*pids):
    """Wait until processes have ended, which need not be children of ours."""
    for pid in pids:
        until(lambda pid=pid: is_gone(pid), f"the end of process {pid}")


def end(service, pid, number=signal.SIGTERM):
    """Stop a program that is no child of the test, and wait until nothing of the service is left."""
    os.kill(pid, number)
    wait_gone(pid)
    service.end()


class Gate:
    """A named pipe that holds up whoever opens it for reading."""

    def __init__(self, directory):
        self.directory = directory
        self.path = str(directory / "gate")
        os.mkfifo(self.path)

    def put_up(self, write):
        """Have whoever imports the application from now on come by here first."""
        os.rename(self.directory / "pids.py", self.directory / "pids2.py")
        write({"pids.py": GATED.replace("pids", "pids2")})

    def wait_for_visitor(self):
        """Wait until somebody stands before the gate, and return the end that keeps it shut until it is closed."""
        return until(self.look, "somebody before the gate")

    def look(self):
        """Return the end to be closed when somebody has opened the other one, else None."""
        with contextlib.suppress(OSError):
            return os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        return None


def ask_unix(path):
    """Return the body of an answer over a Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n")
        data = b""
        while more := sock.recv(65536):
            data += more
    assert data.startswith(b"HTTP/1.1 200 "), data
    return data.partition(b"\r\n\r\n")[2].decode()


def ctl(directory, *arguments):
    """Run `trilithon ctl` and return its exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "trilithon", "ctl", "--socket", "control", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=50,
    )
    return done.returncode, done.stdout, done.stderr
