# cython: language_level=3, nonecheck=True
"""Cells of 64 bits in shared memory, and the clock they are stamped with; the twin says what each thing is."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE


cdef extern from *:
    """
    #include <time.h>
    #if defined(__APPLE__)
    #define TRILITHON_CLOCK CLOCK_UPTIME_RAW
    #else
    #define TRILITHON_CLOCK CLOCK_MONOTONIC
    #endif
    """
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now) nogil
    int TRILITHON_CLOCK

cdef extern from "string.h":
    void* memcpy(void* target, const void* source, size_t size) nogil
    size_t strnlen(const char* text, size_t size) nogil

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() nogil


cdef class Cells:
    """Some cells of a shared memory, which they keep mapped."""

    def __cinit__(self, object memory, Py_ssize_t first, Py_ssize_t count):
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE)
        if first < 0 or count < 0 or (first + count) * 8 > self.view.len:
            raise ValueError("cells outside the memory")
        self.at = <long long*>self.view.buf + first
        self.count = count

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    cpdef long long read(self, Py_ssize_t index) except? -1:
        """Return the value of a cell; raises IndexError."""
        if index < 0 or index >= self.count:
            raise IndexError(index)
        return self.at[index]

    cpdef write(self, Py_ssize_t index, long long value):
        """Set the value of a cell; raises IndexError."""
        if index < 0 or index >= self.count:
            raise IndexError(index)
        self.at[index] = value

    cpdef put_text(self, Py_ssize_t index, bytes text, Py_ssize_t size):
        """Write a text cut at `size` bytes from a cell on; see the twin."""
        cdef Py_ssize_t used = PyBytes_GET_SIZE(text) + 1
        if used > size:
            used = size
        if index < 0 or size < 0 or index * 8 + size > self.count * 8:
            raise ValueError("text outside the cells")
        # The zero byte that ends a bytes object goes with it.
        memcpy(self.at + index, PyBytes_AS_STRING(text), used)

    cpdef bytes text(self, Py_ssize_t index, Py_ssize_t size):
        """Return the text that was written from a cell on; see the twin."""
        if index < 0 or size < 0 or index * 8 + size > self.count * 8:
            raise ValueError("text outside the cells")
        cdef const char* start = <const char*>(self.at + index)
        return PyBytes_FromStringAndSize(start, strnlen(start, size))


cpdef long long clock_us() noexcept:
    """Return the microseconds of the clock of `time.monotonic`."""
    cdef timespec now
    clock_gettime(TRILITHON_CLOCK, &now)
    return <long long>now.tv_sec * 1000000 + now.tv_nsec // 1000


cpdef long long microseconds(double seconds) noexcept:
    """Return a time or a length of time in whole microseconds."""
    return <long long>(seconds * 1e6)


cpdef unsigned long this_thread() noexcept:
    """Return the identity of the running thread."""
    return PyThread_get_thread_ident()
