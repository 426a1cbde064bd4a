"""Awaitables that are done already: what send() returns costs no task switch and no coroutine of its own."""

from collections.abc import Generator
from typing import Any


class Ready:
    """An awaitable that is done already: awaiting it costs no task switch and no coroutine of its own.

    It has the shape of a coroutine, so that `create_task(receive())` works as with any other server.
    """

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Any]:
        return self

    def __iter__(self) -> "Ready":
        return self

    def __next__(self) -> object:
        raise StopIteration(self.value)

    def send(self, value: object) -> object:
        """End at once with the value."""
        raise StopIteration(self.value)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> object:
        """Raise what is thrown in."""
        raise kind if value is None else value

    def close(self) -> None:
        """Nothing is held."""


class Failed(Ready):
    """An awaitable that raises: the error of a send comes out of awaiting it, as from any coroutine."""

    def __next__(self) -> object:
        raise self.value  # type: ignore[misc]

    def send(self, value: object) -> object:
        """Raise at once."""
        raise self.value  # type: ignore[misc]


SENT = Ready(None)
