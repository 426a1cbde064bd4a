"""UTF-8 of text messages and close reasons: every boundary of the encoding, refused at the very byte that breaks it."""

import itertools
import random
import struct
from collections.abc import Iterator

import pytest
from asgi_apps import Notes, Receive, Scope, Send, raised_by
from socket_apps import Desk, accepted, message, open_desk, read_on, sockets_only
from socket_client import BINARY, CLOSE, CONTINUATION, CUTS, TEXT, SocketClient, fragments, frame

from trilithon.testing import serve

pytestmark = [pytest.mark.real, pytest.mark.spec("WS-ASGI-05")]

every_cut = pytest.mark.parametrize("cut", CUTS)
KOSME = "κόσμε".encode()
# The sections are those of Markus Kuhn's decoder test, which Autobahn's case 6 follows.
VALID = [
    b"",
    "Hello-µ@ßöäüàá-UTF-8!!".encode(),  # 6.2
    KOSME,  # 6.5
    b"\x00",  # 6.7
    b"\xc2\x80",
    b"\xe0\xa0\x80",
    b"\xf0\x90\x80\x80",
    b"\x7f",  # 6.9
    b"\xdf\xbf",
    b"\xef\xbf\xbf",
    b"\xf4\x8f\xbf\xbf",
    b"\xed\x9f\xbf",  # 6.11
    b"\xee\x80\x80",
    b"\xef\xbf\xbd",
    *(chr(plane << 16 | last).encode() for plane in range(17) for last in (0xFFFE, 0xFFFF)),  # 6.22
    *(chr(each).encode() for each in (0xFDD0, 0xFDEF)),
    b"\xef\xbb\xbf",  # a byte order mark is text
    b"\xef\xbf\xbd" * 100,  # 6.23
    bytes(range(128)),
    "".join(chr(each) for each in range(0x80, 0xD800, 97)).encode(),
]
INVALID = [
    KOSME + b"\xed\xa0\x80" + b"edited",  # 6.3
    b"\xf8\x88\x80\x80\x80",  # 6.8
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xf7\xbf\xbf\xbf",  # 6.10
    b"\xfb\xbf\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf\xbf",
    b"\xf4\x90\x80\x80",  # 6.11.5
    *(b"\x80\xbf" * (count // 2) + b"\x80" * (count % 2) for count in range(1, 8)),  # 6.12
    b"\xbf",
    bytes(range(0x80, 0xC0)),
    *(b"".join(bytes([each]) + b" " for each in span) for span in (range(0xC0, 0xE0), range(0xE0, 0xF0))),  # 6.13
    *(b"".join(bytes([each]) + b" " for each in span) for span in (range(0xF0, 0xF8), range(0xF8, 0xFC), b"\xfc\xfd")),
    b"\xc0 ",  # 6.14, where the sequence cannot go on
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xf8\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80",
    b"\xf7\xbf\xbf",
    b"\xfb\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf",
    b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf\xfb\xbf\xbf\xbf\xfd",  # 6.15
    b"\xfe",  # 6.16
    b"\xff",
    b"\xfe\xfe\xff\xff",
    b"\xc0\xaf",  # 6.17
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf",
    b"\xfc\x80\x80\x80\x80\xaf",
    b"\xc1\xbf",  # 6.18
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf8\x87\xbf\xbf\xbf",
    b"\xfc\x83\xbf\xbf\xbf\xbf",
    b"\xc0\x80",  # 6.19
    b"\xe0\x80\x80",
    b"\xf0\x80\x80\x80",
    b"\xf8\x80\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80\x80",
    *(
        b"\xed" + second + third
        for second in (b"\xa0", b"\xad", b"\xaf", b"\xb0", b"\xbe")
        for third in (b"\x80", b"\xbf")
    ),
    b"\xed\xa0\x80\xed\xb0\x80",  # 6.21
    b"\xed\xaf\xbf\xed\xbf\xbf",
    b"\xf5\x80\x80\x80",
    b"\xc2\x41",
    b"\xe1\x80\x41",
    b"\xf1\x80\x80\x41",
]
# Sound as far as they go, but not at the end of a message (6.6, 6.14).
TRUNCATED = [
    b"\xdf",
    b"\xce",
    b"\xef\xbf",
    b"\xe0\xa0",
    b"\xe2",
    b"\xf4",
    b"\xf0\x90",
    b"\xf0\x90\x80",
    b"\xf4\x8f\xbf",
]
TAILS = [bytes(tail) for size in range(4) for tail in itertools.product((0x80, 0x90, 0xA0), repeat=size)]


def may_go_on(data: bytes) -> bool:
    """Tell whether some text begins with `data`."""
    return any(is_text(data + tail) for tail in TAILS)


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def breaking_place(data: bytes) -> int:
    """Return how many bytes it takes until no text can begin so."""
    return next(size for size in range(1, len(data) + 1) if not may_go_on(data[:size]))


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with open_desk() as found:
        yield found


@every_cut
@pytest.mark.spec("WS-UTF-04", "WS-UTF-02", "WS-UTF-01", "WS-ASGI-03")
def test_every_valid_text_is_echoed_whole_and_in_fragments(desk: Desk, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        for data in VALID:
            guest.send(frame(TEXT, data), *fragments(TEXT, [bytes([each]) for each in data] or [b""]))
            guest.expect((TEXT, data), (TEXT, data))
        guest.ends(*(each.decode() for data in VALID for each in (data, data)))


@every_cut
@pytest.mark.spec("WS-UTF-01", "WS-ASGI-01", "WS-ASGI-02")
@pytest.mark.parametrize("data", [*INVALID, *TRUNCATED], ids=bytes.hex)
def test_invalid_text_fails(desk: Desk, data: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, "before"))
        guest.expect((TEXT, "before"))
        guest.send(frame(TEXT, b"good " + data), frame(TEXT, "after"))
        guest.fails(1007, "before")


@pytest.mark.spec("WS-UTF-01", "WS-UTF-02")
@pytest.mark.parametrize("data", [*INVALID, *TRUNCATED], ids=bytes.hex)
def test_invalid_text_fails_in_fragments_of_one_byte(desk: Desk, data: bytes) -> None:
    with desk.open() as guest:
        guest.send(*fragments(TEXT, [bytes([each]) for each in data]), frame(TEXT, "after"))
        guest.fails(1007)


@pytest.mark.spec("WS-UTF-03")
@pytest.mark.parametrize("data", INVALID, ids=bytes.hex)
def test_the_fragment_with_the_breaking_byte_fails_and_none_before(desk: Desk, data: bytes) -> None:
    place = breaking_place(data)
    with desk.open() as guest:
        guest.send(frame(TEXT, b"", fin=False))
        for each in data[: place - 1]:
            guest.send(frame(CONTINUATION, bytes([each]), fin=False))
        guest.expect_alive()
        guest.send(frame(CONTINUATION, data[place - 1 : place], fin=False))
        guest.fails(1007)


@pytest.mark.spec("WS-UTF-03")
@pytest.mark.parametrize("data", INVALID, ids=bytes.hex)
def test_the_breaking_byte_fails_inside_its_frame(desk: Desk, data: bytes) -> None:
    place = breaking_place(data)
    whole = frame(TEXT, data[:place], length=place + 100)
    with desk.open() as guest:
        guest.send(whole[:-1], cut="bytes")
        guest.send(whole[-1:])
        guest.fails(1007)


@pytest.mark.spec("WS-UTF-03", "WS-UTF-02")
def test_the_breaking_byte_of_a_long_frame_fails_before_the_rest_has_come(desk: Desk) -> None:
    for lead in (0, 1, 125, 126, 5000, 70000):
        with desk.open() as guest:
            guest.send(frame(TEXT, "€" * lead + "ok", fin=False))
            guest.send(frame(CONTINUATION, b"a" * lead + b"\xf4\x90", length=1 << 20))
            guest.fails(1007)


@every_cut
@pytest.mark.spec("WS-UTF-05", "WS-UTF-02")
@pytest.mark.parametrize("data", TRUNCATED, ids=bytes.hex)
def test_a_character_cut_off_by_the_end_of_the_message_fails(desk: Desk, data: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(TEXT, b"a" + data, fin=False))
        guest.expect_alive()
        guest.send(frame(CONTINUATION))
        guest.fails(1007)


@pytest.mark.spec("WS-UTF-02", "WS-UTF-05")
@pytest.mark.parametrize("place", range(1, len(KOSME)))
def test_a_message_that_ends_within_a_word_is_text_exactly_between_characters(desk: Desk, place: int) -> None:
    data = KOSME[:place]
    with desk.open() as guest:
        guest.send(frame(TEXT, data))
        if is_text(data):
            guest.expect((TEXT, data))
            guest.ends(data.decode())
        else:
            guest.fails(1007)


@every_cut
@pytest.mark.spec("WS-UTF-08")
def test_binary_messages_are_never_looked_at(desk: Desk, cut: str) -> None:
    messages = [*INVALID, *TRUNCATED, bytes(range(256))]
    with desk.open(cut=cut) as guest:
        for data in messages:
            guest.send(frame(BINARY, data), *fragments(BINARY, [data[:1], data[1:]]))
            guest.expect((BINARY, data), (BINARY, data))
        guest.ends(*(each for data in messages for each in (data, data)))


@pytest.mark.spec("WS-UTF-02", "WS-UTF-08")
def test_what_a_message_left_behind_does_not_reach_the_next(desk: Desk) -> None:
    with desk.open() as guest:
        guest.send(*fragments(BINARY, [b"\xe2", b"\x82"]), frame(TEXT, "a"), *fragments(TEXT, [b"\xe2\x82", b"\xac"]))
        guest.expect((BINARY, b"\xe2\x82"), (TEXT, "a"), (TEXT, "€"))
        guest.ends(b"\xe2\x82", "a", "€")


@pytest.mark.spec("WS-UTF-01", "WS-UTF-02")
@pytest.mark.parametrize("seed", range(6))
def test_random_bytes_are_text_exactly_when_python_says_so(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    alphabet = [*VALID, *INVALID, *TRUNCATED, b"a", b"\x80", "é".encode(), "😀".encode()]
    guest = desk.open(cut="random")
    sound = []
    for _ in range(60):
        data = b"".join(chance.choices(alphabet, k=chance.randrange(1, 4)))
        if is_text(data) or chance.random() < 0.7:
            data = data.decode(errors="ignore").encode()
        place = chance.randrange(len(data) + 1)
        guest.send(*fragments(TEXT, [data[:place], data[place:]]))
        if is_text(data):
            guest.expect((TEXT, data))
            sound.append(data.decode())
            continue
        guest.fails(1007, *sound)
        guest.close()
        guest = desk.open(cut="random")
        sound = []
    guest.ends(*sound)
    guest.close()


@every_cut
@pytest.mark.spec("WS-UTF-06", "WS-ASGI-01")
@pytest.mark.parametrize("data", [*INVALID[:60], *TRUNCATED], ids=bytes.hex)
def test_a_close_reason_that_is_not_text_fails(desk: Desk, data: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(CLOSE, struct.pack("!H", 1000) + b"why " + data[:119]))
        guest.fails(1007)


@every_cut
@pytest.mark.spec("WS-UTF-06", "WS-UTF-04", "WS-CLS-06")
@pytest.mark.parametrize("data", [each for each in VALID if each and len(each) <= 123][:24], ids=bytes.hex)
def test_a_close_reason_of_any_text_is_given_to_the_application(desk: Desk, data: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(CLOSE, struct.pack("!H", 3333) + data))
        guest.expect_close(3333)
        guest.expect_end()
        guest.told(code=3333, reasons=(data.decode(),))


@pytest.mark.spec("WS-UTF-07")
@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\udcff" * 3, "\ud83d\ude00"], ids=ascii)
def test_text_that_cannot_be_encoded_is_refused_and_nothing_is_sent(text: str) -> None:
    notes = Notes()

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        notes.add(await raised_by(send(message(text))))
        notes.add(await raised_by(send({"type": "websocket.close", "code": 1000, "reason": text})))
        await send(message("on"))
        await read_on(receive, notes)

    with serve(app) as site, SocketClient(site) as client:
        client.expect((TEXT, "on"))
        client.shake()
    for _ in range(2):
        error = notes.next()
        assert isinstance(error, Exception) and not isinstance(error, OSError), error
    assert notes.next() == ("disconnect", 1000, "")


@pytest.mark.spec("WS-UTF-04", "WS-FR-10")
def test_the_applications_text_arrives_in_utf_8() -> None:
    texts = ["", "\0", "a" * 125, "é" * 63, "€" * 42, "😀" * 40000, "\uffff\U0010ffff"]

    @sockets_only
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        for each in texts:
            await send(message(each))

    with serve(app) as site, SocketClient(site) as client:
        client.expect(*((TEXT, each.encode()) for each in texts))
        client.expect_close(1000)
