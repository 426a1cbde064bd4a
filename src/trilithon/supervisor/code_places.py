"""Whose code a file is: the application's own, a library's, the standard library's, or ours."""

import functools
import os
import sysconfig
from enum import Enum
from pathlib import Path

_OURS = str(Path(__file__).resolve().parent.parent) + os.sep
_STANDARD = tuple(
    {os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")}
    | {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")}
)
# What a module says of its origin when it has no file.
_FILELESS = ("", "built-in", "frozen")
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class Place(Enum):
    """Whose code it is; code without a file, as made by `exec`, counts as the standard library's."""

    OWN = "own"
    LIBRARY = "library"
    STANDARD = "standard"
    OURS = "ours"


@functools.lru_cache(maxsize=4096)
def place_of(filename: str) -> Place:
    """Return whose code the file is: what is not installed is the application's own, an editable library too."""
    if any(part in filename for part in _INSTALLED):
        return Place.OURS if filename.startswith(_OURS) else Place.LIBRARY
    if filename.startswith(_OURS):
        return Place.OURS
    if filename in _FILELESS or filename.startswith("<") or filename.startswith(_STANDARD):
        return Place.STANDARD
    return Place.OWN
