"""The client that each framework test is run with."""

from collections.abc import Iterator

import pytest
from real_clients import CLIENTS, Client


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Give each of the real clients in turn and close it afterwards."""
    made = CLIENTS[request.param]()
    yield made
    made.close()
