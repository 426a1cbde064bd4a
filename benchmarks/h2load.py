"""Put load on a server with h2load, ask it once over HTTP/2 with nghttp, and read what they counted."""

import dataclasses
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.load import HOST, LoadError, hold_right, run_load

CIPHER = "TLS_AES_256_GCM_SHA384"
"""The one cipher offered: some servers choose by their own preference, some by the client's, and costs differ."""

STATISTICS = b"***** Statistics *****"
WIDE_WINDOWS = ("--window-bits=30", "--connection-window-bits=30")
"""What h2load opens by itself: an answer is never held up by its reader."""

FIRST_REQUESTS = 1024
WARM_S = 0.4
ALLOWANCE = 5
"""A load may take so many times what it should; a rate that was found under load is met again within that."""

COUNTS = re.compile(
    r"finished in .*, (?P<rate>[\d.]+) req/s.*\n"
    r"requests: .* (?P<done>\d+) done, .* (?P<failed>\d+) failed, (?P<errored>\d+) errored, (?P<late>\d+) timeout\n"
    r"status codes: \d+ 2xx, (?P<moved>\d+) 3xx, (?P<refused>\d+) 4xx, (?P<faulty>\d+) 5xx"
)
COUNTED = ("done", "failed", "errored", "late", "moved", "refused", "faulty")


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclass(frozen=True)
class H2load:
    """The clients of HTTP/2, the core they run on, and a directory for what they send and note."""

    h2load: str
    nghttp: str
    core: int | None
    scratch: Path

    def upload(self, case: Case) -> list[str]:
        """Return the words that make a client send the case's body."""
        if not case.post_bytes:
            return []
        path = self.scratch / f"upload-{case.post_bytes}"
        path.write_bytes(b"x" * case.post_bytes)
        return ["-d", str(path)]

    def sized(self, case: Case, port: int, seconds: float) -> Case:
        """Warm a server, and return the case with as many requests as should take it some seconds.

        h2load can be told a duration too, but then it does not always come to its end.
        """
        count = FIRST_REQUESTS
        for wanted_s in (WARM_S, seconds):
            figures = self.throughput(dataclasses.replace(case, requests=count), port, seconds)
            rate = figures["requests"] / figures["duration_us"] * 1e6
            count = max(case.connections * case.streams, round(rate * wanted_s))
        return dataclasses.replace(case, requests=count)

    def throughput(self, case: Case, port: int, seconds: float) -> dict[str, float]:
        """Make the case's requests as fast as its connections and streams allow, in about some seconds.

        The keys are those of the other drivers.
        """
        log = self.scratch / "requests.log"
        command = [self.h2load, f"-c{case.connections}", f"-m{case.streams}", *([] if case.is_http2 else ["--h1"])]
        command += [f"-n{case.requests}"]
        command += [f"--tls13-ciphers={CIPHER}", f"--log-file={log}", *self.upload(case)]
        command += [word for name, value in case.fields for word in ("-H", f"{name}: {value}")]
        log.unlink(missing_ok=True)
        printed = run_load([*command, case.url(f"{HOST}:{port}")], self.core, b"", seconds * ALLOWANCE).decode()
        counted = COUNTS.search(printed)
        if counted is None:
            raise LoadError("h2load printed no result")
        if case.is_http2 and case.is_tls and "Application protocol: h2\n" not in printed:
            raise LoadError("does not choose HTTP/2")
        rate = float(counted["rate"])
        done, failed, errored, late, *refused = (int(counted[name]) for name in COUNTED)
        times_ms = sorted(int(line.rsplit("\t", 1)[1]) / 1000 for line in log.read_text().splitlines())
        return {
            "requests": done - failed,
            "duration_us": done / rate * 1e6 if rate else seconds * 1e6,
            "refused": sum(refused),
            "broken": failed + errored,
            "timed_out": late,
            "p50_ms": quantile(times_ms, 0.5) if times_ms else 0.0,
            "p99_ms": quantile(times_ms, 0.99) if times_ms else 0.0,
            "p999_ms": quantile(times_ms, 0.999) if times_ms else 0.0,
            "max_ms": times_ms[-1] if times_ms else 0.0,
        }

    def ask_once(self, case: Case, port: int, timeout_s: float) -> None:
        """Ask once and hold the answer to what the case says is right; OSError while nobody listens."""
        socket.create_connection((HOST, port), timeout=timeout_s).close()
        words = ["--stat", "--no-verify-peer", *WIDE_WINDOWS, f"--timeout={timeout_s:.0f}", *self.upload(case)]
        words += [word for name, value in case.fields for word in ("-H", f"{name}: {value}")]
        printed = run_load([self.nghttp, *words, case.url(f"{HOST}:{port}")], self.core, b"", timeout_s)
        body, _, statistics = printed.rpartition(STATISTICS)
        columns = statistics.decode(errors="replace").splitlines()[-1].split()
        if len(columns) < 6 or not columns[4].isdigit():
            raise LoadError("does not answer over HTTP/2")
        hold_right(case, int(columns[4]), body)
