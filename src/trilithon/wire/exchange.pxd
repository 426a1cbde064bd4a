# C layout of the exchange and of what stands on either side of it.
cimport cython
from trilithon.wire.head cimport RequestHead
from trilithon.wire.response cimport ResponseHead
from trilithon.wire.framing cimport has_no_body

cdef class Peer:
    cdef readonly tuple client
    cdef readonly tuple server
    cdef readonly bint secure
    cdef readonly str scheme
    cdef public tuple names
    cdef public object tls
    cdef public bint hearsay
    cdef public bint proxied

cdef class Receiver:
    cpdef body_arrived(self)
    cpdef lost(self)
    cpdef peer_ended(self)
    cpdef expired(self)
    cpdef drained(self)
    cpdef tick(self, double now)

cdef class Transport:
    cpdef write(self, bytes data)
    cpdef write_span(self, object span)
    cpdef fell_short(self, object fault)
    cpdef finish(self, bint lingering)
    cpdef abort(self, bint reset)
    cpdef pause(self)
    cpdef resume(self)
    cpdef opened(self, Exchange exchange)
    cpdef uncorked(self)
    cpdef ended(self, Exchange exchange)
    cpdef rejected(self, int status, str reason)
    cpdef troubled(self, str reason)
    cpdef bint gone(self) except -1
    cpdef pull(self)
    cpdef push(self, bint wait)
    cpdef bint congested(self) except -1

cdef class Carrier:
    cdef readonly Transport transport

    cpdef send(self, Exchange exchange, bytes data, bint final)
    cpdef send_file(self, Exchange exchange, object span, bint final)
    cpdef send_trailers(self, Exchange exchange, list lines)
    cpdef switch(self, Exchange exchange, object handshake, object answer)
    cpdef inform(self, Exchange exchange, int status, bytes block)
    cpdef bint informs(self, Exchange exchange) except -1
    cpdef reset(self, Exchange exchange)
    cpdef refuse(self, Exchange exchange, int status, bytes extra)
    cpdef want_body(self, Exchange exchange)
    cpdef engage(self, Exchange exchange)
    cpdef bytes take(self, Exchange exchange)
    cpdef released(self, Exchange exchange)
    cpdef pull(self, Exchange exchange)
    cpdef push(self, Exchange exchange, bint wait)
    cpdef bint congested(self) except -1

cdef class Exchange:
    cdef public Carrier carrier
    cdef readonly RequestHead head
    cdef public Peer peer
    cdef public Receiver receiver
    cdef public object gateway
    cdef public object connection
    cdef public str mounted_at
    cdef public str root_path
    cdef readonly list body
    cdef readonly Py_ssize_t body_bytes
    cdef readonly Py_ssize_t received_bytes
    cdef public object inbound
    cdef public object outbound
    cdef readonly ResponseHead response
    cdef readonly bint bodiless
    cdef public object sent_bytes
    cdef public int status
    cdef public bint must_close
    cdef public bint half_closed
    cdef public Py_ssize_t window_bytes
    cdef public bint ticks
    cdef readonly unsigned long waits
    cdef public double opened_at
    cdef public long long mark
    cdef public unsigned long thread

    cpdef feed(self, bytes data)
    @cython.locals(receiver=Receiver)
    cpdef lose(self)
    cpdef bytes take_body(self)
    @cython.locals(body=list, data=bytes)
    cpdef bytes drain_body(self)
    cpdef await_body(self)
    cpdef await_drain(self)
    cpdef respond(self, ResponseHead response)
    cpdef switch(self, object handshake, object answer)
    cpdef replace(self, ResponseHead response)
    cpdef write(self, bytes data)
    cpdef end(self, bytes data)
    cpdef end_with_trailers(self, list lines)
    cpdef write_file(self, object span)
    cpdef end_with_file(self, object span)
    @cython.locals(response=ResponseHead, copied=bint, data=bytes)
    cdef put_file(self, object span, bint final)
    @cython.locals(response=ResponseHead)
    cpdef check_whole(self)
    cpdef check_flow(self)
    @cython.locals(response=ResponseHead)
    cpdef account(self, object size)
    @cython.locals(response=ResponseHead)
    cpdef room(self)
    cpdef refuse(self, int status, bytes extra=*)
    cpdef abort(self)
