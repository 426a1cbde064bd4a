"""Responses on the wire: which fields are written, what the application may not write, when it is flushed."""

import re
import time
from typing import Any

import pytest
from asgi_apps import Gate, Notes, body, both_loops, http_only, raised_by, respond, start
from wire_client import Wire, ask

from trilithon.testing import serve

pytestmark = pytest.mark.real


def answering(status: int, headers: Any, data: bytes = b"ok") -> Any:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, data, status, headers)

    return app


@both_loops
@pytest.mark.spec("A-RESP-01", "A-RESP-09")
def test_a_start_needs_only_a_status(loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204 if scope["path"] == "/204" else 200})
        await send({"type": "http.response.body"})

    with serve(app, loop=loop) as site, Wire(site) as wire:
        assert wire.ask("/").head.raw.startswith(b"HTTP/1.1 200 OK\r\n")
        assert wire.ask("/204").head.raw.startswith(b"HTTP/1.1 204 No Content\r\n")
        assert wire.ask("/").body == b""


@both_loops
@pytest.mark.spec("A-RESP-02")
@pytest.mark.parametrize("shape", ["list", "tuple", "generator", "map", "dict items"])
def test_headers_may_be_any_iterable_and_keep_order_and_repetition(shape: str, loop: str) -> None:
    pairs = [(b"x-a", b"1"), (b"set-cookie", b"a=1"), (b"x-b", b"2"), (b"set-cookie", b"b=2"), (b"x-a", b"3")]

    def shaped() -> Any:
        if shape == "tuple":
            return tuple([name, value] for name, value in pairs)
        if shape == "generator":
            return (iter(pair) for pair in pairs)
        if shape == "map":
            return map(tuple, pairs)
        return list(pairs) if shape == "list" else dict(pairs).items()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"ok", 200, shaped())

    expected = list(dict(pairs).items()) if shape == "dict items" else pairs
    with serve(app, loop=loop) as site, Wire(site) as wire:
        for _ in range(2):
            fields = wire.ask().head.fields
            assert [field for field in fields if field[0] in (b"x-a", b"x-b", b"set-cookie")] == expected


BAD_NAMES = [b"", b"a b", b"a:b", b"a\r\nb", b"a\nb", b"\x00", b"a\x7f", b"x(y)", b"caf\xe9", b"a\t", b" a", b'a"']
BAD_VALUES = [b"a\r\nx: y", b"a\nb", b"a\rb", b"a\x00b", b"a\x01b", b"a\x7fb", b"\x1b[31m", b"a\r\n\r\n<html>"]


@both_loops
@pytest.mark.spec("A-RESP-04", "A-RESP-05", "A-CORE-14")
def test_no_name_and_no_value_can_split_the_response(loop: str) -> None:
    wrongs = [(name, b"v") for name in BAD_NAMES] + [(b"x-v", value) for value in BAD_VALUES]
    wrongs += [(b":status", b"200"), (b":authority", b"a"), (b":", b"")]
    wrongs += [(name, b"a\r\nx-split: 1") for name in (b"content-type", b"date", b"server", b"connection", b"location")]
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        wrong = wrongs[int(scope["query_string"])]
        notes.add(await raised_by(send(start(200, [(b"x-before", b"1"), wrong]))))
        await respond(send, b"clean")

    with serve(app, loop=loop) as site, Wire(site) as wire:
        for number, wrong in enumerate(wrongs):
            answer = wire.ask(f"/?{number}")
            error = notes.next()
            assert error is not None, wrong
            assert not isinstance(error, OSError)
            assert (answer.status, answer.body) == (200, b"clean"), wrong
            names = {name for name, _ in answer.head.fields}
            assert not names & {b"x-before", b"x-split", b"x"}, wrong


@pytest.mark.spec("A-RESP-04")
def test_a_bad_field_after_an_uncaught_error_leaves_only_the_500() -> None:
    app = answering(200, [(b"x-v", b"a\r\nset-cookie: evil=1")])
    with serve(app) as site, Wire(site) as wire:
        wire.get()
        raw = wire.rest()
    assert raw.startswith(b"HTTP/1.1 500 ")
    assert raw.count(b"HTTP/1.1") == 1
    assert b"evil" not in raw


@pytest.mark.spec("A-RESP-04", "A-RESP-06")
def test_upper_case_names_odd_tokens_and_obs_text_are_accepted() -> None:
    headers = [(b"X-Upper", b"1"), (b"!#$%&'*+.^_`|~-", b"2"), (b"x-text", b"caf\xe9\t\x80 x"), (b"x-empty", b"")]
    with serve(answering(200, headers)) as site:
        answer = ask(site)
    assert answer.field(b"x-upper") == b"1"
    assert answer.field(b"!#$%&'*+.^_`|~-") == b"2"
    assert answer.field(b"x-text") == b"caf\xe9\t\x80 x"
    assert answer.field(b"x-empty") == b""


@both_loops
@pytest.mark.spec("A-RESP-07")
@pytest.mark.parametrize("name", [b"transfer-encoding", b"Transfer-Encoding"])
@pytest.mark.parametrize("value", [b"chunked", b"gzip", b"gzip, chunked", b"identity"])
def test_the_applications_transfer_encoding_is_dropped(name: bytes, value: bytes, loop: str) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        extra = [(b"content-length", b"4")] if scope["path"] == "/length" else []
        await send(start(200, [(name, value), *extra]))
        await send(body(b"bo", more_body=True))
        await send(body(b"dy"))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        streamed = wire.ask("/stream")
        assert (streamed.body, streamed.framing) == (b"body", "chunked")
        sized = wire.ask("/length")
        assert (sized.body, sized.framing) == (b"body", "length")
        assert sized.field(b"transfer-encoding") is None


@both_loops
@pytest.mark.spec("A-RESP-08", "A-RESP-10", "A-RESP-13")
def test_a_start_alone_is_held_and_an_empty_first_event_flushes_it(loop: str) -> None:
    started, may_flush, may_end = Gate(), Gate(), Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, [(b"x-a", b"1")]))
        started.open()
        await may_flush.passed()
        await send(body(b"", more_body=True))
        await may_end.passed()
        await send(body(b"end"))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        started.wait()
        assert wire.is_quiet(0.05)
        may_flush.open()
        head = wire.head()
        assert head.field(b"x-a") == b"1"
        assert wire.is_quiet(0.02), "an empty event writes no chunk"
        may_end.open()
        assert wire.body(head).body == b"end"


@both_loops
@pytest.mark.spec("A-RESP-10")
def test_every_event_is_on_the_wire_before_the_next(loop: str) -> None:
    seen = [Gate() for _ in range(20)]

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, [(b"content-type", b"text/event-stream")]))
        for number, gate in enumerate(seen):
            await send(body(b"data: %d\n\n" % number, more_body=True))
            await gate.passed()
        await send(body())

    with serve(app, loop=loop) as site, Wire(site) as wire:
        wire.get()
        wire.head()
        for number, gate in enumerate(seen):
            assert wire.chunk() == b"data: %d\n\n" % number
            gate.open()
        assert wire.chunk() == b""


@both_loops
@pytest.mark.spec("A-RESP-10")
def test_events_of_one_turn_go_out_together_before_the_application_goes_on(loop: str) -> None:
    seen = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"first", more_body=True))
        if scope["path"] == "/yielding":
            await receive()
        await send(body(b"second", more_body=True))
        await seen.passed()
        await send(body(b"third"))

    with serve(app, loop=loop) as site:
        for path in ("/straight", "/yielding"):
            with Wire(site) as wire:
                wire.get(path)
                wire.head()
                assert wire.chunk() + wire.chunk() == b"firstsecond"
                seen.open()
                assert wire.chunk() == b"third"


@both_loops
@pytest.mark.spec("A-RESP-21")
def test_exactly_one_date_and_no_server_unless_asked_for(loop: str) -> None:
    with serve(answering(200, []), loop=loop) as site:
        answer = ask(site)
        date = answer.field(b"date")
        assert date
        then = time.strptime(date.decode(), "%a, %d %b %Y %H:%M:%S GMT")
        assert abs(time.mktime(then) - time.mktime(time.gmtime())) < 5
        assert re.fullmatch(rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT", date)
        assert answer.field(b"server") is None


@pytest.mark.spec("A-RESP-21")
@pytest.mark.parametrize("names", [(b"date", b"server"), (b"Date", b"SERVER")])
def test_the_applications_date_and_server_stand_alone(names: tuple[bytes, bytes]) -> None:
    date = b"Tue, 15 Nov 1994 08:12:31 GMT"
    app = answering(200, [(names[0], date), (names[1], b"mine")])
    for options in ({}, {"server_header": "trilithon"}):
        with serve(app, **options) as site:
            answer = ask(site)
            assert answer.field(b"date") == date
            assert answer.field(b"server") == b"mine"


@pytest.mark.spec("A-RESP-21")
def test_a_configured_server_field_is_added() -> None:
    with serve(answering(200, []), server_header="Stones") as site:
        assert ask(site).field(b"server") == b"Stones"


@both_loops
@pytest.mark.spec("A-RESP-22")
@pytest.mark.parametrize("value", [b"close", b"Close", b"x-odd, close"])
def test_connection_close_from_the_application_closes(value: bytes, loop: str) -> None:
    with serve(answering(200, [(b"connection", value)]), loop=loop) as site, Wire(site) as wire:
        answer = wire.ask()
        assert answer.body == b"ok"
        assert answer.field(b"connection") == b"close"
        assert wire.has_ended()


@pytest.mark.spec("A-RESP-22")
@pytest.mark.parametrize("name", [b"keep-alive", b"proxy-connection", b"upgrade", b"te", b"connection", b"Upgrade"])
def test_other_hop_by_hop_fields_are_dropped(name: bytes) -> None:
    with serve(answering(200, [(name, b"x-nonsense")])) as site, Wire(site) as wire:
        for _ in range(2):
            answer = wire.ask()
            assert answer.body == b"ok"
            assert answer.field(name.lower()) in (None, b"keep-alive")


@pytest.mark.spec("A-RESP-23")
@pytest.mark.parametrize("status", [299, 599, 418])
def test_a_status_line_always_has_its_second_space(status: int) -> None:
    with serve(answering(status, [])) as site:
        line = ask(site).head.raw.split(b"\r\n")[0]
    assert re.fullmatch(rb"HTTP/1\.1 %d [A-Za-z' -]*" % status, line)
    if status != 418:
        assert line == b"HTTP/1.1 %d " % status


@pytest.mark.spec("A-RESP-23")
def test_a_known_status_has_its_reason() -> None:
    with serve(answering(404, [])) as site:
        assert ask(site).head.reason == b"Not Found"


@both_loops
@pytest.mark.spec("A-RESP-18")
def test_events_after_the_final_one_raise_and_never_reach_the_wire(loop: str) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"done")
        for event in (body(b"EXTRA"), body(b"EXTRA", more_body=True), start(500, [(b"x-extra", b"1")]), body()):
            notes.add(await raised_by(send(event)))

    with serve(app, loop=loop) as site, Wire(site) as wire:
        for _ in range(2):
            answer = wire.ask()
            assert (answer.status, answer.body) == (200, b"done")
            errors = [notes.next() for _ in range(4)]
            assert None not in errors
            assert not [error for error in errors if isinstance(error, OSError)], "the peer is there"
        wire.get("/", "Connection: close")
        raw = wire.rest()
        assert b"EXTRA" not in raw
        assert raw.endswith(b"\r\n\r\ndone")
        assert len([notes.next() for _ in range(4)]) == 4
