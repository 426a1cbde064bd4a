"""What a worker serves in development in place of an application that cannot be loaded: the fault, for a person."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from html import escape
from typing import Any

from trilithon.foundation.version import VERSION
from trilithon.worker.error_look import MARK, SCRIPT, STYLE
from trilithon.worker.fault_report import Frame, Raised, Report, python_facts

# The answer names its fault in this field, and a page that waits for the end of its fault does in the other.
FAULT_FIELD = b"trilithon-fault"
WATCH_FIELD = b"trilithon-watch"
# Something is sent now and then, for proxies that cut a silent answer.
BEAT_S = 15.0
# Lines around a frame that is not the first.
NARROW_LINES = 2

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ErrorPage:
    """An ASGI application that answers every request with a fault and status 500.

    A client that accepts HTML gets a page, any other one the text of the terminal. The page keeps an answer open that
    ends with this worker, asks again then, and loads itself anew when what answers is no longer this fault. No variable
    of the environment and no local variable is shown.
    """

    def __init__(self, report: Report) -> None:
        self.page = page(report).encode("utf-8", "replace")
        self.text = (report.text + "\n").encode("utf-8", "replace")
        self.ident = hashlib.blake2b(self.page, digest_size=6).hexdigest().encode()
        self.page = self.page.replace(b"FAULT-IDENT", self.ident)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, refuse one WebSocket, or see a lifespan through."""
        if scope["type"] == "http":
            await self.answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1011, "reason": "the application cannot be loaded"})
        else:
            while True:
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        fields = dict(scope["headers"])
        if WATCH_FIELD in fields and scope["method"] == "GET":
            await self.hold(fields[WATCH_FIELD], receive, send)
            return
        accepts_html = b"text/html" in fields.get(b"accept", b"").lower()
        body = self.page if accepts_html else self.text
        # A form that was sent is not sent again without asking.
        body = body.replace(b"REQUEST-METHOD", b"GET" if scope["method"] in ("GET", "HEAD") else b"POST")
        kind = b"text/html" if accepts_html else b"text/plain"
        await send(self.start(500, kind, (b"content-length", str(len(body)).encode())))
        await send({"type": "http.response.body", "body": body})

    async def hold(self, known: bytes, receive: Receive, send: Send) -> None:
        """Keep an answer open until the worker ends; not for a page that shows another fault."""
        await send(self.start(200, b"text/plain"))
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        leaving = asyncio.ensure_future(wait_until_left(receive))
        try:
            while known == self.ident and not leaving.done():
                await asyncio.wait([leaving], timeout=BEAT_S)
                if not leaving.done():
                    await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        finally:
            leaving.cancel()
        await send({"type": "http.response.body", "body": b""})

    def start(self, status: int, kind: bytes, *more: tuple[bytes, bytes]) -> dict[str, Any]:
        """Return the start of an answer."""
        fields = [
            (b"content-type", kind + b"; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (FAULT_FIELD, self.ident),
            *more,
        ]
        return {"type": "http.response.start", "status": status, "headers": fields}


async def wait_until_left(receive: Receive) -> None:
    """Return when the client is gone or the worker ends."""
    while (await receive())["type"] != "http.disconnect":
        pass


def page(report: Report) -> str:
    """Return the page about a fault, complete in itself."""
    return "".join(_written(report))


def _written(report: Report) -> Iterator[str]:
    first = report.raised[0] if report.raised else Raised("", "", report.text, (), 0)
    title = first.name.rpartition(".")[2] or report.subject
    yield f"<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n<title>{escape(title)}</title>\n"
    yield "<meta name='viewport' content='width=device-width, initial-scale=1'>\n<link rel='icon' href='data:,'>\n"
    yield f"<style>{STYLE}</style>\n</head>\n<body data-fault='FAULT-IDENT' data-method='REQUEST-METHOD'>\n"
    yield f"<header>{MARK}<p class='subject'>{escape(report.subject)}</p>"
    yield "<p class='state' role='status'><i></i><span>waiting for a change</span></p></header>\n<main>\n"
    for number, raised in enumerate(report.raised):
        yield from _exception(raised, number == 0)
    yield f"<details class='text'><summary>As in the terminal</summary><pre>{escape(report.text)}</pre></details>\n"
    yield f"</main>\n<footer>trilithon {escape(VERSION)}, {escape(python_facts())}. "
    yield "Shown because the server runs with <code>--reload</code>.</footer>\n"
    yield f"<script>{SCRIPT}</script>\n</body>\n</html>\n"


def _exception(raised: Raised, is_first: bool) -> Iterator[str]:
    """Write one exception: its message, the place to mend, then the way there."""
    yield "<section>"
    if raised.relation:
        yield f"<p class='relation'>{escape(raised.relation)}</p>"
    if raised.name:
        module, _, name = raised.name.rpartition(".")
        level = "h1" if is_first else "h2"
        yield f"<{level}><small>{escape(module + '.' if module else '')}</small>{escape(name)}</{level}>"
    if raised.message:
        yield f"<p class='message'>{escape(raised.message)}</p>"
    own = [frame for frame in raised.frames if frame.is_own]
    chosen = own[0] if own else (raised.frames[0] if raised.frames else None)
    if chosen is not None:
        yield _full(chosen)
    rest = [frame for frame in raised.frames if frame is not chosen]
    if rest:
        yield "<h3>Calls, the most recent first</h3><ol>"
        for frame in raised.frames:
            yield f"<li class='here'>{_head(frame)}</li>" if frame is chosen else _row(frame)
        yield "</ol>"
    if raised.left_out:
        yield f"<p class='more'>and {raised.left_out} older ones</p>"
    yield "</section>\n"


def _full(frame: Frame) -> str:
    kind = "own" if frame.is_own else "library"
    return f"<figure class='{kind}'><figcaption>{_head(frame)}</figcaption>{_source(frame, None)}</figure>"


def _row(frame: Frame) -> str:
    """Write a frame as a line that opens; the application's own are open."""
    kind, opened = ("own", " open") if frame.is_own else ("library", "")
    if not frame.source:
        return f"<li class='{kind}'>{_head(frame)}</li>"
    return (
        f"<li class='{kind}'><details{opened}><summary>{_head(frame)}</summary>"
        f"{_source(frame, NARROW_LINES)}</details></li>"
    )


def _head(frame: Frame) -> str:
    where = f"<b>{escape(frame.file)}</b><span>:{frame.line}</span>"
    return where + (f" <em>{escape(frame.function)}</em>" if frame.function not in ("", "<module>") else "")


def _source(frame: Frame, around: int | None) -> str:
    """Write the source around a frame, `around` lines on either side or all there is; empty where it has none."""
    lines = [each for each in frame.source if around is None or abs(each[0] - frame.line) <= around]
    # What all lines are indented by is not worth its room; tabs and blanks are told apart, so only alike ones count.
    texts = [text for _, text in lines if text.strip()]
    indent = min((len(text) - len(text.lstrip(" ")) for text in texts), default=0)
    written = []
    for number, text in lines:
        if number == frame.line:
            written.append(f"<mark><i>{number}</i>{_marked(text, indent, frame.marked)}\n</mark>")
        else:
            written.append(f"<span><i>{number}</i>{escape(text[indent:])}\n</span>")
    return f"<pre tabindex='0'><code>{''.join(written)}</code></pre>" if written else ""


def _marked(text: str, indent: int, marked: tuple[int, int]) -> str:
    """Write the line of a fault with the columns that it is about underlined."""
    start, end = max(marked[0], indent), max(marked[1], indent)
    if start >= end:
        return escape(text[indent:])
    # A fault at the end of a line is behind its last character.
    inner = text[start:end] or " "
    return f"{escape(text[indent:start])}<u>{escape(inner)}</u>{escape(text[end:])}"
