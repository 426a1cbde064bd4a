# C signatures of the frames that are sent.
cimport cython

@cython.locals(size=Py_ssize_t)
cpdef bytes frame_head(int first, Py_ssize_t size)
@cython.locals(size=Py_ssize_t, head=bytes)
cpdef list frame_parts(int first, bytes payload)
cpdef bytes close_frame(int code, bytes reason)
cpdef bint may_be_sent(object code) except -1
