"""The question behind choosing WSGI or ASGI: the same uploads to the same application, written once as each."""

import json
from dataclasses import dataclass

from benchmarks.cases import SETTINGS, Case, Kind

CLIENTS = tuple(int(setting) for setting in SETTINGS[Kind.CLAIM])

UPLOAD = json.dumps(
    {
        "station": "ridge-7",
        "readings": [
            {"quantity": quantity, "value": value + step / 10, "at": f"2026-01-02T03:0{step}:00+00:00"}
            for step in range(4)
            for quantity, value in (("temperature", 11.5), ("humidity", 62.0))
        ],
    }
).encode()


@dataclass(frozen=True)
class ClaimCase(Case):
    """One interface of the sensors example; its settings are how many clients upload at once."""

    remote_s: float = 0.02

    def request(self, host: str) -> bytes:
        """Return the bytes of one upload."""
        head = f"POST /uploads HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(UPLOAD)}\r\n\r\n".encode() + UPLOAD

    def is_right(self, status: int, body: bytes) -> bool:
        """Tell whether an answer says that this interface stored all readings."""
        if status != 201:
            return False
        answer = json.loads(body)
        return answer["interface"] == self.interface.upper() and answer["readings"] == UPLOAD.count(b"quantity")


THREADS = ("trilithon-1", "trilithon-8", "trilithon-64")

CLAIM_CASES: tuple[ClaimCase, ...] = (
    ClaimCase(
        name="claim-wsgi",
        title="Sensor uploads: database writes and a remote call of 20 ms each, WSGI",
        interface="wsgi",
        app="sensors.wsgi:app",
        kind=Kind.CLAIM,
        servers=THREADS,
        extras=THREADS,
    ),
    ClaimCase(
        name="claim-asgi",
        title="Sensor uploads: database writes and a remote call of 20 ms each, ASGI",
        interface="asgi",
        app="sensors.asgi:app",
        kind=Kind.CLAIM,
        servers=("trilithon",),
    ),
    ClaimCase(
        name="claim-slow-wsgi",
        title="Sensor uploads with a remote call of 1 s each, WSGI",
        interface="wsgi",
        app="sensors.wsgi:app",
        kind=Kind.CLAIM,
        servers=THREADS[-1:],
        extras=THREADS[-1:],
        remote_s=1.0,
    ),
    ClaimCase(
        name="claim-slow-asgi",
        title="Sensor uploads with a remote call of 1 s each, ASGI",
        interface="asgi",
        app="patient_sensors:app",
        kind=Kind.CLAIM,
        servers=("trilithon",),
        remote_s=1.0,
    ),
)
