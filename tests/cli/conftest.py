"""Run the command as a person would: a process of its own in a directory of its own."""

import signal
import subprocess
import sys

import pytest
from invocation import Running, environment


@pytest.fixture
def command(tmp_path):
    """Return a function that runs `trilithon` with arguments and variables, and gives code, output and errors."""

    def run(*arguments, **variables):
        return subprocess.run(
            [sys.executable, "-m", "trilithon", *arguments],
            cwd=tmp_path,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run


def restore_interrupt():
    """Let SIGINT end the process that is about to be started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def serving(tmp_path):
    """Return a function that starts `trilithon` and gives it as `Running`; whatever still runs is killed at the end."""
    started = []

    def start(*arguments, pass_fds=(), **variables):
        process = subprocess.Popen(
            [sys.executable, "-m", "trilithon", *arguments],
            cwd=tmp_path,
            env=environment(**variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
            # A suite that a shell runs in the background has inherited SIGINT as ignored.
            preexec_fn=restore_interrupt,
        )
        started.append(process)
        return Running(process)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()
