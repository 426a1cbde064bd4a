# C signature of the framing of data.
cpdef bytes cut_frames(
    bytes head, unsigned int stream_id, bytes data, Py_ssize_t start, Py_ssize_t stop, bint last
)
