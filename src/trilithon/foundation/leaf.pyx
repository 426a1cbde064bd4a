# cython: language_level=3, nonecheck=False
"""The leaf of raw system calls on non-blocking sockets, which keep the GIL: they never wait."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno


cdef extern from "sys/types.h":
    ctypedef long ssize_t

cdef extern from "sys/uio.h":
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "sys/socket.h":
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    int MSG_NOSIGNAL
    ssize_t c_recv "recv"(int fd, void* buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void* buffer, size_t size, int flags)
    ssize_t c_sendmsg "sendmsg"(int fd, const msghdr* message, int flags)

cdef extern from "string.h":
    void* memset(void* target, int value, size_t size)


COMPILED = True


cpdef object receive(int fd, Py_ssize_t size):
    """Read up to `size` bytes, at most 65,536; None when nothing is there, b"" at the end of the stream."""
    cdef char buffer[65536]
    cdef ssize_t count
    if size > 65536:
        size = 65536
    while True:
        count = c_recv(fd, buffer, size, 0)
        if count >= 0:
            return PyBytes_FromStringAndSize(buffer, count)
        if errno == EAGAIN:
            return None
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)


cpdef Py_ssize_t send(int fd, bytes data, Py_ssize_t offset) except -1:
    """Write `data` from `offset` on; the bytes taken, 0 when the socket is full."""
    cdef ssize_t count
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    if offset < 0 or offset > size:
        raise ValueError("offset outside the data")
    while True:
        count = c_send(fd, PyBytes_AS_STRING(data) + offset, size - offset, MSG_NOSIGNAL)
        if count >= 0:
            return count
        if errno == EAGAIN:
            return 0
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)


cpdef Py_ssize_t gather(int fd, list parts, Py_ssize_t offset) except -1:
    """Write the first 64 parts, the first from `offset` on; the bytes taken, 0 when the socket is full."""
    cdef iovec vector[64]
    cdef msghdr message
    cdef ssize_t count
    cdef Py_ssize_t index
    cdef Py_ssize_t used = len(parts)
    cdef bytes part
    if used > 64:
        used = 64
    for index in range(used):
        part = <bytes?>parts[index]
        vector[index].iov_base = PyBytes_AS_STRING(part)
        vector[index].iov_len = PyBytes_GET_SIZE(part)
    if used:
        if offset < 0 or offset > <Py_ssize_t>vector[0].iov_len:
            raise ValueError("offset outside the data")
        vector[0].iov_base = <char*>vector[0].iov_base + offset
        vector[0].iov_len -= offset
    memset(&message, 0, sizeof(message))
    message.msg_iov = vector
    message.msg_iovlen = used
    while True:
        count = c_sendmsg(fd, &message, MSG_NOSIGNAL)
        if count >= 0:
            return count
        if errno == EAGAIN:
            return 0
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)


cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int nanosleep(const timespec* wanted, timespec* left)
    int clock_gettime(int clock, timespec* now)
    int CLOCK_MONOTONIC


cdef double now_s() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef class Pulse:
    """A counter that one thread beats and another watches: odd while the first is inside something, even outside."""

    cpdef double watch(self, double tick_s, int quiet_ticks) except? -2:
        """Tick without the GIL until the counter stood still; see the twin."""
        cdef timespec tick
        cdef unsigned long seen = 0
        cdef unsigned long beats
        cdef bint first = True
        cdef int quiet = 0
        cdef double start
        tick.tv_sec = <long>tick_s
        tick.tv_nsec = <long>((tick_s - tick.tv_sec) * 1e9)
        with nogil:
            while True:
                nanosleep(&tick, NULL)
                self.ticks += 1
                beats = (<volatile unsigned long*>&self.beats)[0]
                if first or beats != seen:
                    first = False
                    seen = beats
                    quiet = 0
                elif beats & 1:
                    self.stood_at = beats
                    start = now_s()
                    break
                else:
                    quiet += 1
                    if quiet >= quiet_ticks:
                        start = -1.0
                        break
        return now_s() - start if start >= 0 else -1.0
