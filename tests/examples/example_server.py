"""An example served as its README says, in a process of its own, on a socket that outlives it for restarts."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 20
# Streams and sockets are told to end at once, so that stopping does not take the test's time.
QUICK_STOP = ["--stream-grace", "0", "--graceful-timeout", "5"]


class ExampleServer:
    """A server that may be stopped and started again; clients that come in between wait on the listening socket."""

    def __init__(self, arguments: list[str], variables: dict[str, str]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.arguments = arguments
        self.variables = variables
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start the server; it need not be ready yet, for the socket already listens."""
        assert self.process is None
        bound = ["--bind", f"fd:{self.listener.fileno()}", "--access-log", "off"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trilithon", "serve", *self.arguments, *QUICK_STOP, *bound],
            cwd=ROOT,
            env={**os.environ, **self.variables},
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[self.listener.fileno()],
        )

    def stop(self) -> None:
        """Stop the server as a service manager would, and see that it ended well."""
        process, self.process = self.process, None
        assert process is not None
        try:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, said
        assert "Traceback" not in said, said
        assert "WARNING" not in said, said

    def close(self) -> None:
        """Stop the server when it runs, and give the port back."""
        try:
            if self.process is not None:
                self.stop()
        finally:
            self.listener.close()
