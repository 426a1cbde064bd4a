"""httpx, urllib3 and curl behind one small interface, so that every framework test runs through all of them."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
import urllib3

TIMEOUT_S = 30.0


@dataclass
class Reply:
    """What came back; field names are lower-case, the values of one name in order."""

    status: int
    fields: dict[str, list[str]]
    body: bytes

    def one(self, name: str) -> str:
        """Return the value of the only field called `name`."""
        (value,) = self.fields[name.lower()]
        return value

    @property
    def text(self) -> str:
        """Return the body as UTF-8 text."""
        return self.body.decode()


class Client(Protocol):
    """What every client of the tests can do."""

    def request(
        self, method: str, url: str, body: bytes | None = None, fields: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request and return its answer, redirects not followed."""
        ...

    def upload(self, url: str, filename: str, content: bytes) -> Reply:
        """Post `content` as the file `file` of a multipart form that also has note=hello."""
        ...

    def close(self) -> None:
        """Close what is open; idempotent."""
        ...


def _gather(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name.lower(), []).append(value)
    return fields


class Httpx:
    """httpx with one connection pool."""

    http2 = False

    def __init__(self) -> None:
        # httpx asks for compression by itself; the tests compare what was sent.
        self.client = httpx.Client(
            http1=not self.http2,
            http2=self.http2,
            timeout=TIMEOUT_S,
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
        )

    def request(
        self, method: str, url: str, body: bytes | None = None, fields: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request; cookies are not kept between requests."""
        return self._reply(self.client.request(method, url, content=body, headers=dict(fields or {})))

    def upload(self, url: str, filename: str, content: bytes) -> Reply:
        """Post a multipart form."""
        files = {"file": (filename, content, "application/octet-stream")}
        return self._reply(self.client.post(url, files=files, data={"note": "hello"}))

    def _reply(self, response: httpx.Response) -> Reply:
        self.client.cookies.clear()
        return Reply(response.status_code, _gather(iter(response.headers.multi_items())), response.content)

    def close(self) -> None:
        """Close the pool."""
        self.client.close()


class Httpx2(Httpx):
    """httpx over HTTP/2, with prior knowledge."""

    http2 = True


class Urllib3:
    """urllib3 with one connection pool."""

    def __init__(self) -> None:
        self.pool = urllib3.PoolManager(timeout=TIMEOUT_S, retries=False)

    def request(
        self, method: str, url: str, body: bytes | None = None, fields: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request."""
        return self._reply(self.pool.request(method, url, body=body, headers=dict(fields or {}), redirect=False))

    def upload(self, url: str, filename: str, content: bytes) -> Reply:
        """Post a multipart form."""
        form = {"file": (filename, content, "application/octet-stream"), "note": "hello"}
        return self._reply(self.pool.request("POST", url, fields=form))

    def _reply(self, response: urllib3.BaseHTTPResponse) -> Reply:
        return Reply(response.status, _gather(iter(response.headers.iteritems())), response.data)

    def close(self) -> None:
        """Close the pool."""
        self.pool.clear()


class Curl:
    """curl as a process of its own for each request."""

    options: tuple[str, ...] = ()

    def request(
        self, method: str, url: str, body: bytes | None = None, fields: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request."""
        arguments = ["--head"] if method == "HEAD" else ["--request", method]
        for name, value in (fields or {}).items():
            arguments += ["--header", f"{name}: {value}"]
        if body is not None:
            arguments += ["--data-binary", "@-"]
        return self._run(url, arguments, body)

    def upload(self, url: str, filename: str, content: bytes) -> Reply:
        """Post a multipart form."""
        form = f"file=@-;filename={filename};type=application/octet-stream"
        return self._run(url, ["--form", form, "--form", "note=hello"], content)

    def _run(self, url: str, arguments: list[str], stdin: bytes | None) -> Reply:
        with tempfile.TemporaryDirectory() as directory:
            head, output = Path(directory, "head"), Path(directory, "body")
            output.touch()
            command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(TIMEOUT_S)]
            command += ["--dump-header", str(head), "--output", str(output), *self.options, *arguments, url]
            subprocess.run(command, input=stdin, check=True, timeout=TIMEOUT_S)
            return self._reply(head.read_bytes(), output.read_bytes() if "--head" not in arguments else b"")

    @staticmethod
    def _reply(head: bytes, body: bytes) -> Reply:
        # Interim answers such as 100 come first; the last block is the final one.
        lines = head.decode("latin-1").strip().split("\r\n\r\n")[-1].split("\r\n")
        pairs = (line.partition(":") for line in lines[1:])
        return Reply(int(lines[0].split()[1]), _gather((name, value.strip()) for name, _, value in pairs), body)

    def close(self) -> None:
        """Nothing stays open between requests."""


class Curl2(Curl):
    """curl over HTTP/2, with prior knowledge."""

    options = ("--http2-prior-knowledge",)


CLIENTS = {"httpx": Httpx, "httpx-http2": Httpx2, "urllib3": Urllib3, "curl": Curl, "curl-http2": Curl2}
