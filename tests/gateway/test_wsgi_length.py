"""Content-Length and framing of WSGI answers: never more bytes than promised, never a connection out of step."""

from typing import Any

import pytest
from raw_client import RawClient, fetch, request_bytes
from wsgi_apps import PLAIN, Attempt, Blocks, answering, hello

from trilithon.testing import serve

pytestmark = pytest.mark.real


def with_length(length: str) -> list[tuple[str, str]]:
    """Return fields that promise `length` bytes."""
    return [*PLAIN, ("Content-Length", length)]


@pytest.mark.spec("W-CL-01", "W-REF-04")
@pytest.mark.parametrize(
    "blocks", [[b"12345678"], [b"123", b"45678", b"9"], [b"12345", b"6"]], ids=["one", "across", "after"]
)
def test_never_more_than_the_length(blocks: list[bytes]) -> None:
    iterable = Blocks(blocks)
    with serve(answering(iterable, fields=with_length("5"))) as site, RawClient(site) as client:
        client.send(request_bytes("/", fields=[("Connection", "close")]))
        received = client.rest()
    body = received.split(b"\r\n\r\n", 1)[1]
    if b" 200 " in received.split(b"\r\n")[0]:
        assert body == b"12345"
    else:
        # The first block alone was too much, so nothing had been sent and the error could be told.
        assert b"678" not in body and blocks == [b"12345678"]


@pytest.mark.spec("W-CL-01")
def test_the_iteration_stops_when_the_length_is_reached() -> None:
    iterable = Blocks([b"12345", b"never", b"asked", b"for"])
    with serve(answering(iterable, fields=with_length("5"))) as site, RawClient(site) as client:
        assert client.ask().body == b"12345"
    assert iterable.produced <= 2
    assert iterable.closes == 1


@pytest.mark.spec("W-CL-02", "W-REF-04")
@pytest.mark.parametrize("blocks", [[b"123"], [b"1", b"23"], []], ids=["one", "two", "none"])
@pytest.mark.parametrize("pipelined", [False, True])
def test_too_few_bytes_close_the_connection(
    blocks: list[bytes], pipelined: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(answering(lambda: list(blocks), fields=with_length("5"))) as site, RawClient(site) as client:
        client.send(request_bytes("/"), request_bytes("/second") if pipelined else b"")
        received = client.rest()
    if received:
        head, _, body = received.partition(b"\r\n\r\n")
        assert body == b"".join(blocks) or b" 500 " in head.split(b"\r\n")[0]
        assert received.count(b"HTTP/1.1 ") == 1
    assert [record for record in caplog.records if record.name == "trilithon.error" and record.levelno >= 30]


@pytest.mark.spec("W-CL-02")
def test_too_few_bytes_by_write_close_the_connection() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", with_length("5"))(b"123")
        return []

    with serve(application) as site, RawClient(site) as client:
        client.send(request_bytes("/"))
        assert client.rest().endswith(b"\r\n\r\n123")


@pytest.mark.spec("W-CL-03")
@pytest.mark.parametrize("way", ["generator", "list", "write"])
def test_without_length_an_answer_is_chunked(way: str) -> None:
    blocks = [b"", b"one", b"", b"", b"two", b""]

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", list(PLAIN))
        if way == "write":
            for block in blocks:
                write(block)
            return []
        return blocks if way == "list" else iter(blocks)

    with serve(application) as site, RawClient(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.body, answer.complete) == (b"onetwo", True)
            # Of a list the whole length is known without asking the application for more.
            assert answer.framing == ("length" if way == "list" else "chunked")


@pytest.mark.spec("W-CL-03")
def test_without_length_http_1_0_is_ended_by_the_close() -> None:
    with serve(answering(lambda: iter([b"one", b"", b"two"]))) as site, RawClient(site) as client:
        client.send(request_bytes("/", version="1.0", fields=[("Connection", "keep-alive")]))
        answer = client.answer()
    assert (answer.framing, answer.body) == ("close", b"onetwo")
    assert (answer.one("Connection") or "").lower() != "keep-alive"


@pytest.mark.spec("W-CL-03", "W-REF-02")
def test_http_1_0_keeps_a_connection_with_length() -> None:
    with serve(hello) as site, RawClient(site) as client:
        for _ in range(2):
            answer = client.ask(version="1.0", fields=[("Connection", "keep-alive")])
            assert (answer.framing, answer.body) == ("length", b"hello")
            assert (answer.one("Connection") or "").lower() == "keep-alive"
        assert client.ask(version="1.0").body == b"hello"
        assert client.at_end()


BAD_LENGTHS = ["+5", "-1", "1_0", "abc", "", " ", "0x5", "5.0", "5,5", "5 5", "\u0665", "\xb2", "5;", "1e1"]


@pytest.mark.spec("W-CL-04", "W-SR-08")
@pytest.mark.parametrize("length", BAD_LENGTHS, ids=ascii)
def test_an_invalid_length_raises(length: str) -> None:
    application = Attempt(lambda environ, start_response: start_response("200 OK", with_length(length)))
    with serve(application) as site:
        assert fetch(site).body == b"attempted"
    assert application.error is not None


@pytest.mark.spec("W-CL-04")
def test_two_lengths_that_differ_raise() -> None:
    fields = [*with_length("5"), ("content-length", "6")]
    application = Attempt(lambda environ, start_response: start_response("200 OK", fields))
    with serve(application) as site:
        assert fetch(site).body == b"attempted"
    assert application.error is not None


@pytest.mark.spec("W-CL-05", "W-REF-02")
@pytest.mark.parametrize("body", [[b"12345"], [b"12", b"345"], [], [b""]], ids=["one", "two", "none", "empty"])
def test_head_keeps_the_length_and_has_no_body(body: list[bytes]) -> None:
    with serve(answering(lambda: list(body), fields=with_length("5"))) as site, RawClient(site) as client:
        for _ in range(2):
            answer = client.ask(method="HEAD")
            assert (answer.status, answer.one("Content-Length")) == (200, "5")
        client.send(request_bytes("/", "HEAD", fields=[("Connection", "close")]))
        assert client.rest().endswith(b"\r\n\r\n")


@pytest.mark.spec("W-CL-05")
@pytest.mark.parametrize("way", ["blocks", "write"])
def test_head_without_length_has_no_body_either(way: str) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", list(PLAIN))
        if way == "write":
            write(b"written")
        return iter([b"one", b"two"])

    with serve(application) as site, RawClient(site) as client:
        assert client.ask(method="HEAD").status == 200
        client.send(request_bytes("/", "HEAD", fields=[("Connection", "close")]))
        assert client.rest().endswith(b"\r\n\r\n")


@pytest.mark.spec("W-CL-05")
@pytest.mark.parametrize("kind", [list, tuple, iter, Blocks])
@pytest.mark.parametrize("blocks", [[b"one"], [b"one", b"two"], [b"", b"one", b"", b"two"], []], ids=len)
def test_head_never_announces_the_length_of_a_part(kind: Any, blocks: list[bytes]) -> None:
    with serve(answering(lambda: kind(blocks))) as site, RawClient(site) as client:
        announced = client.ask(method="HEAD").one("Content-Length")
        assert announced in (None, str(len(b"".join(blocks))))
        assert client.ask().body == b"".join(blocks)


@pytest.mark.spec("W-CL-06")
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("body", [[], [b""], [b"forbidden"], [b"for", b"bidden"]], ids=["none", "empty", "one", "two"])
def test_answers_without_body_have_none(status: str, body: list[bytes]) -> None:
    with serve(answering(lambda: list(body), status, [("X-A", "1")])) as site, RawClient(site) as client:
        client.send(request_bytes("/"), request_bytes("/", fields=[("Connection", "close")]))
        received = client.rest()
    heads = received.split(b"\r\n\r\n")
    assert len(heads) == 3 and heads[2] == b""
    for head in heads[:2]:
        assert head.startswith(b"HTTP/1.1 " + status.encode())
        assert b"transfer-encoding" not in head.lower()
        assert b"content-length" not in head.lower()


@pytest.mark.spec("W-CL-06")
def test_304_may_keep_its_length_and_204_may_not() -> None:
    with serve(answering(list, "304 Not Modified", [("Content-Length", "5")])) as site, RawClient(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.status, answer.body) == (304, b"")
    with serve(answering(list, "204 No Content", [("Content-Length", "0")])) as site:
        answer = fetch(site)
        assert answer.status == 500 or (answer.status == 204 and answer.all("Content-Length") == [])


@pytest.mark.spec("W-CL-07")
def test_content_is_never_altered() -> None:
    content = bytes(range(256)) * 200
    fields = [("Accept-Encoding", "gzip, br"), ("TE", "gzip"), ("Range", "bytes=0-9")]
    for body in ([content], [content[:1000], content[1000:]]):
        with serve(answering(body)) as site:
            answer = fetch(site, fields=fields)
        assert (answer.status, answer.body) == (200, content)
        assert answer.all("Content-Encoding") == []
        assert answer.one("Content-Type") == "text/plain"


@pytest.mark.spec("W-CL-01", "W-CL-02", "W-HOP-02")
def test_a_connection_stays_in_step_over_many_kinds_of_answers() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/length":
            start_response("200 OK", with_length("6"))
            return [b"len", b"gth"]
        if path == "/none":
            start_response("204 No Content", [])
            return []
        write = start_response("200 OK", list(PLAIN))
        if path == "/write":
            write(b"write")
            return []
        return iter([path[1:].encode()])

    paths = ["/length", "/none", "/write", "/chunks", "/length", "/chunks", "/none", "/none", "/write"] * 4
    with serve(application, threads=3) as site, RawClient(site) as client:
        client.send(*[request_bytes(path) for path in paths])
        bodies = [client.answer().body for _ in paths]
    assert bodies == [b"" if path == "/none" else path[1:].encode() for path in paths]
