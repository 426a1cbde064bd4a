# C layout of a stream that several threads share.
cimport cython
from trilithon.net.connection cimport Connection
from trilithon.wire.exchange cimport Carrier, Exchange, Receiver

cdef class Waiter(Receiver):
    cdef object gate
    cdef bint told
    cpdef tell(self)
    cpdef wait(self)

cdef class SharedStream(Carrier):
    cdef readonly Carrier stream
    cdef readonly Connection connection
    @cython.locals(connection=Connection)
    cdef hold(self)
    @cython.locals(connection=Connection)
    cdef let_go(self)
    cdef sleep(self, Exchange exchange, Waiter waiter)
