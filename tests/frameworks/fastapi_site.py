"""A FastAPI site: validation, dependencies with yield, uploads, streams, background tasks."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Form, HTTPException, Request, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

events: list[str] = []
background_done = threading.Event()


@asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[dict[str, str]]:
    """Note start and end, and hand a state to the requests."""
    events.append("started")
    yield {"greeting": "from the lifespan"}
    events.append("ended")


app = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    """A thing with rules."""

    name: str
    price: float = Field(gt=0)


async def resource() -> AsyncIterator[str]:
    """Give a resource and note that it was given back."""
    events.append("opened")
    try:
        yield "resource"
    finally:
        events.append("closed")


@app.get("/state")
async def state(request: Request) -> dict[str, str]:
    """Tell what the lifespan handed on."""
    return {"greeting": request.state.greeting}


@app.post("/items")
async def create(item: Item) -> Item:
    """Answer with the validated item."""
    return item


@app.get("/items/{number}")
def read(number: int, q: str = "none") -> dict[str, int | str]:
    """Answer from a worker thread."""
    return {"number": number, "q": q, "thread": threading.current_thread().name}


@app.get("/dependency")
async def dependency(given: Annotated[str, Depends(resource)], fail: bool = False) -> dict[str, str]:
    """Use a resource, and fail with it when asked to."""
    if fail:
        raise HTTPException(409, "asked to")
    return {"given": given}


@app.post("/upload")
async def upload(file: UploadFile, note: Annotated[str, Form()]) -> dict[str, str | int | None]:
    """Describe the uploaded file."""
    content = await file.read()
    return {
        "name": file.filename,
        "size": len(content),
        "digest": hashlib.sha256(content).hexdigest(),
        "note": note,
    }


@app.post("/echo")
async def echo(request: Request) -> StreamingResponse:
    """Stream the body back while it arrives."""
    return StreamingResponse(request.stream(), media_type="application/octet-stream")


@app.get("/stream")
async def stream() -> StreamingResponse:
    """Stream from an asynchronous generator."""

    async def lines() -> AsyncIterator[bytes]:
        for number in range(200):
            if number % 20 == 0:
                await asyncio.sleep(0)
            yield b"line %d\n" % number

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/thread-stream")
def thread_stream() -> StreamingResponse:
    """Stream from a plain generator, which Starlette runs on threads."""

    def lines() -> Iterator[bytes]:
        for number in range(50):
            yield b"line %d\n" % number

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/background")
async def background(tasks: BackgroundTasks) -> dict[str, bool]:
    """Answer first and work afterwards."""
    background_done.clear()
    tasks.add_task(background_done.set)
    return {"done": background_done.is_set()}


@app.get("/fail")
async def fail() -> None:
    """Fail."""
    raise RuntimeError("the secret reason")
