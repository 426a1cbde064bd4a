# C layout of what proxies say of a request.
cimport cython
from trilithon.foundation.networks cimport Networks
from trilithon.wire.exchange cimport Exchange, Peer
from trilithon.wire.fields cimport FieldLine
from trilithon.wire.head cimport RequestHead
from trilithon.wire.memo cimport Memo

cdef class Claim:
    cdef public bint named
    cdef public tuple client
    cdef public str scheme
    cdef public object port
    cdef public bytes host
    cdef public str prefix

cdef class Verdict:
    cdef readonly Peer peer
    cdef readonly bint named
    cdef readonly FieldLine host
    cdef readonly str prefix

cdef class Forwarding:
    cdef readonly Networks trusted
    cdef readonly bint standard
    cdef readonly bint host
    cdef readonly bint prefix
    cdef dict slots
    cdef readonly Memo verdicts

    @cython.locals(peer=Peer, head=RequestHead, values=list, line=FieldLine, name=bytes, first=int, slot=int,
                   before=bytes)
    cpdef apply(self, Exchange exchange)
    @cython.locals(direct=tuple, verdict=Verdict)
    cpdef decide(self, Exchange exchange, Peer peer, list values)
    @cython.locals(claim=Claim, server=tuple, derived=Peer)
    cpdef Verdict judge(self, Peer peer, list values)
    @cython.locals(claim=Claim, hop=int, entries=list)
    cpdef Claim read_customary(self, list values)
    @cython.locals(claim=Claim, found=list, nodes=list, hop=int, client=tuple, element=dict)
    cpdef Claim read_standard(self, list values)
    @cython.locals(hop=int, address=tuple)
    cpdef tuple walk(self, list chain)

@cython.locals(head=RequestHead, lines=list, index=Py_ssize_t, held=FieldLine)
cpdef replace_host(Exchange exchange, FieldLine line)
@cython.locals(found=list, quoted=bint, end=Py_ssize_t, at=Py_ssize_t, octet=int)
cpdef list split_elements(bytes value)
@cython.locals(start=Py_ssize_t)
cpdef bint escaped(bytes value, Py_ssize_t at) except -1
