"""What starts the proxies: one that does not have its port alone is not taken for a proxy."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .front import haproxy

pytestmark = pytest.mark.real

TEXT = """\
frontend public
    mode http
    bind 127.0.0.1:{port}
    http-request return status 200
"""


@pytest.fixture
def shared() -> Iterator[socket.socket]:
    """Return a socket that would share its port, as those of many servers do."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_haproxy_shares_no_port(directory: Path, shared: socket.socket):
    port = shared.getsockname()[1]
    with pytest.raises(AssertionError, match="ended"), haproxy(directory, TEXT.format(port=port), [port]):
        pass


def test_a_port_that_somebody_listens_on_is_told(directory: Path, shared: socket.socket):
    shared.listen()
    port = shared.getsockname()[1]
    with pytest.raises(AssertionError, match="somebody else"), haproxy(directory, TEXT.format(port=port), [port]):
        pass
