"""Unmasking of WebSocket payloads (RFC 6455 5.3) at C speed; this twin serves where `masking.pyx` is not compiled."""


def unmask(data: bytes, start: int, stop: int, key: bytes, phase: int) -> bytes:
    """Return `data[start:stop]` with the four bytes of `key` taken off, beginning with its byte number `phase`.

    Raises ValueError for bounds outside the data or a key of another length. Linear, one copy.
    """
    if not 0 <= start <= stop <= len(data) or len(key) != 4 or not 0 <= phase < 4:
        raise ValueError("bounds outside the data, or no key of four bytes")
    size = stop - start
    if not size:
        return b""
    key = key[phase:] + key[:phase]
    repeated = (key * (size // 4 + 1))[:size]
    # Big integers are xored in C; bytes have no operator of their own for it.
    plain = int.from_bytes(data[start:stop], "little") ^ int.from_bytes(repeated, "little")
    return plain.to_bytes(size, "little")
