# C layout of the ASGI gateway.
cimport cython
from trilithon.gateway.asgi_call cimport Call, Gateway
from trilithon.gateway.asgi_http cimport HttpCall
from trilithon.gateway.asgi_socket cimport SocketCall, SocketTerms
from trilithon.wire.exchange cimport Exchange, Peer
from trilithon.wire.head cimport RequestHead
from trilithon.wire.start cimport RequestStart
from trilithon.wire.fields cimport FieldLine

cdef class AsgiGateway(Gateway):
    cdef readonly dict state
    cdef readonly SocketTerms sockets
    cdef public bint stopping
    cdef readonly object context
    cdef readonly set running
    cdef public object on_ended
    cdef public object on_leave

    @cython.locals(head=RequestHead)
    cpdef start(self, Exchange exchange)
    cdef launch(self, Call call, dict scope)
    @cython.locals(scope=dict)
    cpdef start_socket(self, Exchange exchange)
    @cython.locals(head=RequestHead, start=RequestStart, peer=Peer, root_path=str, path=str, line=FieldLine)
    cpdef dict build_scope(self, Exchange exchange)
    cdef dict offer(self, Exchange exchange)
    cpdef ended(self, Call call)
    cpdef leave(self, object error)

cdef bint is_below(str path, str root_path) except -1
