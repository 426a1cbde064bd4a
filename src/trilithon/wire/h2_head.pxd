# C layout of HTTP/2 request heads and of their reader.
cimport cython
from trilithon.wire.fields cimport FieldLine, FieldName, learn
from trilithon.wire.h2_priority cimport read_priority
from trilithon.wire.head cimport RequestHead
from trilithon.wire.hpack cimport HeaderField
from trilithon.wire.memo cimport Memo
from trilithon.wire.start cimport RequestStart

cdef int CONNECTION
cdef int HOP_BY_HOP
cdef int HOST
cdef int TE
cdef int TRANSFER_ENCODING
cdef int UPGRADE
cdef int COLON
cdef dict KNOWN
cdef dict METHODS
cdef bytes COOKIE
cdef bytes PRIORITY_FIELD
cdef bytes PATH_BYTES
cdef bytes VALUE_BYTES

cdef class H2Head(RequestHead):
    cdef readonly int priority

cdef class Pseudo:
    cdef readonly bytes method
    cdef readonly bytes scheme
    cdef readonly bytes path
    cdef readonly bytes protocol
    cdef readonly HeaderField authority
    cdef readonly Py_ssize_t count

    @cython.locals(field=HeaderField, name=bytes)
    cpdef read(self, list fields)

cdef class H2HeadReader:
    cdef readonly object limits
    cdef readonly bint secure
    cdef readonly bint websockets
    cdef readonly Memo starts

    @cython.locals(pseudo=Pseudo, head=H2Head, lines=list, authority=HeaderField, cookie=Py_ssize_t, crumbs=list,
                   index=Py_ssize_t, field=HeaderField, line=FieldLine)
    cpdef H2Head read(self, list fields)
    @cython.locals(method=bytes, path=bytes, key=tuple, start=RequestStart)
    cpdef RequestStart find_start(self, Pseudo pseudo)
    cpdef check_scheme(self, bytes scheme)
    @cython.locals(start=RequestStart)
    cpdef RequestStart read_start(self, bytes method, bytes path)
    @cython.locals(start=RequestStart)
    cpdef RequestStart read_connect(self, Pseudo pseudo)
    cpdef conclude_connect(self, H2Head head, bytes protocol)

@cython.locals(line=FieldLine)
cpdef FieldLine read_authority(HeaderField field)
@cython.locals(known=FieldName, value=bytes)
cpdef FieldLine read_line(HeaderField field)
@cython.locals(role=int)
cpdef check_role(FieldLine line)
@cython.locals(field=HeaderField, line=FieldLine)
cpdef check_trailers(list fields)
