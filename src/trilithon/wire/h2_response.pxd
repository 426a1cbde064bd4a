# C layout of the coding of HTTP/2 responses.
cimport cython
from trilithon.wire.hpack cimport CodedField, Encoder, code_field
from trilithon.wire.response cimport ResponseHead, SentLine
from trilithon.wire.terms cimport Terms

cdef int UPGRADE
cdef Py_ssize_t MAX_KEPT_BLOCKS
cdef Py_ssize_t DATE_NAME_BYTES
cdef Py_ssize_t SERVER_NAME_BYTES
cdef dict STATUSES

@cython.locals(coded=CodedField)
cpdef CodedField code_status(int status)
@cython.locals(status=int)
cpdef long long declared_length(ResponseHead response, bint bodiless, long long sized) except? -2
cpdef CodedField code_line(SentLine line)

cdef class ResponseCoder:
    cdef readonly Terms terms
    cdef readonly Encoder encoder
    cdef dict kept
    cdef long long generation

    @cython.locals(encoder=Encoder, key=tuple, block=bytes)
    cpdef bytes code_head(self, ResponseHead response, long long length)
    @cython.locals(encoder=Encoder, pieces=list, line=SentLine, server=bytes)
    cpdef bytes code_fields(self, ResponseHead response, long long length, bytes stamp)
    cpdef bytes code_own(self, int status, bytes extra, Py_ssize_t length)
    cpdef bytes code_interim(self, int status, bytes lines)
    cpdef bytes code_trailers(self, list lines)
