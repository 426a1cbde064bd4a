"""Requests made up by chance from the grammar: what the state machine opens is what was written, however it is cut."""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .inmemory import drive
from .replies import read_replies

BOUNDED = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TARGET = "/abcXYZ019-._~!$&'()*+,;=:@%2F%00"
# Names that mean something to the server are not made up: their values would not be.
MEANING = {
    "host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "content-type", "te",
    "keep-alive", "proxy-connection",
}  # fmt: skip


@dataclass
class Request:
    """One request: what it says, and its bytes."""

    method: str
    path: str
    query: str
    fields: list[tuple[str, str]]
    body: bytes
    data: bytes


def texts(alphabet: str, least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(alphabet=alphabet, min_size=least, max_size=most)


names = texts(TOKEN, 1, 20).filter(lambda name: name.lower() not in MEANING)
values = st.text(
    alphabet=st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30
).map(lambda value: value.strip(" \t"))
blanks = texts(" \t", 0, 3)
blocks = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
extensions = st.sampled_from(["", ";a", ";a=b", ' ; a = "b;\\" c"', ";x=1;y"])


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Make up a request with no body, a length or chunks."""
    method = draw(texts(TOKEN.replace("abcdefghijklmnopqrstuvwxyz", ""), 1, 12).filter(lambda name: name != "CONNECT"))
    path = "/" + draw(texts(TARGET, 0, 20))
    query = draw(st.none() | texts(TARGET + "?", 0, 20))
    fields = [("host", draw(st.sampled_from(["a", "example.com:8000", "[::1]"])))]
    fields += [(name.lower(), value) for name, value in draw(st.lists(st.tuples(names, values), max_size=6))]
    parts = draw(blocks)
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    body = b"" if framing == "none" else b"".join(parts)
    if framing == "length":
        fields.append(("content-length", f"{len(body):0{draw(st.integers(1, 6))}d}"))
    elif framing == "chunked":
        fields.append(("transfer-encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
    order = draw(st.permutations(fields))
    target = path if query is None else f"{path}?{query}"
    head = f"{method} {target} HTTP/1.1\r\n"
    for name, value in order:
        spelt = draw(st.sampled_from([name, name.title(), name.upper()]))
        head += f"{spelt}:{draw(blanks)}{value}{draw(blanks)}\r\n"
    data = head.encode("latin-1") + b"\r\n"
    if framing == "length":
        data += body
    elif framing == "chunked":
        for part in parts:
            size = draw(st.sampled_from(["%x", "%X", "%04x"])) % len(part)
            data += size.encode() + draw(extensions).encode() + b"\r\n" + part + b"\r\n"
        data += b"0\r\n" + draw(st.sampled_from([b"", b"X-T: v\r\n"])) + b"\r\n"
    return Request(method, path, query or "", order, body, data)


@pytest.mark.spec("HS-74", "H1-LINE-01", "H1-HDR-01", "H1-HDR-09", "H1-BODY-02", "H1-CHK-01", "H1-CHK-11", "H1-CON-04")
@BOUNDED
@given(st.lists(requests(), min_size=1, max_size=4), st.data())
def test_what_is_written_is_what_is_opened(made: list[Request], data: st.DataObject) -> None:
    written = b"".join(request.data for request in made)
    places = sorted(data.draw(st.sets(st.integers(1, len(written) - 1), max_size=6)))
    pieces = [written[start:end] for start, end in zip([0, *places], [*places, len(written)], strict=True)]
    outcome = drive(pieces)
    methods = [request.method for request in made]
    replies, rest = read_replies(outcome.written, methods, ended=False)
    assert [reply.status for reply in replies] == [200] * len(made)
    assert not rest
    assert not outcome.closed
    for request, call in zip(made, outcome.calls, strict=True):
        assert (call.method, call.raw_path, call.query) == (request.method, request.path, request.query)
        assert call.fields == request.fields
        assert call.body.encode("latin-1") == request.body
        assert call.complete


@pytest.mark.spec("H1-BODY-13", "H1-CHK-13", "H1-HDR-12")
@BOUNDED
@given(requests(), st.data())
def test_what_is_cut_short_is_never_whole(request: Request, data: st.DataObject) -> None:
    taken = data.draw(st.integers(1, len(request.data) - 1))
    outcome = drive([request.data[:taken]], eof=True)
    assert not any(call.complete for call in outcome.calls)
    assert outcome.closed
    replies, rest = read_replies(outcome.written, [request.method], ended=True)
    assert not rest
    assert [reply.status for reply in replies] in ([], [400])


@pytest.mark.spec("H1-BODY-02", "H1-CHK-01", "H1-HDR-01")
@BOUNDED
@given(requests(), st.binary(max_size=60), st.data())
def test_noise_behind_a_request_changes_nothing_of_it(request: Request, noise: bytes, data: st.DataObject) -> None:
    written = request.data + noise
    place = data.draw(st.integers(1, len(written)))
    outcome = drive([written[:place], written[place:]])
    assert outcome.calls[0].complete
    assert outcome.calls[0].body.encode("latin-1") == request.body
    assert outcome.calls[0].fields == request.fields
