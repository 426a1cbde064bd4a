# C layout of HPACK: fields, tables, decoder and encoder.
cimport cython
from trilithon.wire.huffman cimport decode_huffman, encode_huffman, measure_huffman
from trilithon.wire.memo cimport Memo

cdef Py_ssize_t ENTRY_OVERHEAD
cdef Py_ssize_t FIRST_DYNAMIC
cdef int MAX_CONTINUATIONS
cdef Py_ssize_t MAX_EVICTED
cdef bytes COOKIE
cdef int COLON
cdef int INDEXED
cdef int INCREMENTAL
cdef int SIZE_UPDATE
cdef int NEVER_INDEXED
cdef int WITHOUT_INDEXING
cdef int HUFFMAN
cdef frozenset SECRET
cdef frozenset VARYING
cdef frozenset STEADY
cdef Py_ssize_t MAX_KEPT_BYTES
cdef list STATIC
cdef dict STATIC_NAMES
cdef dict STATIC_PLACES
cdef list INDEXED_OCTETS
cdef Memo CODED

cdef class Entry:
    cdef readonly Py_ssize_t size

cdef class HeaderField(Entry):
    cdef readonly bytes name
    cdef readonly bytes value
    cdef public object meaning

@cython.locals(field=HeaderField)
cpdef HeaderField new_field(bytes name, bytes value)

cdef class DynamicTable:
    cdef list entries
    cdef Py_ssize_t first
    cdef readonly Py_ssize_t inserted
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t max_size

    cpdef resize(self, Py_ssize_t max_size)
    @cython.locals(size=Py_ssize_t)
    cpdef insert(self, Entry entry)
    @cython.locals(entries=list, entry=Entry)
    cpdef make_room(self, Py_ssize_t size)
    cpdef forget(self, Entry entry)

cdef class Decoder:
    cdef Py_ssize_t max_list_bytes
    cdef Py_ssize_t max_fields
    cdef Py_ssize_t max_field_bytes
    cdef Py_ssize_t max_trailer_bytes
    cdef Py_ssize_t max_trailer_fields
    cdef readonly DynamicTable table
    cdef Py_ssize_t table_limit
    cdef Py_ssize_t lowest_limit
    cdef readonly long long generation
    cdef Py_ssize_t position

    cpdef limit_table(self, Py_ssize_t max_bytes)
    @cython.locals(room=Py_ssize_t, fields_left=Py_ssize_t, end=Py_ssize_t, fields=list, refused=bint, octet=int,
                   field=HeaderField, name=bytes)
    cpdef list decode(self, bytes block, bint trailers=*)
    @cython.locals(updates=int, end=Py_ssize_t, size=Py_ssize_t)
    cpdef read_size_updates(self, bytes block)
    @cython.locals(end=Py_ssize_t, position=Py_ssize_t, value=Py_ssize_t, shift=int, octet=int)
    cpdef Py_ssize_t read_integer(self, bytes block, int mask) except -1
    @cython.locals(place=Py_ssize_t, size=Py_ssize_t, start=Py_ssize_t, text=bytes)
    cpdef bytes read_string(self, bytes block)
    @cython.locals(index=Py_ssize_t, name=bytes)
    cpdef HeaderField read_literal(self, bytes block, int mask)
    @cython.locals(entries=list, place=Py_ssize_t)
    cpdef HeaderField find(self, Py_ssize_t index)

cdef class CodedField(Entry):
    cdef readonly int place
    cdef readonly bint once
    cdef readonly bint worth
    cdef readonly bytes octets
    cdef readonly bytes indexing

@cython.locals(size=Py_ssize_t)
cpdef bytes write_string(bytes text)
@cython.locals(coded=CodedField)
cpdef CodedField code_field(tuple pair)
@cython.locals(coded=CodedField, name=bytes, value=bytes, text=bytes, index=int)
cpdef CodedField new_coded(tuple pair)

cdef class SendTable(DynamicTable):
    cdef readonly dict numbers

    cpdef forget(self, Entry entry)

cdef class Encoder:
    cdef Py_ssize_t max_table_bytes
    cdef readonly SendTable table
    cdef dict numbers
    cdef Py_ssize_t lowest
    cdef Py_ssize_t target
    cdef readonly long long generation

    cpdef limit_table(self, Py_ssize_t max_bytes)
    @cython.locals(pieces=list, section=list, pair=tuple, coded=CodedField)
    cpdef bytes encode(self, object fields)
    @cython.locals(pieces=list, table=SendTable)
    cpdef list begin(self)
    @cython.locals(number=Py_ssize_t, place=Py_ssize_t)
    cpdef bytes put(self, CodedField coded)
