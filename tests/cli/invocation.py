"""A running command, its environment, and requests to it."""

import http.client
import os
import re
import signal
import socket
from pathlib import Path

from trilithon.foundation import errors

SOURCE = Path(errors.__file__).resolve().parents[2]


def environment(**variables):
    """Return the process's environment without options of ours, so that only the test's own count."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRILITHON_")}
    inherited.pop("DJANGO_SETTINGS_MODULE", None)
    # The build under test, wherever the command is started.
    inherited["PYTHONPATH"] = str(SOURCE)
    return {**inherited, "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1", **variables}


class Running:
    """A command that serves: its log as it comes, requests to it, its end."""

    def __init__(self, process):
        self.process = process
        self.log = ""

    def wait_for(self, pattern):
        """Read standard error until something matches; the test's own time-out is the deadline."""
        while not (match := re.search(pattern, self.log, re.M)):
            line = self.process.stderr.readline()
            if not line:
                break
            self.log += line
        if match:
            return match
        raise AssertionError(f"the command ended with {self.process.wait()} before {pattern!r}:\n{self.log}")

    def port(self, host="127.0.0.1"):
        """Wait for the start and return the port that was taken on `host`."""
        return int(self.wait_for(re.escape(host) + r"\]?:(\d+)")[1])

    def stop(self, number=signal.SIGTERM):
        """Send a signal, wait for the end and return the exit code; `log` is complete then."""
        self.process.send_signal(number)
        return self.end()

    def end(self):
        """Wait for the end and return the exit code."""
        self.log += self.process.stderr.read()
        return self.process.wait()


def fetch(address, path="/"):
    """GET `path` from `(host, port)` or the path of a Unix socket; returns status, fields and body."""
    with socket.socket(family(address)) as connection:
        connection.settimeout(20)
        connection.connect(address)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        with answer:
            return answer.status, dict(answer.getheaders()), answer.read().decode()


def family(address):
    """Return the family of sockets that reaches `address`."""
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
