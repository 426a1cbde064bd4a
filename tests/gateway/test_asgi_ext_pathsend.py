"""http.response.pathsend: a file by its path is the whole body, on every protocol."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from asgi_apps import Notes, body, http_only, raised_by, start
from extension_client import Way

pytestmark = pytest.mark.real

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a file of half a megabyte."""
    file = tmp_path / "content.bin"
    file.write_bytes(CONTENT)
    return file


def pathsend(path: object) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": path}


def sending(path: object, status: int = 200, headers: Any = ()) -> Any:
    """Return an application that answers with a file."""

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(status, headers))
        await send(pathsend(path))

    return app


@pytest.mark.spec("A-XPATH-01", "A-XPATH-02", "A-XPATH-04")
def test_a_file_is_the_whole_body(way: Way, path: Path) -> None:
    with way.serve(sending(str(path))) as site, way.client(site) as client:
        for _ in range(3):
            answer = client.ask()
            assert (answer.status, answer.whole, answer.body) == (200, True, CONTENT)
            assert answer.one(b"content-length") == b"%d" % len(CONTENT)
            assert answer.one(b"content-type") is None


@pytest.mark.spec("A-XPATH-02")
def test_the_applications_fields_stay(clear_way: Way, path: Path) -> None:
    headers = [(b"content-type", b"image/png"), (b"content-length", b"%d" % len(CONTENT)), (b"etag", b'"x"')]
    answer = clear_way.ask(sending(str(path), headers=headers))
    assert [answer.one(name) for name, _ in headers] == [value for _, value in headers]
    assert (answer.body, answer.framing) == (CONTENT, "frames" if clear_way.is_h2 else "length")


@pytest.mark.spec("A-XPATH-01")
def test_an_empty_file(way: Way, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with way.serve(sending(str(tmp_path / "empty"))) as site, way.client(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.whole, answer.body, answer.one(b"content-length")) == (True, b"", b"0")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="there is no /proc")
@pytest.mark.spec("A-XPATH-01", "A-XPATH-04")
def test_a_file_that_is_made_when_it_is_read(way: Way) -> None:
    version = Path("/proc/version")
    assert version.stat().st_size == 0
    answer = way.ask(sending(str(version)))
    assert (answer.status, answer.whole, answer.body) == (200, True, version.read_bytes())
    assert answer.one(b"content-length") == b"%d" % len(answer.body)


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="there is no /proc")
@pytest.mark.spec("A-XPATH-01")
def test_a_file_that_is_made_without_end_is_not_sent(clear_way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        notes.add(await raised_by(send(pathsend("/proc/self/pagemap"))))
        await send(body(b"instead"))

    assert clear_way.ask(app).body == b"instead"
    (error,) = notes.rest()
    assert isinstance(error, OSError)
    assert error.errno == errno.EFBIG


@pytest.mark.spec("A-XPATH-01")
def test_nothing_comes_before_or_behind_the_file(clear_way: Way, path: Path) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/before":
            notes.add(await raised_by(send(pathsend(str(path)))))
            await send(start())
            await send(body(b"some", True))
            notes.add(await raised_by(send(pathsend(str(path)))))
            await send(body(b" more"))
        else:
            await send(start())
            await send(pathsend(str(path)))
            notes.add(await raised_by(send(body(b"more"))))
            notes.add(await raised_by(send(pathsend(str(path)))))

    with clear_way.serve(app) as site, clear_way.client(site) as client:
        assert client.ask("/before").body == b"some more"
        assert client.ask("/behind").body == CONTENT
    errors = notes.rest()
    assert [type(error).__name__ for error in errors] == ["AppStateError"] * 4
    assert "whole body" in str(errors[1])


CANNOT = {
    "missing": (lambda path: str(path.parent / "nowhere"), FileNotFoundError),
    "relative and missing": (lambda path: "nowhere/at/all", FileNotFoundError),
    "directory": (lambda path: str(path.parent), IsADirectoryError),
    "through a file": (lambda path: str(path / "x"), NotADirectoryError),
    "device": (lambda path: "/dev/null", OSError),
    "fifo": (lambda path: os.mkfifo(path.parent / "fifo") or str(path.parent / "fifo"), OSError),
    "bytes": (lambda path: bytes(path), TypeError),
    "none": (lambda path: None, TypeError),
    "nul": (lambda path: "a\0b", ValueError),
    "loop": (lambda path: os.symlink("self", path.parent / "self") or str(path.parent / "self"), OSError),
}


@pytest.mark.spec("A-XPATH-03")
@pytest.mark.parametrize("why", CANNOT)
def test_what_cannot_be_sent_raises_and_leaves_the_answer_to_the_application(
    why: str, clear_way: Way, path: Path
) -> None:
    make, expected = CANNOT[why]
    wanted = make(path)
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(headers=[(b"content-length", b"4")]))
        notes.add(await raised_by(send(pathsend(wanted))))
        await send(body(b"else"))

    answer = clear_way.ask(app)
    assert (answer.status, answer.body, answer.whole) == (200, b"else", True)
    assert isinstance(notes.next(), expected)


@pytest.mark.spec("A-XPATH-03")
def test_an_application_that_does_not_mind_the_error_gets_500(clear_way: Way, tmp_path: Path) -> None:
    answer = clear_way.ask(sending(str(tmp_path / "nowhere")))
    assert (answer.status, answer.whole) == (500, True)


@pytest.mark.spec("A-XPATH-03")
def test_a_relative_path_begins_at_the_working_directory(
    clear_way: Way, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    assert clear_way.ask(sending(path.name)).body == CONTENT


@pytest.mark.spec("A-XPATH-04")
def test_a_longer_file_ends_at_its_length(way: Way, path: Path) -> None:
    app = sending(str(path), headers=[(b"content-length", b"100000")])
    with way.serve(app) as site, way.client(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.body, answer.whole) == (CONTENT[:100_000], True)


@pytest.mark.spec("A-XPATH-04")
def test_a_shorter_file_is_no_whole_answer(clear_way: Way, path: Path) -> None:
    answer = clear_way.ask(sending(str(path), headers=[(b"content-length", b"%d" % (len(CONTENT) + 1))]))
    assert answer.status == 500 or not answer.whole


@pytest.mark.spec("A-XPATH-04", "A-RESP-15")
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
def test_without_content_there_are_only_fields(method: str, status: int, clear_way: Way, path: Path) -> None:
    with clear_way.serve(sending(str(path), status)) as site, clear_way.client(site) as client:
        for _ in range(2):
            answer = client.ask(method=method)
            assert (answer.status, answer.body, answer.whole) == (status, b"", True)
            length = answer.one(b"content-length")
            assert length == (None if status == 204 else b"%d" % len(CONTENT))


@pytest.mark.spec("A-XPATH-05")
def test_the_whole_file_is_sent_whatever_range_was_asked(clear_way: Way, path: Path) -> None:
    answer = clear_way.ask(sending(str(path)), fields=[(b"range", b"bytes=5-9")])
    assert (answer.status, answer.body, answer.one(b"content-range")) == (200, CONTENT, None)


@pytest.mark.spec("A-XPATH-01")
def test_send_returns_while_the_client_still_reads(way: Way, tmp_path: Path) -> None:
    size = 20_000_000
    path = tmp_path / "large"
    path.write_bytes(b"a" * size)
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(pathsend(str(path)))
        notes.add("sent")
        path.unlink()  # what is on its way does not need the name any more
        notes.add((await receive())["type"])

    with way.serve(app) as site, way.client(site, receive_buffer_bytes=65536) as client:
        client.begin()
        assert [notes.next(), notes.next()] == ["sent", "http.disconnect"]
        answer = client.answer()
    assert (len(answer.body), answer.whole) == (size, True)


@pytest.mark.spec("A-XPATH-01", "A-XTRAIL-01", "A-XTRAIL-04")
@pytest.mark.parametrize("sized", [False, True])
def test_trailers_may_follow_a_file(sized: bool, clear_way: Way, path: Path) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(headers=[(b"content-length", b"1000")] if sized else [], trailers=True))
        await send(pathsend(str(path)))
        await send({"type": "http.response.trailers", "headers": [(b"digest", b"abc")]})

    with clear_way.serve(app) as site, clear_way.client(site) as client:
        for _ in range(2):
            answer = client.ask(fields=[(b"te", b"trailers")])
            assert (answer.body, answer.whole) == (CONTENT[:1000] if sized else CONTENT, True)
            if clear_way.is_h2 or not sized:
                assert answer.trailers == [(b"digest", b"abc")]
            else:
                assert answer.trailers is None
