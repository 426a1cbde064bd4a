# C layout of a request head.
cimport cython
from trilithon.wire.fields cimport FieldLine
from trilithon.wire.memo cimport Memo
from trilithon.wire.start cimport RequestStart

cdef class RequestHead:
    cdef readonly RequestStart start
    cdef readonly str method
    cdef readonly bytes path
    cdef readonly bint http10
    cdef readonly list lines
    cdef readonly bytes host
    cdef readonly object length
    cdef readonly bint chunked
    cdef readonly bint close
    cdef readonly bint keep_alive
    cdef readonly bint expects_continue
    cdef readonly bint takes_trailers
    cdef readonly bint typed
    cdef readonly bint upgrades
    cdef readonly list upgrade
    cdef readonly bytes protocol
    cdef readonly bytes codings

    @cython.locals(role=int, options=int)
    cpdef note(self, FieldLine line)
    @cython.locals(authority=bytes)
    cpdef conclude(self)
    @cython.locals(host=bytes)
    cpdef adopt_authority(self, bytes authority)

cdef class HeadReader:
    cdef readonly object limits
    cdef Py_ssize_t max_fields
    cdef Py_ssize_t max_field_bytes
    cdef Py_ssize_t small_bytes
    cdef readonly Memo starts
    cdef readonly Memo lines

    @cython.locals(lines=list, checked=bint, line=bytes, start=RequestStart, count=Py_ssize_t, index=Py_ssize_t,
                   request=RequestHead, fields=list, field=FieldLine)
    cpdef RequestHead read(self, bytes head, bint secure)
    cpdef RequestStart read_start(self, bytes line, bint secure)
    @cython.locals(field=FieldLine)
    cpdef FieldLine read_line(self, bytes line)
    cpdef check_controls(self, bytes head, list lines, bint secure)
    cpdef check_sizes(self, bytes head, list lines)
