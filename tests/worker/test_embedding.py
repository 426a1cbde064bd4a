"""Trilithon inside other programs: a running loop, another thread, several servers, and the testing helpers."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from tests.gateway.raw_client import RawClient, fetch

import trilithon
from trilithon.foundation.errors import ConfigError
from trilithon.testing import serve

pytestmark = pytest.mark.real

DEADLINE_S = 10.0


def test_the_package_has_what_it_names_and_nothing_else():
    assert all(getattr(trilithon, name) for name in trilithon.__all__)
    with pytest.raises(AttributeError, match=r"^module 'trilithon' has no attribute 'serve'$"):
        _ = trilithon.serve


def wsgi_application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with the path."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi " + environ["PATH_INFO"].encode()]


async def asgi_application(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path, and support a lifespan."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b"asgi " + scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


APPLICATIONS = {"wsgi": wsgi_application, "asgi": asgi_application}
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


async def ask(port: int, path: str) -> bytes:
    """Send one request on the running loop and return the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), DEADLINE_S)
    writer.close()
    await writer.wait_closed()
    return answer


def options(**more: Any) -> trilithon.Options:
    """Make options that listen on a free port."""
    return trilithon.Options(bind=["127.0.0.1:0"], **more)


def run(loop: str, body: Coroutine[Any, Any, Any]) -> Any:
    """Run `body` on a new loop of the kind called `loop`."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(body)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", APPLICATIONS)
def test_a_server_inside_a_running_loop(kind: str, loop: str) -> None:
    async def body() -> None:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        server = trilithon.Server(APPLICATIONS[kind], options())
        await server.start()
        host, port = server.addresses[0]
        assert host == "127.0.0.1" and port > 0
        answers = await asyncio.gather(*[ask(port, f"/{number}") for number in range(10)])
        for number, answer in enumerate(answers):
            assert f"{kind} /{number}".encode() in answer
        # The loop belongs to its owner: signals are the owner's business.
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        await server.close()
        with pytest.raises(ConnectionError):
            await ask(port, "/")

    run(loop, body())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", APPLICATIONS)
def test_serve_runs_until_stop_from_any_thread(kind: str, loop: str) -> None:
    async def body() -> None:
        server = trilithon.Server(APPLICATIONS[kind], options())
        serving = asyncio.create_task(server.serve())
        while not (serving.done() or server.addresses):
            await asyncio.sleep(0.001)
        assert kind.encode() in await ask(server.addresses[0][1], "/")
        for _ in range(2):
            thread = threading.Thread(target=server.stop)
            thread.start()
            await asyncio.to_thread(thread.join)
        await asyncio.wait_for(serving, DEADLINE_S)
        server.stop()

    run(loop, body())


def test_the_owners_tasks_go_on_while_requests_are_served() -> None:
    async def body() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        server = trilithon.Server(asgi_application, options())
        await server.start()
        ticking = asyncio.create_task(tick())
        for _ in range(20):
            await ask(server.addresses[0][1], "/")
        ticking.cancel()
        await server.close()
        return ticks

    assert run("asyncio", body()) > 20


@pytest.mark.parametrize("loop", LOOPS)
def test_two_servers_share_one_loop(loop: str) -> None:
    async def body() -> None:
        servers = {kind: trilithon.Server(application, options()) for kind, application in APPLICATIONS.items()}
        for server in servers.values():
            await server.start()
        for kind, server in servers.items():
            assert f"{kind} /".encode() in await ask(server.addresses[0][1], "/")
        await servers["asgi"].close()
        assert b"wsgi /" in await ask(servers["wsgi"].addresses[0][1], "/")
        for server in servers.values():
            await server.close()

    run(loop, body())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", APPLICATIONS)
def test_cancelling_serve_closes_the_server(kind: str, loop: str) -> None:
    async def body() -> None:
        server = trilithon.Server(APPLICATIONS[kind], options())
        serving = asyncio.create_task(server.serve())
        while not (serving.done() or server.addresses):
            await asyncio.sleep(0.001)
        port = server.addresses[0][1]
        assert kind.encode() in await ask(port, "/")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        with pytest.raises(ConnectionError):
            await ask(port, "/")

    run(loop, body())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", APPLICATIONS)
def test_a_server_on_a_thread_that_is_not_the_main_one(kind: str, loop: str) -> None:
    ready = threading.Event()
    servers: list[trilithon.Server] = []
    failures: list[BaseException] = []

    async def body() -> None:
        server = trilithon.Server(APPLICATIONS[kind], options())
        servers.append(server)
        await server.start()
        ready.set()
        await server.serve()

    def work() -> None:
        try:
            run(loop, body())
        except BaseException as error:
            failures.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(DEADLINE_S)
    assert failures == []
    host, port = servers[0].addresses[0]
    with socket.create_connection((host, port), DEADLINE_S) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as stream:
            assert f"{kind} /x".encode() in stream.read()
    servers[0].stop()
    thread.join(DEADLINE_S)
    assert not thread.is_alive() and failures == []


def test_several_servers_in_one_process() -> None:
    first, second = serve(wsgi_application, threads=2), serve(asgi_application)
    site_of_first = first.__enter__()
    site_of_second = second.__enter__()
    with serve(wsgi_application, threads=1) as third:
        ports = {site_of_first.port, site_of_second.port, third.port}
        assert len(ports) == 3
        for _ in range(3):
            assert fetch(site_of_first, "/1").body == b"wsgi /1"
            assert fetch(site_of_second, "/2").body == b"asgi /2"
            assert fetch(third, "/3").body == b"wsgi /3"
        # Stopping one, out of order, leaves the others alone.
        first.__exit__(None, None, None)
        assert fetch(site_of_second, "/2").body == b"asgi /2"
        assert fetch(third, "/3").body == b"wsgi /3"
    assert fetch(site_of_second, "/2").body == b"asgi /2"
    second.__exit__(None, None, None)


@pytest.mark.parametrize("kind", APPLICATIONS)
def test_serve_gives_an_address_that_ends_with_the_block(kind: str) -> None:
    with serve(APPLICATIONS[kind]) as site:
        assert site.url == f"http://{site.host}:{site.port}"
        assert isinstance(site.server, trilithon.Server)
        assert fetch(site, "/here").body == f"{kind} /here".encode()
        idle = RawClient(site)
        assert idle.ask("/").status == 200
    assert idle.at_end()
    idle.close()
    with pytest.raises(ConnectionError):
        fetch(site)


def test_an_exception_in_the_block_comes_out_and_the_server_stops() -> None:
    with pytest.raises(LookupError, match="mine"), serve(wsgi_application) as site:
        raise LookupError("mine")
    with pytest.raises(ConnectionError):
        fetch(site)


def test_bad_options_are_refused_before_anything_starts() -> None:
    threads = threading.active_count()
    with pytest.raises(ConfigError), serve(wsgi_application, threads=0):
        pass
    with pytest.raises((ConfigError, TypeError)), serve(wsgi_application, no_such_option=1):
        pass
    assert threading.active_count() == threads


def test_a_failed_startup_comes_out_of_serve() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(Exception, match="no database"), serve(application, lifespan="on"):
        pass


def test_an_address_in_use_comes_out_of_serve() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(Exception, match=str(taken.getsockname()[1])),
        serve(wsgi_application, bind=[f"127.0.0.1:{taken.getsockname()[1]}"]),
    ):
        pass


def test_the_fixture_serves_what_it_is_given(trilithon_serve: Any) -> None:
    first = trilithon_serve(wsgi_application, threads=1)
    second = trilithon_serve(asgi_application)
    assert fetch(first, "/a").body == b"wsgi /a"
    assert fetch(second, "/b").body == b"asgi /b"
