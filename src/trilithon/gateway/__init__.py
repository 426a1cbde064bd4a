"""Floor 2: exchanges become WSGI and ASGI calls; no sockets."""
