# C layout of the cells, and their clock.
cdef class Cells:
    cdef Py_buffer view
    cdef long long* at
    cdef readonly Py_ssize_t count
    cpdef long long read(self, Py_ssize_t index) except? -1
    cpdef write(self, Py_ssize_t index, long long value)
    cpdef put_text(self, Py_ssize_t index, bytes text, Py_ssize_t size)
    cpdef bytes text(self, Py_ssize_t index, Py_ssize_t size)

cpdef long long clock_us() noexcept
cpdef long long microseconds(double seconds) noexcept
cpdef unsigned long this_thread() noexcept
