"""How a WSGI application is called: arguments, callables, threads, contexts."""

import contextvars
import functools
import threading
import time
from typing import Any

import pytest
from raw_client import DEADLINE_S, RawClient, fetch, request_bytes
from wsgi_apps import PLAIN, Blocks, hello, wait_for

from trilithon.testing import serve

pytestmark = pytest.mark.real


@pytest.mark.spec("W-CALL-01", "W-VAL-01")
def test_called_once_with_two_positional_arguments() -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def application(*args: Any, **kwargs: Any) -> list[bytes]:
        calls.append((args, kwargs))
        return hello(*args)

    with serve(application, interface="wsgi") as site, RawClient(site) as client:
        for number in range(1, 4):
            assert client.ask("/").body == b"hello"
            assert len(calls) == number
    assert all(len(args) == 2 and not kwargs for args, kwargs in calls)


class Page:
    """An application class whose instances are the answer."""

    def __init__(self, environ: dict[str, Any], start_response: Any) -> None:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])

    def __iter__(self) -> Any:
        yield b"hello"


class Instance:
    """An application object with a method that would do as well."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return hello(environ, start_response)

    def method(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return hello(environ, start_response)


def _with_extra(extra: str, environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return hello(environ, start_response)


CALLABLES = {
    "function": hello,
    "lambda": lambda environ, start_response: hello(environ, start_response),
    "class": Page,
    "instance": Instance(),
    "method": Instance().method,
    "partial": functools.partial(_with_extra, "extra"),
}


@pytest.mark.spec("W-CALL-02")
@pytest.mark.parametrize("kind", CALLABLES)
def test_any_callable_many_times(kind: str) -> None:
    with serve(CALLABLES[kind], interface="wsgi") as site, RawClient(site) as client:
        for _ in range(3):
            assert client.ask("/").body == b"hello"


class Together:
    """Application that counts how many calls run at once; each call lasts long enough to be overlapped."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0
        self.most = 0
        self.multithread: set[bool] = set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.multithread.add(environ["wsgi.multithread"])
        start_response("200 OK", list(PLAIN))
        return Blocks([self._linger, b"done"], self._leave)

    @staticmethod
    def _linger() -> bytes:
        time.sleep(0.01)
        return b"being "

    def _leave(self) -> None:
        with self.lock:
            self.running -= 1


def ask_together(site: Any, count: int) -> None:
    """Send `count` requests on as many connections before reading any answer."""
    clients = [RawClient(site) for _ in range(count)]
    try:
        for client in clients:
            client.send(request_bytes("/"))
        for client in clients:
            assert client.answer().body == b"being done"
    finally:
        for client in clients:
            client.close()


@pytest.mark.spec("W-CALL-03", "W-CALL-04", "W-WSGI-05")
def test_one_thread_is_strictly_one_call_at_a_time_and_says_so() -> None:
    application = Together()
    with serve(application, threads=1) as site:
        ask_together(site, 12)
    assert application.most == 1
    assert application.multithread == {False}


@pytest.mark.spec("W-CALL-03", "W-WSGI-05")
def test_several_threads_overlap_and_say_so() -> None:
    meeting = threading.Barrier(3, timeout=DEADLINE_S)
    said: list[tuple[bool, bool, bool]] = []

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        said.append((environ["wsgi.multithread"], environ["wsgi.multiprocess"], environ["wsgi.run_once"]))
        meeting.wait()
        start_response("200 OK", list(PLAIN))
        return [b"being done"]

    with serve(application, threads=3) as site:
        ask_together(site, 3)
    assert said == [(True, False, False)] * 3


@pytest.mark.spec("W-CALL-05")
def test_a_blocked_call_stalls_no_other_connection() -> None:
    release = threading.Event()
    entered = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/block":
            entered.set()
            wait_for(release)
        return hello(environ, start_response)

    with serve(application, threads=2) as site, RawClient(site) as blocked, RawClient(site) as other:
        blocked.send(request_bytes("/block"))
        assert entered.wait(DEADLINE_S)
        for _ in range(20):
            assert other.ask("/").body == b"hello"
        release.set()
        assert blocked.answer().body == b"hello"


@pytest.mark.spec("W-CALL-05")
def test_input_and_output_go_on_while_every_thread_is_in_the_application() -> None:
    release = threading.Event()
    entered = threading.Event()
    large = b"x" * 4_000_000

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/block":
            entered.set()
            wait_for(release)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(large)))])
        return [large]

    with serve(application, threads=1) as site, RawClient(site) as reader, RawClient(site) as blocked:
        reader.send(request_bytes("/large"))
        reader.until(b"\r\n\r\n")
        blocked.send(request_bytes("/block"))
        try:
            assert entered.wait(DEADLINE_S), "a reader that does not read holds the only thread"
            assert reader.exactly(len(large)) == large
            with RawClient(site) as malformed:
                malformed.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
                assert malformed.answer().status == 400
        finally:
            release.set()


@pytest.mark.spec("W-CALL-07")
def test_websocket_upgrade_is_no_hung_connection() -> None:
    fields = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    with serve(hello) as site, RawClient(site) as client:
        answer = client.ask("/", fields=fields)
        assert answer.status in (200, 426, 501)
        assert answer.complete
        assert answer.one("Upgrade") != "websocket"


@pytest.mark.spec("W-CALL-08")
def test_context_variables_do_not_leak_into_the_next_request() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(variable.get())
        variable.set(environ["PATH_INFO"])
        return hello(environ, start_response)

    with serve(application, threads=1) as site, RawClient(site) as client:
        for path in ("/1", "/2", "/3"):
            client.ask(path)
    assert seen == ["unset"] * 3


@pytest.mark.spec("W-CALL-08", "W-ITER-04")
def test_call_iteration_and_close_share_one_context() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    def look() -> bytes:
        seen.append(variable.get())
        variable.set(variable.get() + "+")
        return b"block"

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        variable.set("call")
        start_response("200 OK", list(PLAIN))
        return Blocks([look, look], lambda: seen.append(variable.get()))

    with serve(application, threads=2) as site:
        assert fetch(site).body == b"blockblock"
    assert seen == ["call", "call+", "call++"]


@pytest.mark.spec("W-CALL-01")
def test_application_sees_its_own_start_response_each_time() -> None:
    seen: list[int] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", list(PLAIN))
        seen.append(len(environ))
        return [environ["PATH_INFO"].encode()]

    with serve(application, threads=4) as site:
        clients = [RawClient(site) for _ in range(8)]
        for number, client in enumerate(clients):
            client.send(request_bytes(f"/{number}"))
        answers = [client.answer().body for client in clients]
        for client in clients:
            client.close()
    assert answers == [b"/%d" % number for number in range(8)]
    assert len(seen) == 8
