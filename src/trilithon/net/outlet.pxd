# C layout of the output of a connection.
cimport cython
from trilithon.net.tls cimport TlsChannel
from trilithon.foundation.leaf cimport gather, send
from trilithon.wire.exchange cimport Transport

cdef Py_ssize_t SEAL_BYTES
cdef Py_ssize_t MOST_SEALED_BYTES
cdef Py_ssize_t TURN_BYTES

cdef class Outlet(Transport):
    cdef readonly object sock
    cdef readonly int fd
    cdef readonly list out
    cdef Py_ssize_t out_offset
    cdef readonly Py_ssize_t queued
    cdef public TlsChannel tls
    cdef list sealed
    cdef Py_ssize_t sealed_offset

    @cython.locals(out=list, count=Py_ssize_t, written=Py_ssize_t)
    cdef drain_queue(self)
    cdef send_span(self, object span)
    cdef send_parts(self, list out)
    @cython.locals(out=list, whole=Py_ssize_t)
    cdef drop(self, Py_ssize_t count)
    @cython.locals(sealed=list, count=Py_ssize_t, written=Py_ssize_t)
    cdef drain_sealed(self)
    @cython.locals(sealed=list, whole=Py_ssize_t)
    cdef drop_records(self, Py_ssize_t count)
    @cython.locals(out=list, data=bytes, total=Py_ssize_t, count=Py_ssize_t)
    cdef seal_some(self)
    @cython.locals(records=bytes)
    cdef bytes open_records(self, bytes data)
    cdef seal_behind(self, bytes records)
    cdef bint try_drain(self) except -1
    cdef discard_output(self)
    cdef reset_on_close(self)
    cdef say_farewell(self)
