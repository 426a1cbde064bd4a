"""What the traffic asks for, as a WSGI application: the process that answers, and something large."""

import os

LARGE = b"x" * 1048576


def app(environ, start_response):
    """Serve whatever comes."""
    environ["wsgi.input"].read()
    body = LARGE if environ["PATH_INFO"] == "/large" else b"%d" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
