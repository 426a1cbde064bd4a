"""The sensors as an ASGI application in Starlette: coroutines, with the database on threads of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from . import store, upstream
from .readings import Unacceptable, Upload, calibrate, check_size, parse_file, parse_json

PAGE = Path(__file__).parent / "page"
FORM_OVERHEAD_BYTES = 4096


class Desk:
    """What the running application holds: the clients of the remote service and the threads of the database."""

    def __init__(self) -> None:
        self.address = upstream.neighbour.address()
        self.database = store.configured()
        # SQLite has one writer at a time, so more threads would only wait for each other.
        self.writer = ThreadPoolExecutor(1, "sensors-writer")
        self.reader = ThreadPoolExecutor(1, "sensors-reader")
        # One client with many connections looks at every idle one at each request; a client for each costs the same
        # however many there are. The last one used comes first, so that as few connections as possible are kept open.
        # Who waits for one is served in turn: asyncio's queues would let newcomers go first.
        self.turns = asyncio.Semaphore(upstream.MAX_CALLS)
        self.clients: list[httpx.AsyncClient] = []
        context = httpx.create_ssl_context()
        for _ in range(upstream.MAX_CALLS):
            # `trust_env` off: the service is a neighbour, never behind a proxy that the environment names.
            self.clients.append(httpx.AsyncClient(timeout=upstream.TIMEOUT_S, trust_env=False, verify=context))

    async def write(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of the store that writes, and wait for it without blocking."""
        return await asyncio.get_running_loop().run_in_executor(self.writer, method, *arguments)

    async def read(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of the store that reads, and wait for it without blocking."""
        return await asyncio.get_running_loop().run_in_executor(self.reader, method, *arguments)

    async def offsets(self, station: str) -> dict[str, float]:
        """Ask the remote service; raises httpx.HTTPError, ValueError or KeyError when it gives no good answer."""
        async with self.turns:
            client = self.clients.pop()
            try:
                answer = await client.get(self.address + upstream.path_of(station))
            finally:
                self.clients.append(client)
        offsets: dict[str, float] = answer.raise_for_status().json()["offsets"]
        return offsets

    async def close(self) -> None:
        """Wait for what is being written and close everything."""
        await asyncio.to_thread(self.writer.shutdown)
        await asyncio.to_thread(self.reader.shutdown)
        self.database.close()
        while self.clients:
            await self.clients.pop().aclose()


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Desk]]:
    """Open the desk when the server starts and close it when it stops."""
    desk = Desk()
    try:
        yield {"desk": desk}
    finally:
        await desk.close()


async def take_upload(request: Request) -> Response:
    """Store one upload: write that it came, ask the remote service, write what it brought."""
    began_s = time.perf_counter()
    desk: Desk = request.state.desk
    received = await parse(request)
    number = await desk.write(desk.database.begin_upload, received, "ASGI")
    try:
        offsets = await desk.offsets(received.station)
    except (httpx.HTTPError, ValueError, KeyError):
        await desk.write(desk.database.fail_upload, number)
        return JSONResponse({"error": "the calibration service did not answer"}, 502)
    await desk.write(desk.database.finish_upload, number, calibrate(received, offsets), elapsed_ms(began_s))
    facts = {"upload": number, "station": received.station, "readings": len(received.readings), "interface": "ASGI"}
    return JSONResponse({**facts, "offsets": offsets, "took_ms": elapsed_ms(began_s)}, 201)


def elapsed_ms(began_s: float) -> float:
    """Return how long ago that was."""
    return round((time.perf_counter() - began_s) * 1000, 2)


async def parse(request: Request) -> Upload:
    """Read the request's body, JSON or a form with a file."""
    check_size(int(request.headers.get("content-length", "0")) - FORM_OVERHEAD_BYTES)
    mimetype = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if mimetype == "application/json":
        return parse_json(await request.body())
    if mimetype == "multipart/form-data":
        async with request.form(max_files=1, max_fields=4) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise Unacceptable('the form has no file "file"')
            return parse_file(form.get("station"), await file.read())
    raise Unacceptable("an upload is JSON or a form with a file", 415)


async def refuse(_: Request, fault: Exception) -> Response:
    """Tell the sender what is wrong."""
    assert isinstance(fault, Unacceptable)
    return JSONResponse({"error": str(fault)}, fault.status)


async def refuse_otherwise(_: Request, fault: Exception) -> Response:
    """Tell what the framework refuses, in the same form."""
    assert isinstance(fault, HTTPException)
    return JSONResponse({"error": fault.detail}, fault.status_code)


async def latest(request: Request) -> Response:
    """Return what the page shows."""
    desk: Desk = request.state.desk
    overview = await desk.read(desk.database.overview)
    return JSONResponse({**overview, "interface": "ASGI", "framework": "Starlette"})


async def page(_: Request) -> Response:
    """Send the page."""
    return FileResponse(PAGE / "index.html")


def asset(name: str) -> Route:
    """Return the route of the style or the script of the page."""

    async def send_asset(_: Request) -> Response:
        return FileResponse(PAGE / name)

    return Route(f"/{name}", send_asset)


app = Starlette(
    routes=[
        Route("/", page),
        asset("style.css"),
        asset("page.js"),
        Route("/latest", latest),
        Route("/uploads", take_upload, methods=["POST"]),
    ],
    exception_handlers={Unacceptable: refuse, HTTPException: refuse_otherwise},
    lifespan=lifespan,
)
