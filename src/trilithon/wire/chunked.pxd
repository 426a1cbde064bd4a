# C layout of the chunked decoder.
cimport cython

cdef class ChunkedDecoder:
    cdef object limits
    cdef readonly int state
    cdef object left
    cdef bytes pending
    cdef Py_ssize_t extension_bytes
    cdef Py_ssize_t trailer_bytes
    cdef Py_ssize_t trailer_fields
    cdef readonly bytes rest

    @cython.locals(content=list, position=Py_ssize_t, size=Py_ssize_t)
    cpdef bytes feed(self, bytes data)
    @cython.locals(end=Py_ssize_t, line=bytes)
    cpdef Py_ssize_t read_line(self, bytes data, Py_ssize_t position) except? -2
    cpdef keep_partial_line(self, bytes line)
    cpdef read_size(self, bytes line)
    cpdef read_trailer(self, bytes line)

cpdef list chunk_pieces(bytes data, bint final)
cpdef bytes last_chunk(list trailers)
