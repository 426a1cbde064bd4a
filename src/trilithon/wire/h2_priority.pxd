# C layout of the schedule of an HTTP/2 connection.
cimport cython
from trilithon.wire.h2_stream cimport Stream

cdef dict KNOWN_PRIORITIES

cpdef int read_priority(bytes value) except -1

cdef class Schedule:
    cdef readonly list levels
    cdef readonly list tunnels
    cdef readonly bint tunnel_next
    cdef readonly Py_ssize_t count

    @cython.locals(level=list, place=Py_ssize_t, other=Stream)
    cpdef add(self, Stream stream)
    @cython.locals(level=list, tunnels=list)
    cpdef Stream first(self)
    @cython.locals(level=list)
    cpdef rotate(self, Stream stream)
    cpdef remove(self, Stream stream)
    @cython.locals(ready=bint)
    cpdef reprioritize(self, Stream stream, int priority)
