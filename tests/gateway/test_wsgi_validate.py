"""wsgiref.validate around a whole run: every kind of request and ending passes it without a complaint."""

import gc
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from raw_client import RawClient, chunked, request_bytes
from wsgi_apps import PLAIN, wait_for

from trilithon.testing import serve

pytestmark = pytest.mark.real

LARGE = b"line of a large body\n" * 20_000


class Site:
    """A site under the validator; `left` is set when the endless answer was closed, `problems` is what was raised."""

    def __init__(self) -> None:
        self.left = threading.Event()
        self.problems: list[BaseException] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        name = environ["PATH_INFO"].strip("/") or "hello"
        return getattr(self, name)(environ, start_response)

    def watched(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Call the validated site and keep AssertionErrors, which the server would turn into a 500."""
        try:
            return validator(self)(environ, start_response)
        except AssertionError as problem:
            self.problems.append(problem)
            raise

    def hello(self, environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", list(PLAIN))
        return [b"hello"]

    def generated(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        for number in range(5):
            yield b"%d" % number

    def later(self, environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [*PLAIN, ("Content-Length", "8")])
        return [b"hel", b"", b"later"]

    def echo(self, environ: dict[str, Any], start_response: Any) -> Any:
        stream = environ["wsgi.input"]
        pieces = [stream.read(5), stream.readline(), *stream.readlines(100)]
        pieces += iter(lambda: stream.read(10_000), b"")
        start_response("200 OK", list(PLAIN))
        return [b"".join(pieces)]

    def lines(self, environ: dict[str, Any], start_response: Any) -> Any:
        body = b"".join(environ["wsgi.input"])
        start_response("200 OK", list(PLAIN))
        return [body]

    def write(self, environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", list(PLAIN))
        write(b"written ")
        return [b"returned"]

    def nothing(self, environ: dict[str, Any], start_response: Any) -> Any:
        start_response("204 No Content", [])
        return []

    def unchanged(self, environ: dict[str, Any], start_response: Any) -> Any:
        start_response("304 Not Modified", [("ETag", '"e"')])
        return []

    def log(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.errors"].write("noted\n")
        environ["wsgi.errors"].writelines(["and noted\n"])
        environ["wsgi.errors"].flush()
        return self.hello(environ, start_response)

    def replaced(self, environ: dict[str, Any], start_response: Any) -> Any:
        try:
            start_response("200 OK", [("Content-Type", "text/html")])
            raise LookupError
        except LookupError:
            start_response("503 Sorry", list(PLAIN), sys.exc_info())
        return [b"sorry"]

    def fails(self, environ: dict[str, Any], start_response: Any) -> Any:
        raise LookupError("in the call")

    def fails_later(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        yield b"sent"
        raise LookupError("in the iteration")

    def endless(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        try:
            while True:
                yield b"x" * 50_000
        finally:
            self.left.set()


@pytest.fixture
def site_and_server(capfd: pytest.CaptureFixture[str]) -> Iterator[tuple[Site, Any]]:
    """Serve a validated site; afterwards nothing must have been said on stderr and no assertion have failed."""
    site = Site()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with serve(site.watched, interface="wsgi", request_buffer_bytes=16384) as server:
            yield site, server
        gc.collect()
    assert "garbage collected" not in capfd.readouterr().err
    assert site.problems == []


REQUESTS: dict[str, tuple[str, bytes, int, bytes | None]] = {
    "hello": ("GET", b"", 200, b"hello"),
    "hello?query=%20": ("GET", b"", 200, b"hello"),
    "generated": ("GET", b"", 200, b"01234"),
    "later": ("GET", b"", 200, b"hellater"),
    "echo": ("POST", b"some\nbody\n\nhere", 200, b"some\nbody\n\nhere"),
    "lines": ("PUT", b"some\nbody\n\nhere", 200, b"some\nbody\n\nhere"),
    "write": ("GET", b"", 200, b"written returned"),
    "nothing": ("DELETE", b"", 204, b""),
    "unchanged": ("GET", b"", 304, b""),
    "log": ("OPTIONS", b"", 200, b"hello"),
    "replaced": ("PATCH", b"body", 503, b"sorry"),
    "fails": ("GET", b"", 500, None),
}


@pytest.mark.spec(
    "W-VAL-01", "W-VAL-02", "W-VAL-03", "W-VAL-04", "W-VAL-05", "W-VAL-06", "W-VAL-07",
    "W-VAL-08", "W-VAL-09", "W-VAL-10", "W-VAL-11", "W-VAL-12", "W-VAL-13", "W-VAL-14",
    "W-VAL-15", "W-VAL-16", "W-VAL-17", "W-VAL-18", "W-VAL-19", "W-VAL-20",
)  # fmt: skip
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_whole_run_passes_the_validator(site_and_server: tuple[Site, Any], version: str) -> None:
    _, server = site_and_server
    for path, (method, body, status, expected) in REQUESTS.items():
        with RawClient(server) as client:
            answer = client.ask("/" + path, method, body=body or None, version=version)
            assert (path, answer.status) == (path, status)
            assert expected is None or answer.body == expected


@pytest.mark.spec("W-VAL-18", "W-VAL-19")
def test_one_connection_for_all_of_it(site_and_server: tuple[Site, Any]) -> None:
    _, server = site_and_server
    wanted = [(path, *rest) for path, rest in REQUESTS.items() if path != "fails"]
    with RawClient(server) as client:
        client.send(*[request_bytes("/" + path, method, body=body or None) for path, method, body, _, _ in wanted])
        for path, method, _, status, expected in wanted:
            answer = client.answer(method)
            assert (path, answer.status, answer.body) == (path, status, expected)


@pytest.mark.spec("W-VAL-11", "W-VAL-18")
@pytest.mark.parametrize("path", ["echo", "lines"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_bodies_pass_the_validator(site_and_server: tuple[Site, Any], path: str, framing: str) -> None:
    _, server = site_and_server
    with RawClient(server) as client:
        if framing == "length":
            client.send(request_bytes("/" + path, "POST", body=LARGE))
        else:
            fields = [("Transfer-Encoding", "chunked"), ("Expect", "100-continue")]
            client.send(request_bytes("/" + path, "POST", fields=fields))
            assert client.head().status == 100
            client.send(chunked(LARGE[:1000], LARGE[1000:]))
        assert client.answer().body == LARGE


@pytest.mark.spec("W-VAL-18", "W-CL-05", "W-ITER-03")
@pytest.mark.parametrize("path", ["hello", "generated", "later", "write", "unchanged", "nothing"])
def test_head_closes_the_iterator(site_and_server: tuple[Site, Any], path: str) -> None:
    _, server = site_and_server
    with RawClient(server) as client:
        for _ in range(2):
            assert client.ask("/" + path, "HEAD").status in (200, 204, 304)


@pytest.mark.spec("W-VAL-18", "W-ITER-03", "W-ITER-12", "W-EXC-02")
def test_disconnects_and_exceptions_close_the_iterator(site_and_server: tuple[Site, Any]) -> None:
    site, server = site_and_server
    for way in ("close", "reset"):
        site.left.clear()
        client = RawClient(server)
        client.send(request_bytes("/endless"))
        client.exactly(200_000)
        client.reset() if way == "reset" else client.close()
        wait_for(site.left)
    with RawClient(server) as client:
        assert not client.ask("/fails_later").complete
    with RawClient(server) as client:
        assert client.ask("/hello").body == b"hello"


@pytest.mark.spec("W-VAL-09")
@pytest.mark.parametrize("target", ["*", "http://test.example/hello", "//hello", "/hello/"])
def test_odd_targets_pass_the_validator(site_and_server: tuple[Site, Any], target: str) -> None:
    _, server = site_and_server
    with RawClient(server) as client:
        assert client.ask(target, "OPTIONS").status == 200


@pytest.mark.spec(
    "W-WSGI-01", "W-WSGI-02", "W-WSGI-03", "W-WSGI-04", "W-WSGI-05", "W-WSGI-06", "W-WSGI-07", "W-VAL-03", "W-VAL-06"
)
def test_the_wsgi_keys() -> None:
    seen: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(dict(environ))
        start_response("200 OK", list(PLAIN))
        return [b"x"]

    with serve(application) as site, RawClient(site) as client:
        client.ask()
    environ = seen[0]
    assert (environ["wsgi.version"], type(environ["wsgi.version"])) == ((1, 0), tuple)
    assert environ["wsgi.url_scheme"] == "http"
    assert [environ[f"wsgi.{name}"] for name in ("multithread", "multiprocess", "run_once")] == [True, False, False]
    assert environ["wsgi.input_terminated"] is True
    assert callable(environ["wsgi.file_wrapper"])
    for method in ("read", "readline", "readlines", "__iter__"):
        assert callable(getattr(environ["wsgi.input"], method))
    for method in ("flush", "write", "writelines"):
        assert callable(getattr(environ["wsgi.errors"], method))


@pytest.mark.spec("W-VAL-18")
def test_the_watch_on_stderr_would_see_a_missing_close(capfd: pytest.CaptureFixture[str]) -> None:
    problems: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, problems.append
    try:
        environ = _minimal_environ()
        iterable = validator(Site())(environ, lambda status, fields, exc_info=None: lambda data: None)
        del iterable
        gc.collect()
    finally:
        sys.unraisablehook = hook
    assert "garbage collected" in capfd.readouterr().err
    assert len(problems) == 1


def _minimal_environ() -> dict[str, Any]:
    environ: dict[str, Any] = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    environ["wsgi.errors"] = sys.stderr
    return environ
