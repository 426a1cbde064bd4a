# C layout of a request's call.
cimport cython
from trilithon.gateway.asgi_call cimport Call
from trilithon.wire.exchange cimport Exchange
from trilithon.wire.response cimport ResponseHead, asgi_head

cdef class HttpCall(Call):
    cdef bint body_taken
    cdef bint ending
    cdef list trailers
    cdef bint content_sent

    @cython.locals(exchange=Exchange, head=ResponseHead, event=dict)
    cpdef send(self, object message)
    @cython.locals(exchange=Exchange)
    cpdef next_event(self)
    cdef disconnect(self)
    cdef bint extend(self, object kind, dict event) except -1
    @cython.locals(exchange=Exchange)
    cdef send_path(self, dict event)
    @cython.locals(exchange=Exchange)
    cdef bint send_span(self, dict event) except -1
    @cython.locals(exchange=Exchange)
    cdef send_last_span(self, object span)
    cdef check_content(self)
    @cython.locals(exchange=Exchange)
    cdef close_content(self)
    @cython.locals(exchange=Exchange)
    cdef send_trailers(self, dict event)
    @cython.locals(exchange=Exchange)
    cdef send_hint(self, dict event)
    cdef check_welcome(self, object goes_on)
