# C layout of a slot, and the numbers of its cells.
cimport cython
from trilithon.foundation.cells cimport Cells, clock_us, microseconds, this_thread

cdef int BEAT_AT, TURN_SINCE, OPEN, QUEUED, REQUESTS, ENDED, CLASSES, LATENCY_US, BYTES_IN, BYTES_OUT
cdef int ACCEPTED, GIVEN, TAKEN, WINDOW_AT, WINDOW_BASE, RECENT, CALLS
cdef int HISTOGRAM, MARK_BEGAN, MARK_NUMBER, MARK_THREAD, MARK_TEXT, BUCKETS, MARKS, TEXT_BYTES, TEXT_CELLS
cdef long long WINDOW_US

@cython.locals(shift=int, value=cython.longlong)
cpdef int bucket(long long elapsed_us) except -1

cdef class Slot:
    cdef readonly int index
    cdef readonly Cells cells
    cdef long long serial
    cdef int cursor

    @cython.locals(at=cython.p_longlong, place=int, mark=cython.longlong)
    cpdef long long begin(self, bytes line, double now) except -1
    @cython.locals(at=cython.p_longlong, place=int)
    cdef int place(self) except -1
    @cython.locals(at=cython.p_longlong, elapsed=cython.longlong, place=int)
    cpdef end(self, long long mark, int status, double began)
    @cython.locals(at=cython.p_longlong, place=int, thread=cython.ulong)
    cpdef unsigned long enter(self, long long mark) except? 0
    cpdef leave(self)
    @cython.locals(at=cython.p_longlong)
    cpdef rest(self, int engine, long long connections, long long queued)
    @cython.locals(at=cython.p_longlong, stamp=cython.longlong, requests=cython.longlong)
    cpdef wake(self, int engine, double now)
    @cython.locals(at=cython.p_longlong)
    cpdef carry(self, long long bytes_in, long long bytes_out)
    cpdef accepted(self)
    cpdef gave(self)
    cpdef took(self)
