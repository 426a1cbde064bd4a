# C signature of the environ's hot part.
cimport cython
from trilithon.wire.exchange cimport Exchange, Peer
from trilithon.wire.fields cimport FieldLine
from trilithon.wire.head cimport RequestHead
from trilithon.wire.start cimport RequestStart

@cython.locals(head=RequestHead, start=RequestStart, peer=Peer, info=str, query=bytes, names=tuple, line=FieldLine, key=str)
cpdef fill_environ(dict environ, Exchange exchange)
