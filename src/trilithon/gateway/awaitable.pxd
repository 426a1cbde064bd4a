# C layout of the awaitables.
cdef class Ready:
    cdef readonly object value

cdef class Failed(Ready):
    pass
