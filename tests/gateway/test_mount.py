"""Mounts: several applications of both interfaces on one port, each with its own root and lifespan."""

import threading
from typing import Any

import pytest
from asgi_apps import Gate, Notes, both_loops, error_records, http_only, read_body, respond
from wire_client import DEADLINE_S, Wire, ask, request

from trilithon.testing import serve

pytestmark = pytest.mark.real


def asgi(name: str) -> Any:
    """An ASGI application that answers with its name, root and path."""

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent = await read_body(receive)
        raw = scope["raw_path"].decode()
        await respond(send, f"{name} {scope['root_path']}|{scope['path']}|{raw}|".encode() + sent)

    return app


def wsgi(name: str) -> Any:
    """A WSGI application that answers the same from its environ."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        sent = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{name} {environ['SCRIPT_NAME']}|{environ['PATH_INFO']}|".encode("latin-1") + sent]

    return app


@both_loops
@pytest.mark.spec("A-SCOPE-11", "A-WSGI-01", "A-SCOPE-07")
def test_each_application_gets_its_root_and_the_longest_prefix_wins(loop: str) -> None:
    mounts = {
        "/api": asgi("api"),
        "/api/v2": wsgi("v2"),
        "/api/v2/live": asgi("live"),
        "/old": wsgi("old"),
    }
    expected = {
        "/": "root ||/".replace("||/", "|/|/|"),
        "/x": "root |/x|/x|",
        "/apix": "root |/apix|/apix|",
        "/ap": "root |/ap|/ap|",
        "/api": "api /api|/api|/api|",
        "/api/": "api /api|/api/|/api/|",
        "/api/x%20y": "api /api|/api/x y|/api/x%20y|",
        "/api/v22": "api /api|/api/v22|/api/v22|",
        "/api/v2": "v2 /api/v2||",
        "/api/v2/": "v2 /api/v2|/|",
        "/api/v2/x%20y": "v2 /api/v2|/x y|",
        "/api/v2/liveness": "v2 /api/v2|/liveness|",
        "/api/v2/live/1": "live /api/v2/live|/api/v2/live/1|/api/v2/live/1|",
        "/old?x=/api": "old /old||",
        "/old/caf%C3%A9": "old /old|/caf\u00c3\u00a9|",
        "/API/x": "root |/API/x|/API/x|",
        "//api/x": "root |//api/x|//api/x|",
    }
    with serve(asgi("root"), loop=loop, mounts=mounts) as site, Wire(site) as wire:
        for target, text in expected.items():
            answer = wire.ask(target)
            wanted = text.encode("latin-1") if "caf" in target else text.encode()
            assert (answer.status, answer.body) == (200, wanted), target


@both_loops
@pytest.mark.spec("A-SCOPE-11", "A-SCOPE-12")
def test_a_configured_root_path_comes_before_the_prefix(loop: str) -> None:
    mounts = {"/api": asgi("api"), "/old": wsgi("old")}
    with serve(asgi("root"), loop=loop, mounts=mounts, root_path="/outer") as site, Wire(site) as wire:
        assert wire.ask("/outer/api/x").body == b"api /outer/api|/outer/api/x|/outer/api/x|"
        assert wire.ask("/api/x").body == b"api /outer/api|/outer/api/x|/api/x|"
        assert wire.ask("/outer/old/x").body == b"old /outer/old|/x|"
        assert wire.ask("/old/x").body == b"old /outer/old|/x|"
        assert wire.ask("/x").body == b"root /outer|/outer/x|/x|"


@both_loops
@pytest.mark.spec("A-WSGI-01")
def test_mounts_may_be_all_there_is_and_the_rest_is_404(loop: str) -> None:
    mounts = {"/api": asgi("api"), "/old": wsgi("old")}
    with serve(None, loop=loop, mounts=mounts) as site, Wire(site) as wire:
        assert ask(site, "/").status == 404
        assert ask(site, "/apix").status == 404
        assert ask(site, "/missing", method="HEAD").status == 404
        assert wire.ask("/api/x").body == b"api /api|/api/x|/api/x|"
        assert wire.ask("/old/x").body == b"old /old|/x|"
        smuggled = request("/api/smuggled")
        wire.send(b"POST /missing HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
        wire.finish()
        assert wire.answer().status == 404
        assert wire.rest() == b""


@both_loops
@pytest.mark.spec("A-WSGI-01")
@pytest.mark.parametrize("root", ["asgi", "wsgi"])
def test_one_connection_alternates_between_both_interfaces(root: str, loop: str) -> None:
    makers = {"asgi": asgi, "wsgi": wsgi}
    other = "wsgi" if root == "asgi" else "asgi"
    body = b"x" * 1000
    post = b"POST %b HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n" + body
    with serve(makers[root]("root"), loop=loop, mounts={"/other": makers[other]("other")}) as site, Wire(site) as wire:
        for _ in range(20):
            assert wire.ask("/x").body.startswith(b"root ")
            assert wire.ask("/other/x").body.startswith(b"other /other|")
        wire.send((post % b"/x" + request("/other/y") + post % b"/other/z" + request("/w")) * 10)
        for _ in range(10):
            answers = [wire.answer().body for _ in range(4)]
            assert [answer.split(b" ")[0] for answer in answers] == [b"root", b"other", b"other", b"root"]
            assert answers[0].endswith(b"|" + body)
            assert answers[2].endswith(b"|" + body)
            assert answers[1].endswith(b"|")
            assert answers[3].endswith(b"|")
        assert wire.is_quiet()


@both_loops
@pytest.mark.spec("A-WSGI-01")
def test_a_blocking_wsgi_mount_never_delays_an_asgi_answer(loop: str) -> None:
    blocked = threading.Semaphore(0)
    release = threading.Event()

    def blocking(environ: Any, start_response: Any) -> list[bytes]:
        blocked.release()
        assert release.wait(DEADLINE_S)
        start_response("200 OK", [])
        return [b"released"]

    with serve(asgi("root"), loop=loop, threads=2, mounts={"/old": blocking}) as site:
        wires = [Wire(site) for _ in range(4)]
        try:
            for wire in wires:
                wire.get("/old")
            assert blocked.acquire(timeout=DEADLINE_S)
            assert blocked.acquire(timeout=DEADLINE_S)
            with Wire(site) as quick:
                for _ in range(50):
                    assert quick.ask("/x").body == b"root |/x|/x|"
            assert not blocked.acquire(blocking=False), "two threads run two calls"
            release.set()
            assert [wire.answer().body for wire in wires] == [b"released"] * 4
        finally:
            release.set()
            for wire in wires:
                wire.close()


@both_loops
@pytest.mark.spec("A-WSGI-01")
def test_wsgi_calls_run_off_the_loops_thread(loop: str) -> None:
    notes = Notes()

    @http_only
    async def root(scope: Any, receive: Any, send: Any) -> None:
        notes.add(threading.get_ident())
        await respond(send)

    def old(environ: Any, start_response: Any) -> list[bytes]:
        notes.add(threading.get_ident())
        start_response("200 OK", [])
        return [b"ok"]

    with serve(root, loop=loop, mounts={"/old": old}) as site, Wire(site) as wire:
        wire.ask("/")
        wire.ask("/old")
    loop_thread, crew_thread = notes.rest()
    assert loop_thread != crew_thread


@both_loops
@pytest.mark.spec("A-LIFE-02", "A-LIFE-12", "A-LIFE-05")
def test_every_asgi_mount_has_its_own_lifespan_and_state(loop: str) -> None:
    notes = Notes()

    def alive(name: str) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                scope["state"]["name"] = name
                await receive()
                notes.add(f"{name} started")
                await send({"type": "lifespan.startup.complete"})
                await receive()
                notes.add(f"{name} stopped")
                await send({"type": "lifespan.shutdown.complete"})
                return
            await respond(send, scope["state"]["name"].encode())

        return app

    mounts = {"/one": alive("one"), "/two": alive("two"), "/old": wsgi("old")}
    with serve(alive("root"), loop=loop, mounts=mounts) as site, Wire(site) as wire:
        assert sorted(notes.rest()) == ["one started", "root started", "two started"]
        assert [wire.ask(path).body for path in ("/", "/one", "/two", "/one")] == [b"root", b"one", b"two", b"one"]
        assert wire.ask("/old").body == b"old /old||"
    assert sorted(notes.rest()) == ["one stopped", "root stopped", "two stopped"]


@both_loops
@pytest.mark.spec("A-LIFE-04", "A-LIFE-05")
def test_one_failing_lifespan_stops_all(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "mount is away"})

    with (
        pytest.raises(Exception, match=r".*") as failure,
        serve(asgi("root"), loop=loop, mounts={"/bad": failing}),
    ):
        raise AssertionError("served")
    assert not isinstance(failure.value, AssertionError)
    assert str(failure.value) == "mount is away"
    assert not error_records(caplog), "told twice"


@both_loops
@pytest.mark.spec("A-CORE-02", "A-CORE-15")
def test_a_double_callable_and_a_failing_application_may_be_mounted(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Double:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        async def __call__(self, receive: Any, send: Any) -> None:
            await respond(send, self.scope["root_path"].encode())

    def failing(environ: Any, start_response: Any) -> list[bytes]:
        raise ZeroDivisionError("in a mount")

    with serve(asgi("root"), loop=loop, mounts={"/double": Double, "/bad": failing}) as site:
        assert ask(site, "/double/x").body == b"/double"
        assert ask(site, "/bad").status == 500
        assert ask(site, "/x").status == 200


@both_loops
@pytest.mark.spec("A-DISC-03", "A-WSGI-01")
def test_a_client_leaving_one_interface_does_not_touch_the_other(loop: str) -> None:
    notes, begun = Notes(), Gate()

    @http_only
    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        begun.open()
        notes.add(await receive())

    with serve(wsgi("root"), loop=loop, mounts={"/wait": waiting}) as site, Wire(site) as other:
        assert other.ask("/x").body == b"root |/x|"
        with Wire(site) as wire:
            assert wire.ask("/x").body == b"root |/x|"
            wire.get("/wait")
            begun.wait()
        assert notes.next() == {"type": "http.disconnect"}
        assert other.ask("/x").body == b"root |/x|"
