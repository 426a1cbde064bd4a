# C layout of a connection and of what it asks of its engine.
cimport cython
from trilithon.foundation.leaf cimport gather, receive, send
from trilithon.wire.exchange cimport Exchange, Peer, Receiver, Transport
from trilithon.net.tempo cimport Tempo
from trilithon.wire.http1 cimport Http1
from trilithon.wire.terms cimport Terms

cdef class Owner:
    cdef readonly Terms terms
    cdef readonly Tempo tempo
    cdef public double now
    cdef public Py_ssize_t volume
    cpdef opened(self, Connection connection, Exchange exchange)
    cpdef finished(self, Connection connection, Exchange exchange)
    cpdef rejected(self, Connection connection, int status)
    cpdef wrote(self, Connection connection)
    cpdef uncorked(self, Connection connection)
    cpdef watch(self, Connection connection, int mask)
    cpdef forget(self, Connection connection)
    cpdef before_waiting(self)

cdef class Connection(Transport):
    cdef public Owner owner
    cdef readonly object sock
    cdef readonly int fd
    cdef readonly list out
    cdef Py_ssize_t out_offset
    cdef readonly Py_ssize_t queued
    cdef public int mask
    cdef public int watched
    cdef readonly object life
    cdef bint lingering
    cdef public bint dirty
    cdef public bint busy
    cdef public bint hung
    cdef bint clogged
    cdef object timed
    cdef readonly double read_deadline
    cdef readonly double write_deadline
    cdef double window_start
    cdef Py_ssize_t window_bytes
    cdef Py_ssize_t lingered_bytes
    cdef readonly Http1 protocol

    cpdef ready(self, int events)
    @cython.locals(data=bytes, protocol=Http1, exchange=Exchange)
    cpdef read(self)
    @cython.locals(exchange=Exchange)
    cpdef go_on(self)
    cpdef open(self, Exchange exchange)
    @cython.locals(tempo=Tempo, now=double, seconds=double)
    cpdef retime(self)
    @cython.locals(exchange=Exchange, receiver=Receiver)
    cpdef check_deadlines(self, double now)
    cdef read_expired(self, double now)
    cpdef soil(self)
    @cython.locals(before=Py_ssize_t, exchange=Exchange, receiver=Receiver)
    cpdef flush(self)
    cdef double stall_deadline(self)
    @cython.locals(out=list, count=Py_ssize_t)
    cdef drain_queue(self)
    cdef send_span(self, object span)
    cdef send_parts(self, list out)
    @cython.locals(out=list, whole=Py_ssize_t)
    cdef drop(self, Py_ssize_t count)
    cpdef watch(self, int mask)
    cpdef broken(self)
    cdef reset_on_close(self)
    cdef depart(self)
    cdef discard(self)
    cpdef close(self)
