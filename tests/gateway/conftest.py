"""The ways in which the tests of extensions reach a site: every protocol, in the clear and over TLS."""

import pytest
from extension_client import WAYS, Way
from tests.net.tls_client import Trust


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of these tests."""
    return Trust(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, trust: Trust) -> Way:
    """Give each protocol, in the clear and over TLS."""
    return Way(request.param, trust)


@pytest.fixture(params=["http1", "h2"])
def clear_way(request: pytest.FixtureRequest, trust: Trust) -> Way:
    """Give each protocol in the clear, for what TLS does not touch."""
    return Way(request.param, trust)
