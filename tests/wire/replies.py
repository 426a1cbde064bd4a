"""A strict reader of what the server sent: anything that RFC 9112 does not allow a server to send fails the test."""

import re
from dataclasses import dataclass

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)\Z")
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
VALUE = rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
FIELD_LINE = re.compile(rb"(%s):[ \t]*(%s)[ \t]*\Z" % (TOKEN, VALUE))
SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})\Z")
DATE = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
    rb"[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\Z"
)


class Unread(Exception):
    """The bytes end inside a reply: more must come before it can be read."""


@dataclass(frozen=True)
class Reply:
    """One response: names in lower case; `framing` is "none", "length", "chunked" or "close"."""

    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    framing: str
    interim: tuple["Reply", ...] = ()
    trailers: tuple[tuple[bytes, bytes], ...] = ()

    def all(self, name: str) -> list[bytes]:
        """Return the value of every line of the field `name`."""
        return [value for known, value in self.fields if known == name.encode()]

    def one(self, name: str) -> bytes | None:
        """Return the value of the field `name`, None without one; it may stand once at most."""
        values = self.all(name)
        assert len(values) < 2, f"{name} stands {len(values)} times: {values}"
        return values[0] if values else None

    @property
    def options(self) -> set[bytes]:
        """The tokens of the Connection field in lower case."""
        return {token.strip().lower() for value in self.all("connection") for token in value.split(b",")}


def read_replies(data: bytes, methods: list[str], *, ended: bool) -> tuple[list[Reply], bytes]:
    """Read the replies to requests with `methods` and return them with the bytes behind the last whole one.

    `ended` says that the connection ended after `data`. The method of a request that was refused before it was
    understood is taken for GET.
    """
    replies: list[Reply] = []
    interim: list[Reply] = []
    while data:
        method = methods[len(replies)] if len(replies) < len(methods) else "GET"
        try:
            reply, data = read_reply(data, method, tuple(interim), ended=ended)
        except Unread:
            break
        if reply.status < 200:
            assert reply.status != 101, "the server switched protocols"
            interim.append(reply)
        else:
            replies.append(reply)
            interim = []
    return replies, data


def read_reply(data: bytes, method: str, interim: tuple[Reply, ...], *, ended: bool) -> tuple[Reply, bytes]:
    """Read the first reply of `data` and return it with the rest; raises Unread when it is not there as a whole."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        raise Unread
    lines = head.split(b"\r\n")
    matched = STATUS_LINE.match(lines[0])
    assert matched, f"bad status line: {lines[0][:200]!r}"
    status = int(matched[1])
    fields = read_fields(lines[1:])
    body, framing, trailers, rest = read_body(rest, status, method, fields, ended=ended)
    if 200 <= status < 500:
        dates = [value for name, value in fields if name == b"date"]
        assert len(dates) == 1, f"Date stands {len(dates)} times on {status}"
        assert DATE.match(dates[0]), f"bad Date: {dates[0]!r}"
    return Reply(status, matched[2], fields, body, framing, interim, trailers), rest


def read_fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Read field lines; the names come back in lower case."""
    fields = []
    for line in lines:
        matched = FIELD_LINE.match(line)
        assert matched, f"bad field line: {line[:200]!r}"
        fields.append((matched[1].lower(), matched[2]))
    return tuple(fields)


def read_body(
    data: bytes, status: int, method: str, fields: tuple[tuple[bytes, bytes], ...], *, ended: bool
) -> tuple[bytes, str, tuple[tuple[bytes, bytes], ...], bytes]:
    """Read the body as RFC 9112 6.3 frames it: its bytes, the framing, the trailers and what follows."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    assert not (lengths and codings), "both Content-Length and Transfer-Encoding"
    assert len(lengths) < 2, f"several lengths: {lengths}"
    assert not lengths or re.fullmatch(rb"[0-9]+", lengths[0]), f"bad length: {lengths}"
    assert codings in ([], [b"chunked"]), f"bad coding: {codings}"
    if status < 200 or status == 204:
        assert not lengths and not codings, f"a body is announced on {status}"
    if status < 200 or status in (204, 304) or method == "HEAD":
        return b"", "none", (), data
    if codings:
        body, trailers, rest = read_chunks(data)
        return body, "chunked", trailers, rest
    if lengths:
        size = int(lengths[0])
        if len(data) < size:
            raise Unread
        return data[:size], "length", (), data[size:]
    if not ended:
        raise Unread
    return data, "close", (), b""


def read_chunks(data: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...], bytes]:
    """Read a chunked body: its bytes, its trailers and what follows."""
    body = bytearray()
    while True:
        line, separator, data = data.partition(b"\r\n")
        if not separator:
            raise Unread
        matched = SIZE_LINE.match(line)
        assert matched, f"bad chunk size: {line[:200]!r}"
        size = int(matched[1], 16)
        if not size:
            break
        if len(data) < size + 2:
            raise Unread
        assert data[size : size + 2] == b"\r\n", f"a chunk ends in {data[size : size + 2]!r}"
        body += data[:size]
        data = data[size + 2 :]
    if data.startswith(b"\r\n"):
        return bytes(body), (), data[2:]
    section, separator, data = data.partition(b"\r\n\r\n")
    if not separator:
        raise Unread
    return bytes(body), read_fields(section.split(b"\r\n")), data
