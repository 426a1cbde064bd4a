"""http.response.zerocopysend: parts of open files as pieces of a body, on every protocol."""

import io
import os
import tempfile
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


def zerocopy(file: Any, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.zerocopysend", "file": file, **more}


PARTS: dict[str, tuple[dict[str, int], bytes]] = {
    "all": ({}, CONTENT),
    "from": ({"offset": 1000}, CONTENT[1000:]),
    "part": ({"offset": 1000, "count": 70_000}, CONTENT[1000:71_000]),
    "first": ({"count": 17}, CONTENT[:17]),
    "nothing": ({"count": 0}, b""),
    "last": ({"offset": len(CONTENT) - 1}, CONTENT[-1:]),
    "more than there is": ({"offset": 500_000, "count": 1_000_000}, CONTENT[500_000:]),
    "beyond": ({"offset": 1_000_000}, b""),
    "null": ({"offset": None, "count": None}, CONTENT),
}


@pytest.mark.spec("A-XZERO-01", "A-XZERO-05")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("sized", [False, True])
def test_a_part_of_a_file_is_the_body(part: str, sized: bool, way: Way, path: Path) -> None:
    event, expected = PARTS[part]

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with path.open("rb") as file:
            await send(start(headers=[(b"content-length", b"%d" % len(expected))] if sized else []))
            await send(zerocopy(file, **event))

    with way.serve(app) as site, way.client(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.status, answer.body, answer.whole) == (200, expected, True)


@pytest.mark.spec("A-XZERO-02")
@pytest.mark.parametrize("sized", [False, True])
def test_files_and_bytes_mix(sized: bool, way: Way, path: Path) -> None:
    expected = b"<" + CONTENT[:100_000] + b"|" + CONTENT[5:10] + CONTENT[:1] + b">"

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with path.open("rb") as file:
            await send(start(headers=[(b"content-length", b"%d" % len(expected))] if sized else []))
            await send(body(b"<", True))
            await send(zerocopy(file, offset=0, count=100_000, more_body=True))
            await send(zerocopy(file, offset=9, count=0, more_body=True))
            await send(body(b"|", True))
            await send(zerocopy(file, offset=5, count=5, more_body=True))
            await send(zerocopy(file, offset=0, count=1, more_body=True))
            await send(body(b">"))

    with way.serve(app) as site, way.client(site) as client:
        for _ in range(3):
            answer = client.ask()
            assert (answer.body, answer.whole) == (expected, True)
            assert answer.framing == ("frames" if way.is_h2 else "length" if sized else "chunked")


@pytest.mark.spec("A-XZERO-02")
def test_http_1_0_is_closed_behind_the_last_piece(trust: Any, path: Path) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with path.open("rb") as file:
            await send(start())
            await send(zerocopy(file, count=1000, more_body=True))
            await send(zerocopy(file))

    way = Way("http1", trust)
    with way.serve(app) as site, way.client(site) as client:
        answer = client.ask(version="1.0")
    assert (answer.body, answer.framing) == (CONTENT, "close")


@pytest.mark.spec("A-XZERO-02", "A-RESP-14")
@pytest.mark.parametrize("early", [False, True])
def test_more_than_declared_raises_and_is_not_sent(early: bool, clear_way: Way, path: Path) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with path.open("rb") as file:
            await send(start(headers=[(b"content-length", b"10")]))
            if not early:
                await send(body(b"01234", True))
            error = await raised_by(send(zerocopy(file, count=11 if early else 6, more_body=True)))
            notes.add((type(error).__name__, file.tell()))
            await send(zerocopy(file, count=10 if early else 5))

    answer = clear_way.ask(app)
    assert answer.body == (CONTENT[:10] if early else b"01234" + CONTENT[:5])
    assert notes.next() == ("AppValueError", 0)


@pytest.mark.spec("A-XZERO-02", "A-RESP-14")
def test_less_than_declared_is_broken_off(clear_way: Way, path: Path) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with path.open("rb") as file:
            await send(start(headers=[(b"content-length", b"100")]))
            await send(zerocopy(file, count=50, more_body=True))
            await send(zerocopy(file, count=49))

    answer = clear_way.ask(app)
    assert (answer.status, answer.whole) == (200, False)


@pytest.mark.spec("A-XZERO-02", "A-RESP-15")
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304)])
def test_without_content_nothing_is_sent(method: str, status: int, clear_way: Way, path: Path) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with path.open("rb") as file:
            await send(start(status))
            await send(zerocopy(file, count=100, more_body=True))
            await send(zerocopy(file))

    with clear_way.serve(app) as site, clear_way.client(site) as client:
        for _ in range(2):
            answer = client.ask(method=method)
            assert (answer.status, answer.body, answer.whole) == (status, b"", True)


@pytest.mark.spec("A-XZERO-02")
def test_a_piece_needs_a_start_and_comes_before_the_end(clear_way: Way, path: Path) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with path.open("rb") as file:
            notes.add(type(await raised_by(send(zerocopy(file)))).__name__)
            await send(start())
            await send(zerocopy(file, count=5))
            notes.add(type(await raised_by(send(zerocopy(file)))).__name__)
            notes.add(file.tell())

    assert clear_way.ask(app).body == CONTENT[:5]
    assert notes.rest() == ["AppStateError", "AppStateError", 5]


@pytest.mark.spec("A-XZERO-03")
def test_the_application_may_close_its_file_at_once_and_the_server_never_does(way: Way, tmp_path: Path) -> None:
    size = 8_000_000
    path = tmp_path / "large"
    path.write_bytes(b"a" * size)
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        kept = path.open("rb")
        closed = path.open("rb")
        await send(start())
        await send(zerocopy(closed, count=1000, more_body=True))
        closed.close()
        with tempfile.TemporaryFile() as other:  # most likely under the number that became free
            other.write(b"b" * size)
            other.flush()
            await send(zerocopy(kept))
        notes.add(kept.read(1) if os.fstat(kept.fileno()).st_size == size else None)
        kept.close()

    with way.serve(app) as site, way.client(site, receive_buffer_bytes=65536) as client:
        client.begin()
        assert notes.next() == b""
        answer = client.answer()
    assert (answer.body == b"a" * (size + 1000), answer.whole) == (True, True)


OPENERS: dict[str, Any] = {
    "buffered": lambda path: path.open("rb"),
    "raw": lambda path: path.open("rb", buffering=0),
    "random": lambda path: path.open("r+b"),
    "descriptor": lambda path: os.open(path, os.O_RDONLY),
    "wrapped": lambda path: tempfile.NamedTemporaryFile(dir=path.parent),  # noqa: SIM115
}


@pytest.mark.spec("A-XZERO-04")
@pytest.mark.parametrize("kind", OPENERS)
def test_the_position_moves_as_if_read_only_without_an_offset(kind: str, clear_way: Way, path: Path) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        file = OPENERS[kind](path)
        if kind == "wrapped":
            file.write(CONTENT)
            file.flush()
            file.seek(0)
        read = (lambda size: os.read(file, size)) if kind == "descriptor" else file.read
        assert read(10) == CONTENT[:10]
        await send(start())
        await send(zerocopy(file, count=20, more_body=True))
        notes.add(read(5))
        await send(zerocopy(file, offset=100, count=10, more_body=True))
        notes.add(read(5))
        await send(zerocopy(file))
        notes.add(read(5))
        if kind == "descriptor":
            os.close(file)
        else:
            file.close()

    assert clear_way.ask(app).body == CONTENT[10:30] + CONTENT[100:110] + CONTENT[40:]
    assert notes.rest() == [CONTENT[30:35], CONTENT[35:40], b""]


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="there is no /proc")
@pytest.mark.spec("A-XZERO-01", "A-XZERO-04")
def test_a_file_that_is_made_when_it_is_read(way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with open("/proc/version", "rb") as file:
            await send(start())
            await send(zerocopy(file, count=5, more_body=True))
            notes.add(file.read(3))
            await send(zerocopy(file, offset=1, count=4, more_body=True))
            await send(zerocopy(file, offset=1_000_000, more_body=True))
            await send(zerocopy(file))
            notes.add(file.read())

    content = Path("/proc/version").read_bytes()
    answer = way.ask(app)
    assert (answer.status, answer.whole) == (200, True)
    assert answer.body == content[:5] + content[1:5] + content[8:]
    assert notes.rest() == [content[5:8], b""]


BAD: dict[str, tuple[Any, dict[str, Any], type[Exception]]] = {
    "BytesIO": (lambda: io.BytesIO(CONTENT), {}, TypeError),
    "no file": (lambda: "name", {}, TypeError),
    "negative offset": (None, {"offset": -1}, ValueError),
    "negative count": (None, {"count": -1}, ValueError),
    "text": (None, {"offset": "1"}, TypeError),
    "bool": (None, {"count": True}, TypeError),
    "float": (None, {"count": 1.5}, TypeError),
    "device": (lambda: open("/dev/zero", "rb"), {"count": 5}, ValueError),  # noqa: SIM115
}


@pytest.mark.spec("A-XZERO-01", "A-XZERO-04")
@pytest.mark.parametrize("why", BAD)
def test_what_cannot_be_sent_raises_and_changes_nothing(why: str, clear_way: Way, path: Path) -> None:
    make, event, expected = BAD[why]
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        file = make() if make is not None else path.open("rb")
        await send(start())
        notes.add(await raised_by(send(zerocopy(file, more_body=True, **event))))
        notes.add(await raised_by(send({"type": "http.response.zerocopysend"})))
        if hasattr(file, "close"):
            file.close()
        notes.add(await raised_by(send(zerocopy(-1, count=5))))
        await send(body(b"else"))

    answer = clear_way.ask(app)
    assert (answer.status, answer.body, answer.whole) == (200, b"else", True)
    first, second, third = notes.rest()
    assert isinstance(first, expected)
    assert isinstance(second, ValueError)
    assert isinstance(third, OSError)
