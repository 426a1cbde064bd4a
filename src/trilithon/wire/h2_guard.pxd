# C layout of the budgets of an HTTP/2 connection.
cimport cython

cdef class Guard:
    cdef readonly list left
    cdef readonly list spent_at

    @cython.locals(left=double, since=double, burst=double, rate=double)
    cpdef spend(self, int kind, double now)
    @cython.locals(burst=double)
    cpdef earn_updates(self, int frames)
