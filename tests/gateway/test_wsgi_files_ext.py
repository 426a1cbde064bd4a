"""wsgi.file_wrapper and wsgi.early_hints on every protocol: by the kernel where it can, by copy where it must."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from extension_client import Way
from wsgi_apps import PLAIN

from trilithon.testing import serve

pytestmark = pytest.mark.real

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a file of a megabyte."""
    file = tmp_path / "content.bin"
    file.write_bytes(CONTENT)
    return file


class Plain:
    """A file that is nothing but readable."""

    def __init__(self, content: bytes) -> None:
        self.stream = io.BytesIO(content)
        self.read = self.stream.read


OPENERS: dict[str, Any] = {
    "file": lambda path: path.open("rb"),
    "BytesIO": lambda path: io.BytesIO(CONTENT),
    "readable": lambda path: Plain(CONTENT),
}


def wrapping(opener: Any, fields: Any = (), skip: int = 0, status: str = "200 OK") -> Any:
    """Return an application that answers with a wrapped file."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, [*PLAIN, *fields])
        file = opener()
        file.read(skip)
        return environ["wsgi.file_wrapper"](file)

    return application


@pytest.mark.spec("W-FILE-02", "W-FILE-04", "W-FILE-06", "W-FILE-07")
@pytest.mark.parametrize("kind", OPENERS)
@pytest.mark.parametrize("sized", [False, True])
def test_a_file_arrives_whole(kind: str, sized: bool, way: Way, path: Path) -> None:
    fields = [("Content-Length", str(len(CONTENT)))] if sized else []
    app = wrapping(lambda: OPENERS[kind](path), fields)
    with way.serve(app) as site, way.client(site) as client:
        for _ in range(3):
            answer = client.ask()
            assert (answer.status, answer.body == CONTENT, answer.whole) == (200, True, True)
            if sized or kind != "readable":
                assert answer.one(b"content-length") == b"%d" % len(CONTENT)


@pytest.mark.spec("W-FILE-03")
def test_a_part_of_a_file(way: Way, path: Path) -> None:
    app = wrapping(lambda: path.open("rb"), [("Content-Length", "70000")], skip=1001)
    with way.serve(app) as site, way.client(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.body, answer.whole) == (CONTENT[1001:71001], True)


@pytest.mark.spec("W-FILE-06")
@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
def test_without_content_nothing_is_sent(method: str, status: str, way: Way, path: Path) -> None:
    with way.serve(wrapping(lambda: path.open("rb"), status=status)) as site, way.client(site) as client:
        for _ in range(2):
            answer = client.ask(method=method)
            assert (answer.status, answer.body, answer.whole) == (int(status[:3]), b"", True)


@pytest.mark.spec("W-FILE-03", "W-FILE-06")
def test_a_file_that_shrinks_is_no_whole_answer(way: Way, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"a" * 30_000_000)
    app = wrapping(lambda: path.open("rb"))
    with way.serve(app) as site, way.client(site, receive_buffer_bytes=65536) as client:
        client.begin()
        if way.is_h2:
            while not client.answers[client.stream_id].body:
                assert client.step()
        else:
            assert client.until(b"aaaa")
        os.truncate(path, 1000)
        answer = client.answer()
        assert answer.status == 200
        assert not answer.whole
        assert len(answer.body) < 30_000_000
        if way.is_h2:
            path.write_bytes(CONTENT)
            assert client.ask().body == CONTENT  # the other streams of the connection go on


@pytest.mark.spec("W-FILE-02", "W-WSGI-07")
def test_no_thread_is_held_while_clients_read(way: Way, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"a" * 8_000_000)
    app = wrapping(lambda: path.open("rb"))
    with way.serve(app, threads=1) as site:
        clients = [way.client(site, receive_buffer_bytes=65536) for _ in range(4)]
        for client in clients:
            client.begin()
        with way.client(site) as quick:
            assert quick.ask(method="HEAD").status == 200
        for client in clients:
            answer = client.answer()
            assert (len(answer.body), answer.whole) == (8_000_000, True)
            client.socket.close()


@pytest.mark.spec("W-WSGI-08", "H-EH-01")
def test_early_hints_come_before_the_answer(way: Way) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.early_hints"]([("Link", "</a>; rel=preload"), ("X-More", "1")])
        start_response("200 OK", list(PLAIN))
        environ["wsgi.early_hints"]([("Link", "</b>; rel=preload")])
        return [b"answer"]

    with way.serve(application) as site, way.client(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert answer.hints == [
                [(b"link", b"</a>; rel=preload"), (b"x-more", b"1")],
                [(b"link", b"</b>; rel=preload")],
            ]
            assert (answer.status, answer.body, answer.whole) == (200, b"answer", True)


@pytest.mark.spec("H-EH-02", "W-WSGI-08")
def test_early_hints_over_http1_can_be_turned_off(way: Way) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.early_hints"]([("Link", "</a>; rel=preload")])
        start_response("200 OK", list(PLAIN))
        return [b"answer"]

    with way.serve(application, early_hints=False) as site, way.client(site) as client:
        answer = client.ask()
    assert len(answer.hints) == int(way.is_h2)
    assert answer.body == b"answer"


@pytest.mark.spec("W-FILE-02", "W-FILE-06")
def test_a_mounted_site_sends_files_beside_a_loop(trust: Any, path: Path) -> None:
    async def other(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.pathsend", "path": str(path)})

    def both(environ: dict[str, Any], start_response: Any) -> Any:
        return wrapping(lambda: path.open("rb"))(environ, start_response)

    for name in ("http1", "h2"):
        way = Way(name, trust)
        with serve(None, mounts={"/": both, "/asgi": other}) as site, way.client(site) as client:
            for target in ("/", "/asgi/x") * 2:
                answer = client.ask(target)
                assert (answer.body == CONTENT, answer.whole) == (True, True)
