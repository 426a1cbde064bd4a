"""The lifespan protocol inside a running server: order of events, modes, failures, state."""

import asyncio
import contextlib
import gc
import logging
import socket
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_apps import (
    Gate,
    Notes,
    both_loops,
    error_records,
    raised_by,
    respond,
    traceback_records,
    wait_until,
)
from wire_client import Wire, ask, request

from trilithon.foundation.errors import StartupError
from trilithon.testing import serve

pytestmark = pytest.mark.real

STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}


def with_lifespan(lifespan: Any, notes: Notes | None = None) -> Any:
    """Make an application whose lifespan is `lifespan(scope, receive, send)` and that answers every request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send)
            return
        if notes is not None:
            notes.add(scope["path"])
        await respond(send)

    return app


@both_loops
@pytest.mark.spec("A-LIFE-01", "A-LIFE-02", "A-LIFE-05")
def test_one_lifespan_in_the_loop_of_the_requests(loop: str) -> None:
    notes = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add((scope["type"], asyncio.get_running_loop()))
        if scope["type"] == "http":
            await respond(send)
            return
        notes.add(dict(scope))
        notes.add(await receive())
        await send(STARTED)
        notes.add(await receive())
        await send(STOPPED)

    with serve(app, loop=loop) as site:
        ask(site)
        ask(site)
    (kind, its_loop), scope, startup, *requests, shutdown = notes.rest()
    assert kind == "lifespan"
    assert scope == {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    assert startup == {"type": "lifespan.startup"}
    assert requests == [("http", its_loop), ("http", its_loop)]
    assert shutdown == {"type": "lifespan.shutdown"}
    assert type(its_loop).__module__.startswith(loop)


@contextlib.contextmanager
def waiting_listener() -> Iterator[socket.socket]:
    """A listening socket that takes connections before any server runs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener


@both_loops
@pytest.mark.spec("A-LIFE-03")
def test_a_connection_that_came_during_startup_is_served_after_it(loop: str) -> None:
    notes = Notes()

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for _ in range(50):
            await asyncio.sleep(0.002)
        notes.add("started")
        await send(STARTED)
        await receive()
        await send(STOPPED)

    with waiting_listener() as listener, Wire(listener.getsockname()) as wire:
        wire.send(request("/early"))
        with serve(with_lifespan(lifespan, notes), loop=loop, bind=[f"fd:{listener.fileno()}"]):
            assert wire.answer().body == b"ok"
    assert notes.rest() == ["started", "/early"]


@both_loops
@pytest.mark.spec("A-LIFE-04")
@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize("message", [{}, {"message": "the database is away"}])
def test_startup_failed_ends_the_server_in_every_mode(
    mode: str, message: Any, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Notes()

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", **message})

    with waiting_listener() as listener, Wire(listener.getsockname()) as wire:
        wire.send(request("/never"))
        options = {"loop": loop, "lifespan": mode, "bind": [f"fd:{listener.fileno()}"]}
        with (
            pytest.raises(Exception, match=r".*") as failure,
            serve(with_lifespan(lifespan, notes), **options),
        ):
            raise AssertionError("served")
    assert isinstance(failure.value, StartupError)
    assert str(failure.value) == message.get("message", "no reason given")
    assert notes.rest() == []
    assert not error_records(caplog), "told twice"


@both_loops
@pytest.mark.spec("A-LIFE-05")
def test_shutdown_comes_after_accepting_and_every_connection_ended(loop: str) -> None:
    notes, begun, may_finish, may_stop = Notes(), Gate(), Gate(), Gate()
    place: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if scope["path"] == "/slow":
                begun.open()
                await may_finish.passed()
                notes.add("finished")
            await respond(send)
            return
        await receive()
        await send(STARTED)
        await receive()
        with socket.socket() as probe:
            notes.add(("connect", probe.connect_ex((place[0].host, place[0].port))))
        await may_stop.passed()
        await send(STOPPED)
        notes.add("stopped")

    with serve(app, loop=loop, linger_timeout_s=0.1) as site, Wire(site) as idle, Wire(site) as busy:
        place.append(site)
        idle.ask()
        busy.get("/slow")
        begun.wait()
        site.server.stop()
        assert idle.has_ended()
        assert notes.rest() == []
        may_finish.open()
        assert busy.answer().body == b"ok"
        assert busy.has_ended()
        assert notes.next() == "finished"
        kind, code = notes.next()
        assert kind == "connect"
        assert code != 0, "still accepting"
        may_stop.open()
    assert notes.rest() == ["stopped"]


@both_loops
@pytest.mark.spec("A-LIFE-05")
def test_waiting_for_shutdown_is_bounded(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(STARTED)
        await receive()
        await asyncio.get_running_loop().create_future()

    with serve(with_lifespan(lifespan), loop=loop, lifespan_timeout_s=0.2):
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert error_records(caplog)


@both_loops
@pytest.mark.spec("A-LIFE-04")
def test_waiting_for_startup_is_bounded(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.get_running_loop().create_future()

    began = time.monotonic()
    with (
        pytest.raises(Exception, match=r".*") as failure,
        serve(with_lifespan(lifespan), loop=loop, lifespan_timeout_s=0.2),
    ):
        raise AssertionError("served")
    assert isinstance(failure.value, StartupError)
    assert str(failure.value) == "it took longer than 0.2 s"
    assert time.monotonic() - began < 3
    assert not error_records(caplog), "told twice"


@both_loops
@pytest.mark.parametrize("says", ["lifespan.startup.failed", "nonsense"])
def test_what_it_says_to_being_cancelled_is_no_error(says: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await asyncio.get_running_loop().create_future()
        except BaseException:
            # As frameworks do.
            await send({"type": says, "message": traceback.format_exc()})
            raise

    with pytest.raises(StartupError), serve(with_lifespan(lifespan), loop=loop, lifespan_timeout_s=0.2):
        raise AssertionError("served")
    gc.collect()  # an exception that nobody has looked at is told then
    assert not error_records(caplog)
    assert ("cancelled" in caplog.text) == (says == "nonsense")


@both_loops
@pytest.mark.spec("A-LIFE-06", "A-LIFE-07")
@pytest.mark.parametrize("way", ["raise at once", "raise after receive", "return at once", "return after receive"])
def test_an_application_without_lifespan_is_served_without_it(
    way: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    events = Notes()

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        if "receive" in way:
            events.add((await receive())["type"])
        if "raise" in way:
            raise NotImplementedError("no lifespan here")

    with serve(with_lifespan(lifespan), loop=loop) as site:
        assert ask(site).body == b"ok"
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert events.rest() == (["lifespan.startup"] if "receive" in way else [])


@both_loops
@pytest.mark.spec("A-LIFE-06")
@pytest.mark.parametrize("error", [NotImplementedError, asyncio.CancelledError])
def test_lifespan_on_demands_it(error: type[BaseException], loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        raise error("no lifespan here")

    with (
        pytest.raises(Exception, match=r".*") as failure,
        serve(with_lifespan(lifespan), loop=loop, lifespan="on"),
    ):
        raise AssertionError("served")
    assert isinstance(failure.value, StartupError)
    assert str(failure.value).startswith(f"the application left its lifespan: {error.__name__}('no lifespan here')\n")
    assert str(failure.value).count("Traceback") == 1
    assert __file__ in str(failure.value)
    assert not error_records(caplog), "told twice"


@both_loops
@pytest.mark.spec("A-LIFE-01", "A-SCOPE-22")
def test_lifespan_off_calls_nothing(loop: str) -> None:
    called = Notes()

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        called.add(scope)

    with serve(with_lifespan(lifespan), loop=loop, lifespan="off") as site:
        assert ask(site).body == b"ok"
    assert called.rest() == []


@both_loops
@pytest.mark.spec("A-LIFE-08")
@pytest.mark.parametrize("way", ["raise", "return", "cancel"])
def test_a_lifespan_that_ends_while_serving_is_logged_and_serving_goes_on(
    way: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    may_end = Gate()

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(STARTED)
        await may_end.passed()
        if way == "raise":
            raise ZeroDivisionError("while serving")
        if way == "cancel":
            raise asyncio.CancelledError

    with serve(with_lifespan(lifespan), loop=loop) as site:
        assert ask(site).body == b"ok"
        may_end.open()
        wait_until(lambda: bool(error_records(caplog)), "the log line")
        assert ask(site).body == b"ok"
        began = time.monotonic()
    assert time.monotonic() - began < 3
    if way == "raise":
        assert len(traceback_records(caplog, ZeroDivisionError)) == 1


@both_loops
@pytest.mark.spec("A-LIFE-09", "A-LIFE-10")
@pytest.mark.parametrize("way", ["failed", "failed without message", "raise"])
def test_a_failing_shutdown_is_logged_and_ends(way: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(STARTED)
        await receive()
        if way == "raise":
            raise ZeroDivisionError("cannot stop cleanly")
        message = {} if "without" in way else {"message": "cannot stop cleanly"}
        await send({"type": "lifespan.shutdown.failed", **message})

    with serve(with_lifespan(lifespan), loop=loop) as site:
        assert ask(site).body == b"ok"
        began = time.monotonic()
    assert time.monotonic() - began < 3
    records = error_records(caplog)
    assert records
    if way == "failed":
        assert any("cannot stop cleanly" in record.getMessage() for record in records)
    if way == "raise":
        assert len(traceback_records(caplog, ZeroDivisionError)) == 1


@both_loops
@pytest.mark.spec("A-LIFE-11", "A-CORE-10", "A-CORE-12", "A-CORE-13")
def test_wrong_events_raise_there_and_change_nothing(loop: str) -> None:
    notes = Notes()
    wrong: list[Any] = [
        {},
        {"type": None},
        {"type": "lifespan.unknown"},
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b""},
        {"type": "lifespan.startup"},
        None,
    ]

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        bad_message = [{"type": "lifespan.startup.failed", "message": 5}]
        for event in [*wrong, *bad_message, STOPPED, {"type": "lifespan.shutdown.failed"}]:
            notes.add((event, await raised_by(send(event))))
        await send(STARTED)
        for event in [*wrong, STARTED, {"type": "lifespan.startup.failed"}, STOPPED]:
            notes.add((event, await raised_by(send(event))))
        await receive()
        for event in [*wrong, STARTED, {"type": "lifespan.startup.failed"}]:
            notes.add((event, await raised_by(send(event))))
        await send(STOPPED)
        for event in [STOPPED, {"type": "lifespan.shutdown.failed"}, STARTED]:
            notes.add((event, await raised_by(send(event))))

    with serve(with_lifespan(lifespan), loop=loop) as site:
        assert ask(site).body == b"ok"
    seen = notes.rest()
    assert len(seen) == 3 * len(wrong) + 3 + 3 + 2 + 3
    assert [event for event, error in seen if error is None] == []


@both_loops
@pytest.mark.spec("A-LIFE-12", "A-LIFE-13")
def test_the_namespace_is_intact_at_shutdown(loop: str) -> None:
    notes = Notes()
    pool = object()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["state"]["request"] = True
            scope["state"].pop("pool")
            await respond(send)
            return
        state = scope["state"]
        await receive()
        state["pool"] = pool
        await send(STARTED)
        await receive()
        notes.add((scope["state"] is state, dict(state)))
        await send(STOPPED)

    with serve(app, loop=loop) as site:
        ask(site)
        ask(site)
    assert notes.rest() == [(True, {"pool": pool})]


@both_loops
@pytest.mark.spec("A-LIFE-15")
def test_receive_after_shutdown_blocks_until_the_loop_ends(loop: str) -> None:
    notes = Notes()

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(STARTED)
        await receive()
        further = asyncio.ensure_future(receive())
        await asyncio.sleep(0.01)
        notes.add(further.done())
        further.cancel()
        await send(STOPPED)
        try:
            notes.add(await receive())
        except asyncio.CancelledError:
            notes.add("cancelled")
            raise

    with serve(with_lifespan(lifespan), loop=loop) as site:
        ask(site)
    assert notes.rest() == [False, "cancelled"]


@both_loops
@pytest.mark.spec("A-LIFE-08", "A-LIFE-15")
def test_receive_before_shutdown_may_be_cancelled_and_called_again(loop: str) -> None:
    notes, timed_out = Notes(), Gate()

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        waiting = asyncio.ensure_future(receive())
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            notes.add(await waiting)
        notes.add(await receive())
        await send(STARTED)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        timed_out.open()
        notes.add(await receive())
        await send(STOPPED)

    with serve(with_lifespan(lifespan), loop=loop) as site:
        ask(site)
        timed_out.wait()
    assert notes.rest() == [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
