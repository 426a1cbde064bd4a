"""HTTP/2 with Node's client: many streams, uploads, trailers, resets and flow control."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .h2_digest import Place, open_place
from .h2_site import SITES
from .tls_client import Trust

pytestmark = pytest.mark.real

SCRIPT = Path(__file__).with_name("h2_node.js")
ACTS = ["many", "uploads", "trailers", "downloads", "slowly", "resets", "settings", "heads"]


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of this file."""
    return Trust(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=[(kind, secure) for kind in SITES for secure in (False, True)], ids=str)
def place(request: pytest.FixtureRequest, trust: Trust) -> Iterator[Place]:
    """Serve each kind of site, with TLS and without."""
    kind, secure = request.param
    with open_place(kind, trust if secure else None) as opened:
        yield opened


def play(place: Place, act: str) -> None:
    """Let Node do one act."""
    words = ["node", str(SCRIPT), place.url, str(place.trust.ca_certs) if place.trust else "", act]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False, text=True)
    assert done.stdout == "held\n", done.stderr


@pytest.mark.spec("H2-STR-05", "H2-FLOW-03", "H2-FLOW-04", "H2-STR-11", "A-SCOPE-23", "W-CALL-06")
@pytest.mark.parametrize("act", ACTS)
def test_node(place: Place, act: str) -> None:
    play(place, act)


@pytest.mark.spec("H2-STR-11", "A-XTRAIL-01")
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("kind", ["asgi", "asgi-mixed"])
def test_node_hears_trailers(kind: str, secure: bool, trust: Trust) -> None:
    with open_place(kind, trust if secure else None) as opened:
        play(opened, "answered_with_trailers")
