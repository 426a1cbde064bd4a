# C layout of the time-outs and water marks.
cdef class Tempo:
    cdef readonly double header_s
    cdef readonly double keep_alive_s
    cdef readonly double body_s
    cdef readonly double write_s
    cdef readonly double linger_s
    cdef readonly double request_s
    cdef readonly Py_ssize_t high_water
    cdef readonly Py_ssize_t low_water
    cdef readonly Py_ssize_t min_body_rate
