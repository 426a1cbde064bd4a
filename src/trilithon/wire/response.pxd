# C layout of a response head.
cimport cython
from trilithon.wire.fields cimport FieldName, learn_sent

cdef class ResponseHead:
    cdef readonly int status
    cdef readonly bytes line
    cdef public bytes block
    cdef public object length
    cdef public bint close
    cdef public bint dated
    cdef public bint named

    @cython.locals(parts=list, field=FieldName, value=bytes)
    cpdef read_asgi(self, object fields)
    @cython.locals(parts=list, pair=tuple, field=FieldName, value=bytes)
    cpdef read_wsgi(self, object fields)
    @cython.locals(block=bytes)
    cpdef conclude(self, list parts)
    cpdef bint note(self, int role, bytes value, bint wsgi) except -1

cpdef ResponseHead asgi_head(object status)
@cython.locals(known=tuple)
cpdef ResponseHead wsgi_head(object status)
cpdef ResponseHead own_head(int status, bytes extra=*)
cpdef bytes length_line(object length)
