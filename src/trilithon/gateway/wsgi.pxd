# C layout of a WSGI call.
cimport cython
from trilithon.gateway.wsgi_environ cimport fill_environ
from trilithon.wire.exchange cimport Exchange, Receiver
from trilithon.wire.response cimport ResponseHead, wsgi_head

cdef class BodyGate(Receiver):
    cdef WsgiGateway gateway
    cdef Exchange exchange

cdef class WsgiCall:
    cdef WsgiGateway gateway
    cdef readonly Exchange exchange
    cdef bint started
    cdef bint written

    @cython.locals(exchange=Exchange, head=ResponseHead)
    cpdef start_response(self, object status, object headers, object exc_info=*)
    cpdef write(self, object data)
    @cython.locals(exchange=Exchange)
    cpdef early_hints(self, object headers)
    @cython.locals(exchange=Exchange, environ=dict)
    cpdef run(self)
    cpdef send(self, object iterable)
    cpdef send_file(self, object wrapper)
    @cython.locals(exchange=Exchange, response=ResponseHead, count=Py_ssize_t)
    cpdef send_known(self, object blocks)
    @cython.locals(exchange=Exchange)
    cpdef finish(self, bytes block)
    @cython.locals(exchange=Exchange)
    cpdef send_blocks(self, object iterable, int count)
    cpdef fail(self, object error)
    cpdef close(self, object iterable)

cdef class WsgiGateway:
    cdef readonly object app
    cdef readonly dict base
    cdef readonly Py_ssize_t buffer_bytes
    cdef readonly dict injected
    cdef readonly bint refuse_underscores
    cdef public object start
    cdef public bint streams_over

    cpdef bint admit(self, Exchange exchange) except -1
    @cython.locals(window=Py_ssize_t)
    cpdef bint has_enough(self, Exchange exchange) except -1
    @cython.locals(call=WsgiCall)
    cpdef run(self, Exchange exchange)
    @cython.locals(environ=dict)
    cpdef dict build_environ(self, Exchange exchange)
