"""start_response: what it returns, what it refuses, and what exc_info replaces."""

import sys
import weakref
from typing import Any

import pytest
from raw_client import Answer, RawClient, fetch, request_bytes
from wsgi_apps import PLAIN, Attempt, Blocks, answering, hello

from trilithon.testing import serve

pytestmark = pytest.mark.real


def attempt(*arguments: Any) -> Attempt:
    """Serve one request whose application calls start_response(*arguments); the answer must be sound either way."""
    application = Attempt(lambda environ, start_response: start_response(*arguments))
    with serve(application) as site:
        answer = fetch(site)
    assert (answer.status, answer.body, answer.complete) == (200, b"attempted", True)
    assert "Injected" not in str(answer.fields)
    return application


def answer_of(application: Any, **options: Any) -> Answer:
    """Serve one request and return its answer."""
    with serve(application, **options) as site:
        return fetch(site)


@pytest.mark.spec("W-SR-01", "W-SR-02", "W-VAL-01")
def test_two_or_three_positional_arguments_give_a_write() -> None:
    writes: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        writes.append(start_response("200 OK", list(PLAIN)))
        try:
            raise LookupError
        except LookupError:
            writes.append(start_response("201 Created", list(PLAIN), sys.exc_info()))
        return [b"x"]

    assert answer_of(application).status == 201
    assert len(writes) == 2 and all(callable(write) for write in writes)


@pytest.mark.spec("W-SR-01", "W-VAL-15")
def test_exc_info_none_is_a_first_call() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", list(PLAIN), None)
        return [b"x"]

    assert answer_of(application).body == b"x"


@pytest.mark.spec("W-SR-03", "W-ITER-01")
def test_nothing_is_sent_before_the_first_block() -> None:
    def body() -> Any:
        yield b""
        yield b""
        raise LookupError("before anything was sent")

    answer = answer_of(answering(body))
    assert (answer.status, answer.complete) == (500, True)


@pytest.mark.spec("W-SR-04")
def test_a_second_call_without_exc_info_raises() -> None:
    def call(environ: dict[str, Any], start_response: Any) -> None:
        start_response("201 Created", [*PLAIN, ("X-First", "1")])
        start_response("202 Accepted", list(PLAIN))

    application = Attempt(call)
    answer = answer_of(application)
    assert application.error is not None
    assert (answer.status, answer.all("X-First")) == (200, [])


@pytest.mark.spec("W-SR-04")
def test_a_second_call_raises_even_after_a_first_that_failed() -> None:
    outcome: list[str] = []

    def call(environ: dict[str, Any], start_response: Any) -> None:
        for status in ("bad status", "200 OK"):
            try:
                start_response(status, list(PLAIN))
                outcome.append("accepted")
            except Exception:
                outcome.append("raised")

    answer_of(Attempt(call))
    assert outcome == ["raised", "raised"]


@pytest.mark.spec("W-SR-05")
def test_exc_info_replaces_status_and_all_fields() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(
            "200 OK", [("Content-Type", "text/html"), ("Content-Length", "1000"), ("Set-Cookie", "a=1"), ("X-Old", "1")]
        )
        try:
            raise LookupError
        except LookupError:
            start_response("503 Sorry", [("Content-Type", "text/plain"), ("X-New", "2")], sys.exc_info())
        return [b"sorry"]

    answer = answer_of(application)
    assert (answer.status, answer.reason, answer.body, answer.complete) == (503, "Sorry", b"sorry", True)
    assert (answer.one("Content-Type"), answer.one("X-New")) == ("text/plain", "2")
    assert not answer.all("X-Old") and not answer.all("Set-Cookie")
    assert answer.one("Content-Length") in (None, "5")


class Special(Exception):
    """An exception that can be told from every other."""


@pytest.mark.spec("W-SR-06", "W-EXC-03")
@pytest.mark.parametrize("way", ["write", "block"])
def test_exc_info_after_the_head_is_sent_raises_it_again(way: str, caplog: pytest.LogCaptureFixture) -> None:
    raised: list[tuple[BaseException, Any]] = []
    original = Special("original")

    def fail(start_response: Any) -> None:
        try:
            raise original
        except Special:
            try:
                start_response("500 Error", list(PLAIN), sys.exc_info())
            except BaseException as error:
                raised.append((error, error.__traceback__))
                raise

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", list(PLAIN))
        if way == "write":
            write(b"sent")
            fail(start_response)
        return body(start_response)

    def body(start_response: Any) -> Any:
        yield b"sent"
        fail(start_response)

    answer = answer_of(application)
    assert (answer.status, answer.complete) == (200, False)
    error, trace = raised[0]
    assert error is original
    names = []
    while trace:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert "fail" in names
    assert any(record.exc_info and record.exc_info[1] is original for record in caplog.records)


@pytest.mark.spec("W-SR-07")
def test_no_reference_to_exc_info_is_kept() -> None:
    alive: list[bool] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", list(PLAIN))
        try:
            raise Special("kept?")
        except Special as error:
            reference = weakref.ref(error)
            start_response("500 Error", list(PLAIN), sys.exc_info())
        alive.append(reference() is not None)
        return [b"x"]

    assert answer_of(application).status == 500
    assert alive == [False]


BAD_STATUS: list[Any] = [
    200, b"200 OK", None, "", "OK", "20 OK", "2000 OK", "abc OK", "2x0 OK", " 200 OK", "200 OK ", "200 OK\r\n",
    "200 O\nK", "200 OK\r\nInjected: 1", "200 \x00", "200 \x7f", "200 \u0100", "099 Low", "-20 OK", "+20 OK",
    "\uff12\uff10\uff10 OK", "200-OK", "200OK",
]  # fmt: skip


@pytest.mark.spec("W-SR-09", "W-SR-08", "W-VAL-12")
@pytest.mark.parametrize("status", BAD_STATUS, ids=repr)
def test_a_bad_status_raises_at_the_call(status: Any) -> None:
    assert attempt(status, list(PLAIN)).error is not None


@pytest.mark.spec("W-SR-09")
def test_a_status_without_reason_is_never_malformed() -> None:
    answer = answer_of(answering([b"x"], "200"))
    assert answer.status in (200, 500) and answer.version == "HTTP/1.1"


@pytest.mark.spec("W-SR-10")
@pytest.mark.parametrize(
    "status", ["299 Odd But Fine", "599 Beyond", "418 I'm a teapot (caf\xe9)", "200 ok", "404 Gone?", "999 Top"]
)
def test_status_and_reason_pass_unchanged(status: str) -> None:
    answer = answer_of(answering([b"x"], status))
    assert f"{answer.status} {answer.reason}" == status
    assert answer.body == b"x"


class FieldList(list[tuple[str, str]]):
    """A list by inheritance only."""


BAD_FIELDS: list[Any] = [
    None, (("X-A", "1"),), {"X-A": "1"}, iter([("X-A", "1")]), "X-A: 1", FieldList([("X-A", "1")]),
    [["X-A", "1"]], ["X-A: 1"], [("X-A",)], [("X-A", "1", "2")], [("X-A", 1)], [("X-A", None)], [("X-A", b"1")],
    [(b"X-A", "1")],
]  # fmt: skip


@pytest.mark.spec("W-SR-11", "W-SR-08", "W-VAL-13")
@pytest.mark.parametrize(
    "fields", BAD_FIELDS, ids=lambda fields: type(fields).__name__ + str(fields)[:30].split(" at ")[0]
)
def test_fields_must_be_a_list_of_pairs_of_str(fields: Any) -> None:
    assert attempt("200 OK", fields).error is not None


BAD_NAMES = [
    "",
    "X A",
    "X:",
    ":",
    "X\r\nInjected",
    "X\n",
    "X\x00",
    "caf\xe9",
    "X\u0100",
    "X(",
    'X"',
    "X\t",
    " X",
    "X\x7f",
]
BAD_VALUES = [
    "a\r\nInjected: 1",
    "a\nb",
    "a\rb",
    "\n",
    "a\r\n b",
    "\x00",
    "\x01",
    "\x1f",
    "\x7f",
    "\u0100",
    "\u20ac",
    "\u560a",
]


@pytest.mark.spec("W-SR-12", "W-SR-08", "W-VAL-13")
@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_a_field_name_is_a_token(name: str) -> None:
    assert attempt("200 OK", [*PLAIN, (name, "value")]).error is not None


@pytest.mark.spec("W-SR-12", "W-SR-08", "W-VAL-13")
@pytest.mark.parametrize("value", BAD_VALUES, ids=repr)
def test_a_field_value_has_no_control_characters_and_only_latin_1(value: str) -> None:
    assert attempt("200 OK", [*PLAIN, ("X-Value", value)]).error is not None


@pytest.mark.spec("W-SR-12", "W-SR-13")
def test_fields_are_sent_as_they_were_given() -> None:
    fields = [
        ("Set-Cookie", "a=1; Path=/"),
        ("X-Zebra", "caf\xe9 \xff"),
        ("content-type", "text/plain"),
        ("Set-Cookie", "b=2"),
        ("!#$%&'*+-.^_`|~09azAZ", ""),
        ("Set-Cookie", "a=1; Path=/"),
    ]
    answer = answer_of(answering([b"x"], fields=fields))
    sent = [
        line for line in answer.fields if line[0] not in ("Date", "Content-Length", "Transfer-Encoding", "Connection")
    ]
    assert [(name.lower(), value) for name, value in sent] == [(name.lower(), value) for name, value in fields]


HOP_BY_HOP = [
    "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers",
    "Transfer-Encoding", "Upgrade", "connection", "tRANSFER-eNCODING",
]  # fmt: skip


@pytest.mark.spec("W-SR-14", "W-SR-08", "W-REF-01", "W-VAL-14")
@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_fields_are_an_error(name: str) -> None:
    assert attempt("200 OK", [*PLAIN, (name, "chunked")]).error is not None


@pytest.mark.spec("W-SR-15")
def test_date_is_added_once_and_server_only_on_request() -> None:
    assert answer_of(hello).one("Date")
    assert answer_of(hello).all("Server") == []
    assert answer_of(hello, server_header="stones").one("Server") == "stones"


@pytest.mark.spec("W-SR-15")
def test_what_the_application_sends_is_not_added_again() -> None:
    fields = [("dAtE", "Sun, 06 Nov 1994 08:49:37 GMT"), ("SERVER", "mine"), ("content-LENGTH", "1")]
    answer = answer_of(answering([b"x"], fields=[*PLAIN, *fields]), server_header="stones")
    assert (answer.one("Date"), answer.one("Server"), answer.one("Content-Length")) == tuple(
        value for _, value in fields
    )
    assert answer.framing == "length"


@pytest.mark.spec("W-SR-16")
@pytest.mark.parametrize("status", ["100 Continue", "101 Switching Protocols", "103 Early Hints", "199 X"])
def test_interim_status_raises(status: str) -> None:
    assert attempt(status, list(PLAIN)).error is not None


@pytest.mark.spec("W-SR-17", "W-VAL-17")
def test_start_response_from_the_first_next() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("202 Accepted", [*PLAIN, ("X-Late", "1")])
        yield b"generated"

    answer = answer_of(application)
    assert (answer.status, answer.one("X-Late"), answer.body) == (202, "1", b"generated")


@pytest.mark.spec("W-SR-18")
@pytest.mark.parametrize("body", [[b"secret"], [b"", b"secret"], [b"se", b"cret"], [], [b""]], ids=repr)
def test_a_block_without_start_response_is_a_500(body: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    blocks = Blocks(body)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        return blocks

    answer = answer_of(application)
    assert (answer.status, answer.complete) == (500, True)
    assert b"secret" not in answer.body
    assert blocks.closes == 1
    assert [record for record in caplog.records if record.name == "trilithon.error" and record.levelname == "ERROR"]


@pytest.mark.spec("W-SR-19", "W-SR-12")
def test_changing_the_list_afterwards_injects_nothing() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        fields = [*PLAIN, ("X-Kept", "1")]
        start_response("200 OK", fields)
        fields.append(("X-Late", "1\r\nInjected: 1"))
        fields.append(("Content-Length", "100"))
        del fields[0]
        return [b"x"]

    answer = answer_of(application)
    assert (answer.status, answer.body, answer.complete) == (200, b"x", True)
    assert (answer.one("Content-Type"), answer.one("X-Kept")) == ("text/plain", "1")
    assert not answer.all("Injected") and not answer.all("X-Late")


@pytest.mark.spec("W-SR-08", "W-EXC-01")
def test_a_refused_call_that_nobody_catches_is_a_500_that_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with serve(answering([b"x"], fields=[("X-Value", "a\r\nb")])) as site, RawClient(site) as client:
        client.send(request_bytes("/"))
        assert client.answer().status == 500
    assert any("X-Value" in record.getMessage() + str(record.exc_info) for record in caplog.records)
