# C layout of the crew.
cimport cython
from trilithon.foundation.leaf cimport Pulse
from trilithon.foundation.scoreboard cimport Slot
from trilithon.gateway.mount cimport Router
from trilithon.gateway.wsgi cimport WsgiGateway
from trilithon.net.connection cimport Connection
from trilithon.net.engine cimport Engine
from trilithon.wire.exchange cimport Exchange

cdef class Term:
    cdef readonly list door
    cdef public object thread

cdef class Follower:
    cdef readonly object gate
    cdef public Term term

cdef class Crew:
    cdef readonly Engine engine
    cdef readonly int threads
    cdef readonly Py_ssize_t max_queued
    cdef readonly bytes retry_after
    cdef readonly object runnable
    cdef readonly object lock
    cdef public list idle
    cdef readonly set running
    cdef public int away
    cdef readonly int hands
    cdef readonly Pulse pulse
    cdef public Term term
    cdef public bint promoting
    cdef public int calm
    cdef public bint stopped
    cdef readonly object drained
    cdef readonly object awake
    cdef public bint drowsy
    cdef readonly Router router
    cdef readonly Engine heir
    cdef public object on_drained

    @cython.locals(connection=Connection)
    cpdef enqueue(self, Exchange exchange)
    @cython.locals(follower=Follower, term=Term)
    cpdef promote(self)
    @cython.locals(engine=Engine, exchange=Exchange, pulse=Pulse, since=cython.ulong)
    cpdef lead(self, Term term)
    @cython.locals(engine=Engine, slot=Slot)
    cpdef turn(self)
    cpdef finish(self)
    cpdef sort(self, Exchange exchange)
    cpdef bint is_full(self) except -1
    @cython.locals(connection=Connection, exchange=Exchange)
    cpdef drop_left(self)
    @cython.locals(gateway=WsgiGateway, connection=Connection, slot=Slot)
    cpdef run(self, Exchange exchange)
    cpdef bint all_away(self) except -1
    @cython.locals(connection=Connection, engine=Engine)
    cpdef settle(self, Exchange exchange)
    @cython.locals(connection=Connection, engine=Engine)
    cpdef settle_away(self, Exchange exchange)
    @cython.locals(exchange=Exchange, waited=bint)
    cpdef work(self, Follower follower)
    @cython.locals(start=double)
    cpdef bint call_measured(self, Exchange exchange) except -1
    @cython.locals(term=Term)
    cpdef before_waiting(self)
    @cython.locals(term=Term)
    cpdef step_aside(self)
    cpdef take_foreign(self, Exchange exchange)
