# C layout of an HTTP/1 connection.
cimport cython
from trilithon.wire.chunked cimport ChunkedDecoder
from trilithon.wire.protocol cimport Protocol
from trilithon.wire.exchange cimport Exchange, Peer, Receiver, Transport
from trilithon.wire.framing cimport response_framing
from trilithon.wire.head cimport RequestHead
from trilithon.wire.response cimport ResponseHead, head_parts, last_line
from trilithon.wire.terms cimport Terms

cdef class Http1(Protocol):
    cdef readonly object partial
    cdef readonly ChunkedDecoder decoder
    cdef readonly object left
    cdef readonly object left_to_drain
    cdef readonly object body_size
    cdef readonly int empty_lines
    cdef readonly long requests
    cdef readonly bint asked
    cdef readonly bint headed
    cdef readonly int framing
    cdef public bint closing

    cpdef Exchange receive(self, bytes data)
    @cython.locals(exchange=Exchange, receiver=Receiver)
    cdef receive_stream(self, bytes data)
    cpdef Exchange next(self)
    @cython.locals(exchange=Exchange, receiver=Receiver)
    cpdef receive_end(self)
    @cython.locals(exchange=Exchange)
    cpdef lose(self)
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
    @cython.locals(head=ResponseHead)
    cpdef answer(self, int status, bytes extra, bint bodiless=*)
    cpdef stop(self, bint lingering)
    cpdef send_file(self, Exchange exchange, int fd, object offset, object count)
    @cython.locals(response=ResponseHead, request=RequestHead, terms=Terms, framing=int, parts=list, tail=bytes)
    cdef write_head(self, Exchange exchange, bytes data, bint final)
    cdef bint must_abandon(self, Exchange exchange) except -1
    cdef end_response(self, Exchange exchange)
    cdef conclude(self)
    cdef bint has_room(self) except -1
