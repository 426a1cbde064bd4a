# C layout of the fan-out.
cimport cython
from trilithon.wire.frame cimport frame_parts
from trilithon.wire.websocket cimport WebSocket

cdef class Fanout:
    cdef Py_ssize_t threshold
    cdef object message
    cdef bytes payload
    cdef WebSocket first
    cdef list plain
    cdef dict shared

    cpdef list frame(self, WebSocket socket, object message)
    @cython.locals(payload=bytes, first=int, parts=list)
    cdef list frame_new(self, WebSocket socket, object message)
    cdef int first_byte(self) except -1
