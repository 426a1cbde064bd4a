# C layout of a call.
cimport cython
from trilithon.wire.exchange cimport Exchange, Receiver

cdef class NextEvent:
    cdef readonly Call call
    cdef object waiter
    cdef bint gave_way
    cdef leave(self)

cdef class Gateway:
    cdef readonly object app
    cdef readonly object loop
    cpdef ended(self, Call call)
    cpdef leave(self, object error)

cdef class Call(Receiver):
    cdef readonly Gateway gateway
    cdef readonly object loop
    cdef readonly Exchange exchange
    cdef public bint told
    cdef public int goodbyes
    cdef public list waiters
    cdef public list writers
    cdef public object task
    cdef public bint cancelled

    cpdef send(self, object message)
    cpdef receive(self)
    cpdef next_event(self)
    cpdef bint is_cut_off(self) except -1
    cpdef wake(self, list futures)
    cpdef wake_all(self)
    cpdef cancel(self)
    cpdef conclude(self)
    cpdef refuse(self)
    @cython.locals(exchange=Exchange)
    cpdef fail(self, object error)
    cpdef bint is_gone(self) except -1
    cdef bint has_ended(self) except -1
    cpdef give_up(self)
    cpdef settle(self)
    cpdef end_stream(self)
