# C signatures of the leaf of raw system calls.
cpdef object receive(int fd, Py_ssize_t size)
cpdef Py_ssize_t send(int fd, bytes data, Py_ssize_t offset) except -1
cpdef Py_ssize_t gather(int fd, list parts, Py_ssize_t offset) except -1

cdef class Pulse:
    cdef public unsigned long beats
    cdef public unsigned long ticks
    cdef public int thread
    cdef readonly unsigned long stood_at
    cdef readonly bint asleep
    cdef readonly double ran_s
    cdef unsigned long seen
    cdef double seen_cpu_s
    cpdef double watch(self, double tick_s, int quiet_ticks) except? -2
