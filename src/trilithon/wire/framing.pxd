# C signatures of the framing decisions on the hot path.
cpdef bint has_no_body(bint head_request, int status) except -1
cpdef int response_framing(bint bodiless, object length, bint final, bint http10) except -1
