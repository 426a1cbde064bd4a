"""HTTP/2 judged from outside: every rule as a case on a connection of its own, for each way to an application."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from trilithon.testing import Site

from .h2_cases_connection import CONNECTION
from .h2_cases_heads import HEADS
from .h2_cases_hpack import HPACK
from .h2_cases_streams import STREAMS
from .h2_peer import Case, Peer
from .h2_site import SITES, open_site
from .tls_client import Trust

pytestmark = pytest.mark.real

CASES = CONNECTION + STREAMS + HEADS + HPACK
# Who lingers a minute cannot be mistaken for one who closes at once.
LINGER_S = 60.0


SECURE = ("asgi", "wsgi")


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of this file."""
    return Trust(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Site]]:
    """Serve each kind of site."""
    with ExitStack() as stack:
        yield {kind: stack.enter_context(open_site(kind, linger_timeout_s=LINGER_S)) for kind in SITES}


@pytest.fixture(scope="module")
def secure_sites(trust: Trust) -> Iterator[dict[str, Site]]:
    """Serve kinds of site with TLS."""
    options = {"linger_timeout_s": LINGER_S, **trust.options}
    with ExitStack() as stack:
        yield {kind: stack.enter_context(open_site(kind, **options)) for kind in SECURE}


@pytest.mark.parametrize("kind", SITES)
@pytest.mark.parametrize("case", [pytest.param(case, marks=case.mark, id=case.name) for case in CASES])
def test_case(case: Case, kind: str, sites: dict[str, Site]) -> None:
    site = sites[kind]
    with Peer((site.host, site.port), greeting=case.greeting) as peer:
        peer.play(*case.steps)


@pytest.mark.parametrize("kind", SECURE)
@pytest.mark.parametrize("case", [pytest.param(case, marks=case.mark, id=case.name) for case in CASES])
def test_case_over_tls(case: Case, kind: str, secure_sites: dict[str, Site], trust: Trust) -> None:
    site = secure_sites[kind]
    with Peer((site.host, site.port), greeting=case.greeting, tls=trust.context("h2")) as peer:
        peer.play(*case.steps)


def test_the_suite_is_whole() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert len(names) >= 150
