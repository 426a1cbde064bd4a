# C layout of the router.
cimport cython
from trilithon.wire.exchange cimport Exchange

cdef class Mount:
    cdef readonly str prefix
    cdef readonly object gateway
    cdef readonly str root_path
    cdef readonly bytes octets

cdef class Router:
    cdef readonly list mounts
    cdef readonly bytes root_octets
    cdef readonly Mount only

    @cython.locals(only=Mount, mount=Mount, path=bytes, root=bytes)
    cpdef find(self, Exchange exchange)

cpdef bint begins(bytes path, bytes prefix) except -1
