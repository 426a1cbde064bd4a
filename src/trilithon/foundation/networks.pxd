# C layout of a set of peers.
cimport cython

cdef class Networks:
    cdef readonly bint unix_peers
    cdef readonly bint everybody
    cdef readonly dict prefixes
    cdef readonly dict answers

    cpdef bint trusts(self, tuple peer) except -1
    cpdef bint covers(self, str host) except -1
    cpdef bint holds(self, str host) except -1
