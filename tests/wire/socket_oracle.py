"""What RFC 6455 makes of a whole stream of client frames, said plainly, and the state machine driven in any cut."""

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from trilithon.foundation.limits import SocketLimits
from trilithon.wire.deflate import Deflate
from trilithon.wire.websocket import WebSocket

OPEN = 0
EMPTY = 1005  # no code: how a close frame without a payload is written down
SENDABLE = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


@dataclass
class Verdict:
    """The messages, the payloads of the pongs, the code the application is told (0: still open), the close sent."""

    messages: list[str | bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    code: int = OPEN
    sent_close: int | None = None


class Failure(Exception):
    """The connection fails with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def judge(data: bytes, *, limit: int = 0) -> Verdict:
    """Say what becomes of a stream without compression; what is cut off at its end counts as far as it has come."""
    verdict = Verdict()
    try:
        run(data, limit, verdict)
    except Failure as failure:
        verdict.code = verdict.sent_close = failure.code
    return verdict


def run(data: bytes, limit: int, verdict: Verdict) -> None:
    """Take frame by frame until the stream, or the connection, is at its end."""
    place, kind, message = 0, 0, b""
    while True:
        head = read_head(data[place : place + 14], kind, len(message), limit)
        if head is None:
            return
        opcode, final, size, head_size = head
        place += head_size
        payload = unmasked(data[place : place + size], data[place - 4 : place])
        whole = len(payload) == size
        place += size
        if opcode < 8:
            kind = opcode or kind
            message += payload
            if kind == 1 and not may_go_on(message, final and whole):
                raise Failure(1007)
            if final and whole:
                verdict.messages.append(message.decode() if kind == 1 else message)
                kind, message = 0, b""
        elif whole and opcode == 9:
            verdict.pongs.append(payload)
        elif whole and opcode == 8:
            verdict.code = verdict.sent_close = close_code(payload)
            return
        if not whole:
            return


def read_head(head: bytes, kind: int, so_far: int, limit: int) -> tuple[int, bool, int, int] | None:
    """Return opcode, FIN, payload size and head size; None when the head is not whole and not yet wrong."""
    if len(head) < 2:
        return None
    final, rsv, opcode = head[0] >= 128, head[0] >> 4 & 7, head[0] & 15
    masked, size = head[1] >= 128, head[1] & 127
    in_order = opcode in (8, 9, 10) or (opcode == 0 and kind) or (opcode in (1, 2) and not kind)
    if rsv or not masked or not in_order or (opcode >= 8 and (not final or size > 125)):
        raise Failure(1002)
    more = {126: 2, 127: 8}.get(size, 0)
    if more == 8 and head[2:3] >= b"\x80":
        raise Failure(1002)
    if len(head) < 2 + more:
        return None
    if more:
        size = int.from_bytes(head[2 : 2 + more], "big")
        if size < (126 if more == 2 else 65536):
            raise Failure(1002)
    if limit and opcode < 8 and so_far + size > limit:
        raise Failure(1009)
    return (opcode, final, size, 6 + more) if len(head) >= 6 + more else None


def unmasked(data: bytes, key: bytes) -> bytes:
    """Take the key off, byte by byte as the RFC says it."""
    return bytes(each ^ key[place % 4] for place, each in enumerate(data))


def may_go_on(data: bytes, ended: bool) -> bool:
    """Tell whether some text begins with `data`, or is it when it has ended: by the table of RFC 3629, section 4."""
    place = 0
    while place < len(data):
        first = data[place]
        if first < 0x80:
            place += 1
            continue
        if not 0xC2 <= first <= 0xF4:
            return False
        count = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        low, high = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}.get(
            first, (0x80, 0xBF)
        )
        for each in data[place + 1 : place + 1 + count]:
            if not low <= each <= high:
                return False
            low, high = 0x80, 0xBF
        if place + 1 + count > len(data):
            return not ended
        place += 1 + count
    return True


def close_code(payload: bytes) -> int:
    """Return the code of a close frame, EMPTY for none."""
    if not payload:
        return EMPTY
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code not in SENDABLE:
        raise Failure(1002)
    if not may_go_on(payload[2:], True):
        raise Failure(1007)
    return code


def drive(
    pieces: Iterable[bytes], *, limits: SocketLimits | None = None, deflate: Deflate | None = None, closing: int = 0
) -> Verdict:
    """Feed the state machine and say what came of it; `closing` is the code of a close of our own before that."""
    socket = WebSocket(limits or SocketLimits(ws_max_size_bytes=0), deflate)
    verdict = Verdict()
    sent = b""
    if closing:
        socket.close(closing, b"")
        assert socket.out, "the close frame of our own was not written"
        socket.out.clear()
    for piece in pieces:
        socket.receive(piece)
        while socket.unfinished:
            socket.receive(b"")
        while (message := socket.take()) is not None:
            verdict.messages.append(message)
        sent += b"".join(socket.out)
        socket.out.clear()
    socket.leave()
    sent += b"".join(socket.out)
    verdict.code = socket.code
    for opcode, payload in sent_frames(sent):
        assert verdict.sent_close is None, "something was sent behind the close frame"
        if opcode == 10:
            verdict.pongs.append(payload)
        else:
            assert opcode == 8, opcode
            verdict.sent_close = close_code(payload)
            payload[2:].decode()
    return verdict


def sent_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split what a server wrote into control frames: FIN set, nothing reserved, unmasked, short."""
    while data:
        assert data[0] & 0xF8 == 0x88 and data[1] <= 125 and len(data) >= 2 + data[1], data[:20]
        yield data[0] & 15, data[2 : 2 + data[1]]
        data = data[2 + data[1] :]


def every_cut(data: bytes, chance: random.Random) -> Iterator[tuple[str, list[bytes]]]:
    """Yield ways to cut `data`, each with its name: none, byte by byte, by small sizes, and at random."""
    yield "whole", [data]
    for size in (1, 2, 3, 7):
        yield f"every {size}", [data[place : place + size] for place in range(0, len(data), size)]
    for number in range(3):
        places = sorted(chance.randrange(len(data) + 1) for _ in range(number + 1))
        cuts = [0, *places, len(data)]
        yield f"at {places}", [data[start:end] for start, end in itertools.pairwise(cuts)]
