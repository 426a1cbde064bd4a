# C layout of a request line.
cimport cython

cdef class RequestStart:
    cdef readonly str method
    cdef readonly bytes line
    cdef readonly bytes target
    cdef readonly bytes path
    cdef readonly bytes query
    cdef readonly str version
    cdef readonly bint http10
    cdef readonly bytes authority
    cdef readonly str text
    cdef readonly str octets

    @cython.locals(parts=list, target=bytes, version=bytes)
    cpdef read(self, bytes line, object limits, bint secure)
    cpdef split_query(self, bytes target)
    cpdef read_other_form(self, bytes target, bint secure)
    @cython.locals(path=bytes)
    cpdef decode(self)
