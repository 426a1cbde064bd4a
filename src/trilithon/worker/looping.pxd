# C layout of the loop driver.
cimport cython
from trilithon.foundation.scoreboard cimport Slot
from trilithon.gateway.asgi cimport AsgiGateway
from trilithon.gateway.mount cimport Router
from trilithon.net.engine cimport Engine
from trilithon.wire.exchange cimport Exchange

cdef class LoopDriver:
    cdef readonly Engine engine
    cdef readonly object loop
    cdef readonly Router router
    cdef readonly Engine heir
    cdef int max_calls
    cdef Py_ssize_t max_queued
    cdef bytes retry_after
    cdef public object waiting
    cdef bint turning
    cdef bint flush_due
    cdef bint turn_due
    cdef object sweeper
    cdef object beater
    cdef double beat_due
    cdef public object on_drained

    @cython.locals(engine=Engine, started=bint)
    cpdef turn(self)
    cpdef begin(self, Exchange exchange)
    cpdef begin_bounded(self, Exchange exchange)
    cpdef wrote(self)
    cpdef flush(self)
    @cython.locals(slot=Slot)
    cpdef rest(self)
    cpdef pipelined(self)
