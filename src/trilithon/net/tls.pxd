# C layout of a TLS connection.
cimport cython
from trilithon.net.tls_hello cimport ClientHello

cdef class TlsChannel:
    cdef readonly bint shaking
    cdef readonly bint ended
    cdef bint _failed
    cdef bint _sealing
    cdef int _chatter
    cdef object _store
    cdef ClientHello _hello
    cdef object _conversation
    cdef object _incoming
    cdef object _outgoing

    @cython.locals(at=Py_ssize_t, parts=list)
    cpdef bytes receive(self, bytes data)
    @cython.locals(size=Py_ssize_t, at=Py_ssize_t, parts=list)
    cpdef bytes seal(self, bytes data)
    cpdef bytes outgoing(self)
    cpdef bytes farewell(self)
    cpdef object facts(self)
    @cython.locals(part=bytes)
    cdef bytes _take(self, object data)
    @cython.locals(parts=list)
    cdef bytes _read_on(self, bytes part)
    cdef _shake(self, object data)
    @cython.locals(hello=ClientHello)
    cdef _greet(self, object data)
    cdef _refuse(self, str reason)
    cdef _fail(self, object fault)
