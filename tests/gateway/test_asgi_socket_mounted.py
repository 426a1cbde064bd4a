"""Sockets that do not come in at the loop: mounted beside WSGI, behind plain requests, in old applications."""

import time
from typing import Any

import pytest
from asgi_apps import Gate, both_loops
from socket_apps import accepted, message, sockets_only, told
from socket_client import BINARY, TEXT, SocketClient, frame
from upgrade import check_opened, upgrade
from wire_client import Wire, request

from trilithon.testing import serve

pytestmark = pytest.mark.real


@sockets_only
async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back what comes until the end."""
    await accepted(receive, send)
    while not isinstance(found := told(await receive()), tuple):
        await send(message(found))


def plain(environ: Any, start_response: Any) -> list[bytes]:
    """Answer from a thread."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"plain"]


@both_loops
@pytest.mark.spec("A-WSH-14", "WS-HS-16")
@pytest.mark.parametrize("count", [1, 40, 3000])
def test_frames_sent_with_the_handshake_move_with_their_connection(count: int, loop: str) -> None:
    early = b"".join(frame(TEXT, f"{number}") for number in range(count))
    with (
        serve(plain, mounts={"/live": echo}, loop=loop, threads=3) as site,
        SocketClient(site, "/live/", early=early) as client,
    ):
        client.expect(*[(TEXT, f"{number}") for number in range(count)])
        client.send(frame(BINARY, b"x" * 300_000))
        client.expect((BINARY, b"x" * 300_000))
        client.shake()


@both_loops
@pytest.mark.spec("A-WSH-03", "H1-CON-03")
def test_a_handshake_may_be_pipelined_behind_requests_of_threads(loop: str) -> None:
    with serve(plain, mounts={"/live": echo}, loop=loop, threads=3) as site, Wire(site) as wire:
        wire.send(request("/1") + request("/2") + upgrade("/live") + frame(TEXT, "hello"))
        assert [wire.answer().body for _ in range(2)] == [b"plain", b"plain"]
        check_opened(wire.head())
        assert wire.exactly(7) == b"\x81\x05hello"


@both_loops
@pytest.mark.spec("WS-BP-01", "A-WSM-08")
def test_a_thread_that_blocks_holds_up_no_socket(loop: str) -> None:
    began, go_on = Gate(), Gate()

    def slow(environ: Any, start_response: Any) -> list[bytes]:
        began.open()
        go_on.wait()
        return plain(environ, start_response)

    with (
        serve(slow, mounts={"/live": echo}, loop=loop, threads=1) as site,
        SocketClient(site, "/live") as client,
        Wire(site) as wire,
    ):
        wire.get("/slow")
        began.wait()
        begun = time.monotonic()
        for _ in range(20):
            client.send(frame(TEXT, "hello"))
            client.expect((TEXT, "hello"))
        assert time.monotonic() - begun < 1.0
        go_on.open()
        assert wire.answer().body == b"plain"
        client.shake()


@both_loops
@pytest.mark.spec("A-CORE-02", "A-WSH-01")
def test_an_application_of_asgi_2_may_open_sockets(loop: str) -> None:
    class Application:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        async def __call__(self, receive: Any, send: Any) -> None:
            await echo(self.scope, receive, send)

    with serve(Application, loop=loop) as site, SocketClient(site) as client:
        client.send(frame(TEXT, "hello"))
        client.expect((TEXT, "hello"))
        client.shake()


@pytest.mark.spec("A-WSH-03", "WS-KA-04")
@pytest.mark.parametrize("options", [{"max_keep_alive_requests": 1}, {"keep_alive_timeout_s": 0.1}])
def test_what_is_about_requests_does_not_matter_to_sockets(options: Any) -> None:
    with serve(echo, **options) as site, SocketClient(site) as client:
        for _ in range(3):
            client.send(frame(TEXT, "hello"))
            client.expect((TEXT, "hello"))
        client.shake()
