"""Large files to many clients: bounded memory, no descriptor left open, and nobody else kept waiting."""

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.extension_client import H2Client, Http1Client, Way
from trilithon.testing import serve

from .tls_client import Trust

pytestmark = pytest.mark.real

DEADLINE_S = 10.0
LARGE = 64 * 1024 * 1024
WAYS = ["http1", "http1 tls", "h2", "h2 tls"]


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of this file."""
    return Trust(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, trust: Trust) -> Way:
    """Give each protocol, in the clear and over TLS."""
    return Way(request.param, trust)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Give a large file without a block on the disk, and see that nobody has it open in the end."""
    file = tmp_path / "large"
    file.touch()
    os.truncate(file, LARGE)
    yield file
    wait_for(lambda: not descriptors_of(file), "the descriptors to be closed")


def wait_for(holds: Any, what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def descriptors_of(path: Path) -> int:
    """Count the descriptors of this process that hold the file."""
    count = 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{entry}").startswith(str(path))
        except OSError:
            continue  # the listing's own
    return count


def resident_bytes() -> int:
    """Return the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def asgi_of(path: Path, sent: threading.Event | None = None) -> Any:
    """Return an application that sends the file in the way its path says; `sent` is set once it was handed over."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        sized = scope["path"] == "/zerocopysend"  # its parts end where the file does
        fields = [(b"content-length", b"%d" % LARGE)] if sized else []
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        if scope["path"] == "/pathsend":
            await send({"type": "http.response.pathsend", "path": str(path)})
            if sent is not None:
                sent.set()
        elif scope["path"] == "/zerocopysend":
            with path.open("rb") as file:
                for _ in range(64):
                    await send(
                        {
                            "type": "http.response.zerocopysend",
                            "file": file,
                            "count": LARGE // 64,
                            "more_body": True,
                        }
                    )
            await send({"type": "http.response.body"})
        else:
            await send({"type": "http.response.body", "body": b"quick"})

    return app


def wsgi_of(path: Path) -> Any:
    """Return an application that wraps the file."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/quick":
            return [b"quick"]
        return environ["wsgi.file_wrapper"](path.open("rb"))

    return app


SENDERS = {"/pathsend": asgi_of, "/zerocopysend": asgi_of, "/wrapper": wsgi_of}


@pytest.mark.spec("A-XPATH-01", "A-XZERO-02", "W-FILE-02", "A-RESP-11")
@pytest.mark.parametrize("target", SENDERS)
def test_clients_that_do_not_read_cost_little_memory(target: str, way: Way, path: Path) -> None:
    with way.serve(SENDERS[target](path)) as site:
        with way.client(site) as client:
            assert client.ask("/quick").body == b"quick"
        before = resident_bytes()
        clients = [way.client(site, receive_buffer_bytes=65536) for _ in range(12)]
        for client in clients:
            client.begin(target)
        wait_for(lambda: descriptors_of(path) >= len(clients), "all files to be open")
        with way.client(site) as client:
            assert client.ask("/quick").body == b"quick"
        assert resident_bytes() - before < LARGE // 2  # of the 768 MiB that were asked for
        for client in clients:
            client.socket.close()
        wait_for(lambda: not descriptors_of(path), "the descriptors to be closed")


@pytest.mark.spec("A-XPATH-01", "A-XZERO-03", "W-FILE-02")
@pytest.mark.parametrize("target", SENDERS)
def test_reset_streams_close_their_files(target: str, trust: Trust, path: Path) -> None:
    way = Way("h2", trust)
    with way.serve(SENDERS[target](path)) as site, way.client(site) as client:
        assert isinstance(client, H2Client)
        client.credits = False
        streams = [client.begin(target) for _ in range(8)]
        wait_for(lambda: descriptors_of(path) >= len(streams), "all files to be open")
        for stream_id in streams:
            client.connection.reset_stream(stream_id, 8)
        client.flush()
        wait_for(lambda: not descriptors_of(path), "the descriptors to be closed")
        client.credits = True
        client.connection.increment_flow_control_window(65535)
        client.flush()
        assert client.ask("/quick").body == b"quick"


@pytest.mark.spec("A-XPATH-04", "A-XZERO-02")
@pytest.mark.parametrize("target", ["/pathsend", "/zerocopysend"])
def test_a_file_that_shrinks_is_broken_off(target: str, way: Way, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sent = threading.Event()
    with way.serve(asgi_of(path, sent)) as site, way.client(site, receive_buffer_bytes=65536) as client:
        client.begin(target)
        wait_for(lambda: descriptors_of(path), "the file to be open")
        assert target != "/pathsend" or sent.wait(DEADLINE_S)
        os.truncate(path, 1000)
        answer = client.answer()
        assert (answer.status, answer.whole) == (200, False)
        assert len(answer.body) < LARGE
        wait_for(lambda: not descriptors_of(path), "the descriptors to be closed")
        with way.client(site) as other:
            assert other.ask("/quick").body == b"quick"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    # Parts that are opened behind the cut are short from the beginning, which is the application's fault.
    if target == "/pathsend" or warnings:
        assert warnings == [f"a response is broken off: {str(path)!r} became shorter while it was sent"]


@pytest.mark.spec("A-XPATH-01", "A-RESP-25")
def test_streams_take_turns_while_files_are_sent(trust: Trust, path: Path) -> None:
    way = Way("h2", trust)
    with way.serve(asgi_of(path)) as site, way.client(site) as client:
        assert isinstance(client, H2Client)
        turns = [(b"priority", b"i")]
        large = [client.begin("/pathsend", turns) for _ in range(3)]
        quick = [client.begin("/quick", turns) for _ in range(20)]
        for stream_id in quick:
            assert client.answer(stream_id).body == b"quick"
        assert not any(client.answers[stream_id].whole for stream_id in large)


@pytest.mark.spec("A-RESP-25")
@pytest.mark.parametrize("tls", [False, True])
def test_a_fast_reader_leaves_turns_to_the_others(tls: bool, trust: Trust, path: Path) -> None:
    # What a turn costs is measured in the loop's own processor time, which no other process can lengthen.
    turns: list[float] = []
    inner = asgi_of(path)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)
        before = time.thread_time()
        while len(turns) < 20_000 and descriptors_of(path):
            await asyncio.sleep(0)
            now = time.thread_time()
            turns.append(now - before)
            before = now

    with serve(app, **(trust.options if tls else {})) as site:
        command = ["curl", "--insecure", "--silent", "--http1.1", "--output", "/dev/null", f"{site.url}/pathsend"]
        assert subprocess.run(command, timeout=30, check=False).returncode == 0
    assert len(turns) > 20
    assert max(turns) < 0.1


@pytest.mark.spec("H1-CON-05")
def test_the_keep_alive_time_begins_when_the_client_has_read_its_file(trust: Trust, path: Path) -> None:
    size = 12_000_000
    os.truncate(path, size)
    way = Way("http1", trust)
    with (
        way.serve(asgi_of(path), keep_alive_timeout_s=0.3) as site,
        way.client(site, receive_buffer_bytes=65536) as client,
    ):
        assert isinstance(client, Http1Client)
        client.begin("/pathsend")
        assert client.until(b"\r\n\r\n")
        finish = time.monotonic() + 1.0
        while time.monotonic() < finish:  # slowly, for several times as long as a connection may be idle
            assert client.fill(len(client.buffer) + 50_000)
            time.sleep(0.02)
        assert len(client.buffer) < size
        answer = client.answer()
        assert (len(answer.body), answer.whole) == (size, True)
        assert client.ask("/quick").body == b"quick"
        assert client.receive() == b""
