# C layout of what is known of a field name, and of a received field.
cimport cython

cdef class FieldName:
    cdef readonly bytes name
    cdef readonly str key
    cdef readonly int role

cdef class FieldLine:
    cdef readonly tuple pair
    cdef readonly bytes value
    cdef str latin1
    cdef readonly str key
    cdef readonly int role
    cdef readonly object length
    cdef readonly int options
    cdef readonly bint common

    @cython.locals(text=str)
    cpdef str text(self)
    cpdef weigh(self, int role)

cpdef FieldName learn(bytes name)
@cython.locals(colon=Py_ssize_t, name=bytes, field=FieldName)
cpdef FieldLine read_field_line(bytes line)
