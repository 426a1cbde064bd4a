# C layout of the sending half of an HTTP/1 connection.
cimport cython
from trilithon.wire.chunked cimport ChunkedDecoder, chunk_pieces, last_chunk
from trilithon.wire.exchange cimport Exchange, Peer, Transport
from trilithon.wire.framing cimport response_framing
from trilithon.wire.head cimport RequestHead
from trilithon.wire.protocol cimport Protocol
from trilithon.wire.response cimport ResponseHead, head_parts, last_line
from trilithon.wire.terms cimport Terms

cdef class Http1Sender(Protocol):
    cdef readonly ChunkedDecoder decoder
    cdef readonly object left
    cdef readonly object left_to_drain
    cdef readonly object body_size
    cdef readonly bint asked
    cdef readonly bint headed
    cdef readonly int framing
    cdef public bint closing

    @cython.locals(terms=Terms)
    cpdef answer(self, int status, bytes extra, bint bodiless=*)
    cpdef stop(self, bint lingering)
    @cython.locals(chunked=bint)
    cpdef send_file(self, Exchange exchange, object span, bint final)
    @cython.locals(response=ResponseHead, request=RequestHead, terms=Terms, framing=int, parts=list, tail=bytes)
    cdef write_head(self, Exchange exchange, bytes data, bint final)
    cdef bint must_abandon(self, Exchange exchange) except -1
    cdef end_response(self, Exchange exchange)
    cdef conclude(self)
    cdef bint has_room(self) except -1
