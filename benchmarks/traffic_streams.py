"""The clients of the traffic that stay: a WebSocket and an event stream, and how each came to its end."""

import asyncio
import os
import struct
from collections.abc import Callable

PAUSE_S = 0.1
ANSWER_S = 30.0
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
EVENTS = b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
TEXT, CLOSING = 1, 8


def frame(code: int, payload: bytes) -> bytes:
    """Return a masked frame of fewer than 126 bytes."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | code, 0x80 | len(payload)]) + mask + masked


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the kind and the payload of a frame of fewer than 126 bytes."""
    code, length = await reader.readexactly(2)
    return code & 0x0F, await reader.readexactly(length)


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_over: Callable[[], bool]) -> str:
    """Open a WebSocket and say something again and again; returns how the server ended it, empty when we did."""
    try:
        writer.write(UPGRADE)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_S)
        if b" 101 " not in head.partition(b"\r\n")[0]:
            return "refused"
        while not is_over():
            writer.write(frame(TEXT, b"hello"))
            code, payload = await asyncio.wait_for(read_frame(reader), ANSWER_S)
            if code == CLOSING:
                writer.write(frame(CLOSING, payload[:2]))
                return f"closed with {struct.unpack('!H', payload[:2])[0] if payload else 'no code'}"
            await asyncio.sleep(PAUSE_S)
        writer.write(frame(CLOSING, struct.pack("!H", 1000)))
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        return "broken"
    return ""


async def read_events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_over: Callable[[], bool]) -> str:
    """Read an event stream; returns how the server ended it, empty when we did."""
    try:
        writer.write(EVENTS)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_S)
        if b" 200 " not in head.partition(b"\r\n")[0]:
            return "refused"
        while not is_over():
            size = int(await asyncio.wait_for(reader.readline(), ANSWER_S), 16)
            await reader.readexactly(size + 2)
            if not size:
                return "ended"
    except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
        return "broken"
    return ""
