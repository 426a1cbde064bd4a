"""What a response looks like on the wire, whatever the application said, from both interfaces (http.md 7)."""

import email.utils
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from trilithon.testing import serve

from .client import DEADLINE_S, Client
from .replies import Reply

pytestmark = pytest.mark.real

GET = b"GET /script HTTP/1.1\r\nHost: a\r\n\r\n"
CANARY = b"GET /canary HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Breakdown(Exception):
    """What a scripted application raises."""


@dataclass
class Script:
    """What the application does with the next request to `/script`."""

    status: int = 200
    reason: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=lambda: [b"hello"])
    breaks: bool = False


class Scripted:
    """An application of both interfaces that follows `script`; `/canary` is answered like any request."""

    def __init__(self) -> None:
        self.script = Script()

    def choose(self, path: str) -> Script:
        """Return the script for a path."""
        return Script(blocks=[b"canary"], fields=[("content-length", "6")]) if path == "/canary" else self.script

    async def asgi(
        self, scope: dict[str, Any], receive: Callable[..., Awaitable[Any]], send: Callable[..., Awaitable[None]]
    ) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        script = self.choose(scope["path"])
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in script.fields]
        await send({"type": "http.response.start", "status": script.status, "headers": headers})
        for number, block in enumerate(script.blocks, 1):
            more = number < len(script.blocks) or script.breaks
            await send({"type": "http.response.body", "body": block, "more_body": more})
        if script.breaks:
            raise Breakdown
        if not script.blocks:
            await send({"type": "http.response.body"})

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        script = self.choose(environ["PATH_INFO"])
        start_response(f"{script.status} {script.reason}".rstrip(" "), script.fields)
        return self.blocks(script)

    def blocks(self, script: Script) -> Iterator[bytes]:
        """Yield the body."""
        yield from script.blocks
        if script.breaks:
            raise Breakdown


class Site:
    """A served `Scripted`, asked by `ask`."""

    def __init__(self, interface: str, application: Scripted, host: str, port: int) -> None:
        self.interface = interface
        self.application = application
        self.host = host
        self.port = port

    def ask(self, script: Script, request: bytes = GET) -> list[Reply]:
        """Send `request` and the canary behind it, and return the replies."""
        self.application.script = script
        with Client(self.host, self.port) as client:
            client.send(request + CANARY)
            return client.replies([request.partition(b" ")[0].decode()])

    def ask_raw(self, script: Script, request: bytes = GET) -> bytes:
        """Send the same and return everything that came, whole or not."""
        self.application.script = script
        with Client(self.host, self.port) as client:
            client.send(request + CANARY)
            try:
                return client.to_end()
            except ConnectionResetError:
                return bytes(client.received)


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """One server for each interface."""
    application = Scripted()
    with serve(getattr(application, request.param), interface=request.param) as served:
        yield Site(request.param, application, served.host, served.port)


def request(method: str = "GET", version: str = "1.1", fields: str = "") -> bytes:
    """Write a request for the script."""
    return f"{method} /script HTTP/{version}\r\nHost: a\r\n{fields}\r\n".encode()


def answered_both(replies: list[Reply]) -> Reply:
    """Check that the canary is answered behind the reply, and return the reply."""
    assert [reply.body for reply in replies[1:]] == [b"canary"]
    return replies[0]


@pytest.mark.spec("H1-RSP-01")
@pytest.mark.parametrize("status", [200, 201, 299, 302, 400, 404, 418, 451, 499, 500, 503, 599, 999])
def test_the_status_line(site: Site, status: int) -> None:
    reply = answered_both(site.ask(Script(status=status, fields=[("content-length", "5")])))
    assert (reply.status, reply.body) == (status, b"hello")


@pytest.mark.spec("H1-RSP-01")
def test_a_status_without_a_reason_keeps_its_space(site: Site) -> None:
    raw = site.ask_raw(Script(status=299))
    assert raw.startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.spec("H1-RSP-02", "H1-RSP-03")
@pytest.mark.parametrize("blocks", [[b"hello"], [b"hel", b"lo"], [b"", b"hello", b""], []])
def test_a_body_with_its_length(site: Site, blocks: list[bytes]) -> None:
    body = b"".join(blocks)
    reply = answered_both(site.ask(Script(fields=[("Content-Length", str(len(body)))], blocks=blocks)))
    assert (reply.framing, reply.body) == ("length", body)


@pytest.mark.spec("H1-RSP-02", "H1-RSP-03")
def test_a_body_without_a_length_is_chunked(site: Site) -> None:
    reply = answered_both(site.ask(Script(blocks=[b"hel", b"", b"lo"])))
    assert (reply.framing, reply.body) == ("chunked", b"hello")


@pytest.mark.spec("H1-RSP-03", "H1-CON-02")
@pytest.mark.parametrize("fields", ["", "Connection: keep-alive\r\n"])
def test_a_body_without_a_length_ends_with_the_connection_in_http_1_0(site: Site, fields: str) -> None:
    (reply,) = site.ask(Script(blocks=[b"hel", b"", b"lo"]), request(version="1.0", fields=fields))
    assert (reply.framing, reply.body) == ("close", b"hello")
    assert b"keep-alive" not in reply.options


@pytest.mark.spec("H1-CON-02")
def test_http_1_0_persists_with_a_length_when_asked_to(site: Site) -> None:
    script = Script(fields=[("Content-Length", "5")], blocks=[b"hel", b"lo"])
    reply = answered_both(site.ask(script, request(version="1.0", fields="Connection: Keep-Alive\r\n")))
    assert (reply.framing, reply.body) == ("length", b"hello")
    assert b"keep-alive" in reply.options


@pytest.mark.spec("H1-RSP-02")
def test_an_application_cannot_have_both_framings(site: Site) -> None:
    fields = [("content-length", "5"), ("transfer-encoding", "chunked")]
    if site.interface == "asgi":
        reply = answered_both(site.ask(Script(fields=fields)))
        assert (reply.framing, reply.body) == ("length", b"hello")
    else:
        assert site.ask(Script(fields=fields))[0].status == 500


@pytest.mark.spec("H1-RSP-04")
@pytest.mark.parametrize("fields", [[], [("content-length", "0")], [("content-length", "5")]])
@pytest.mark.parametrize("blocks", [[], [b""], [b"hello"]])
def test_204_has_neither_body_nor_framing(site: Site, fields: list[tuple[str, str]], blocks: list[bytes]) -> None:
    replies = site.ask(Script(status=204, fields=fields, blocks=blocks))
    assert replies[0].status == 204
    assert replies[0].framing == "none"
    assert [reply.body for reply in replies[1:]] in ([b"canary"], [])


@pytest.mark.spec("H1-RSP-05", "H-SEM-01")
@pytest.mark.parametrize(
    "script",
    [
        Script(fields=[("content-length", "5"), ("x-y", "z")]),
        Script(fields=[("x-y", "z")]),
        Script(fields=[("content-length", "5")], blocks=[b"hel", b"lo"]),
        Script(blocks=[b"hel", b"lo"]),
        Script(status=404, fields=[("content-length", "5")]),
        Script(blocks=[b"w" * 100_000]),
    ],
)
def test_head_is_get_without_content(site: Site, script: Script) -> None:
    get = answered_both(site.ask(script))
    head = answered_both(site.ask(script, request("HEAD")))
    assert head.body == b""
    assert head.status == get.status
    assert head.one("x-y") == get.one("x-y")
    # RFC 9110 8.6: a length that only the writing of the body would tell may be left out.
    assert head.one("content-length") in (b"%d" % len(get.body), None)
    for name, value in script.fields:
        assert head.one(name) == value.encode()


@pytest.mark.spec("H1-RSP-06")
@pytest.mark.parametrize("blocks", [[], [b"hello"], [b"hel", b"lo"]])
def test_304_has_no_content(site: Site, blocks: list[bytes]) -> None:
    reply = answered_both(site.ask(Script(status=304, fields=[("etag", '"1"')], blocks=blocks)))
    assert reply.status == 304
    assert reply.one("content-length") is None
    assert reply.one("transfer-encoding") is None
    assert reply.one("etag") == b'"1"'


@pytest.mark.spec("H1-RSP-06")
def test_304_keeps_the_length_of_the_200(site: Site) -> None:
    reply = answered_both(site.ask(Script(status=304, fields=[("content-length", "500")], blocks=[])))
    assert reply.one("content-length") == b"500"


@pytest.mark.spec("H1-RSP-07")
@pytest.mark.parametrize("blocks", [[], [b"hello"]])
def test_205_has_no_content(site: Site, blocks: list[bytes]) -> None:
    reply = answered_both(site.ask(Script(status=205, blocks=blocks)))
    assert (reply.framing, reply.body) == ("length", b"")


@pytest.mark.spec("H1-RSP-08")
@pytest.mark.parametrize("status", [200, 204, 301, 304, 404])
def test_date_is_now(site: Site, status: int) -> None:
    reply = site.ask(Script(status=status, blocks=[]))[0]
    date = reply.one("date")
    assert date is not None
    moment = email.utils.parsedate_to_datetime(date.decode())
    assert abs(moment.timestamp() - time.time()) < 2.5
    assert email.utils.format_datetime(moment, usegmt=True).encode() == date


@pytest.mark.spec("H1-RSP-08")
def test_date_goes_on(site: Site) -> None:
    site.application.script = Script(blocks=[b"hello"])
    dates = set()
    deadline = time.monotonic() + DEADLINE_S
    with Client(site.host, site.port) as client:
        count = 0
        while len(dates) < 3 and time.monotonic() < deadline:
            client.send(GET)
            count += 1
            reply = client.replies([], count=count)[-1]
            dates.add(email.utils.parsedate_to_datetime((reply.one("date") or b"").decode()).timestamp())
            client.received.clear()
            count = 0
    ordered = sorted(dates)
    assert len(ordered) >= 3
    assert [later - earlier for earlier, later in itertools.pairwise(ordered)] == [1.0] * (len(ordered) - 1)


@pytest.mark.spec("H1-RSP-08")
def test_the_date_of_the_application_stands_alone(site: Site) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    reply = answered_both(site.ask(Script(fields=[("Date", date), ("content-length", "5")])))
    assert reply.one("date") == date.encode()


@pytest.mark.spec("H1-RSP-09")
@pytest.mark.parametrize(
    "poison", ["\r\nInjected: 1", "\nInjected: 1", "\rInjected: 1", "\0", "\r\n\r\nHTTP/1.1 200 OK\r\n", "\r", "\n"]
)
@pytest.mark.parametrize("where", ["value", "name", "value end", "value start"])
def test_what_would_split_the_response_never_reaches_the_wire(site: Site, poison: str, where: str) -> None:
    pair = {
        "value": ("x-a", f"v{poison}w"),
        "name": (f"x-a{poison}", "v"),
        "value end": ("x-a", f"v{poison}"),
        "value start": ("x-a", f"{poison}v"),
    }[where]
    raw = site.ask_raw(Script(fields=[pair]))
    assert raw.startswith(b"HTTP/1.1 500 ")
    assert b"Injected" not in raw
    assert b"x-a" not in raw
    assert b"\0" not in raw


@pytest.mark.spec("H1-RSP-09")
@pytest.mark.parametrize(
    "reason", ["OK\r\nInjected: 1", "OK\nInjected: 1", "OK\rInjected: 1", "O\0K", "OK\r\n\r\nInjected"]
)
def test_what_would_split_the_status_line_never_reaches_the_wire(site: Site, reason: str) -> None:
    if site.interface == "asgi":
        # ASGI has no reason phrase; the other text that could reach the head is the status itself.
        raw = site.ask_raw(Script(status=reason))  # type: ignore[arg-type]
    else:
        raw = site.ask_raw(Script(status=200, reason=reason))
    assert raw.startswith(b"HTTP/1.1 500 ")
    assert b"Injected" not in raw


@pytest.mark.spec("H1-RSP-13")
def test_an_error_of_the_server_repeats_nothing(site: Site) -> None:
    with Client(site.host, site.port) as client:
        client.send(b"GET /<script>secret</script> HTTP/1.1\r\nHost: evil host\r\nX-Secret: secret\r\n\r\n")
        (reply,) = client.replies([])
    assert reply.status == 400
    assert b"secret" not in reply.body
    assert b"evil" not in reply.body
    assert (reply.one("content-type") or b"").startswith(b"text/plain")
    assert reply.framing == "length"


@pytest.mark.spec("H1-HOST-06", "H1-RSP-13")
@pytest.mark.parametrize(
    "refused",
    [b"GET /%zz# HTTP/1.1", b"CONNECT a:80 HTTP/1.1", b"GET / HTTP/1.1\r\nExpect: x", b"GET / HTTP/1.1\r\nbad", b"A B"],
)
def test_no_answer_of_the_server_repeats_the_host(site: Site, refused: bytes) -> None:
    with Client(site.host, site.port) as client:
        client.send(refused + b"\r\nHost: evil.example\r\n\r\n")
        assert client.replies([])[0].status >= 400
        assert b"evil" not in client.received


@pytest.mark.spec("H-SEM-09")
def test_a_range_is_left_to_the_application(site: Site) -> None:
    script = Script(fields=[("content-length", "5")])
    reply = answered_both(site.ask(script, request(fields="Range: bytes=0-1\r\n")))
    assert (reply.status, reply.body, reply.one("content-range")) == (200, b"hello", None)


@pytest.mark.spec("H1-RSP-13", "H1-RSP-16")
def test_an_application_that_breaks_at_once_is_answered_for(site: Site) -> None:
    replies = site.ask(Script(blocks=[], breaks=True))
    assert replies[0].status == 500
    assert (replies[0].one("content-type") or b"").startswith(b"text/plain")
    assert b"Breakdown" not in replies[0].body
    assert len(replies) == 1 or replies[1].body == b"canary"


@pytest.mark.spec("H1-RSP-16")
@pytest.mark.parametrize("fields", [[], [("content-length", "500")]])
def test_a_response_that_breaks_midway_is_the_last(site: Site, fields: list[tuple[str, str]]) -> None:
    raw = site.ask_raw(Script(fields=fields, blocks=[b"hello", b"world"], breaks=True))
    assert raw.count(b"HTTP/1.1") <= 1
    assert b"canary" not in raw
    assert not raw.endswith(b"0\r\n\r\n")


@pytest.mark.spec("H1-RSP-10", "H1-CON-03")
def test_an_application_may_ask_for_the_close(site: Site) -> None:
    if site.interface == "asgi":
        (reply,) = site.ask(Script(fields=[("connection", "close"), ("content-length", "5")]))
        assert b"close" in reply.options
    else:
        # PEP 3333: hop-by-hop fields are not for applications.
        assert site.ask(Script(fields=[("connection", "close")]))[0].status == 500


@pytest.mark.spec("H-SEM-05")
def test_a_405_of_the_server_says_what_is_allowed(site: Site) -> None:
    with Client(site.host, site.port) as client:
        client.send(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n" + CANARY)
        (reply,) = client.replies(["CONNECT"])
    assert reply.status == 405
    allowed = {method.strip() for method in (reply.one("allow") or b"").split(b",")}
    assert {b"GET", b"HEAD"} <= allowed
    assert b"CONNECT" not in allowed


@pytest.mark.spec("H-SEM-07")
@pytest.mark.parametrize("named", ["", "trilithon"])
def test_the_server_field_is_off_unless_asked_for(named: str) -> None:
    application = Scripted()
    with serve(application.asgi, interface="asgi", server_header=named) as served:
        reply = answered_both(Site("asgi", application, served.host, served.port).ask(Script()))
        assert reply.one("server") == (named.encode() or None)
        with Client(served.host, served.port) as client:
            client.send(b"BAD\r\n\r\n")
            assert client.replies([])[0].one("server") == (named.encode() or None)
