"""A bounded memory of what was parsed before: clients repeat most of their lines with every request."""

from typing import Any

# Longer keys are not worth their memory.
MAX_KEY_BYTES = 192


class Memo:
    """A mapping that keeps the last `size` to twice `size` entries in use, in two generations.

    What misses both was parsed and checked in full; what hits was checked when it was kept. Filling it with lines of
    one's own only costs others the gain. Safe from several threads: each step is one operation on a dict.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.young: dict[Any, Any] = {}
        self.old: dict[Any, Any] = {}

    def find(self, key: Any) -> Any:
        """Return what is kept under the key, None when nothing is."""
        value = self.young.get(key)
        if value is None and self.old:
            value = self.old.get(key)
            if value is not None:
                self.keep(key, value)
        return value

    def keep(self, key: Any, value: Any) -> None:
        """Keep a value; the generation before the last is forgotten when this one is full."""
        if len(self.young) >= self.size:
            self.old = self.young
            self.young = {}
        self.young[key] = value
