# C layout of a connection and of what it asks of its engine.
cimport cython
from trilithon.foundation.leaf cimport receive
from trilithon.wire.exchange cimport Exchange, Receiver
from trilithon.net.outlet cimport Outlet
from trilithon.net.tempo cimport Tempo
from trilithon.wire.protocol cimport Protocol
from trilithon.wire.terms cimport Terms

cdef class Owner:
    cdef readonly Terms terms
    cdef readonly Tempo tempo
    cdef public double now
    cdef public Py_ssize_t volume
    cdef public Py_ssize_t sent
    cdef public bint threaded
    cpdef bint leads(self) except -1
    cpdef post(self, object call)
    cpdef step_aside(self)
    cpdef opened(self, Connection connection, Exchange exchange)
    cpdef finished(self, Connection connection, Exchange exchange)
    cpdef rejected(self, Connection connection, int status, str reason)
    cpdef wrote(self, Connection connection)
    cpdef uncorked(self, Connection connection)
    cpdef watch(self, Connection connection, int mask)
    cpdef forget(self, Connection connection)
    cpdef before_waiting(self)

cdef class Connection(Outlet):
    cdef public Owner owner
    cdef public int mask
    cdef public int watched
    cdef readonly object life
    cdef bint lingering
    cdef public bint dirty
    cdef public bint busy
    cdef public bint hung
    cdef public bint held
    cdef bint clogged
    cdef public object lock
    cdef object timed
    cdef readonly double born_at
    cdef readonly double read_deadline
    cdef readonly double write_deadline
    cdef double window_start
    cdef Py_ssize_t window_bytes
    cdef Py_ssize_t lingered_bytes
    cdef readonly Protocol protocol

    cpdef speak(self, Protocol protocol)
    cpdef ready(self, int events)
    cdef attend(self, int events)
    @cython.locals(data=bytes, protocol=Protocol)
    cpdef read(self)
    @cython.locals(protocol=Protocol, exchange=Exchange)
    cdef take_in(self, bytes data)
    cdef end_input(self)
    cpdef unseal(self, bytes data)
    @cython.locals(exchange=Exchange)
    cpdef go_on(self)
    cpdef open(self, Exchange exchange)
    @cython.locals(tempo=Tempo, now=double, seconds=double)
    cpdef retime(self)
    cpdef check_deadlines(self, double now)
    cdef check(self, double now)
    cdef read_expired(self, double now)
    cpdef retire(self)
    cpdef give_up(self)
    cpdef soil(self)
    cpdef flush(self)
    @cython.locals(before=Py_ssize_t)
    cdef put_out(self)
    cdef double stall_deadline(self)
    cpdef watch(self, int mask)
    cpdef broken(self)
    cdef depart(self)
    cdef discard(self)
    cpdef close(self)
