"""The sensors as an ASGI application that waits for as many calls at once as there may be clients."""

from sensors import upstream

upstream.MAX_CALLS = 1024

from sensors.asgi import app  # noqa: E402, F401 - the number above is read when the application starts
