"""Crashes in C: the Python stacks that they show, and a stack for signals on which they are no crash themselves."""

import contextlib
import ctypes
import faulthandler
import mmap
import sys

STDERR = 2

# Linux has 64 signals, and one with its frame needs some 11 KiB of it on the processors with the largest registers.
# Only what is used is ever memory.
SIGNAL_STACK_SIZE = 1024 * 1024


class _Stack(ctypes.Structure):
    """A `stack_t` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def show_crashes() -> None:
    """Have a crash in C write the Python stacks to standard error; for processes of our own, on their main thread."""
    if not faulthandler.is_enabled():
        with contextlib.suppress(OSError):  # standard error may be closed
            faulthandler.enable(file=STDERR)
    widen_signal_stack()


def widen_signal_stack() -> None:
    """Let every signal come at once where this thread has a stack of its own for them; idempotent, on Linux only.

    The one that `faulthandler` makes lies on the heap and has room for four signals or so: the fifth to interrupt the
    others' handlers ends the process, or writes over what lies before it.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # no memory, or no such call in this C library
        sigaltstack = ctypes.CDLL(None).sigaltstack
        present = _Stack()
        # Its flags say that there is none, or that it is in use.
        if sigaltstack(None, ctypes.byref(present)) or present.flags or present.size >= SIGNAL_STACK_SIZE:
            return
        memory = mmap.mmap(-1, SIGNAL_STACK_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        if not sigaltstack(ctypes.byref(_Stack(address, 0, SIGNAL_STACK_SIZE)), None):
            # It must outlive everything that can be interrupted, the interpreter included.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
