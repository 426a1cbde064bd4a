# C layout of the sending side of an HTTP/2 connection.
cimport cython
from trilithon.wire.exchange cimport Exchange, Receiver, Transport
from trilithon.wire.h2_data cimport cut_frames
from trilithon.wire.h2_frames cimport write_field_block
from trilithon.wire.h2_guard cimport Guard
from trilithon.wire.h2_priority cimport Schedule
from trilithon.wire.h2_response cimport ResponseCoder, declared_length
from trilithon.wire.h2_stream cimport Link, Stream
from trilithon.wire.response cimport ResponseHead
from trilithon.wire.terms cimport Terms

cdef Py_ssize_t BURST_BYTES
cdef Py_ssize_t FRAME_BYTES
cdef long long LEAST_PIECE_BYTES
cdef long long LEAST_WINDOW_BYTES
cdef long long MAX_WINDOW_BYTES

cdef class Sender:
    cdef readonly Link link
    cdef readonly Transport transport
    cdef readonly Guard guard
    cdef readonly ResponseCoder coder
    cdef readonly Schedule schedule
    cdef readonly long long window
    cdef readonly long long initial_window
    cdef public Py_ssize_t max_frame_bytes
    cdef public Py_ssize_t control_bytes
    cdef readonly Py_ssize_t least_bytes
    cdef readonly bint holding
    cdef bint pumping
    cdef public bint moved

    cpdef admit(self, Stream stream, Py_ssize_t high_water)
    cpdef write(self, bytes data)
    @cython.locals(exchange=Exchange, response=ResponseHead, head=bytes, block=bytes, length="long long", ends=bint)
    cpdef respond(self, Stream stream, bytes data, bint final)
    @cython.locals(body=bytes, block=bytes, head=bytes)
    cpdef answer(self, Stream stream, int status, bytes extra, bint bodiless)
    @cython.locals(size=Py_ssize_t, clear=bint, fits=bint)
    cpdef send(self, Stream stream, bytes head, bytes data, bint final)
    @cython.locals(start=Py_ssize_t)
    cpdef write_frames(self, Stream stream, bytes head, bytes data, Py_ssize_t size, bint last)
    cpdef trail(self, Stream stream, list lines)
    cpdef write_trailers(self, Stream stream, list lines)
    cpdef inform(self, Stream stream, int status, bytes lines)
    @cython.locals(stream=Stream, room="long long")
    cpdef pump(self)
    @cython.locals(stream=Stream, least_bytes=Py_ssize_t)
    cpdef send_held(self, list streams)
    @cython.locals(room=Py_ssize_t, data=bytes, size=Py_ssize_t, most=Py_ssize_t, last=bint)
    cpdef send_piece(self, Stream stream)
    @cython.locals(exchange=Exchange)
    cpdef cut_short(self, Stream stream)
    @cython.locals(exchange=Exchange, receiver=Receiver)
    cpdef wake(self, Stream stream)
    @cython.locals(stream=Stream)
    cpdef drained(self, list streams)
    cpdef forget(self, Stream stream)
    cpdef grow_patient(self)
    cpdef open_window(self, long long increment)
    cpdef open_stream(self, Stream stream, long long increment)
    @cython.locals(difference="long long", stream=Stream)
    cpdef change_initial(self, long long value, list streams)
