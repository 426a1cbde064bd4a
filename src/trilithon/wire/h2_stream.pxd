# C layout of an HTTP/2 stream.
cimport cython
from trilithon.wire.exchange cimport Carrier, Exchange, Transport
from trilithon.wire.protocol cimport Protocol

cdef Py_ssize_t BLOCK_BYTES

cdef class ClosedStreams:
    cdef readonly dict young
    cdef readonly dict old

    cpdef note(self, unsigned int stream_id, int how)
    @cython.locals(kept=dict)
    cpdef note_reset(self, unsigned int stream_id)
    @cython.locals(how=int)
    cpdef int find(self, unsigned int stream_id) except -1

cdef class Link(Protocol):
    cpdef respond(self, Stream stream, bytes data, bint final)
    cpdef trail(self, Stream stream, list lines)
    cpdef send_interim(self, Stream stream, int status, bytes block)
    cpdef break_off(self, Stream stream)
    cpdef decline(self, Stream stream, int status, bytes extra)
    cpdef credit(self, Stream stream)
    cpdef call_over(self, Stream stream, Exchange exchange)
    cpdef sent(self, Stream stream)

cdef class Stream(Carrier):
    cdef readonly Link link
    cdef readonly unsigned int stream_id
    cdef public int priority
    cdef public bint tunnel
    cdef public object state
    cdef public Exchange exchange
    cdef public long long window_out
    cdef public long long window_in
    cdef public long long taken
    cdef public object length
    cdef public object body_size
    cdef public object body_seen
    cdef public bint asked
    cdef public bint headed
    cdef public bint final
    cdef public object queue
    cdef public Py_ssize_t offset
    cdef public Py_ssize_t queued
    cdef public list trailers
    cdef public bint ready
    cdef public bint clogged
    cdef public Py_ssize_t high_water
    cdef public bint delivered
    cdef public bint engaged
    cdef public double seen_at
    cdef public double stalled_at

    cpdef put(self, object piece, Py_ssize_t size)
    @cython.locals(block=bytes)
    cpdef bytes first_queued(self, Py_ssize_t most)
    cpdef take_queued(self, Py_ssize_t size)
    cpdef drop_queued(self)
