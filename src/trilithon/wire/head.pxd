# C layout of a request head.
cimport cython
from trilithon.wire.fields cimport FieldName

cdef class RequestHead:
    cdef readonly str method
    cdef readonly bytes target
    cdef readonly bytes path
    cdef readonly bytes query
    cdef readonly str version
    cdef readonly bint http10
    cdef readonly list fields
    cdef readonly bytes host
    cdef readonly object length
    cdef readonly bint chunked
    cdef readonly bint close
    cdef readonly bint keep_alive
    cdef readonly bint expects_continue
    cdef readonly bint takes_trailers
    cdef readonly list upgrade
    cdef readonly bytes codings
    cdef readonly bint content_type
    cdef readonly bint connection_upgrade

    cpdef note(self, int role, bytes value)
    cpdef note_connection(self, bytes value)
    cpdef conclude(self)
    @cython.locals(parts=list, target=bytes, version=bytes)
    cpdef read_request_line(self, bytes line, object limits, bint secure)
    cpdef split_query(self, bytes target)
    cpdef read_other_form(self, bytes target, bint secure)
    @cython.locals(fields=list, line=bytes, colon=Py_ssize_t, name=bytes, field=FieldName, value=bytes)
    cpdef read_fields(self, list lines)

@cython.locals(lines=list, size=Py_ssize_t, request=RequestHead, absolute=bytes)
cpdef RequestHead parse_head(bytes head, object limits, bint secure)

cpdef adopt_authority(RequestHead request, bytes authority)
