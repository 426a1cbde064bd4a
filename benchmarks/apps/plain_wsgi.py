"""Bare WSGI applications, one per question a benchmark asks, without routing."""

import time

HELLO = b"Hello, world!"
KIB_10 = b"x" * 10240
CHUNK = b"x" * 65536
CHUNKS = 16


def fields(length):
    """List the response fields of an answer of `length` bytes, or of unknown length for None."""
    listed = [("Content-Type", "text/plain; charset=utf-8")]
    if length is not None:
        listed.append(("Content-Length", str(length)))
    return listed


def constant(environ, start_response):
    """Answer thirteen bytes."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "13")])
    return [HELLO]


def kib_10(environ, start_response):
    """Answer 10 KiB."""
    start_response("200 OK", fields(len(KIB_10)))
    return [KIB_10]


def echo(environ, start_response):
    """Read the whole body and send it back."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", fields(len(body)))
    return [body]


def swallow(environ, start_response):
    """Read the whole body and answer its length."""
    source = environ["wsgi.input"]
    length = 0
    while part := source.read(65536):
        length += len(part)
    body = b"%d" % length
    start_response("200 OK", fields(len(body)))
    return [body]


def stream(environ, start_response):
    """Send 1 MiB of unannounced length in sixteen parts."""
    start_response("200 OK", fields(None))
    return (CHUNK for _ in range(CHUNKS))


def sleep(environ, start_response):
    """Wait 10 ms on this thread, as for a database, then answer thirteen bytes."""
    time.sleep(0.01)
    start_response("200 OK", fields(len(HELLO)))
    return [HELLO]
