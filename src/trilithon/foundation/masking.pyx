# cython: language_level=3, nonecheck=False
"""Unmasking of WebSocket payloads (RFC 6455 5.3) at C speed: 32 bytes a step."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy


cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>
    /* 32 bytes a step, in a shape that compilers turn into vector instructions. */
    #if defined(__GNUC__) && !defined(__clang__)
    __attribute__((optimize("O3")))
    #endif
    static void xor_blocks(unsigned char *target, const unsigned char *source, size_t blocks, uint64_t key) {
        for (size_t block = 0; block < blocks; block++) {
            uint64_t words[4];
            memcpy(words, source + block * 32, 32);
            for (int word = 0; word < 4; word++)
                words[word] ^= key;
            memcpy(target + block * 32, words, 32);
        }
    }
    """
    void xor_blocks(unsigned char* target, const unsigned char* source, size_t blocks, uint64_t key)


cpdef bytes unmask(bytes data, Py_ssize_t start, Py_ssize_t stop, bytes key, Py_ssize_t phase):
    """Return `data[start:stop]` with the four bytes of `key` taken off, beginning with its byte number `phase`."""
    cdef Py_ssize_t size = stop - start
    cdef Py_ssize_t index
    cdef unsigned char wide_bytes[8]
    cdef uint64_t wide
    cdef uint64_t word
    cdef const unsigned char* source
    cdef const unsigned char* mask
    cdef unsigned char* target
    cdef bytes plain
    if start < 0 or size < 0 or stop > PyBytes_GET_SIZE(data) or PyBytes_GET_SIZE(key) != 4 or phase < 0 or phase > 3:
        raise ValueError("bounds outside the data, or no key of four bytes")
    if not size:
        return b""
    plain = PyBytes_FromStringAndSize(NULL, size)
    source = <const unsigned char*>PyBytes_AS_STRING(data) + start
    mask = <const unsigned char*>PyBytes_AS_STRING(key)
    target = <unsigned char*>PyBytes_AS_STRING(plain)
    for index in range(8):
        wide_bytes[index] = mask[(phase + index) & 3]
    memcpy(&wide, wide_bytes, 8)
    xor_blocks(target, source, size >> 5, wide)
    index = size & ~31
    while index + 8 <= size:
        memcpy(&word, source + index, 8)
        word ^= wide
        memcpy(target + index, &word, 8)
        index += 8
    while index < size:
        target[index] = source[index] ^ wide_bytes[index & 7]
        index += 1
    return plain
