"""A WSGI application that sends the large file through the server's file wrapper."""

import os
from wsgiref.util import FileWrapper

from plain_wsgi import fields

PATH = os.environ["BENCHMARK_FILE"]
LENGTH = os.path.getsize(PATH)
PART_BYTES = 65536


def by_wrapper(environ, start_response):
    """Hand the open file to the server's wrapper, to the standard library's where it has none."""
    start_response("200 OK", fields(LENGTH))
    wrapper = environ.get("wsgi.file_wrapper", FileWrapper)
    return wrapper(open(PATH, "rb"), PART_BYTES)
