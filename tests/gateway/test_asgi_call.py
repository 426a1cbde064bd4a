"""How the application is called: arity, both ASGI generations, contexts, leaks, what comes out of it."""

import asyncio
import contextvars
import gc
from typing import Any

import pytest
from asgi_apps import (
    Gate,
    Notes,
    both_loops,
    error_records,
    hello,
    http_only,
    raised_by,
    respond,
    start,
    traceback_records,
    wait_until,
)
from wire_client import Wire, ask

from trilithon.testing import serve

pytestmark = pytest.mark.real
CONTEXT: contextvars.ContextVar[str] = contextvars.ContextVar("CONTEXT", default="fresh")


@both_loops
@pytest.mark.spec("A-CORE-01", "A-CORE-03", "A-CORE-05")
def test_called_once_per_unit_with_three_positional_arguments(loop: str) -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any, /) -> None:
        notes.add(scope)
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await respond(send)

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            assert wire.ask("/1").body == b"ok"
            assert wire.ask("/2").body == b"ok"
        assert ask(site, "/3").body == b"ok"
    scopes = notes.rest()
    assert [(scope["type"], scope.get("path")) for scope in scopes] == [
        ("lifespan", None),
        ("http", "/1"),
        ("http", "/2"),
        ("http", "/3"),
    ]
    assert all(type(scope) is dict and all(type(key) is str for key in scope) for scope in scopes)


class DoubleCallable:
    """An ASGI 2 application: one instance for each scope."""

    def __init__(self, scope: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None:
        event = await receive()
        await respond(send, self.scope["path"].encode() + b" " + event["body"])


def double_function(scope: Any) -> Any:
    async def instance(receive: Any, send: Any) -> None:
        event = await receive()
        await respond(send, scope["path"].encode() + b" " + event["body"])

    return instance


@both_loops
@pytest.mark.spec("A-CORE-02")
@pytest.mark.parametrize(
    ("app", "interface"), [(DoubleCallable, "auto"), (DoubleCallable, "asgi2"), (double_function, "asgi2")]
)
def test_a_double_callable_is_adapted(app: Any, interface: str, loop: str) -> None:
    with serve(app, interface=interface, loop=loop) as site, Wire(site) as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody")
        assert wire.answer().body == b"/a body"
        assert wire.ask("/b").body == b"/b "


@pytest.mark.spec("A-CORE-02", "A-EXC-01")
def test_a_double_callable_that_raises_on_its_scope_is_an_application_error(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing:
        def __init__(self, scope: Any) -> None:
            raise LookupError("no such scope")

        async def __call__(self, receive: Any, send: Any) -> None:
            raise AssertionError("never called")

    with serve(Refusing) as site:
        assert ask(site).status == 500
        assert ask(site).status == 500
        wait_until(lambda: len(traceback_records(caplog, LookupError)) >= 2, "the traceback")


@both_loops
@pytest.mark.spec("A-CORE-04")
def test_what_one_request_does_to_its_scope_no_other_sees(loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add({key: repr(scope[key]) for key in ("asgi", "extensions", "headers", "state", "root_path")})
        scope["asgi"]["version"] = "spoiled"
        scope["asgi"]["spoiled"] = True
        for extension in scope["extensions"].values():
            extension["spoiled"] = True
        scope["extensions"]["spoiled"] = {}
        scope["headers"][:] = [(b"spoiled", b"yes")]
        scope["state"]["spoiled"] = True
        scope["root_path"] = "/spoiled"
        await respond(send)

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.ask()
            wire.ask()
        ask(site)
    seen = notes.rest()
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]
    assert "spoiled" not in repr(seen)


@pytest.mark.spec("A-CORE-06", "A-CORE-07")
def test_versions_name_the_interface_and_the_part_of_it() -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add((scope["type"], scope["asgi"]))
        if scope["type"] == "http":
            await respond(send)

    with serve(app) as site:
        ask(site)
    assert notes.rest() == [
        ("lifespan", {"version": "3.0", "spec_version": "2.0"}),
        ("http", {"version": "3.0", "spec_version": "2.5"}),
    ]


@pytest.mark.spec("A-CORE-18", "A-XDEBUG-01", "A-XPUSH-01", "A-XTLS-01", "A-XDENY-01")
def test_extensions_are_dicts_and_only_what_works_on_this_connection() -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope["extensions"])
        await respond(send)

    with serve(app) as site:
        ask(site)
    extensions = notes.next()
    assert type(extensions) is dict
    assert all(type(value) is dict for value in extensions.values())
    assert not extensions.keys() & {
        "tls",
        "http.response.push",
        "http.response.debug",
        "websocket.http.response",
    }


@both_loops
@pytest.mark.spec("A-CORE-21")
def test_leaked_receive_and_send_never_reach_the_next_request(loop: str) -> None:
    leaked: list[Any] = []
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/leak":
            leaked.extend((receive, send))
            await respond(send, b"first")
            return
        old_receive, old_send = leaked
        notes.add(await asyncio.wait_for(old_receive(), 5))
        notes.add(await raised_by(old_send(start(500, [(b"x-leak", b"1")]))))
        notes.add(await raised_by(old_send({"type": "http.response.body", "body": b"LEAK"})))
        await send(start(200))
        notes.add(await raised_by(old_send({"type": "http.response.body", "body": b"LEAK"})))
        await send({"type": "http.response.body", "body": b"sec", "more_body": True})
        notes.add(await asyncio.wait_for(old_receive(), 5))
        await send({"type": "http.response.body", "body": b"ond"})

    with serve(app, loop=loop) as site, Wire(site) as wire:
        assert wire.ask("/leak").body == b"first"
        answer = wire.ask("/next")
        assert answer.body == b"second"
        assert answer.field(b"x-leak") is None
        assert wire.ask("/leak").body == b"first"
    first, start_error, body_error, mixed_error, last = notes.rest()
    assert first == last == {"type": "http.disconnect"}
    assert [isinstance(error, OSError) for error in (start_error, body_error, mixed_error)] == [True] * 3


@both_loops
@pytest.mark.spec("A-CORE-21", "A-DISC-02")
def test_a_background_task_waiting_in_receive_wakes_when_its_request_is_over(loop: str) -> None:
    notes = Notes()
    tasks = []

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

        async def background() -> None:
            notes.add(await receive())
            notes.add(await raised_by(send({"type": "http.response.body"})))

        tasks.append(asyncio.ensure_future(background()))
        await asyncio.sleep(0)
        await respond(send)

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.ask()
        assert notes.next() == {"type": "http.disconnect"}
        assert notes.next() is not None
        assert wire.ask().body == b"ok"


@both_loops
@pytest.mark.spec("A-CORE-22")
def test_every_call_has_a_context_of_its_own(loop: str) -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(CONTEXT.get())
        CONTEXT.set(scope["type"])
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            notes.add(CONTEXT.get())
            await send({"type": "lifespan.shutdown.complete"})
            return
        await receive()
        await asyncio.sleep(0)
        notes.add(CONTEXT.get())
        await respond(send)

    with serve(app, loop=loop) as site:
        with Wire(site) as wire:
            wire.ask()
            wire.send(b"GET /a HTTP/1.1\r\nHost: t\r\n\r\nGET /b HTTP/1.1\r\nHost: t\r\n\r\n")
            wire.answer()
            wire.answer()
        ask(site)
    assert notes.rest() == ["fresh", *["fresh", "http"] * 4, "lifespan"]


@pytest.mark.spec("A-CORE-23")
def test_a_return_value_is_logged_and_the_response_stands(caplog: pytest.LogCaptureFixture) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> str:
        await respond(send, b"stands")
        return "surprise"

    with serve(app) as site, Wire(site) as wire:
        assert wire.ask().body == b"stands"
        wait_until(lambda: bool(error_records(caplog)), "the log line")
        assert wire.ask().body == b"stands"


class Odd(BaseException):
    """Not an Exception, and not one that stops a program."""


@both_loops
@pytest.mark.spec("A-CORE-24")
@pytest.mark.parametrize("error", [asyncio.CancelledError, Odd, GeneratorExit])
def test_an_odd_base_exception_is_an_application_error(
    error: type[BaseException], loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/later":
            await asyncio.sleep(0)
        if scope["path"] != "/fine":
            raise error("from the application")
        await respond(send)

    with serve(app, loop=loop) as site:
        assert ask(site, "/now").status == 500
        assert ask(site, "/later").status == 500
        assert ask(site, "/fine").status == 200
        wait_until(lambda: len(error_records(caplog)) >= 2, "the log lines")


@both_loops
@pytest.mark.spec("A-CORE-15", "A-EXC-01", "A-EXC-07")
def test_an_exception_ends_its_connection_and_is_logged_once(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            await gate.passed()
            await respond(send, b"other")
            return
        raise ZeroDivisionError("secret-of-the-application")

    with serve(app, loop=loop) as site, Wire(site) as other, Wire(site) as wire:
        other.get("/wait")
        answer = wire.ask()
        assert answer.status == 500
        assert answer.field(b"connection") == b"close"
        assert answer.body
        assert b"secret" not in answer.body
        assert b"Traceback" not in answer.body
        assert wire.has_ended()
        gate.open()
        assert other.answer().body == b"other"
    assert len(traceback_records(caplog, ZeroDivisionError)) == 1
    assert len(error_records(caplog)) == 1


@pytest.mark.spec("A-CORE-25", "A-LIFE-06")
def test_an_application_that_knows_no_http_answers_500() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError(scope["type"])

    with serve(app) as site:
        assert ask(site).status == 500
        assert ask(site).status == 500


@both_loops
@pytest.mark.spec("A-DISC-11", "A-CORE-21")
def test_work_after_the_response_does_not_hold_up_its_connection_but_the_stop(loop: str) -> None:
    notes, go_on = Notes(), Gate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            notes.add("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        await respond(send, scope["path"].encode())
        if scope["path"] == "/background":
            await go_on.passed()
            await asyncio.sleep(0.02)
            notes.add("background")

    with serve(app, loop=loop) as site, Wire(site) as wire:
        for path in ("/background", "/next", "/last"):
            assert wire.ask(path).body == path.encode()
        assert notes.rest() == []
        site.server.stop()
        assert wire.has_ended()
        go_on.open()
    assert notes.rest() == ["background", "shutdown"]


@pytest.mark.spec("A-CORE-15")
def test_an_application_that_returns_no_awaitable_is_an_application_error(caplog: pytest.LogCaptureFixture) -> None:
    def app(scope: Any, receive: Any, send: Any) -> None:
        return None

    with serve(app, interface="asgi") as site:
        assert ask(site).status == 500
        assert ask(site).status == 500
        wait_until(lambda: len(traceback_records(caplog, TypeError)) >= 2, "the tracebacks")


def alive() -> int:
    """Count what belongs to calls and has not been released."""
    kinds = ("HttpCall", "Exchange", "RequestHead", "ResponseHead", "NextEvent")
    return sum(type(thing).__name__ in kinds for thing in gc.get_objects())


@both_loops
@pytest.mark.spec("A-CORE-21", "A-DISC-02")
def test_finished_calls_leave_nothing_to_the_garbage_collector(loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        late = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await respond(send)
        await late

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.ask()
        gc.collect()
        gc.disable()
        try:
            before = alive()
            for _ in range(50):
                assert wire.ask().body == b"ok"
            wait_until(lambda: alive() - before < 10, "the release of what 50 calls took")
        finally:
            gc.enable()


@both_loops
@pytest.mark.spec("A-CORE-01")
def test_pipelined_requests_are_answered_in_order(loop: str) -> None:
    with serve(hello, loop=loop) as site, Wire(site) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 50)
        assert [wire.answer().body for _ in range(50)] == [b"hello"] * 50
        assert wire.is_quiet()
