"""Files as frameworks send them, to real clients: Starlette, FastAPI and Flask over every protocol."""

import gc
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from extension_client import Way
from fastapi import FastAPI
from flask import Flask, send_file
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

pytestmark = pytest.mark.real

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a file of a megabyte."""
    file = tmp_path / "content.bin"
    file.write_bytes(CONTENT)
    return file


def fetch(site: Any, way: Way, target: str, method: str = "GET", **fields: str) -> httpx.Response:
    """Ask with httpx."""
    context = way.trust.context("h2" if way.is_h2 else "http/1.1") if way.is_tls else False
    with httpx.Client(http1=not way.is_h2, http2=way.is_h2, verify=context, trust_env=False) as client:
        url = f"{'https' if way.is_tls else 'http'}://localhost:{site.port}{target}"
        answer = client.request(method, url, headers=fields)
    assert answer.http_version == ("HTTP/2" if way.is_h2 else "HTTP/1.1")
    return answer


async def passing(request: Any, call_next: Any) -> Any:
    """Do what middleware of FastAPI's users does."""
    answer = await call_next(request)
    answer.headers["x-passed"] = "1"
    return answer


def starlette_site(path: Path, removed: list[str]) -> Starlette:
    """Return a site that answers with files in every way that Starlette has."""
    copy = path.with_name("temporary")
    copy.write_bytes(CONTENT)

    async def whole(request: Any) -> FileResponse:
        return FileResponse(path, filename="content.bin")

    async def relative(request: Any) -> FileResponse:
        return FileResponse(os.path.relpath(path))

    async def temporary(request: Any) -> FileResponse:
        def remove() -> None:
            removed.append(str(copy))
            copy.unlink()

        return FileResponse(copy, background=BackgroundTask(remove))

    return Starlette(
        routes=[
            Route("/whole", whole),
            Route("/relative", relative),
            Route("/temporary", temporary),
            Mount("/static", StaticFiles(directory=path.parent)),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=passing), Middleware(GZipMiddleware)],
    )


@pytest.mark.spec("A-XPATH-01", "A-XPATH-02")
def test_starlette(way: Way, path: Path) -> None:
    removed: list[str] = []
    with way.serve(starlette_site(path, removed)) as site:
        for target in ("/whole", "/relative", "/static/content.bin", "/temporary"):
            answer = fetch(site, way, target)
            assert (answer.status_code, answer.content == CONTENT, answer.headers["x-passed"]) == (200, True, "1")
            assert answer.headers["content-length"] == str(len(CONTENT))
        assert fetch(site, way, "/whole", Range="bytes=5-9").content == CONTENT[5:10]
        assert fetch(site, way, "/whole", "HEAD").headers["content-length"] == str(len(CONTENT))
        assert fetch(site, way, "/static/missing").status_code == 404
    assert removed == [str(path.with_name("temporary"))]


@pytest.mark.spec("A-XPATH-01", "A-XPATH-03")
def test_fastapi(clear_way: Way, path: Path) -> None:
    site_of_users = FastAPI()

    @site_of_users.get("/file")
    async def file() -> FileResponse:
        return FileResponse(path)

    @site_of_users.get("/missing")
    async def missing() -> FileResponse:
        return FileResponse(path.with_name("missing"))

    with clear_way.serve(site_of_users) as site:
        assert fetch(site, clear_way, "/file").content == CONTENT
        assert fetch(site, clear_way, "/missing").status_code == 500
        assert fetch(site, clear_way, "/file").content == CONTENT


@pytest.mark.spec("W-FILE-02", "W-FILE-06")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Werkzeug leaves the file of a 304 to the collector
def test_flask(way: Way, path: Path) -> None:
    app = Flask(__name__)

    @app.get("/file")
    def file() -> Any:
        return send_file(path, conditional=True)

    with way.serve(app) as site:
        answer = fetch(site, way, "/file")
        assert (answer.status_code, answer.content) == (200, CONTENT)
        part = fetch(site, way, "/file", Range="bytes=100-70099")
        assert (part.status_code, part.content) == (206, CONTENT[100:70100])
        assert fetch(site, way, "/file", **{"If-None-Match": answer.headers["etag"]}).status_code == 304
        assert fetch(site, way, "/file", "HEAD").headers["content-length"] == str(len(CONTENT))
    gc.collect()


@pytest.mark.spec("A-XPATH-01", "A-XTRAIL-02", "H-EH-01")
def test_curl(way: Way, path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.pathsend", "path": str(path)})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"42")]})

    with way.serve(app) as site:
        version = "--http2" if way.is_tls else "--http2-prior-knowledge"
        command = ["curl", "--silent", "--insecure", "--include", "--header", "TE: trailers", "--max-time", "20"]
        command += [version if way.is_h2 else "--http1.1", f"{site.url}/"]
        out = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    hints, head, rest = out.split(b"\r\n\r\n", 2)
    assert hints.split(b"\r\n")[0].split(b" ")[1] == b"103"
    assert b"</a>; rel=preload" in hints
    assert head.split(b"\r\n")[0].split(b" ")[1] == b"200"
    assert rest.startswith(CONTENT)
