"""The returned iterable and write(): when bytes leave, how often close() comes, what is refused."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from raw_client import DEADLINE_S, Answer, RawClient, fetch, request_bytes
from wsgi_apps import PLAIN, Attempt, Blocks, answering, wait_for

from trilithon.testing import serve

pytestmark = pytest.mark.real


def answer_of(application: Any, method: str = "GET", **options: Any) -> Answer:
    """Serve one request and return its answer."""
    with serve(application, **options) as site:
        return fetch(site, method=method)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages of ERROR and above, with their exceptions."""
    return [f"{record.getMessage()} {record.exc_info}" for record in caplog.records if record.levelno >= 40]


# write()


@pytest.mark.spec("W-WRITE-01", "W-VAL-20")
@pytest.mark.parametrize("data", ["text", None, 5, [b"x"]], ids=repr)
def test_write_takes_only_bytes(data: Any) -> None:
    application = Attempt(lambda environ, start_response: start_response("200 OK", list(PLAIN))(data))
    assert answer_of(application).body == b"attempted"
    assert application.error is not None


@pytest.mark.spec("W-WRITE-02")
def test_the_first_write_sends_head_and_data_before_the_next_step() -> None:
    received = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", list(PLAIN))
        write(b"first")
        wait_for(received)
        write(b"second")
        return [b"third"]

    with serve(application) as site, RawClient(site) as client:
        client.send(request_bytes("/"))
        head = client.head()
        assert (head.status, head.one("Transfer-Encoding")) == (200, "chunked")
        assert client.chunk() == b"first"
        received.set()
        rest = b"".join(iter(client.chunk, b""))
    assert rest == b"secondthird"


@pytest.mark.spec("W-WRITE-03", "W-ITER-06")
@pytest.mark.parametrize(
    "returned", [[b"returned"], [b"re", b"turned"], (block for block in [b"", b"returned"])], ids=["one", "two", "iter"]
)
def test_returned_blocks_follow_the_written_ones(returned: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", list(PLAIN))
        write(b"written ")
        write(b"")
        write(b"twice ")
        return returned

    answer = answer_of(application)
    assert (answer.body, answer.complete) == (b"written twice returned", True)


@pytest.mark.spec("W-WRITE-04", "W-CL-01", "W-REF-04")
def test_write_past_the_length_raises_and_sends_nothing_of_it() -> None:
    caught: list[Exception] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
        write(b"123")
        try:
            write(b"45678")
        except Exception as error:
            caught.append(error)
        return []

    with serve(application) as site, RawClient(site) as client:
        client.send(request_bytes("/", fields=[("Connection", "close")]))
        received = client.rest()
    assert received.split(b"\r\n\r\n")[1] in (b"123", b"12345")
    assert len(caught) == 1


@pytest.mark.spec("W-WRITE-05")
def test_write_after_the_request_raises() -> None:
    writes: list[Any] = []
    caught: list[Exception] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for write in writes:
            try:
                write(b"late")
            except Exception as error:
                caught.append(error)
        writes.append(start_response("200 OK", list(PLAIN)))
        return [b"body"]

    with serve(application) as site, RawClient(site) as client:
        assert [client.ask().body for _ in range(2)] == [b"body"] * 2
    assert len(caught) == 1


@pytest.mark.spec("W-WRITE-02", "W-CL-03")
@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_large_writes_arrive_whole(size: int) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", list(PLAIN))
        for number in range(3):
            write(b"%d" % number * size)
        return []

    assert answer_of(application).body == b"".join(b"%d" % number * size for number in range(3))


# Blocks


@pytest.mark.spec("W-ITER-02", "W-ITER-01")
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_each_block_is_under_way_before_the_next_is_asked_for(framing: str) -> None:
    received = [threading.Event() for _ in range(3)]

    def body() -> Any:
        for number, event in enumerate(received):
            yield b"%d" % number
            wait_for(event)

    fields = [*PLAIN, ("Content-Length", "3")] if framing == "length" else PLAIN
    with serve(answering(body, fields=fields)) as site, RawClient(site) as client:
        client.send(request_bytes("/"))
        assert client.head().status == 200
        for number, event in enumerate(received):
            assert (client.chunk() if framing == "chunked" else client.exactly(1)) == b"%d" % number
            event.set()
        if framing == "chunked":
            assert client.chunk() == b""


@pytest.mark.spec("W-ITER-01")
def test_an_empty_block_does_not_send_the_head() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", list(PLAIN))
        yield b""
        try:
            raise LookupError
        except LookupError as error:
            start_response("503 Late", list(PLAIN), (LookupError, error, error.__traceback__))
        yield b"replaced"

    answer = answer_of(application)
    assert (answer.status, answer.body) == (503, b"replaced")


@pytest.mark.spec("W-ITER-05")
def test_only_the_iteration_protocol_is_used() -> None:
    touched: list[str] = []

    class Strict:
        def __iter__(self) -> Any:
            return iter([b"ab", b"c"])

        def __getattr__(self, name: str) -> Any:
            touched.append(name)
            raise AttributeError(name)

    assert answer_of(answering(Strict())).body == b"abc"
    assert set(touched) <= {"close"}


@pytest.mark.spec("W-ITER-06", "W-REF-02")
@pytest.mark.parametrize("body", [[b"one block"], (b"one block",)], ids=["list", "tuple"])
def test_a_single_block_gets_its_length(body: Any) -> None:
    answer = answer_of(answering(body))
    assert (answer.framing, answer.one("Content-Length"), answer.body) == ("length", "9", b"one block")


@pytest.mark.spec("W-ITER-06")
def test_any_sized_iterable_of_one_gets_its_length() -> None:
    class One:
        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Any:
            return iter([b"from one"])

    answer = answer_of(answering(One()))
    assert (answer.framing, answer.one("Content-Length"), answer.body) == ("length", "8", b"from one")


@pytest.mark.spec("W-ITER-07", "W-VAL-16")
@pytest.mark.parametrize("block", ["text", bytearray(b"array"), 5, None, ["nested"]], ids=repr)
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_a_block_that_is_not_bytes_is_an_error(block: Any, first: bool, caplog: pytest.LogCaptureFixture) -> None:
    blocks = Blocks([block] if first else [b"sent", block])
    answer = answer_of(answering(blocks))
    assert (answer.status, answer.complete) == ((500, True) if first else (200, False))
    assert b"text" not in answer.body and b"array" not in answer.body
    assert blocks.closes == 1
    assert any(type(block).__name__ in message for message in errors(caplog))


@pytest.mark.spec("W-ITER-08", "W-ITER-10", "W-VAL-16")
@pytest.mark.parametrize("returned", [b"bytes", bytearray(b"bytes"), "text", None], ids=repr)
def test_returning_no_iterable_of_blocks_is_a_clear_500(returned: Any, caplog: pytest.LogCaptureFixture) -> None:
    answer = answer_of(answering(returned))
    assert (answer.status, answer.complete) == (500, True)
    assert any(f"returned {type(returned).__name__}" in message for message in errors(caplog))


@pytest.mark.spec("W-ITER-09", "W-REF-02")
@pytest.mark.parametrize("body", [[], (), [b""], [b"", b""], iter([])], ids=["list", "tuple", "one", "two", "iter"])
def test_no_bytes_at_all_is_an_empty_answer(body: Any) -> None:
    with serve(answering(body)) as site, RawClient(site) as client:
        answer = client.ask()
        assert (answer.status, answer.body, answer.complete) == (200, b"", True)
        assert answer.framing in ("length", "chunked")
        assert client.ask().status == 200


# close()


def _fail() -> bytes:
    raise LookupError("inside the iteration")


CLOSING: dict[str, tuple[list[Any], str, list[tuple[str, str]], str]] = {
    "normal end": ([b"a", b"b"], "200 OK", [], "GET"),
    "empty": ([], "200 OK", [], "GET"),
    "fails at once": ([_fail], "200 OK", [], "GET"),
    "fails later": ([b"a", _fail], "200 OK", [], "GET"),
    "HEAD": ([b"a", b"b"], "200 OK", [], "HEAD"),
    "HEAD with length": ([b"a", b"b"], "200 OK", [("Content-Length", "2")], "HEAD"),
    "204": ([b""], "204 No Content", [], "GET"),
    "304": ([], "304 Not Modified", [], "GET"),
    "length reached early": ([b"ab", b"cd"], "200 OK", [("Content-Length", "2")], "GET"),
    "length passed": ([b"abc"], "200 OK", [("Content-Length", "2")], "GET"),
    "length not reached": ([b"a"], "200 OK", [("Content-Length", "2")], "GET"),
    "length 0": ([b"a"], "200 OK", [("Content-Length", "0")], "GET"),
    "wrong block": ([5], "200 OK", [], "GET"),
}


@pytest.mark.spec("W-ITER-03", "W-CL-05", "W-EXC-01", "W-EXC-02")
@pytest.mark.parametrize("case", CLOSING)
def test_close_is_called_exactly_once(case: str) -> None:
    blocks, status, fields, method = CLOSING[case]
    iterable = Blocks(blocks)
    with serve(answering(iterable, status, fields), threads=2) as site:
        fetch(site, method=method)
        assert iterable.closed.wait(DEADLINE_S)
        assert fetch(site, method="HEAD").status in (200, 204, 304, 500)
    # The second request gets the same iterable, so it is closed once more and never a third time.
    assert iterable.closes == 2


@pytest.mark.spec("W-ITER-03", "W-SR-18")
@pytest.mark.parametrize("case", ["start_response fails", "start_response missing"])
def test_close_is_called_when_start_response_goes_wrong(case: str) -> None:
    made: list[Blocks] = []

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        def first() -> bytes:
            if case == "start_response fails":
                start_response("not a status", [])
            return b"x"

        made.append(Blocks([first]))
        return made[-1]

    assert answer_of(application).status == 500
    assert [blocks.closes for blocks in made] == [1]


@pytest.mark.spec("W-ITER-03", "W-ITER-12", "W-EXC-05", "W-REF-03")
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_client_that_leaves_ends_the_iteration_quietly(
    way: str, framing: str, caplog: pytest.LogCaptureFixture
) -> None:
    iterable = Blocks(b"x" * 20_000 for _ in range(100_000))
    fields = [*PLAIN, ("Content-Length", str(20_000 * 100_000))] if framing == "length" else PLAIN
    with serve(answering(iterable, fields=fields)) as site:
        client = RawClient(site)
        client.send(request_bytes("/"))
        client.head()
        client.exactly(100_000)
        client.reset() if way == "reset" else client.close()
        assert iterable.closed.wait(DEADLINE_S)
    assert iterable.closes == 1
    assert iterable.produced < 100_000
    assert errors(caplog) == []


@pytest.mark.spec("W-ITER-03")
def test_close_is_called_when_the_server_stops() -> None:
    entered = threading.Event()
    stopped = threading.Event()

    def endless() -> Any:
        yield b"first"
        entered.set()
        while not stopped.is_set():
            time.sleep(0.005)
            yield b"."

    iterable = Blocks(endless())
    with RawClientLater() as later:
        with contextlib.suppress(ConnectionError), serve(answering(iterable), graceful_timeout_s=0.3) as site:
            client = later.connect(site)
            client.send(request_bytes("/"))
            client.head()
            assert entered.wait(DEADLINE_S)
        assert iterable.closed.wait(DEADLINE_S)
        stopped.set()
    assert iterable.closes == 1


class RawClientLater(contextlib.ExitStack):
    """Keeps a connection that outlives the server it was made to."""

    def connect(self, site: Any) -> RawClient:
        return self.enter_context(RawClient(site))


@pytest.mark.spec("W-ITER-04")
def test_close_is_called_on_the_returned_object_on_its_thread() -> None:
    order: list[str] = []
    threads: set[int] = set()

    class Inner:
        def __init__(self) -> None:
            self.blocks = iter([b"a", b"b"])

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> bytes:
            threads.add(threading.get_ident())
            order.append("next")
            return next(self.blocks)

        def close(self) -> None:
            order.append("inner closed")

    class Outer:
        def __iter__(self) -> Any:
            return Inner()

        def close(self) -> None:
            threads.add(threading.get_ident())
            order.append("outer closed")

    assert answer_of(answering(Outer)).body == b"ab"
    assert order == ["next", "next", "next", "outer closed"]
    assert len(threads) == 1


@pytest.mark.spec("W-ITER-11")
@pytest.mark.parametrize("blocks", [[b"complete"], [b"comp", b"lete"]], ids=["one", "two"])
def test_a_close_that_fails_is_logged_and_the_answer_stands(
    blocks: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [*PLAIN, ("Content-Length", "8")])
        return Blocks(blocks, on_close=_fail)

    with serve(application) as site:
        assert fetch(site).body == b"complete"
        assert fetch(site).body == b"complete"
    assert len([message for message in errors(caplog) if "LookupError" in message]) == 2


# Backpressure


def settled(look: Callable[[], int]) -> int:
    """Return what `look` gives once it has not changed for a quarter of a second."""
    deadline = time.monotonic() + DEADLINE_S
    value, since = look(), time.monotonic()
    while time.monotonic() - since < 0.25 and time.monotonic() < deadline:
        time.sleep(0.01)
        if look() != value:
            value, since = look(), time.monotonic()
    return value


@pytest.mark.spec("W-ITER-13")
@pytest.mark.parametrize("way", ["iterable", "write"])
def test_a_client_that_does_not_read_stops_the_production(way: str) -> None:
    count = 2_000
    blocks = Blocks(b"x" * 50_000 for _ in range(count))

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", list(PLAIN))
        if way == "iterable":
            return blocks
        for block in blocks:
            write(block)
        return []

    with serve(application, threads=2) as site, RawClient(site, receive_buffer_bytes=65536) as client:
        client.send(request_bytes("/"))
        assert client.head().status == 200
        produced = settled(lambda: blocks.produced)
        assert produced < 400
        assert sum(len(block) for block in iter(client.chunk, b"") if block) == count * 50_000
