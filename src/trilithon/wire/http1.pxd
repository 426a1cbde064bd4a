# C layout of an HTTP/1 connection.
cimport cython
from trilithon.wire.chunked cimport ChunkedDecoder
from trilithon.wire.exchange cimport Exchange, Peer, Receiver, Transport
from trilithon.wire.head cimport RequestHead
from trilithon.wire.http1_sender cimport Http1Sender
from trilithon.wire.terms cimport Terms

cdef class Http1(Http1Sender):
    cdef readonly object partial
    cdef readonly int empty_lines
    cdef public long requests

    cpdef Exchange receive(self, bytes data)
    @cython.locals(exchange=Exchange, receiver=Receiver)
    cdef receive_stream(self, bytes data)
    cpdef Exchange next(self)
    @cython.locals(exchange=Exchange, receiver=Receiver)
    cpdef receive_end(self)
    @cython.locals(exchange=Exchange)
    cpdef lose(self)
    @cython.locals(unclear=bint)
    cpdef bint cut_off(self) except -1
    @cython.locals(end=Py_ssize_t, head=bytes, rest=bytes)
    cdef Exchange receive_head(self, bytes data)
    cdef start_partial(self, bytes data)
    @cython.locals(terms=Terms, exchange=Exchange)
    cdef Exchange open(self, RequestHead head, bytes rest)
    cdef mark_last(self, Exchange exchange)
    @cython.locals(content=bytes, complete=bint, exchange=Exchange, receiver=Receiver)
    cdef receive_body(self, bytes data)
    @cython.locals(exchange=Exchange)
    cpdef fault(self, object error, bint bodiless=*)
    cpdef time_out(self)
    @cython.locals(exchange=Exchange, receiver=Receiver)
    cpdef look(self, double now)
    @cython.locals(exchange=Exchange, receiver=Receiver)
    cpdef drained(self)
