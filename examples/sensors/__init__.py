"""Sensor uploads with database writes and a call to a remote service: one application, once as WSGI, once as ASGI."""
