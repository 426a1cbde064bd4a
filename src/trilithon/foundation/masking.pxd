# C signature of the unmasking.
cpdef bytes unmask(bytes data, Py_ssize_t start, Py_ssize_t stop, bytes key, Py_ssize_t phase)
