# C layout of the access log.
cimport cython

cdef class AccessLog:
    cdef readonly str _form
    cdef readonly object _pending
    cdef readonly object _add
    cdef readonly object _stream
    cdef readonly object _file
    cdef readonly int _fd
    cdef readonly object _logger
    cdef readonly object _parent
    cdef readonly object _lock
    cdef readonly dict _hosts
    cdef readonly dict _lines
    cdef readonly long _second
    cdef readonly str _stamp
    cdef readonly bytes _owed
    cdef readonly long _lost

    cpdef record(self, object client, bytes request_line, int status, long sent_bytes, double duration_s)
    cpdef flush(self)
    @cython.locals(hosts=dict, requests=dict, stamp=str, lines=list, client=tuple, request_line=bytes, status=int, sent_bytes=long, duration_s=double, host=str, peer=str, request=str)
    cdef list _common_lines(self, list batch)
    @cython.locals(hosts=dict, requests=dict, stamp=str, lines=list, client=tuple, request_line=bytes, status=int, sent_bytes=long, duration_s=double, host=str, peer=str, request=str)
    cdef list _json_lines(self, list batch)
