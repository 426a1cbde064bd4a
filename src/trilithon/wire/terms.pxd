# C layout of what an engine lays down.
from trilithon.wire.head cimport HeadReader

cdef class Stamp:
    cdef public bytes line

cdef class Terms:
    cdef readonly object limits
    cdef readonly HeadReader reader
    cdef readonly Py_ssize_t read_ahead_bytes
    cdef readonly Stamp stamp
    cdef readonly bytes server_line
    cdef public int max_requests
    cdef public bint early_hints
    cdef public bint closing
    cdef public bint patient
