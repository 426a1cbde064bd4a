# C layout of what is known of a field name.
cimport cython

cdef class FieldName:
    cdef public bytes name
    cdef readonly str key
    cdef readonly bytes prefix
    cdef readonly int role

cpdef FieldName learn(bytes name)
cpdef FieldName learn_sent(object name)
