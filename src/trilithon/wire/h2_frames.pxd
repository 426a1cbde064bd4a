# C layout of HTTP/2 frames and of their reader.
cimport cython

cdef int DATA
cdef int HEADERS
cdef int PRIORITY
cdef int RST_STREAM
cdef int SETTINGS
cdef int PING
cdef int GOAWAY
cdef int WINDOW_UPDATE
cdef int CONTINUATION
cdef int PRIORITY_UPDATE
cdef int END_STREAM
cdef int END_HEADERS
cdef int ACK
cdef int PADDED
cdef int PRIORITIZED
cdef int PREFACE_DUE
cdef int HEADER_DUE
cdef int PAYLOAD_DUE
cdef int HEADER_BYTES
cdef int MAX_SETTINGS
cdef int PUSH_PROMISE
cdef frozenset OF_STREAM
cdef frozenset OF_CONNECTION
cdef dict EXACT_BYTES
cdef dict LEAST_BYTES
cdef dict KNOWN_FLAGS
cdef dict NAMES

cdef class Frame:
    cdef readonly int kind
    cdef readonly int flags
    cdef readonly unsigned int stream_id
    cdef readonly bytes payload
    cdef readonly Py_ssize_t flow_bytes
    cdef readonly unsigned int number
    cdef readonly unsigned int code
    cdef readonly list settings

cdef class FrameReader:
    cdef public Py_ssize_t max_frame_bytes
    cdef Py_ssize_t max_block_bytes
    cdef Py_ssize_t max_continuations
    cdef int state
    cdef Py_ssize_t wanted
    cdef bytes data
    cdef Py_ssize_t position
    cdef bytearray pending
    cdef bint greeted
    cdef Py_ssize_t length
    cdef int kind
    cdef int flags
    cdef unsigned int stream_id
    cdef readonly unsigned int block_stream
    cdef int block_flags
    cdef unsigned int block_code
    cdef list block
    cdef Py_ssize_t block_bytes

    @cython.locals(left=Py_ssize_t)
    cpdef feed(self, bytes data)
    @cython.locals(frame=Frame)
    cpdef Frame take(self)
    cpdef bint waits_for_head(self) except -1
    @cython.locals(start=Py_ssize_t, have=Py_ssize_t)
    cpdef read_preface(self)
    @cython.locals(data=bytes, start=Py_ssize_t)
    cpdef begin_frame(self)
    @cython.locals(kind=int, length=Py_ssize_t)
    cpdef check_header(self)
    @cython.locals(start=Py_ssize_t, end=Py_ssize_t, kind=int, frame=Frame)
    cpdef Frame finish_frame(self)
    @cython.locals(padding=Py_ssize_t)
    cpdef Py_ssize_t strip_padding(self, Py_ssize_t start, Py_ssize_t end, Py_ssize_t fixed) except -1
    @cython.locals(fixed=Py_ssize_t)
    cpdef Frame begin_block(self, Frame frame, Py_ssize_t start, Py_ssize_t end)
    @cython.locals(frame=Frame)
    cpdef Frame extend_block(self, Py_ssize_t start, Py_ssize_t end)
    @cython.locals(kind=int, data=bytes)
    cpdef read_control(self, Frame frame, Py_ssize_t start, Py_ssize_t end)

@cython.locals(first="unsigned int")
cpdef unsigned int read_number(bytes data, Py_ssize_t start) except? 1
@cython.locals(place=Py_ssize_t)
cpdef list read_settings(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef bytes write_header(Py_ssize_t length, int kind, int flags, unsigned int stream_id)
@cython.locals(size=Py_ssize_t, place=Py_ssize_t, pieces=list, part=bytes, flags=int)
cpdef bytes write_field_block(unsigned int stream_id, bytes block, bint end_stream, Py_ssize_t max_frame_bytes)
