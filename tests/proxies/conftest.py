"""What the tests of all proxies share: a certificate, and a directory whose path is short enough for Unix sockets."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.mirror import AUTHORITY
from tests.net.tls_authority import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Sign the certificates of sites and proxies."""
    return Authority()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a new directory."""
    with tempfile.TemporaryDirectory(prefix="proxy") as path:
        yield Path(path)


@pytest.fixture
def pem(authority: Authority, directory: Path) -> str:
    """Return the path of a file with a certificate and its key."""
    return authority.server(AUTHORITY).write(directory / "site.pem")
