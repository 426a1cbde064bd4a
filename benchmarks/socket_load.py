"""Put WebSockets on a server with the C client, which says when its sockets are open and waits to be told to begin."""

import contextlib
import json
import select
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import LoadError
from benchmarks.process import end, pinned
from benchmarks.socket_cases import SocketCase

OPENING_TIMEOUT_S = 60.0
OVERRUN_S = 30.0


@dataclass
class Sockets:
    """The running client of one load."""

    process: subprocess.Popen[bytes]

    def hear(self, timeout_s: float) -> str:
        """Return the next line the client says."""
        pipe = self.process.stdout
        assert pipe
        # One line at a time is all it says before it waits again, so nothing can lie unread in the pipe's buffer.
        if not select.select([pipe], [], [], timeout_s)[0]:
            raise LoadError(f"the load says nothing for {timeout_s:.0f} s")
        line = pipe.readline().decode(errors="replace").strip()
        if line != "ready" and not line.startswith("{"):
            raise LoadError(line.removeprefix("sockets: ") or "the load client failed")
        return line

    def load(self, seconds: float) -> dict[str, float]:
        """Let the client begin and return its figures; its sockets stay open."""
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        figures = json.loads(self.hear(seconds + OVERRUN_S))
        for fault in ("wrong", "failed", "unanswered"):
            if figures[fault]:
                raise LoadError(f"{figures[fault]:,} sockets or answers {fault} after {figures['messages']:,} messages")
        return figures


@dataclass(frozen=True)
class SocketDriver:
    """The client program, the core it runs on, and a directory for the messages it sends."""

    program: Path
    core: int | None
    scratch: Path

    @contextlib.contextmanager
    def opened(self, case: SocketCase, port: int, seconds: float) -> Iterator[Sockets]:
        """Open the case's sockets for the length of the block; in CHURN they come and go during the load."""
        payload = self.scratch / "payload"
        payload.write_bytes(case.payload)
        amount = case.cycles or seconds
        command = [str(self.program), case.mode.value, str(port), str(case.connections), str(amount), case.wording]
        process = subprocess.Popen(
            pinned([*command, str(payload)], self.core),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with process:
            try:
                sockets = Sockets(process)
                sockets.hear(OPENING_TIMEOUT_S)
                yield sockets
            finally:
                end(process)
