# C types of the Huffman code; the tables become C arrays.
#
# What indexes them stays inside by its type or by how the tables are made: an octet has to be unsigned (iterating over
# bytes yields signed ones otherwise), and every state in MACHINE is one of its own rows.
cimport cython

cdef int EMITS
cdef int STATE_SHIFT
cdef int PADDED
cdef unsigned int[257] CODES
cdef int[257] LENGTHS
cdef int[4112] MACHINE

@cython.locals(room=bytearray, symbols="unsigned char*", octets="const unsigned char*", size=Py_ssize_t, state=int,
               octet="unsigned char", entry=int)
cpdef bytes decode_huffman(bytes data, Py_ssize_t start, Py_ssize_t end)
@cython.locals(octet="unsigned char", bits=Py_ssize_t)
cpdef Py_ssize_t measure_huffman(bytes data) except -1
@cython.locals(room=bytearray, coded="unsigned char*", size=Py_ssize_t, pending="unsigned long long", bits=int,
               length=int, octet="unsigned char")
cpdef bytes encode_huffman(bytes data)
