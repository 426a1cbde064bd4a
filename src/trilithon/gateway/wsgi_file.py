"""`wsgi.file_wrapper`: a file as a response, sent by the kernel where it is a plain one (PEP 3333)."""

import io
import os
import stat
from collections.abc import Iterator
from typing import Any

from trilithon.foundation.errors import AppStateError
from trilithon.foundation.files import FileSpan, is_generated
from trilithon.wire.exchange import HELD, Exchange

# Only where these types hand out a descriptor is what they read what the descriptor holds: a GzipFile's is not.
RAW_TYPES = (io.FileIO, io.BufferedReader, io.BufferedRandom)


class FileWrapper:
    """Wraps anything with `read(size)`; nothing is read before the server gets it back."""

    def __init__(self, file: Any, block_size: int = 65536) -> None:
        self.file = file
        self.block_size = block_size
        close = getattr(file, "close", None)
        if close is not None:
            self.close = close

    def __iter__(self) -> Iterator[bytes]:
        while block := self.file.read(self.block_size):
            yield block

    def up_to(self, room: int) -> Iterator[bytes]:
        """Give blocks until `room` bytes are read or the file ends; what lies beyond is not asked for."""
        while room > 0 and (block := self.file.read(min(self.block_size, room))):
            room -= len(block)
            yield block

    def in_memory(self) -> bool:
        """Tell whether the content is there already, so that reading it all at once takes neither time nor memory."""
        return type(self.file) is io.BytesIO

    def send(self, exchange: Exchange, started: bool) -> bool:
        """Send the rest of a regular file without holding a thread; False when it must be read block by block."""
        span = self.span()
        if span is None:
            return False
        if not started or exchange.outbound is not HELD:
            span.close()
            raise AppStateError("the application returned without calling start_response (PEP 3333)")
        room = exchange.room()
        if 0 <= room < span.count:
            span.count = room
        exchange.end_with_file(span)
        return True

    def span(self) -> FileSpan | None:
        """Return what is left of a regular file, with a descriptor of its own, None for anything else."""
        file = self.file
        if type(file) not in RAW_TYPES:
            return None
        try:
            if type(getattr(file, "raw", file)) is not io.FileIO:
                return None  # a buffer before what unpacks or decodes
            if type(file) is io.BufferedRandom:
                file.flush()  # what was written and not handed on yet
            fd = file.fileno()
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return None
            position = file.tell()
            if is_generated(fd, status.st_size, position):
                return None  # a thread may wait for what is made block by block, and send each at once
            return FileSpan(os.dup(fd), position, max(0, status.st_size - position))
        except (OSError, ValueError):
            return None
