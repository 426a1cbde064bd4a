# C layout of the output of a connection.
cimport cython
from trilithon.foundation.leaf cimport gather, send
from trilithon.wire.exchange cimport Transport

cdef Py_ssize_t SEAL_BYTES

cdef class Outlet(Transport):
    cdef readonly object sock
    cdef readonly int fd
    cdef readonly list out
    cdef Py_ssize_t out_offset
    cdef readonly Py_ssize_t queued
    cdef public object tls
    cdef bytes sealed
    cdef Py_ssize_t sealed_offset

    @cython.locals(out=list, count=Py_ssize_t)
    cdef drain_queue(self)
    cdef send_span(self, object span)
    cdef send_parts(self, list out)
    @cython.locals(out=list, whole=Py_ssize_t)
    cdef drop(self, Py_ssize_t count)
    @cython.locals(sealed=bytes, count=Py_ssize_t)
    cdef drain_sealed(self)
    @cython.locals(out=list, data=bytes, size=Py_ssize_t, count=Py_ssize_t)
    cdef seal_some(self)
    @cython.locals(records=bytes)
    cdef bytes open_records(self, bytes data)
    cdef seal_behind(self, bytes records)
    cdef try_drain(self)
    cdef discard_output(self)
    cdef reset_on_close(self)
    cdef say_farewell(self)
