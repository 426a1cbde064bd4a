# C signature of the environ's hot part.
cimport cython
from trilithon.wire.exchange cimport Exchange, Peer
from trilithon.wire.fields cimport FieldName
from trilithon.wire.head cimport RequestHead

@cython.locals(head=RequestHead, peer=Peer, path=bytes, info=str, server=tuple, client=tuple, name=bytes, value=bytes, known=FieldName, key=str, text=str)
cpdef fill_environ(dict environ, Exchange exchange)
