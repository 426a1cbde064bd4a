"""The first message of a TLS client, read as far as the name of the site that it wants (RFC 6066 3)."""

import re

HANDSHAKE_RECORD = 0x16
# Real ones take two kilobytes; other servers draw the line at 16 or 64 KiB.
MAX_HELLO_BYTES = 65536

# What a host name is written with (RFC 6066 3); anything else ends up in no environ and in no log.
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,255}")
_RECORD_HEAD = 5
# RFC 8446 5.1: what a record holds in the clear, and what OpenSSL lets pass.
_MAX_RECORD_BYTES = 16384
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_HOST_NAME = 0


class ClientHello:
    """Gathers records until the ClientHello in them is whole, each byte looked at once.

    `records` are the bytes as they came, for OpenSSL, which judges them: what is malformed counts as whole here.
    `size` is what the hello says of itself, zero until it has said so.
    """

    def __init__(self) -> None:
        self.records = bytearray()
        self.size = 0
        self._message = bytearray()
        self._at = 0

    def feed(self, data: bytes | memoryview) -> bool:
        """Add what the client sent; tells whether the hello is whole."""
        records = self.records
        message = self._message
        records += data
        while len(records) >= self._at + _RECORD_HEAD:
            start = self._at + _RECORD_HEAD
            size = records[start - 2] << 8 | records[start - 1]
            if records[self._at] != HANDSHAKE_RECORD or not 0 < size <= _MAX_RECORD_BYTES:
                return True
            if len(records) < start + size:
                break
            message += records[start : start + size]
            self._at = start + size
            if len(message) >= 4:
                if message[0] != _CLIENT_HELLO:
                    return True
                self.size = 4 + (message[1] << 16 | message[2] << 8 | message[3])
                if len(message) >= self.size:
                    return True
        return False

    def name(self) -> str | None:
        """Return the name that the client asks for; None when it gives none, or one that is no host name."""
        try:
            return server_name(self._message)
        except IndexError:
            return None


def server_name(message: bytearray) -> str | None:
    """Return the name in a ClientHello (RFC 8446 4.1.2), None for none; raises IndexError for one that is cut off."""
    # Type and length, version, random; then session, suites and compression, each behind its length.
    at = 4 + 2 + 32
    at += 1 + message[at]
    at += 2 + (message[at] << 8 | message[at + 1])
    at += 1 + message[at]
    end = at + 2 + (message[at] << 8 | message[at + 1])
    at += 2
    while at < end:
        kind = message[at] << 8 | message[at + 1]
        size = message[at + 2] << 8 | message[at + 3]
        at += 4
        if kind == _SERVER_NAME:
            # A list, of which only one entry of one type was ever defined.
            length = message[at + 3] << 8 | message[at + 4]
            name = message[at + 5 : at + 5 + length]
            if message[at + 2] != _HOST_NAME or not length == size - 5 == len(name):
                return None
            return name.decode("ascii") if _NAME.fullmatch(name) else None
        at += size
    return None
