# C layout of a response head.
cimport cython
from trilithon.wire.memo cimport Memo

cdef class SentLine:
    cdef readonly bytes name
    cdef readonly bytes value
    cdef readonly bytes octets
    cdef readonly int role
    cdef readonly object length

cdef Memo SENT

cdef class ResponseHead:
    cdef readonly int status
    cdef readonly bytes line
    cdef readonly list lines
    cdef public object length
    cdef public bint close
    cdef public bint dated
    cdef public bint named

    @cython.locals(lines=list, line=SentLine)
    cpdef read_asgi(self, object fields)
    @cython.locals(lines=list, line=SentLine)
    cpdef read_wsgi(self, object fields)
    @cython.locals(role=int, first=bint)
    cpdef bint note(self, SentLine line, bint wsgi) except -1

cdef bint is_pair_of(object pair, object kind) except -1
cpdef ResponseHead asgi_head(object status)
@cython.locals(known=tuple)
cpdef ResponseHead wsgi_head(object status)
cpdef bytes length_line(object length)
@cython.locals(parts=list, line=SentLine, length=object)
cpdef list head_parts(ResponseHead response, int framing, Py_ssize_t sized)
cpdef bytes last_line(int status, bint closing, bint http10)
