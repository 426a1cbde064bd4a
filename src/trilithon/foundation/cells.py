"""Cells of 64 bits in shared memory, and the clock they are stamped with; serves where `cells.pyx` is not compiled."""

import mmap
import threading
import time


class Cells:
    """The `count` cells from number `first` on of a shared memory, which it keeps mapped.

    `at` is indexed as an array; in the compiled twin it is one, unchecked and for C only. One cell is written and read
    whole. Raises ValueError when the memory is smaller than that.
    """

    def __init__(self, memory: mmap.mmap, first: int, count: int) -> None:
        if first < 0 or count < 0 or (first + count) * 8 > len(memory):
            raise ValueError("cells outside the memory")
        self.view = memoryview(memory)[first * 8 : (first + count) * 8]
        self.at = self.view.cast("q")
        self.count = count

    def read(self, index: int) -> int:
        """Return the value of a cell; raises IndexError."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.at[index]

    def write(self, index: int, value: int) -> None:
        """Set the value of a cell; raises IndexError."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        self.at[index] = value

    def put_text(self, index: int, text: bytes, size: int) -> None:
        """Write a text cut at `size` bytes from a cell on, ended by a zero byte where it is shorter."""
        start = index * 8
        cut = text[:size] if len(text) >= size else text + b"\0"
        self.view[start : start + len(cut)] = cut

    def text(self, index: int, size: int) -> bytes:
        """Return the text of up to `size` bytes that was written from a cell on."""
        return bytes(self.view[index * 8 : index * 8 + size]).partition(b"\0")[0]


def clock_us() -> int:
    """Return the microseconds of the clock of `time.monotonic`, which all processes of a machine share."""
    return time.monotonic_ns() // 1000


def microseconds(seconds: float) -> int:
    """Return a time or a length of time in whole microseconds."""
    return int(seconds * 1e6)


def this_thread() -> int:
    """Return the identity of the running thread, as `threading.get_ident` does."""
    return threading.get_ident()
