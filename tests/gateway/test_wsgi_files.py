"""wsgi.file_wrapper: every kind of file-like object arrives byte for byte and is closed once."""

import gzip
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_client import DEADLINE_S, Answer, RawClient, fetch, request_bytes
from wsgi_apps import PLAIN, hello

from trilithon.testing import serve

pytestmark = pytest.mark.real

CONTENT = bytes(range(256)) * 4000


class Counted:
    """A file-like object that counts reads and closes of the one behind it, with `fileno` only where that has one."""

    def __init__(self, file: Any, with_fileno: bool = True) -> None:
        self.file = file
        self.reads = 0
        self.closes = 0
        self.closed_event = threading.Event()
        if with_fileno:
            self.fileno = file.fileno

    def read(self, *size: int) -> Any:
        self.reads += 1
        return self.file.read(*size)

    def close(self) -> None:
        self.closes += 1
        self.file.close()
        self.closed_event.set()


def wrapping(
    opener: Callable[[], Any], fields: list[tuple[str, str]] | None = None, block_size: int | None = None
) -> Callable[..., Any]:
    """Make an application that returns a file wrapper around what `opener` opens."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [*PLAIN, *(fields or [])])
        sizes = () if block_size is None else (block_size,)
        return environ["wsgi.file_wrapper"](opener(), *sizes)

    return application


def answer_of(application: Any, method: str = "GET", **options: Any) -> Answer:
    """Serve one request and return its answer."""
    with serve(application, **options) as site:
        return fetch(site, method=method)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with CONTENT."""
    file = tmp_path / "content"
    file.write_bytes(CONTENT)
    return file


@pytest.mark.spec("W-FILE-01", "W-WSGI-07")
@pytest.mark.parametrize("block_size", [None, 1, 8192, 10_000_000])
def test_wrapping_does_no_io_until_it_is_returned(block_size: int | None, path: Path) -> None:
    seen: list[int] = []

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        file = Counted(path.open("rb"))
        file.file.seek(len(CONTENT) - 3000)
        wrapper = environ["wsgi.file_wrapper"](file, *(() if block_size is None else (block_size,)))
        seen.append(file.reads + file.closes)
        start_response("200 OK", list(PLAIN))
        assert iter(wrapper) is not None
        return wrapper

    assert answer_of(application).body == CONTENT[-3000:]
    assert seen == [0]


class OnlyRead:
    """The least a file can be."""

    def __init__(self, content: bytes) -> None:
        self.stream = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self.stream.read(size)


class LyingFile(io.BytesIO):
    """A BytesIO whose fileno is that of something else."""

    def __init__(self, content: bytes, other: Any) -> None:
        super().__init__(content)
        self.other = other

    def fileno(self) -> int:
        return int(self.other.fileno())


def _pipe(content: bytes) -> Any:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as end:
            end.write(content)

    threading.Thread(target=write).start()
    return os.fdopen(reading, "rb")


def _gzipped(path: Path) -> Any:
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(CONTENT))
    return gzip.open(packed, "rb")


class Decoder(io.FileIO):
    """Reads something else than its descriptor holds."""

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer) or 0
        buffer[:count] = bytes(byte ^ 1 for byte in buffer[:count])
        return count


def _coded(path: Path) -> Any:
    coded = path.with_suffix(".coded")
    coded.write_bytes(bytes(byte ^ 1 for byte in CONTENT))
    return Decoder(coded)


def _written(path: Path) -> Any:
    other = path.with_suffix(".written")
    other.write_bytes(b"??" + CONTENT[2:])
    file = other.open("r+b")
    file.read(6)  # the buffer holds more than is written next
    file.seek(0)
    file.write(CONTENT[:2])
    file.seek(0)
    return file


def _lying(path: Path) -> Any:
    other = path.with_suffix(".other")
    other.write_bytes(b"not this")
    return LyingFile(CONTENT, other.open("rb"))


FILES: dict[str, Callable[[Path], Any]] = {
    "buffered file": lambda path: path.open("rb"),
    "raw file": lambda path: path.open("rb", buffering=0),
    "BytesIO": lambda path: io.BytesIO(CONTENT),
    "only read": lambda path: OnlyRead(CONTENT),
    "pipe": lambda path: _pipe(CONTENT),
    "gzip": _gzipped,
    "fileno of something else": _lying,
    "random access": lambda path: path.open("r+b"),
    "buffered gzip": lambda path: io.BufferedReader(_gzipped(path)),
    "buffer before a decoder": lambda path: io.BufferedReader(_coded(path)),
    "written and not flushed": _written,
}


@pytest.mark.spec("W-FILE-02", "W-FILE-04", "W-FILE-07")
@pytest.mark.parametrize("with_length", [False, True], ids=["no length", "length"])
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_content_is_identical_whatever_the_file(kind: str, with_length: bool, path: Path) -> None:
    fields = [("Content-Length", str(len(CONTENT)))] if with_length else []
    with serve(wrapping(lambda: FILES[kind](path), fields)) as site, RawClient(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.status, answer.complete) == (200, True)
            assert answer.body == CONTENT
            assert answer.framing == "length" or not with_length


@pytest.mark.spec("W-FILE-04")
def test_a_text_file_is_an_error_and_not_its_bytes(path: Path) -> None:
    path.write_text("caf\xe9 " * 1000, encoding="utf-16")
    files: list[Any] = []

    def opener() -> Any:
        files.append(path.open("r", encoding="utf-16"))
        return files[-1]

    answer = answer_of(wrapping(opener))
    assert (answer.status, b"caf" in answer.body) == (500, False)
    assert files[0].closed


@pytest.mark.spec("W-FILE-03")
@pytest.mark.parametrize("position", [1, 4096, 100_001, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 10])
@pytest.mark.parametrize("how", ["seek", "read", "unbuffered"])
def test_transmission_starts_at_the_current_position(position: int, how: str, path: Path) -> None:
    def opener() -> Any:
        file = path.open("rb", buffering=0 if how == "unbuffered" else -1)
        if how == "read":
            file.read(position)
        else:
            file.seek(position)
        return file

    answer = answer_of(wrapping(opener))
    assert (answer.body, answer.complete) == (CONTENT[position:], True)


@pytest.mark.spec("W-FILE-03", "W-CL-01")
@pytest.mark.parametrize("kind", ["buffered file", "BytesIO", "only read", "gzip"])
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_transmission_ends_at_the_length(kind: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    application = wrapping(lambda: FILES[kind](path), [("Content-Length", "70000")])
    with serve(application) as site, RawClient(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.body, answer.complete) == (CONTENT[:70000], True)
    assert [record for record in caplog.records if record.levelno >= 40] == []


@pytest.mark.spec("W-FILE-04", "W-FILE-03")
def test_a_device_without_a_size_is_read() -> None:
    application = wrapping(lambda: open("/dev/zero", "rb"), [("Content-Length", "100000")])  # noqa: SIM115
    answer = answer_of(application)
    assert (answer.body, answer.complete) == (bytes(100_000), True)


@pytest.mark.spec("W-FILE-03")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_a_file_that_is_made_as_it_is_read_is_read() -> None:
    answer = answer_of(wrapping(lambda: open("/proc/self/status", "rb")))  # noqa: SIM115
    assert answer.complete and b"Name:" in answer.body


@pytest.mark.spec("W-FILE-03", "W-CL-02")
@pytest.mark.parametrize("opener", ["file", "BytesIO"])
def test_a_file_shorter_than_its_length_aborts(opener: str, path: Path) -> None:
    application = wrapping(
        lambda: path.open("rb") if opener == "file" else io.BytesIO(CONTENT),
        [("Content-Length", str(len(CONTENT) + 5))],
    )
    with serve(application) as site, RawClient(site) as client:
        answer = client.ask()
        # A plain file's size is known before the head goes out, so there an error can still be told.
        assert answer.status == 500 or (not answer.complete and answer.body == CONTENT[: len(answer.body)])
        assert client.at_end()


@pytest.mark.spec("W-FILE-03", "W-FILE-07")
@pytest.mark.parametrize("change", ["grow", "shrink"])
def test_a_file_that_changes_while_it_is_sent_keeps_the_framing(change: str, tmp_path: Path) -> None:
    size = 30_000_000
    path = tmp_path / "large"
    path.write_bytes(b"a" * size)
    with serve(wrapping(lambda: path.open("rb"))) as site, RawClient(site, receive_buffer_bytes=65536) as client:
        client.send(request_bytes("/"))
        answer = client.head()
        if change == "grow":
            with path.open("ab") as file:
                file.write(b"b" * 1000)
        else:
            os.truncate(path, 1000)
        client.send(request_bytes("/second", fields=[("Connection", "close")]))
        rest = client.rest()
    if answer.one("Content-Length"):
        assert answer.one("Content-Length") == str(size)
        if change == "grow":
            assert rest[:size].count(b"a") == size and rest[size:].startswith(b"HTTP/1.1 200")
        else:
            assert len(rest) < size and b"HTTP/1.1" not in rest
    else:
        assert answer.one("Transfer-Encoding") == "chunked"


@pytest.mark.spec("W-FILE-02")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("with_fileno", [True, False])
def test_the_file_is_closed_once_after_sending(method: str, with_fileno: bool, path: Path) -> None:
    files: list[Counted] = []

    def opener() -> Any:
        files.append(Counted(path.open("rb"), with_fileno))
        return files[-1]

    assert answer_of(wrapping(opener), method).status == 200
    assert [file.closes for file in files] == [1]


@pytest.mark.spec("W-FILE-02", "W-FILE-06")
@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_head_and_304_send_nothing_and_close_the_file(method: str, status: str, path: Path) -> None:
    files: list[Counted] = []

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, [] if status[:3] == "304" else list(PLAIN))
        files.append(Counted(path.open("rb")))
        return environ["wsgi.file_wrapper"](files[-1])

    with serve(application) as site, RawClient(site) as client:
        client.send(request_bytes("/", method, fields=[("Connection", "close")]))
        answer = client.answer(method)
        assert client.at_end()
    assert answer.body == (CONTENT if (method, status[:3]) == ("GET", "200") else b"")
    assert [file.closes for file in files] == [1]


@pytest.mark.spec("W-FILE-02", "W-ITER-03", "W-ITER-12")
@pytest.mark.parametrize("with_fileno", [True, False])
def test_a_client_that_leaves_closes_the_file(
    with_fileno: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"a" * 30_000_000)
    files: list[Counted] = []

    def opener() -> Any:
        files.append(Counted(path.open("rb"), with_fileno))
        return files[-1]

    with serve(wrapping(opener)) as site:
        with RawClient(site) as client:
            client.send(request_bytes("/"))
            client.head()
            client.exactly(1000)
        assert files[0].closed_event.wait(DEADLINE_S)
    assert files[0].closes == 1
    assert [record for record in caplog.records if record.levelno >= 40] == []


@pytest.mark.spec("W-FILE-02")
@pytest.mark.parametrize("reason", ["read fails", "close missing", "read gives str"])
def test_odd_files_end_soundly(reason: str) -> None:
    class Odd:
        def read(self, size: int) -> Any:
            if reason == "read fails":
                raise OSError("disk on fire")
            return "text" if reason == "read gives str" else b""

    answer = answer_of(wrapping(Odd))
    assert answer.complete
    assert answer.status == (200 if reason == "close missing" else 500)


@pytest.mark.spec("W-FILE-05", "W-EXT-01")
def test_a_wrapper_inside_middleware_is_just_iterated(path: Path) -> None:
    inner = wrapping(lambda: path.open("rb"))

    def middleware(environ: dict[str, Any], start_response: Any) -> Any:
        wrapped = inner(environ, start_response)
        try:
            for block in wrapped:
                yield block.swapcase()
        finally:
            wrapped.close()

    answer = answer_of(middleware)
    assert answer.body == CONTENT.swapcase()


@pytest.mark.spec("W-EXT-01")
def test_a_wrapper_that_passes_through_middleware_obeys_the_outer_start_response(path: Path) -> None:
    inner = wrapping(lambda: path.open("rb"), [("Content-Length", str(len(CONTENT)))])

    def middleware(environ: dict[str, Any], start_response: Any) -> Any:
        def shorter(status: str, fields: Any, exc_info: Any = None) -> Any:
            return start_response("203 Changed", [*PLAIN, ("Content-Length", "1000")])

        return inner(environ, shorter)

    answer = answer_of(middleware)
    assert (answer.status, answer.body, answer.complete) == (203, CONTENT[:1000], True)


@pytest.mark.spec("W-EXT-01", "W-WRITE-03")
def test_a_wrapper_after_write_follows_it(path: Path) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", list(PLAIN))(b"before ")
        return environ["wsgi.file_wrapper"](path.open("rb"))

    assert answer_of(application).body == b"before " + CONTENT


@pytest.mark.spec("W-EXT-01")
def test_a_wrapper_of_an_earlier_request_is_no_short_cut(path: Path) -> None:
    kept: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/keep":
            kept.append(environ["wsgi.file_wrapper"])
            return hello(environ, start_response)
        start_response("200 OK", list(PLAIN))
        return kept[0](path.open("rb"))

    with serve(application) as site, RawClient(site) as client:
        assert client.ask("/keep").body == b"hello"
        assert client.ask("/use").body == CONTENT


@pytest.mark.spec("W-FILE-02", "W-FILE-03")
def test_an_empty_file_is_an_empty_answer(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with serve(wrapping(lambda: path.open("rb"))) as site, RawClient(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.status, answer.body, answer.complete) == (200, b"", True)
