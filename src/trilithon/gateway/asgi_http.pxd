# C layout of a request's call.
cimport cython
from trilithon.gateway.asgi_call cimport Call
from trilithon.wire.exchange cimport Exchange
from trilithon.wire.response cimport ResponseHead, asgi_head

cdef class HttpCall(Call):
    cdef bint body_taken
    cdef bint ending

    @cython.locals(exchange=Exchange, head=ResponseHead)
    cpdef send(self, object message)
    @cython.locals(exchange=Exchange)
    cpdef next_event(self)
    cdef disconnect(self)
