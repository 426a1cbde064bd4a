# C layout of a WebSocket's call.
cimport cython
from trilithon.gateway.asgi_call cimport Call
from trilithon.wire.exchange cimport Carrier, Exchange
from trilithon.wire.fanout cimport Fanout
from trilithon.wire.websocket cimport WebSocket

cdef class SocketTerms:
    cdef readonly object limits
    cdef readonly object origins
    cdef readonly Fanout fanout
    cdef readonly double ping_interval_s
    cdef readonly double ping_timeout_s
    cdef readonly double handshake_timeout_s
    cdef readonly double close_timeout_s

cdef class SocketCall(Call):
    cdef object handshake
    cdef readonly SocketTerms terms
    cdef readonly object standing
    cdef readonly WebSocket socket
    cdef bint connect_told
    cdef bint settled
    cdef bint going_on
    cdef double deadline
    cdef double quiet_since
    cdef double pinged_at

    @cython.locals(exchange=Exchange)
    cpdef send(self, object message)
    @cython.locals(socket=WebSocket, exchange=Exchange, part=bytes, parts=list)
    cdef send_message(self, object message)
    cdef accept(self, object message)
    @cython.locals(socket=WebSocket)
    cdef close(self, object message)
    cdef deny(self, object message)
    cdef send_denial(self, object message)
    cdef require(self, object standing)
    @cython.locals(socket=WebSocket, exchange=Exchange)
    cpdef next_event(self)
    cdef disconnect(self, int code, str reason)
    @cython.locals(socket=WebSocket, exchange=Exchange)
    cpdef pump(self)
    @cython.locals(socket=WebSocket)
    cpdef go_on(self)
    @cython.locals(socket=WebSocket, exchange=Exchange, out=list)
    cpdef answer(self)
    @cython.locals(exchange=Exchange, part=bytes, last=bytes)
    cdef put_out(self, WebSocket socket, list out)
    @cython.locals(socket=WebSocket)
    cpdef hang_up(self, int code)
