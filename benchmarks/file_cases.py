"""The questions about a large file: sent by the server's own means, or part by part by the application."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case

FILE_BYTES = 100 * 1024 * 1024
LINE = b"%063d\n" % 0
VARIABLE = "BENCHMARK_FILE"
"""Names the file to the applications."""


@dataclass(frozen=True)
class FileCase(Case):
    """One way to send the file."""

    @property
    def body_bytes(self) -> int:
        """The length of the file."""
        return FILE_BYTES

    def is_right(self, status: int, body: bytes) -> bool:
        """Tell whether an answer is the whole file."""
        return status == 200 and len(body) == FILE_BYTES and body == LINE * (FILE_BYTES // len(LINE))


def write_file(directory: Path) -> Path:
    """Return the path of the file, made when it is not there."""
    path = directory / "large-file"
    if not path.exists():
        path.write_bytes(LINE * (FILE_BYTES // len(LINE)))
    return path


def both_ways(name: str, title: str, app: str, peers: tuple[str, ...], http2_peers: tuple[str, ...]) -> list[FileCase]:
    """Return the same question over plain HTTP/1.1 and over HTTP/2 with TLS."""
    question = {"interface": app[5:9], "app": app, "connections": 4, "requests": 24}
    plain = FileCase(name=f"file-{name}", title=f"100 MiB {title}", servers=("trilithon", *peers), **question)
    over = {"servers": ("trilithon", *http2_peers), "is_tls": True, "is_http2": True, "requests": 12}
    return [plain, FileCase(name=f"h2-file-{name}", title=f"HTTP/2 over TLS, 100 MiB {title}", **{**question, **over})]


ASGI = ("uvicorn", "granian-asgi"), ("uvicorn-zttp", "granian-asgi")
WSGI = ("granian-wsgi", "gunicorn-gthread"), ("granian-wsgi",)

FILE_CASES: tuple[FileCase, ...] = (
    *both_ways(
        "path", "file by http.response.pathsend, in parts where that is not offered", "file_asgi:by_path", *ASGI
    ),
    *both_ways("body", "file read and sent by the application in parts of 64 KiB, ASGI", "file_asgi:by_parts", *ASGI),
    *both_ways(
        "wrapper", "file by wsgi.file_wrapper, by wsgiref's where none is offered", "file_wsgi:by_wrapper", *WSGI
    ),
)
