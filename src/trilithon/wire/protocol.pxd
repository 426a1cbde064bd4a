# C layout of a protocol.
from trilithon.wire.exchange cimport Carrier, Exchange, Peer, Transport
from trilithon.wire.terms cimport Terms

cdef class Protocol(Carrier):
    cdef readonly Terms terms
    cdef readonly Peer peer
    cdef public object phase
    cdef public Exchange exchange
    cdef public bytes ahead
    cdef public double now
    cdef public bint paused
    cdef public bint end_seen

    cpdef begin(self)
    cpdef Exchange receive(self, bytes data)
    cpdef Exchange next(self)
    cpdef receive_end(self)
    cpdef lose(self)
    cpdef bint cut_off(self) except -1
    cpdef drained(self)
    cpdef time_out(self)
    cpdef look(self, double now)
    cpdef retire(self)
    cpdef bint is_new(self) except -1
    cpdef list open_exchanges(self)
