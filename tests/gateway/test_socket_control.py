"""Pings, pongs and control frames in general: answered at once, wherever they come, and never when they are illegal."""

import os
import random
import socket
import struct
import tracemalloc
from collections.abc import Iterator

import pytest
from asgi_apps import error_records
from socket_apps import Desk, Held, open_desk
from socket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL_OPCODES,
    CUTS,
    PING,
    PONG,
    TEXT,
    close_frame,
    fragments,
    frame,
)

pytestmark = [pytest.mark.real, pytest.mark.spec("WS-ASGI-05")]

every_cut = pytest.mark.parametrize("cut", CUTS)
PAYLOADS = [b"", b"H", b"Hello, world!", bytes([0, 255, 254, 253, 252, 251, 0, 255]), b"\xfe" * 124, b"\xfe" * 125]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with open_desk() as found:
        yield found


@every_cut
@pytest.mark.spec("WS-CTL-03", "WS-FR-08")
@pytest.mark.parametrize("payload", PAYLOADS, ids=[f"{len(each)} bytes" for each in PAYLOADS])
def test_a_ping_is_answered_with_its_payload(desk: Desk, payload: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(PING, payload))
        guest.expect((PONG, payload))
        guest.ends()


@every_cut
@pytest.mark.spec("WS-CTL-03")
def test_a_ping_of_every_size_is_answered(desk: Desk, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        for size in range(126):
            payload = os.urandom(size)
            guest.send(frame(PING, payload, mask=os.urandom(4)))
            guest.expect((PONG, payload))
        guest.ends()


@every_cut
@pytest.mark.spec("WS-CTL-05", "WS-CTL-03")
def test_of_ten_pings_all_are_answered_in_order_or_at_least_the_last(desk: Desk, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(*(frame(PING, f"payload-{number}") for number in range(10)))
        wanted = list(range(10))
        while wanted:
            found = guest.next()
            assert found is not None and found.opcode == PONG
            number = int(found.payload.removeprefix(b"payload-"))
            assert number in wanted, f"{number} came out of order or twice"
            wanted = [each for each in wanted if each > number]
        guest.ends()


@every_cut
@pytest.mark.spec("WS-CTL-04")
@pytest.mark.parametrize("payload", [b"", b"unsolicited pong payload", b"\xff" * 125], ids=["empty", "filled", "long"])
def test_a_pong_that_nobody_asked_for_is_ignored(desk: Desk, payload: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(PONG, payload))
        guest.expect_alive()
        guest.send(frame(PONG, payload), frame(PING, b"ping"), frame(PONG, payload))
        guest.expect((PONG, b"ping"))
        guest.send(frame(TEXT, "on"), *[frame(PONG, payload)] * 20)
        guest.expect((TEXT, "on"))
        guest.ends("on")


# Illegal control frames: Autobahn 2.5, 5.1, 5.2.


@every_cut
@pytest.mark.spec("WS-CTL-01", "WS-CLS-05", "WS-ASGI-01")
@pytest.mark.parametrize("size", [126, 127, 128, 1000, 65535, 65536])
@pytest.mark.parametrize("opcode", CONTROL_OPCODES)
def test_a_control_frame_above_125_bytes_fails(desk: Desk, opcode: int, size: int, cut: str) -> None:
    payload = struct.pack("!H", 1000) + b"\x41" * (size - 2)
    with desk.open(cut=cut if size < 1001 else "whole") as guest:
        guest.send(frame(TEXT, "before"))
        guest.expect((TEXT, "before"))
        guest.send(frame(opcode, payload), frame(TEXT, "after"))
        guest.fails(1002, "before")


@pytest.mark.spec("WS-CTL-01")
@pytest.mark.parametrize("size", [126, 65535, 65536, (1 << 63) - 1])
@pytest.mark.parametrize("opcode", CONTROL_OPCODES)
def test_a_control_frame_above_125_bytes_fails_before_its_payload(desk: Desk, opcode: int, size: int) -> None:
    with desk.open() as guest:
        guest.send(frame(opcode, length=size))
        guest.fails(1002)


@every_cut
@pytest.mark.spec("WS-CTL-02", "WS-ASGI-01")
@pytest.mark.parametrize("payload", [b"", b"\x03\xe8"], ids=["empty", "filled"])
@pytest.mark.parametrize("opcode", CONTROL_OPCODES)
def test_a_fragmented_control_frame_fails(desk: Desk, opcode: int, payload: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(frame(opcode, payload, fin=False), frame(CONTINUATION, b"rest"))
        guest.fails(1002)


@pytest.mark.spec("WS-CTL-02", "WS-CTL-06")
@pytest.mark.parametrize("opcode", CONTROL_OPCODES)
def test_a_fragmented_control_frame_fails_inside_a_message(desk: Desk, opcode: int) -> None:
    with desk.open() as guest:
        guest.send(frame(TEXT, "a", fin=False), frame(opcode, b"\x03\xe8", fin=False), frame(CONTINUATION, "b"))
        guest.fails(1002)


@every_cut
@pytest.mark.spec("WS-CTL-09", "WS-FR-02", "WS-PMD-17")
@pytest.mark.parametrize("opcode", CONTROL_OPCODES)
def test_a_compressed_control_frame_fails(desk: Desk, opcode: int, cut: str) -> None:
    with desk.open(cut=cut, fields=[("Sec-WebSocket-Extensions", "permessage-deflate")]) as guest:
        assert guest.compressed
        guest.send(frame(opcode, b"\x03\xe8", rsv=4))
        guest.fails(1002)


# Between the fragments of a message: Autobahn 5.6 to 5.8, 5.19, 5.20.


@every_cut
@pytest.mark.spec("WS-CTL-06", "WS-CTL-03", "WS-CTL-04")
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_ping_between_fragments_is_answered_before_the_message_ends(desk: Desk, opcode: int, cut: str) -> None:
    first, *others = fragments(opcode, [b"frag1", b"frag2", b"frag3", b"frag4"])
    with desk.open(cut=cut) as guest:
        guest.send(first)
        for number, other in enumerate(others):
            guest.send(frame(PING, f"between {number}"), frame(PONG, b"stray"))
            guest.expect((PONG, f"between {number}"))
            guest.send(other)
        guest.expect((opcode, b"frag1frag2frag3frag4"))
        guest.ends("frag1frag2frag3frag4" if opcode == TEXT else b"frag1frag2frag3frag4")


@every_cut
@pytest.mark.spec("WS-CTL-06", "WS-UTF-02")
def test_a_ping_inside_a_split_character_leaves_the_character_alone(desk: Desk, cut: str) -> None:
    data = "€😀".encode()
    with desk.open(cut=cut) as guest:
        for piece in fragments(TEXT, [bytes([each]) for each in data]):
            guest.send(frame(PING, b"\xe2\x82"))
            guest.expect((PONG, b"\xe2\x82"))
            guest.send(piece)
        guest.expect((TEXT, data))
        guest.ends("€😀")


@pytest.mark.spec("WS-CTL-06")
@pytest.mark.parametrize("seed", range(5))
def test_control_frames_strewn_into_fragments_change_nothing(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    with desk.open(cut="random") as guest:
        messages = []
        for _ in range(20):
            parts = [chance.randbytes(chance.choice((0, 1, 7, 130))) for _ in range(chance.randrange(1, 6))]
            pings = []
            for piece in fragments(BINARY, parts):
                for _ in range(chance.randrange(3)):
                    if chance.random() < 0.5:
                        guest.send(frame(PONG, chance.randbytes(4)))
                    else:
                        pings.append(chance.randbytes(chance.randrange(126)))
                        guest.send(frame(PING, pings[-1]))
                        guest.expect((PONG, pings[-1]))
                guest.send(piece)
            guest.expect((BINARY, b"".join(parts)))
            messages.append(b"".join(parts))
        guest.ends(*messages)


# Whatever the application does.


@pytest.mark.spec("WS-CTL-03", "WS-LIM-03")
def test_a_ping_is_answered_while_the_application_does_not_read() -> None:
    recorder = Held()
    with open_desk(recorder) as desk, desk.open() as guest:
        guest.expect_alive()
        guest.send(*(frame(TEXT, f"{number}") for number in range(5)), frame(PING, b"behind"))
        guest.expect((PONG, b"behind"))
        guest.send(frame(TEXT, "half", fin=False))
        guest.expect_alive()
        recorder.gate(guest.path).open()
        guest.expect(*((TEXT, f"{number}") for number in range(5)))
        guest.send(frame(CONTINUATION))
        guest.expect((TEXT, "half"))
        guest.ends(*(f"{number}" for number in range(5)), "half")


# Behind a close frame: Autobahn 7.1.3, 7.1.4.


@every_cut
@pytest.mark.spec("WS-CTL-07", "WS-CLS-10")
@pytest.mark.parametrize(
    "later",
    [
        frame(PING, b"late"),
        frame(TEXT, "late"),
        frame(PONG, b"late"),
        close_frame(1001),
        frame(PING, b"x" * 126),
        frame(3, b"reserved"),
        frame(TEXT, b"\xff"),
        b"\xff" * 50,
        b"\x81",
    ],
    ids=["ping", "text", "pong", "close", "long ping", "reserved", "bad text", "garbage", "part"],
)
def test_nothing_behind_a_close_frame_is_looked_at(desk: Desk, later: bytes, cut: str) -> None:
    with desk.open(cut=cut) as guest:
        guest.send(close_frame(1000, "bye"), later)
        guest.expect_close(1000)
        guest.expect_end()
        guest.told(code=1000, reasons=("bye",))


@pytest.mark.spec("WS-CTL-07")
def test_a_ping_behind_the_answered_close_is_not_answered(desk: Desk) -> None:
    with desk.open() as guest:
        guest.send(close_frame(3000))
        guest.expect_close(3000)
        guest.send(frame(PING, b"late"), frame(TEXT, "late"))
        guest.expect_end()
        guest.told(code=3000)


# Floods.


@pytest.mark.spec("WS-CTL-05", "WS-CTL-08")
def test_a_flood_of_pings_is_answered_while_the_client_reads(desk: Desk) -> None:
    with desk.open() as guest:
        answered = 0
        for batch in range(50):
            guest.send(*(frame(PING, struct.pack("!II", batch, number)) for number in range(200)))
            last = struct.pack("!II", batch, 199)
            while (found := guest.next()) is not None:
                assert found.opcode == PONG
                answered += 1
                if found.payload == last:
                    break
        assert 50 <= answered <= 50 * 200
        guest.ends()


@pytest.mark.spec("WS-CTL-08", "WS-CTL-05")
def test_a_flood_of_pings_whose_answers_are_not_read_takes_bounded_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    batch = frame(PING, b"x" * 125) * 500
    with open_desk(write_timeout_s=1.0) as desk:
        with desk.open(receive_buffer_bytes=4096) as guest:
            guest.socket.settimeout(0.5)
            tracemalloc.start()
            try:
                # A server that stops reading, one that hangs up and one that drops answers are all within the rule.
                for _ in range(24 * 16):
                    guest.socket.sendall(batch)
            except (TimeoutError, ConnectionError):
                pass
            finally:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            assert peak < 4 << 20, f"{peak >> 20} MiB are held for one client"
        with desk.open() as other:
            other.expect_alive()
            other.ends()
    assert error_records(caplog) == []


@pytest.mark.spec("WS-CTL-08")
def test_a_client_that_reads_again_behind_a_flood_is_served_on(desk: Desk) -> None:
    with desk.open(receive_buffer_bytes=4096) as guest:
        guest.socket.settimeout(0.2)
        piece = frame(PING, b"flood" * 20)
        stream = memoryview(piece * 100_000)
        sent = 0
        try:
            while sent < len(stream):
                sent += guest.socket.send(stream[sent : sent + 65536])
        except TimeoutError:
            pass
        rest = bytes(stream[sent : sent + -sent % len(piece)]) + frame(PING, b"end")
        guest.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        place = 0
        found = None
        while found is None or found.payload != b"end":
            if place < len(rest):
                try:
                    place += guest.socket.send(rest[place:], socket.MSG_DONTWAIT)
                except BlockingIOError:
                    pass
            found = guest.next()
            assert found is not None and found.opcode == PONG
        guest.send(frame(TEXT, "on"))
        guest.expect((TEXT, "on"))
        guest.ends("on")


@pytest.mark.spec("WS-CTL-01", "WS-CTL-03")
def test_a_close_frame_of_125_bytes_is_taken(desk: Desk) -> None:
    reason = "é" * 61 + "x"
    with desk.open() as guest:
        guest.send(frame(CLOSE, struct.pack("!H", 4999) + reason.encode()))
        guest.expect_close(4999)
        guest.expect_end()
        guest.told(code=4999, reasons=(reason,))
