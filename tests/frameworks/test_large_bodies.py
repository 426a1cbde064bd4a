"""200 MiB up and down, through WSGI and ASGI, while the memory of the server process stays bounded."""

import re
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import large_site
import pytest
import urllib3

pytestmark = pytest.mark.real

COUNT = 200
MAX_GROWTH_KIB = 48 * 1024
DEADLINE_S = 50.0


@dataclass
class Site:
    """A server process and where it listens."""

    url: str
    pid: int

    def peak_kib(self) -> int:
        """Return the most memory that the process has ever held."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1])


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Start the command line with a listening socket that is already open, so that no connection comes too early."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"large_site:{request.param}"
        command = [sys.executable, "-m", "trilithon", target, "--app-dir", str(Path(__file__).parent)]
        command += ["--bind", f"fd:{listener.fileno()}"]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            # Whatever the frameworks load with their first requests is no growth.
            assert httpx.get(f"{url}/download/2", trust_env=False, timeout=DEADLINE_S).status_code == 200
            assert httpx.post(f"{url}/upload", content=b"x" * 2_000_000, trust_env=False).status_code == 200
            yield Site(url, process.pid)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def expected() -> int:
    """Return the checksum of the whole."""
    return large_site.checksum(COUNT)


def upload_with_httpx(url: str) -> str:
    """Send without a length, so chunked."""
    return httpx.post(url, content=large_site.blocks(COUNT), trust_env=False, timeout=DEADLINE_S).text


def upload_with_curl(url: str) -> str:
    """Send from standard input with a length, and with Expect: 100-continue as curl does for large bodies."""
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--request", "POST", "--upload-file", "-"]
    command += ["--header", f"Content-Length: {COUNT * large_site.MIB}", "--header", "Transfer-Encoding:", url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout:
        for block in large_site.blocks(COUNT):
            process.stdin.write(block)
        process.stdin.close()
        answer = process.stdout.read()
    assert process.wait(DEADLINE_S) == 0
    return answer.decode()


def pieces_with_urllib3(url: str) -> Iterator[bytes]:
    """Give the body as it comes."""
    with urllib3.PoolManager(timeout=DEADLINE_S) as pool:
        response = pool.request("GET", url, preload_content=False)
        assert response.status == 200
        yield from response.stream(262_144)


def pieces_with_curl(url: str) -> Iterator[bytes]:
    """Give the body as it comes through a pipe."""
    process = subprocess.Popen(["curl", "--silent", "--noproxy", "*", url], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        yield from iter(lambda: process.stdout.read(262_144), b"")
    assert process.wait(DEADLINE_S) == 0


@pytest.mark.spec("W-INPUT-11", "W-INPUT-08")
@pytest.mark.parametrize("send", [upload_with_httpx, upload_with_curl])
def test_an_upload_in_bounded_memory(site: Site, send: object, expected: int) -> None:
    assert callable(send)
    before = site.peak_kib()
    assert send(f"{site.url}/upload") == f"{COUNT * large_site.MIB} {expected}"
    assert site.peak_kib() - before < MAX_GROWTH_KIB


@pytest.mark.spec("W-ITER-13")
@pytest.mark.parametrize("pieces", [pieces_with_urllib3, pieces_with_curl])
def test_a_download_in_bounded_memory(site: Site, pieces: object, expected: int) -> None:
    assert callable(pieces)
    before = site.peak_kib()
    value = size = 0
    for piece in pieces(f"{site.url}/download/{COUNT}"):
        value, size = zlib.crc32(piece, value), size + len(piece)
    assert (size, value) == (COUNT * large_site.MIB, expected)
    assert site.peak_kib() - before < MAX_GROWTH_KIB
