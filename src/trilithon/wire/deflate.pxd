# C layout of the compression of one socket.

cdef class Terms:
    cdef public bytes reply
    cdef readonly tuple shape
    cdef readonly int client_bits
    cdef readonly bint server_takeover
    cdef readonly bint client_takeover

cdef class Deflate:
    cdef readonly Terms terms
    cdef readonly bytes reply
    cdef readonly tuple shape
    cdef readonly object compressor
    cdef readonly object inflater
    cdef readonly bytearray window
    cdef list fed
    cdef bytes input
    cdef Py_ssize_t place
    cdef bytes slice
    cdef bint full
    cdef bint ended
    cdef Py_ssize_t volume
    cdef Py_ssize_t finals

    cpdef bytes compress(self, bytes data)
    cpdef bytes compress_alone(self, bytes data)
    cpdef forget(self)
    cpdef feed(self, bytes data)
    cpdef end(self)
    cpdef bytes take(self, Py_ssize_t max_bytes)
    cdef bytes next_slice(self)
    cdef conclude_stream(self, bytes output)
    cdef remember(self, bytes output)
    cdef new_inflater(self)
