"""The errors of the project, split by whose fault they are."""


class TrilithonError(Exception):
    """Base of every error that this package defines."""


class PeerError(TrilithonError):
    """The client broke the protocol; the answer is `status` and the connection closes.

    `status` is the HTTP status to answer (int), `reason` one line for the log and `section` the rule, such as
    "RFC 9112 5.1". Nothing of the request is repeated in the answer.
    """

    def __init__(self, status: int, reason: str, section: str = "") -> None:
        super().__init__(f"{reason} ({section})" if section else reason)
        self.status = status
        self.reason = reason
        self.section = section


class SocketFault(TrilithonError):
    """The client broke the WebSocket protocol: the socket fails with close code `code` (RFC 6455 7.1.7)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class AppError(TrilithonError):
    """The application broke a rule of its interface; the message names the actual and the allowed value."""


class ConfigError(TrilithonError):
    """An option cannot be used: which one, its value and what would do."""

    def __init__(self, option: str, value: object, remedy: str) -> None:
        super().__init__(f"{option} = {value!r}: {remedy}")
        self.option = option
        self.value = value
        self.remedy = remedy


class LoadError(ConfigError):
    """The application cannot be loaded; `found` lists what was there instead, `remedy` what to type."""


class BindError(ConfigError):
    """An address cannot be listened on."""


class StartupError(TrilithonError):
    """The application's lifespan start-up failed; the message is the application's."""


class InternalError(TrilithonError):
    """A rule of this package was broken by this package."""


class ClientDisconnected(ConnectionError):
    """The client is gone: raised by `send()` (ASGI 2.4) and by writes and reads of a WSGI application.

    An OSError subclass. Leaving the application with it is normal and is not logged as an error.
    """


class IncompleteBody(ClientDisconnected):
    """The request body ended, broke its framing or passed its limit before it was complete."""


class AppTypeError(AppError, TypeError):
    """A value of the wrong type came from the application."""


class AppValueError(AppError, ValueError):
    """A value that cannot be sent came from the application."""


class AppStateError(AppError, RuntimeError):
    """The application made a call out of order."""
