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


# One for all threads: who reads has the GIL, from the call to the copy.
cdef char buffer[131072]


cpdef object receive(int fd, Py_ssize_t size):
    """Read up to `size` bytes, at most 131,072; None when nothing is there, b"" at the end of the stream."""
    cdef ssize_t count
    if size > 131072:
        size = 131072
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


cdef extern from "fcntl.h" nogil:
    int c_open "open"(const char* path, int flags)
    int O_RDONLY
    int O_CLOEXEC

cdef extern from "unistd.h" nogil:
    ssize_t c_read "read"(int fd, void* buffer, size_t size)
    int c_close "close"(int fd)

cdef extern from "stdio.h" nogil:
    int snprintf(char* target, size_t size, const char* form, ...)

cdef extern from "string.h" nogil:
    char* strstr(const char* text, const char* wanted)


cdef double clock_s(int clock) noexcept nogil:
    cdef timespec now
    return now.tv_sec + now.tv_nsec * 1e-9 if clock_gettime(clock, &now) == 0 else 0.0


cdef bint is_asleep(int thread) noexcept nogil:
    """Tell whether a thread waits for something, true where the system does not tell."""
    cdef char path[64]
    cdef char text[256]
    cdef ssize_t count
    cdef int fd
    snprintf(path, sizeof(path), b"/proc/self/task/%d/stat", thread)
    fd = c_open(path, O_RDONLY | O_CLOEXEC)
    if fd < 0:
        return True
    count = c_read(fd, text, sizeof(text) - 1)
    c_close(fd)
    text[count if count > 0 else 0] = 0
    return strstr(text, b") R") == NULL


cdef class Pulse:
    """A counter that one thread beats and another watches: odd while the first is inside something, even outside."""

    cpdef double watch(self, double tick_s, int quiet_ticks) except? -2:
        """Tick without the GIL until the counter stood still; see the twin."""
        cdef timespec tick
        cdef unsigned long beats
        cdef int quiet = 0
        cdef double start
        cdef double cpu_s
        tick.tv_sec = <long>tick_s
        tick.tv_nsec = <long>((tick_s - tick.tv_sec) * 1e9)
        with nogil:
            while True:
                nanosleep(&tick, NULL)
                self.ticks += 1
                beats = (<volatile unsigned long*>&self.beats)[0]
                if beats & 1:
                    # Linux makes the clock of a thread out of its number.
                    cpu_s = clock_s((~self.thread << 3) | 6)
                    if beats == self.seen:
                        self.stood_at = beats
                        self.asleep = is_asleep(self.thread)
                        self.ran_s = cpu_s - self.seen_cpu_s
                        self.seen_cpu_s = cpu_s
                        start = clock_s(CLOCK_MONOTONIC)
                        break
                    self.seen_cpu_s = cpu_s
                    quiet = 0
                elif beats != self.seen:
                    quiet = 0
                else:
                    quiet += 1
                    if quiet >= quiet_ticks:
                        start = -1.0
                        break
                self.seen = beats
        return clock_s(CLOCK_MONOTONIC) - start if start >= 0 else -1.0
