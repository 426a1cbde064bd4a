"""Trilithon: one server for WSGI and ASGI applications."""

from trilithon.foundation.version import VERSION as __version__

# As `typing.TYPE_CHECKING`, which would have to be imported.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from trilithon.foundation.options import Options
    from trilithon.supervisor.supervising import run
    from trilithon.worker.server import Server
else:

    def __getattr__(name: str) -> object:
        """Import what is asked for, and only then: the command handles signals before it imports as much as that."""
        if name == "Options":
            from trilithon.foundation.options import Options as found
        elif name == "Server":
            from trilithon.worker.server import Server as found
        elif name == "run":
            from trilithon.supervisor.supervising import run as found
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


__all__ = ["Options", "Server", "__version__", "run"]
