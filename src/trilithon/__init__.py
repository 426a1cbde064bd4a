"""Trilithon: one server for WSGI and ASGI applications."""

from trilithon.foundation.options import Options
from trilithon.foundation.version import VERSION as __version__
from trilithon.supervisor.supervising import run
from trilithon.worker.server import Server

__all__ = ["Options", "Server", "__version__", "run"]
