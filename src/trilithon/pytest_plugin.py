"""The pytest fixture `trilithon_serve`: serve applications for the length of one test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from trilithon.testing import Site, serve


@pytest.fixture
def trilithon_serve() -> Iterator[Callable[..., Site]]:
    """Return a function like `trilithon.testing.serve` that returns the site; all end with the test."""
    with ExitStack() as stack:

        def start(app: Any = None, **options: Any) -> Site:
            return stack.enter_context(serve(app, **options))

        yield start
