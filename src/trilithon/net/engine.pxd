# C layout of the engine.
cimport cython
from trilithon.foundation.scoreboard cimport Slot
from trilithon.net.connection cimport Connection, Owner
from trilithon.wire.exchange cimport Exchange
from trilithon.wire.head cimport RequestHead
from trilithon.wire.terms cimport Terms

cdef class Engine(Owner):
    cdef readonly object capacity
    cdef public int max_events
    cdef int batch
    cdef readonly object journal
    cdef readonly object poller
    cdef readonly dict connections
    cdef readonly dict listeners
    cdef readonly object exchanges
    cdef readonly list dirty
    cdef readonly list pipelined
    cdef double next_stamp
    cdef readonly double sweep_s
    cdef public double tick_s
    cdef double sweep_at
    cdef public double next_sweep
    cdef readonly bint full
    cdef readonly object lending
    cdef readonly object posts
    cdef readonly tuple bell
    cdef public object on_wrote
    cdef public object on_pipelined
    cdef public object on_waiting
    cdef public object on_step_aside
    cdef public object leader
    cdef public object forwarding
    cdef public object hosts
    cdef public object store
    cdef public object steward
    cdef public bint wishing
    cdef public Slot slot
    cdef public int seat
    cdef readonly bint closed

    @cython.locals(now=double, connections=dict, connection=Connection, fd=int, mask=int, slot=Slot)
    cpdef poll(self, double timeout_s)
    @cython.locals(dirty=list, connection=Connection)
    cpdef flush(self)
    @cython.locals(pipelined=list, connection=Connection)
    cpdef resume_pipelined(self)
    cpdef ready_busy(self, Connection connection, int mask)
    cpdef unwatch(self, Connection connection)
    cpdef take_back(self, Connection connection)
    @cython.locals(connection=Connection)
    cpdef hand_over(self, Exchange exchange, Engine heir)
    cpdef take_over(self, Connection connection, Exchange exchange)
    cpdef rewatch(self, Connection connection)
