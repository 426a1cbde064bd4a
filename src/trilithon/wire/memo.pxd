# C layout of the memo.
cdef class Memo:
    cdef Py_ssize_t size
    cdef dict young
    cdef dict old

    cpdef find(self, object key)
    cpdef keep(self, object key, object value)
