# C layout of the reader of a ClientHello.
cimport cython

cdef class ClientHello:
    cdef readonly bytearray records
    cdef readonly Py_ssize_t size
    cdef bytearray _message
    cdef Py_ssize_t _at

    @cython.locals(records=bytearray, message=bytearray, start=Py_ssize_t, size=Py_ssize_t)
    cpdef bint feed(self, object data) except -1
    cpdef object name(self)

@cython.locals(at=Py_ssize_t, end=Py_ssize_t, size=Py_ssize_t, length=Py_ssize_t, kind=int)
cdef object server_name(bytearray message)
