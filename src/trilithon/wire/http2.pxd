# C layout of an HTTP/2 connection.
cimport cython
from trilithon.wire.exchange cimport Exchange, Peer, Receiver
from trilithon.wire.h2_frames cimport Frame, FrameReader
from trilithon.wire.h2_head cimport H2Head, H2HeadReader
from trilithon.wire.h2_session cimport Session
from trilithon.wire.h2_stream cimport Stream
from trilithon.wire.hpack cimport Decoder

cdef int ACK
cdef int DATA
cdef int END_STREAM
cdef int GOAWAY
cdef int HEADERS
cdef int PING
cdef int PRIORITY_UPDATE
cdef int RST_STREAM
cdef int SETTINGS
cdef int WINDOW_UPDATE
cdef int BY_END
cdef int BY_PEER
cdef int BY_US
cdef Py_ssize_t MAX_KEPT_HEADS
cdef Py_ssize_t MAX_KEPT_BLOCK_BYTES
cdef Py_ssize_t MAX_CONTROL_BYTES
cdef Py_ssize_t MAX_PIECES
cdef Py_ssize_t SMALL_PIECE_BYTES
cdef unsigned int DRIBBLE_BYTES

cdef class Http2(Session):
    cdef readonly FrameReader reader
    cdef readonly Decoder decoder
    cdef dict heads
    cdef long long generation
    cdef readonly H2HeadReader head_reader
    cdef list opened
    cdef readonly dict priorities
    cdef readonly long requests

    @cython.locals(frame=Frame, streams=list, exchange=Exchange, stream=Stream)
    cpdef Exchange receive(self, bytes data)
    cpdef conclude(self)
    @cython.locals(kind=int)
    cpdef handle(self, Frame frame)
    @cython.locals(stream_id="unsigned int", stream=Stream, how=int, head=H2Head)
    cpdef receive_headers(self, Frame frame)
    @cython.locals(decoder=Decoder, head=H2Head)
    cpdef H2Head read_head(self, bytes block)
    cpdef skip_block(self, Frame frame)
    @cython.locals(priority=int, stream=Stream, exchange=Exchange)
    cpdef open(self, unsigned int stream_id, H2Head head, bint ended)
    @cython.locals(stream_id="unsigned int", stream=Stream)
    cpdef reject(self, Frame frame, object error)
    cpdef receive_trailers(self, Stream stream, Frame frame)
    @cython.locals(size=Py_ssize_t, stream=Stream, exchange=Exchange, payload=bytes, ended=bint, pieces=list,
                   receiver=Receiver)
    cpdef receive_data(self, Frame frame)
    @cython.locals(exchange=Exchange, receiver=Receiver)
    cpdef finish_body(self, Stream stream)
    cpdef receive_stray(self, unsigned int stream_id)
    @cython.locals(stream_id="unsigned int", stream=Stream, small=bint)
    cpdef receive_update(self, Frame frame)
    @cython.locals(stream_id="unsigned int", stream=Stream)
    cpdef receive_reset(self, Frame frame)
    cpdef receive_settings(self, Frame frame)
    @cython.locals(stream_id="unsigned int", stream=Stream)
    cpdef receive_priority(self, Frame frame)
