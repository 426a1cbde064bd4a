# C layout of the streams of an HTTP/2 connection.
cimport cython
from trilithon.wire.exchange cimport Exchange, Receiver, Transport
from trilithon.wire.h2_flow cimport Sender
from trilithon.wire.h2_guard cimport Guard
from trilithon.wire.h2_stream cimport ClosedStreams, Link, Stream
from trilithon.wire.terms cimport Terms

cdef class Session(Link):
    cdef readonly object limits
    cdef readonly object timeouts
    cdef readonly object buffers
    cdef readonly bint websockets
    cdef public object standing
    cdef readonly Guard guard
    cdef readonly Sender sender
    cdef readonly dict streams
    cdef readonly ClosedStreams closed
    cdef readonly set cancelled
    cdef public unsigned int last_id
    cdef public long long window_in
    cdef public long long taken
    cdef public bint greeted
    cdef public bint acknowledged
    cdef public bint client_leaves
    cdef readonly list waiting_since

    @cython.locals(exchange=Exchange, owed="long long")
    cpdef credit(self, Stream stream)
    @cython.locals(owed="long long")
    cpdef give_back(self, Stream stream, Py_ssize_t held_bytes)
    @cython.locals(exchange=Exchange)
    cpdef sent(self, Stream stream)
    @cython.locals(exchange=Exchange)
    cpdef Exchange end_output(self, Stream stream)
    cpdef bint may_linger(self, Stream stream, Exchange exchange) except -1
    @cython.locals(count=int, stream=Stream)
    cpdef int lingering(self) except -1
    @cython.locals(exchange=Exchange)
    cpdef Exchange close_stream(self, Stream stream, int how)
    cpdef keep_cancelled(self, Stream stream, Exchange exchange)
    cpdef drop(self, Stream stream, int how)
    cpdef part_with(self, Stream stream, Exchange exchange)
    @cython.locals(stream_id="unsigned int")
    cpdef give_up(self, Stream stream, int status)
    cpdef bint is_idle(self, unsigned int stream_id) except -1
    @cython.locals(stream_id="unsigned int", stream=Stream)
    cpdef fail(self, object error)
    cpdef close(self, int code, str reason)
    @cython.locals(code=int, stream=Stream)
    cpdef bint cut_off(self) except -1
    cpdef leave(self)
    cpdef part(self)
    cpdef bint waits_for_head(self) except -1
    @cython.locals(stream=Stream, streams=list)
    cpdef look(self, double now)
    cpdef bint is_late(self, int what, bint waiting, double limit_s) except -1
    @cython.locals(limit_s=double, whole=bint, exchange=Exchange, receiver=Receiver)
    cpdef check_stream(self, Stream stream, double now)
    cpdef bint is_stalled(self, Stream stream) except -1
    cpdef bint keeps_waiting(self, Stream stream, Exchange exchange) except -1
    cpdef check_lingering(self, Stream stream, double now)
