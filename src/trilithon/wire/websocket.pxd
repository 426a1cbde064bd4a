# C layout of a WebSocket.
cimport cython
from trilithon.foundation.masking cimport unmask
from trilithon.wire.frame cimport close_frame, frame_head, may_be_sent

cdef class WebSocket:
    cdef readonly Py_ssize_t max_size
    cdef readonly Py_ssize_t max_queue
    cdef readonly object deflate
    cdef readonly object stance
    cdef public int code
    cdef public str reason
    cdef readonly int own_code
    cdef readonly bytes farewell
    cdef readonly list messages
    cdef readonly Py_ssize_t taken
    cdef readonly Py_ssize_t waiting_bytes
    cdef Py_ssize_t excess
    cdef readonly list out
    cdef public bint heard
    cdef readonly bytes rest
    cdef readonly bint inflating
    cdef bint ending
    cdef Py_ssize_t budget
    cdef readonly bint unfinished
    cdef Py_ssize_t left
    cdef int opcode
    cdef bint final
    cdef bytes key
    cdef Py_ssize_t phase
    cdef bytes control
    cdef int kind
    cdef bint compressed
    cdef Py_ssize_t size
    cdef Py_ssize_t wire_size
    cdef list pieces
    cdef Py_ssize_t lots
    cdef object decoder

    @cython.locals(messages=list, taken=Py_ssize_t)
    cpdef take(self)
    cpdef bint is_empty(self) except -1
    cpdef bint may_send(self) except -1
    cpdef bint has_room(self) except -1
    cdef bint is_full(self) except -1
    @cython.locals(used=Py_ssize_t)
    cpdef receive(self, bytes data)
    cpdef receive_end(self)
    cpdef lose(self)
    @cython.locals(end=Py_ssize_t, at=Py_ssize_t, begin=Py_ssize_t, left=Py_ssize_t, stop=Py_ssize_t, piece=bytes)
    cdef Py_ssize_t parse(self, bytes data) except -2
    @cython.locals(first=int, second=int, opcode=int, size=Py_ssize_t, begin=Py_ssize_t)
    cdef Py_ssize_t read_head(self, bytes data, Py_ssize_t at, Py_ssize_t end) except -2
    cdef check_head(self, int first, int second, int opcode)
    @cython.locals(limit=Py_ssize_t)
    cdef check_size(self, Py_ssize_t size, bint compressed)
    @cython.locals(opcode=int, final=bint)
    cdef take_payload(self, bytes piece, bint whole)
    @cython.locals(room=Py_ssize_t, piece=bytes, held=bytes)
    cdef bint inflate(self) except -1
    cdef add(self, bytes piece, bint final)
    cdef forget_message(self)
    cdef take_control(self, int opcode, bytes payload)
    cdef take_close(self, bytes payload)
    cpdef fail(self, int code, str reason)
    cpdef leave(self)
    cpdef ping(self)
    cpdef close(self, int code, bytes reason)
    cpdef give_up_closing(self)
    cpdef thin(self)
