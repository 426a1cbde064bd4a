"""A running `trilithon` with workers: its log as it comes, its processes, requests to it, its end."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from trilithon.foundation import errors

SOURCE = Path(errors.__file__).resolve().parents[2]
DEADLINE_S = 40.0
# The ways in which workers come to be, and the arguments for each.
WAYS = {"fork": (), "preload": ("--preload",), "spawn": ("--start-method", "spawn")}


def environment(**variables):
    """Return the process's environment without options of ours, so that only the test's own count."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRILITHON_")}
    # The build under test, wherever the command is started.
    inherited["PYTHONPATH"] = str(SOURCE)
    return {**inherited, "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1", **variables}


def restore_interrupt():
    """Let SIGINT end the process that is about to be started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Service:
    """A command in a process group of its own; a thread reads its standard error for ever, so that it never blocks."""

    def __init__(self, arguments, directory, pass_fds=(), command=None, **variables):
        self.process = subprocess.Popen(
            [*(command or [sys.executable, "-m", "trilithon"]), *arguments],
            cwd=directory,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            # A suite that a shell runs in the background has inherited SIGINT as ignored.
            preexec_fn=restore_interrupt,
            start_new_session=True,
        )
        self.pid = self.process.pid
        self.log = ""
        self.read_to = 0
        self.ended = False
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        """Take the log in as it comes."""
        stream = self.process.stderr
        while piece := os.read(stream.fileno(), 65536):
            with self.news:
                self.log += piece.decode(errors="replace")
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def wait_for(self, pattern, count=1):
        """Wait until the log has so many lines that match; returns the last match of them."""
        deadline = time.monotonic() + DEADLINE_S
        with self.news:
            while len(found := list(re.finditer(pattern, self.log, re.M))) < count:
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    raise AssertionError(f"{pattern!r} came {len(found)} times, not {count}, in:\n{self.log}")
                self.news.wait(left)
        return found[count - 1]

    def after(self, pattern):
        """Wait for a line behind those that earlier calls of this method found; returns the match."""
        deadline = time.monotonic() + DEADLINE_S
        with self.news:
            while not (match := re.compile(pattern, re.M).search(self.log, self.read_to)):
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    raise AssertionError(f"{pattern!r} did not come in:\n{self.log[self.read_to :]}")
                self.news.wait(left)
            self.read_to = match.end()
        return match

    def started(self):
        """Wait until it serves, and return itself."""
        self.port = int(self.after(r"://[^ ]*:(\d+)")[1])
        return self

    def get(self, path="/", timeout=20.0):
        """Return the status and the text of an answer, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def send(self, number):
        """Send a signal to the supervisor."""
        os.kill(self.pid, number)

    def children(self):
        """Return the process ids of the supervisor's children that live."""
        return children(self.pid)

    def stop(self, number=signal.SIGTERM):
        """Send a signal, wait for the end and return the exit code; the log is complete then."""
        self.process.send_signal(number)
        return self.end()

    def end(self):
        """Wait for the end and return the exit code."""
        code = self.process.wait(DEADLINE_S)
        # Workers hold the pipe as well, so its end says that they are gone too.
        self.reader.join(DEADLINE_S)
        assert not self.reader.is_alive(), f"somebody still holds standard error:\n{self.log}"
        return code

    def clean_up(self):
        """End whatever still runs: the process group was made for this service."""
        if self.process.poll() is None or not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join(DEADLINE_S)
        self.process.stderr.close()


def children(pid):
    """Return the process ids of the children of a process that live and are no zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = Path("/proc", entry, "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry))
    return sorted(found)


def is_alive(pid):
    """Tell whether a process runs; one whose parent has not yet taken note of its end does not."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def until(condition, what, deadline_s=DEADLINE_S):
    """Wait until a condition holds that no line of a log tells; returns its value."""
    deadline = time.monotonic() + deadline_s
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.01)
    return value
