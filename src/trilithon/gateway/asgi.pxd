# C layout of an ASGI call.
cimport cython
from trilithon.wire.exchange cimport Exchange, Peer, Receiver
from trilithon.wire.head cimport RequestHead
from trilithon.wire.start cimport RequestStart
from trilithon.wire.fields cimport FieldLine
from trilithon.wire.response cimport ResponseHead, asgi_head

cdef class Ready:
    cdef readonly object value

cdef class Failed(Ready):
    pass

cdef class NextEvent:
    cdef readonly AsgiCall call
    cdef object waiting

cdef class AsgiCall(Receiver):
    cdef readonly AsgiGateway gateway
    cdef readonly Exchange exchange
    cdef bint body_taken
    cdef bint told
    cdef list waiters
    cdef list writers
    cdef public object task
    cdef public bint cancelled

    @cython.locals(exchange=Exchange, head=ResponseHead)
    cpdef send(self, object message)
    cpdef receive(self)
    @cython.locals(exchange=Exchange)
    cpdef next_event(self)
    cdef disconnect(self)
    cpdef wake(self, list futures)
    cpdef expired(self)
    cpdef cancel(self)
    cpdef conclude(self)
    cpdef fail(self, object error)
    cdef give_up(self)

cdef class AsgiGateway:
    cdef readonly object app
    cdef readonly object loop
    cdef readonly dict state
    cdef readonly object context
    cdef readonly set running
    cdef public object on_ended
    cdef public object on_leave

    @cython.locals(call=AsgiCall)
    cpdef start(self, Exchange exchange)
    @cython.locals(head=RequestHead, start=RequestStart, peer=Peer, root_path=str, path=str, line=FieldLine)
    cpdef dict build_scope(self, Exchange exchange)
    cpdef ended(self, AsgiCall call)
    cpdef leave(self, object error)

cdef bint is_below(str path, str root_path) except -1
