"""http.response.trailers: fields behind the body, for clients that take them."""

from typing import Any

import pytest
from asgi_apps import Notes, body, error_records, http_only, raised_by, start
from extension_client import Way

pytestmark = pytest.mark.real

TE = [(b"te", b"trailers")]


def trailers(*headers: Any, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": headers, **more}


def trailing(*events: dict[str, Any], headers: Any = (), status: int = 200) -> Any:
    """Return an application that promises trailers and sends the events."""

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(status, headers, trailers=True))
        for event in events:
            await send(event)

    return app


DIGEST = (b"digest", b"sha-256=abc")
BODIES: dict[str, list[dict[str, Any]]] = {
    "one": [body(b"content")],
    "several": [body(b"con", True), body(b"tent", True), body()],
    "none": [body()],
}


@pytest.mark.spec("A-XTRAIL-01", "A-XTRAIL-02", "A-XTRAIL-04", "A-RESP-01")
@pytest.mark.parametrize("kind", BODIES)
def test_trailers_come_behind_the_body(kind: str, way: Way) -> None:
    app = trailing(*BODIES[kind], trailers(DIGEST, (b"x-second", b"2")))
    with way.serve(app) as site, way.client(site) as client:
        for _ in range(3):
            answer = client.ask(fields=TE)
            assert (answer.status, answer.whole) == (200, True)
            assert answer.body == b"".join(event["body"] for event in BODIES[kind])
            assert answer.trailers == [DIGEST, (b"x-second", b"2")]
            assert answer.framing in ("frames", "chunked")


@pytest.mark.spec("A-XTRAIL-01")
def test_several_trailer_events_make_one_section(clear_way: Way) -> None:
    app = trailing(
        body(b"x"), trailers(DIGEST, more_trailers=True), trailers(more_trailers=True), trailers((b"last", b"1"))
    )
    answer = clear_way.ask(app, fields=TE)
    assert (answer.body, answer.whole, answer.trailers) == (b"x", True, [DIGEST, (b"last", b"1")])


@pytest.mark.spec("A-XTRAIL-01")
def test_an_event_without_headers_ends_the_response(clear_way: Way) -> None:
    app = trailing(body(b"x"), {"type": "http.response.trailers"})
    with clear_way.serve(app) as site, clear_way.client(site) as client:
        for _ in range(2):
            answer = client.ask(fields=TE)
            assert (answer.body, answer.whole) == (b"x", True)
            assert not answer.trailers


@pytest.mark.spec("A-XTRAIL-01")
def test_the_response_waits_for_its_trailers(clear_way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start(trailers=True))
        await send(body(b"whole"))
        notes.add(type(await raised_by(send(body(b"more")))).__name__)
        notes.add(type(await raised_by(send(body(b"more", True)))).__name__)
        notes.add(type(await raised_by(send({"type": "http.response.pathsend", "path": __file__}))).__name__)
        await send(trailers(DIGEST))
        notes.add(type(await raised_by(send(trailers(DIGEST)))).__name__)
        notes.add((await receive())["type"])

    answer = clear_way.ask(app, fields=TE)
    assert (answer.body, answer.whole, answer.trailers) == (b"whole", True, [DIGEST])
    assert notes.rest() == ["AppStateError"] * 4 + ["http.disconnect"]


TAKES = [b"trailers", b"Trailers", b"gzip, trailers", b"trailers, deflate;q=0.5", b"gzip;q=0.1,\tTRAILERS ,x"]
TAKES_NOT: list[bytes | None] = [None, b"", b"gzip", b"trailer", b"trailers;q=1", b"xtrailers", b"x-trailers, gzip"]


@pytest.mark.spec("A-XTRAIL-02")
@pytest.mark.parametrize("value", [*TAKES, *TAKES_NOT])
def test_http1_clients_say_that_they_take_trailers(value: bytes | None, trust: Any) -> None:
    way = Way("http1", trust)
    with way.serve(trailing(body(b"x"), trailers(DIGEST))) as site, way.client(site) as client:
        for _ in range(2):
            answer = client.ask(fields=[(b"TE", value)] if value is not None else [])
            assert (answer.body, answer.whole) == (b"x", True)
            assert (answer.trailers or []) == ([DIGEST] if value in TAKES else [])


@pytest.mark.spec("A-XTRAIL-02")
def test_h2_clients_that_do_not_take_trailers_get_none(trust: Any) -> None:
    way = Way("h2", trust)
    with way.serve(trailing(body(b"x"), trailers(DIGEST))) as site, way.client(site) as client:
        for fields in ([], TE, []):
            answer = client.ask(fields=fields)
            assert (answer.body, answer.whole) == (b"x", True)
            assert answer.trailers == ([DIGEST] if fields else None)


BAD = [
    (b"transfer-encoding", b"chunked"),
    (b"content-length", b"1"),
    (b"Content-Length", b"1"),
    (b"content-type", b"text/plain"),
    (b"content-encoding", b"gzip"),
    (b"content-range", b"bytes 0-0/1"),
    (b"host", b"a"),
    (b"trailer", b"x"),
    (b"te", b"trailers"),
    (b"connection", b"close"),
    (b"upgrade", b"x"),
    (b"authorization", b"x"),
    (b"set-cookie", b"a=b"),
    (b"www-authenticate", b"Basic"),
    (b"cache-control", b"no-store"),
    (b":status", b"200"),
    (b"", b"x"),
    (b"a b", b"x"),
    (b"a", b"x\r\nb: c"),
    (b"a", b"x\0"),
    ("a", "x"),
    (b"a",),
]


@pytest.mark.spec("A-XTRAIL-03", "H1-RSP-09")
@pytest.mark.parametrize("pair", BAD, ids=repr)
def test_fields_that_are_no_trailers_raise_and_change_nothing(pair: Any, clear_way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(trailers=True))
        await send(body(b"x"))
        notes.add(await raised_by(send(trailers(DIGEST, pair))))
        await send(trailers((b"fine", b"1")))

    answer = clear_way.ask(app, fields=TE)
    assert (answer.body, answer.whole, answer.trailers) == (b"x", True, [(b"fine", b"1")])
    assert isinstance(notes.next(), (ValueError, TypeError))


@pytest.mark.spec("A-XTRAIL-03")
def test_names_are_in_lower_case_on_h2(clear_way: Way) -> None:
    answer = clear_way.ask(trailing(body(b"x"), trailers((b"X-Sum", b"1"))), fields=TE)
    assert answer.trailers == [(b"x-sum", b"1")]


@pytest.mark.spec("A-XTRAIL-04")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_without_chunks_trailers_are_dropped(version: str, trust: Any) -> None:
    way = Way("http1", trust)
    app = trailing(body(b"content"), trailers(DIGEST), headers=[(b"content-length", b"7")] if version == "1.1" else [])
    with way.serve(app) as site, way.client(site) as client:
        answer = client.ask(fields=TE, version=version)
        assert (answer.body, answer.whole, answer.trailers) == (b"content", True, None)
        assert answer.framing == ("length" if version == "1.1" else "close")
        if version == "1.1":
            assert client.ask(fields=TE).body == b"content"


@pytest.mark.spec("A-XTRAIL-04")
def test_h2_sends_trailers_behind_a_declared_length(trust: Any) -> None:
    app = trailing(body(b"content"), trailers(DIGEST), headers=[(b"content-length", b"7")])
    answer = Way("h2", trust).ask(app, fields=TE)
    assert (answer.body, answer.whole, answer.trailers) == (b"content", True, [DIGEST])


@pytest.mark.spec("A-XTRAIL-04")
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
def test_without_content_there_are_no_trailers(method: str, status: int, clear_way: Way) -> None:
    app = trailing(body(b"content"), trailers(DIGEST), status=status)
    with clear_way.serve(app) as site, clear_way.client(site) as client:
        for _ in range(2):
            answer = client.ask(fields=TE, method=method)
            assert (answer.status, answer.body, answer.whole, answer.trailers) == (status, b"", True, None)


@pytest.mark.spec("A-XTRAIL-05")
@pytest.mark.parametrize("fields", [[], [(b"trailer", b"digest")], [(b"trailer", b"something, else")]])
def test_the_trailer_field_is_the_applications(fields: Any, clear_way: Way) -> None:
    answer = clear_way.ask(trailing(body(b"x"), trailers(DIGEST), headers=fields), fields=TE)
    assert [pair for pair in answer.fields if pair[0] == b"trailer"] == fields
    assert answer.trailers == [DIGEST]


@pytest.mark.spec("A-XTRAIL-06")
def test_trailers_out_of_order_raise(clear_way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(await raised_by(send(trailers(DIGEST))))
        await send(start(trailers=scope["path"] == "/announced"))
        notes.add(await raised_by(send(trailers(DIGEST))))
        await send(body(b"x", True))
        notes.add(await raised_by(send(trailers(DIGEST))))
        await send(body(b"y"))
        if scope["path"] == "/announced":
            await send(trailers(DIGEST))

    with clear_way.serve(app) as site, clear_way.client(site) as client:
        for path in ("/announced", "/plain"):
            answer = client.ask(path, fields=TE)
            assert (answer.body, answer.whole) == (b"xy", True)
            assert bool(answer.trailers) == (path == "/announced")
    assert [type(error).__name__ for error in notes.rest()] == ["AppStateError"] * 6


@pytest.mark.spec("A-XTRAIL-06")
@pytest.mark.parametrize("kind", BODIES)
def test_an_application_that_forgets_its_trailers(kind: str, clear_way: Way, caplog: pytest.LogCaptureFixture) -> None:
    with clear_way.serve(trailing(*BODIES[kind])) as site, clear_way.client(site) as client:
        for _ in range(2):
            answer = client.ask(fields=TE)
            assert answer.whole
            assert answer.body == b"".join(event["body"] for event in BODIES[kind])
    assert "without the trailers" in error_records(caplog)[0].getMessage()


@pytest.mark.spec("A-XTRAIL-06", "A-RESP-20")
def test_an_application_that_forgets_its_body_is_broken_off(clear_way: Way) -> None:
    answer = clear_way.ask(trailing(body(b"part", True)), fields=TE)
    assert (answer.body, answer.whole) == (b"part", False)


@pytest.mark.spec("A-XTRAIL-01", "A-RESP-14")
def test_a_short_body_raises_with_its_last_piece(clear_way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(headers=[(b"content-length", b"10")], trailers=True))
        notes.add(await raised_by(send(body(b"short"))))

    answer = clear_way.ask(app, fields=TE)
    assert not (answer.whole and answer.status == 200)
    assert type(notes.next()).__name__ == "AppValueError"
