"""Stopping with open streams, sockets and polls: each is told in its way, and all is over inside one deadline."""

import asyncio
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.gateway.socket_client import TEXT, SocketClient, close_frame, frame
from tests.wire.client import Client
from trilithon.testing import serve

from .applications import lifespan, read_body, respond
from .pacing import stays_silent

pytestmark = pytest.mark.real

GRACE_S = 1.5
DEADLINE_S = 8.0
MANY = 200


class Visits:
    """An application of both interfaces whose paths say what they do; it counts what runs and notes how it ended.

    /stream and /deaf stream until they are told, or are not to be told; /sized streams with a declared length; /poll
    waits for news that never come; anything else answers once its body is there. Sockets echo; /deaf ones do not end.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.running = 0
        self.ends: dict[str, list[Any]] = {}

    def enter(self) -> None:
        """Count a call in."""
        with self.lock:
            self.running += 1
            self.lock.notify_all()

    def leave(self, path: str, how: Any) -> None:
        """Count a call out and note how it ended, and when."""
        with self.lock:
            self.running -= 1
            self.ends.setdefault(path, []).append((how, time.monotonic()))
            self.lock.notify_all()

    def wait_running(self, count: int) -> None:
        """Wait until so many calls run."""
        with self.lock:
            assert self.lock.wait_for(lambda: self.running == count, DEADLINE_S), f"{self.running} calls run"

    def wait_ends(self, path: str, count: int = 1) -> list[Any]:
        """Wait until so many calls of `path` have ended, and return how and when."""
        with self.lock:
            assert self.lock.wait_for(lambda: len(self.ends.get(path, ())) >= count, DEADLINE_S), self.ends
            return self.ends[path]

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        self.enter()
        how: Any = "nothing"
        try:
            how = await (self.socket if scope["type"] == "websocket" else self.request)(scope["path"], receive, send)
        except BaseException as error:
            how = "OSError" if isinstance(error, OSError) else type(error).__name__
            raise
        finally:
            self.leave(scope["path"], how)
        return None

    async def socket(self, path: str, receive: Any, send: Any) -> Any:
        await receive()
        if path != "/undecided":
            await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
        if path == "/deaf":
            await asyncio.Event().wait()
        return event["code"]

    async def request(self, path: str, receive: Any, send: Any) -> Any:
        if await read_body(receive) is None:
            return "broken off"
        if path == "/poll":
            return (await receive())["type"]
        if path in ("/stream", "/sends", "/deaf", "/sized", "/polite"):
            headers = [(b"content-length", b"1000000")] if path == "/sized" else []
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"event", "more_body": True})
            if path in ("/stream", "/polite"):
                event = await receive()
                if path == "/polite":
                    await send({"type": "http.response.body", "body": b"good bye"})
                    return "done"
                return event["type"]
            while path == "/sends":
                await asyncio.sleep(0.02)
                await send({"type": "http.response.body", "body": b"event", "more_body": True})
            await asyncio.Event().wait()
        await respond(send, b"done")
        return "done"

    def wsgi(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        self.enter()
        if path != "/stream":
            environ["wsgi.input"].read()
            self.leave(path, "done")
            start_response("200 OK", [("Content-Length", "4")])
            return [b"done"]
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return self.events()

    def events(self) -> Iterator[bytes]:
        """Stream until closed."""
        try:
            while True:
                yield b"event"
                time.sleep(0.02)
        finally:
            self.leave("/stream", "closed")


def get(site: Any, path: str) -> Client:
    """Open a connection and send a request."""
    client = Client(site.host, site.port)
    client.may_be_reset = True
    client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
    return client


def upload(site: Any, *, expects: bool = False) -> Client:
    """Open a connection and send a request whose last byte is missing; behind WSGI only one that expects is called."""
    client = Client(site.host, site.port)
    line = b"Expect: 100-continue\r\n" if expects else b""
    client.send(b"POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n%b\r\n" % line, b"" if expects else b"x")
    return client


def begin(client: Client) -> None:
    """Wait for the first event of a stream."""
    while b"event" not in client.received:
        client.receive_some()


def stop(site: Any) -> float:
    """Begin the stop and return when that was."""
    site.server.stop()
    return time.monotonic()


@pytest.mark.spec("WS-SHUT-01", "A-WSC-04", "A-WSC-12", "A-DISC-01", "A-DISC-12", "H1-CON-10")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_two_hundred_of_each_are_told_and_plain_requests_finish(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    visits = Visits()
    with ExitStack() as stack:
        with serve(visits.asgi, loop=loop, stream_grace_s=GRACE_S, graceful_timeout_s=20.0) as site:
            streams = [stack.enter_context(get(site, "/stream")) for _ in range(MANY)]
            for client in streams:
                begin(client)
            sockets = [stack.enter_context(SocketClient(site)) for _ in range(MANY)]
            uploads = [stack.enter_context(upload(site)) for _ in range(20)]
            visits.wait_running(2 * MANY + 20)
            stopped = stop(site)
            # Within the grace all of them live.
            sockets[0].send(frame(TEXT, "still here"))
            sockets[0].expect((TEXT, "still here"))
            assert stays_silent(streams[0], 0.3)
            assert visits.ends == {}
            for client in sockets:
                client.expect_close(1012)
                client.send(close_frame(1012))
                client.expect_end(within_s=3.0)
            told = [*visits.wait_ends("/", MANY), *visits.wait_ends("/stream", MANY)]
            assert [how for how, _ in told] == [1012] * MANY + ["http.disconnect"] * MANY
            assert all(0.9 * GRACE_S < when - stopped < GRACE_S + 4.0 for _, when in told)
            for client in streams:
                client.to_end()
            # What was told to nobody finishes in peace.
            for client in uploads:
                assert not client.received
                client.send(b"y")
                assert client.replies(["POST"])[0].body == b"done"
        assert time.monotonic() - stopped < 8.0
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.spec("WS-SHUT-01", "A-DISC-06")
def test_a_stream_that_only_sends_meets_an_os_error(caplog: pytest.LogCaptureFixture) -> None:
    visits = Visits()
    with serve(visits.asgi, stream_grace_s=0.2, graceful_timeout_s=20.0) as site, get(site, "/sends") as client:
        begin(client)
        stopped = stop(site)
        assert visits.wait_ends("/sends")[0][0] == "OSError"
        client.to_end()
    assert time.monotonic() - stopped < 8.0
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.spec("WS-SHUT-01", "A-RESP-10")
def test_a_stream_that_is_told_may_end_well() -> None:
    visits = Visits()
    with serve(visits.asgi, stream_grace_s=0.2, graceful_timeout_s=20.0) as site, get(site, "/polite") as client:
        begin(client)
        stop(site)
        (reply,) = client.replies([])
        assert reply.body == b"eventgood bye"
        assert visits.wait_ends("/polite")[0][0] == "done"


@pytest.mark.spec("WS-SHUT-01")
def test_a_grace_of_zero_tells_all_at_once() -> None:
    visits = Visits()
    with (
        serve(visits.asgi, stream_grace_s=0.0, graceful_timeout_s=20.0) as site,
        get(site, "/stream") as stream,
        SocketClient(site) as client,
    ):
        begin(stream)
        stopped = stop(site)
        client.expect_close(1012)
        client.send(close_frame(1012))
        client.expect_end()
        assert visits.wait_ends("/")[0][0] == 1012
        assert visits.wait_ends("/stream")[0][0] == "http.disconnect"
    assert time.monotonic() - stopped < 2.5


@pytest.mark.spec("WS-SHUT-01", "WS-CLS-07")
def test_who_does_not_answer_the_close_is_waited_for_only_so_long() -> None:
    visits = Visits()
    options = {"stream_grace_s": 0.0, "graceful_timeout_s": 20.0, "ws_close_timeout_s": 0.5}
    with ExitStack() as stack:
        with serve(visits.asgi, **options) as site:
            sockets = [stack.enter_context(SocketClient(site)) for _ in range(20)]
            stopped = stop(site)
            for client in sockets:
                client.expect_close(1012)
                client.expect_end(within_s=5.0)
        assert 0.4 < time.monotonic() - stopped < 8.0
    assert [how for how, _ in visits.ends["/"]] == [1012] * 20


@pytest.mark.spec("WS-SHUT-01", "A-DISC-12")
def test_what_ends_within_the_grace_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    visits = Visits()
    with serve(visits.asgi, stream_grace_s=10.0, graceful_timeout_s=20.0) as site, SocketClient(site) as client:
        visits.wait_running(1)
        stopped = stop(site)
        client.send(frame(TEXT, "hello"))
        client.expect((TEXT, "hello"))
        client.shake(4000)
        assert visits.wait_ends("/")[0][0] == 4000
    assert time.monotonic() - stopped < 8.0
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.spec("WS-SHUT-01", "A-WSH-15", "A-WSC-04")
def test_an_undecided_socket_is_refused() -> None:
    visits = Visits()
    handshake = (
        b"GET /undecided HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with (
        serve(visits.asgi, stream_grace_s=0.2, graceful_timeout_s=20.0) as site,
        Client(site.host, site.port) as client,
    ):
        client.send(handshake)
        visits.wait_running(1)
        stopped = stop(site)
        (reply,) = client.replies([])
        assert reply.status == 503
        assert visits.wait_ends("/undecided")[0][0] == 1006
    assert time.monotonic() - stopped < 8.0


@pytest.mark.spec("WS-SHUT-01", "H1-CON-10")
def test_a_handshake_behind_a_running_request_is_not_begun() -> None:
    visits = Visits()
    handshake = (
        b"GET /undecided HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with serve(visits.asgi, stream_grace_s=0.2, graceful_timeout_s=20.0) as site, upload(site) as client:
        visits.wait_running(1)
        stop(site)
        assert stays_silent(client, 0.3)
        client.send(b"y" + handshake)
        replies = client.replies(["POST"])
        assert [reply.status for reply in replies] in ([200], [200, 503])
        assert "/undecided" not in visits.ends


@pytest.mark.spec("WS-SHUT-01", "WS-CLS-08", "H1-CON-10")
def test_what_does_not_end_is_cut_at_the_deadline_and_named(caplog: pytest.LogCaptureFixture) -> None:
    visits = Visits()
    with ExitStack() as stack:
        options = {"stream_grace_s": 0.2, "graceful_timeout_s": 1.0, "ws_close_timeout_s": 30.0}
        with serve(visits.asgi, **options) as site:
            clients = [stack.enter_context(get(site, path)) for path in ("/deaf", "/sized", "/poll") for _ in range(3)]
            for client in clients[:6]:
                begin(client)
            sockets = [stack.enter_context(SocketClient(site, path)) for path in ("/deaf", "/mute")]
            visits.wait_running(11)
            stopped = stop(site)
        assert 0.8 < time.monotonic() - stopped < 8.0
        for client in clients:
            client.to_end()
        for socket_client in sockets:
            socket_client.expect_close(1012)
            assert socket_client.next() is None
    assert [how for how, _ in visits.ends["/deaf"]] == ["CancelledError"] * 4
    assert [how for how, _ in visits.ends["/sized"]] == ["CancelledError"] * 3
    assert {how for how, _ in visits.ends["/poll"]} <= {"CancelledError", "http.disconnect"}
    assert len(visits.ends["/poll"]) == 3
    assert visits.ends["/mute"][0][0] == 1012
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([line for line in warnings if "/deaf" in line]) == 4, warnings
    assert len([line for line in warnings if "/sized" in line]) == 3, warnings
    assert len([line for line in warnings if "/poll" in line]) == 3, warnings


@pytest.mark.spec("H1-CON-10")
@pytest.mark.parametrize("threads", [1, 8])
def test_generators_of_wsgi_are_closed_after_the_grace(threads: int, caplog: pytest.LogCaptureFixture) -> None:
    visits = Visits()
    with ExitStack() as stack:
        with serve(visits.wsgi, threads=threads, stream_grace_s=GRACE_S, graceful_timeout_s=20.0) as site:
            # One thread is busy with one stream; of several, one is left for the upload.
            streams = [stack.enter_context(get(site, "/stream")) for _ in range(max(threads - 1, 1))]
            for client in streams:
                begin(client)
            uploads = [stack.enter_context(upload(site, expects=True)) for _ in range(1 if threads > 1 else 0)]
            visits.wait_running(threads)
            stopped = stop(site)
            ends = visits.wait_ends("/stream", len(streams))
            assert all(0.9 * GRACE_S < when - stopped < GRACE_S + 4.0 for _, when in ends)
            for client in streams:
                client.to_end()
                assert not bytes(client.received).endswith(b"\r\n0\r\n\r\n")
            for client in uploads:
                client.send(b"xy")
                assert client.replies(["POST"])[-1].body == b"done"
        assert time.monotonic() - stopped < 10.0
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.spec("WS-SHUT-01", "H1-CON-10")
def test_both_interfaces_stop_together() -> None:
    visits = Visits()
    with ExitStack() as stack:
        mounts = {"/asgi": visits_below(visits, "/asgi")}
        with serve(visits.wsgi, mounts=mounts, threads=8, stream_grace_s=0.3, graceful_timeout_s=20.0) as site:
            streams = [stack.enter_context(get(site, path)) for path in ("/stream", "/asgi/stream") for _ in range(4)]
            for client in streams:
                begin(client)
            client = stack.enter_context(SocketClient(site, "/asgi/socket"))
            stopped = stop(site)
            client.expect_close(1012)
            client.send(close_frame(1012))
            client.expect_end()
            for stream in streams:
                stream.to_end()
        assert time.monotonic() - stopped < 10.0
    assert visits.ends["/socket"][0][0] == 1012
    assert sorted(how for how, _ in visits.ends["/stream"]) == ["closed"] * 4 + ["http.disconnect"] * 4


def visits_below(visits: Visits, prefix: str) -> Any:
    """The ASGI application of `visits`, for a mount: paths without the prefix."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await visits.asgi({**scope, "path": scope.get("path", "").removeprefix(prefix)}, receive, send)

    return app


SERVER = """
    import sys
    import trilithon
    from tests.net.test_streams_stopping import Visits

    options = {"bind": ["fd:" + sys.argv[2]], "access_log": "off", "threads": 4}
    options |= {"stream_grace_s": float(sys.argv[3]), "graceful_timeout_s": float(sys.argv[4])}
    sys.exit(trilithon.run(getattr(Visits(), sys.argv[1]), **options))
"""


class Process:
    """A server in a process of its own, reached like a site."""

    def __init__(self, interface: str, grace_s: float, deadline_s: float) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            self.host, self.port = listener.getsockname()
            arguments = [interface, str(listener.fileno()), str(grace_s), str(deadline_s)]
            self.process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(SERVER), *arguments],
                pass_fds=[listener.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )

    def end(self, within_s: float) -> tuple[float, str]:
        """Wait for the end; return the seconds that took and the log."""
        begun = time.monotonic()
        log = self.process.communicate(timeout=within_s)[1]
        return time.monotonic() - begun, log


@pytest.fixture
def start() -> Iterator[Any]:
    """Start processes that end with the test."""
    processes: list[Process] = []

    def starter(*arguments: Any) -> Process:
        processes.append(Process(*arguments))
        return processes[-1]

    yield starter
    for each in processes:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


@pytest.mark.spec("WS-SHUT-01", "H1-CON-10")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_hundreds_of_streams_inside_the_deadline(start: Any, number: int) -> None:
    server = start("asgi", 0.3, 15.0)
    with ExitStack() as stack:
        streams = [stack.enter_context(get(server, "/stream")) for _ in range(MANY)]
        for client in streams:
            begin(client)
        sockets = [stack.enter_context(SocketClient(server)) for _ in range(MANY)]
        waiting = stack.enter_context(upload(server))
        sockets[0].expect_alive()
        server.process.send_signal(number)
        for each in sockets:
            each.expect_close(1012)
            each.send(close_frame(1012))
        waiting.send(b"y")
        assert waiting.replies(["POST"])[0].body == b"done"
        took_s, log = server.end(14.0)
        assert took_s < 9.0
        assert server.process.returncode == 0, log
        assert "WARNING" not in log and "ERROR" not in log, log
        for client in streams:
            client.to_end()


@pytest.mark.spec("WS-SHUT-01", "H1-CON-10")
def test_a_signal_cuts_what_is_deaf_and_the_log_names_it(start: Any) -> None:
    server = start("asgi", 0.2, 1.0)
    with ExitStack() as stack:
        streams = [stack.enter_context(get(server, "/deaf")) for _ in range(5)]
        for client in streams:
            begin(client)
        sockets = [stack.enter_context(SocketClient(server, "/mute")) for _ in range(5)]
        sockets[0].expect_alive()
        server.process.send_signal(signal.SIGTERM)
        took_s, log = server.end(10.0)
        assert 0.5 < took_s < 9.0
        assert server.process.returncode == 0, log
        assert len([line for line in log.splitlines() if "/deaf" in line and "WARNING" in line]) == 5, log


@pytest.mark.spec("H1-CON-10")
def test_a_signal_ends_generators_of_wsgi(start: Any) -> None:
    server = start("wsgi", 0.3, 15.0)
    with ExitStack() as stack:
        streams = [stack.enter_context(get(server, "/stream")) for _ in range(4)]
        for client in streams:
            begin(client)
        server.process.send_signal(signal.SIGTERM)
        took_s, log = server.end(10.0)
        assert 0.2 < took_s < 9.0
        assert server.process.returncode == 0, log
        assert "ERROR" not in log, log
