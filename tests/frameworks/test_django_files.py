"""Files that Django sends, as WSGI and as ASGI, over every protocol."""

from pathlib import Path
from typing import Any

import django_site
import httpx
import pytest
from tests.gateway.extension_client import WAYS, Way
from tests.net.tls_client import Trust

pytestmark = [
    pytest.mark.real,
    # Django's own remark on a plain iterator behind ASGI.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning"),
]

APPLICATIONS = {"wsgi": django_site.application, "asgi": django_site.asgi_application}


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of this file."""
    return Trust(tmp_path_factory.mktemp("tls"))


@pytest.mark.spec("W-FILE-02", "W-FILE-06")
@pytest.mark.parametrize("interface", APPLICATIONS)
@pytest.mark.parametrize("name", WAYS)
def test_a_file_response(name: str, interface: str, trust: Trust) -> None:
    way = Way(name, trust)
    context: Any = trust.context("h2" if way.is_h2 else "http/1.1") if way.is_tls else False
    expected = Path(django_site.__file__).read_bytes()
    with (
        way.serve(APPLICATIONS[interface]) as site,
        httpx.Client(http1=not way.is_h2, http2=way.is_h2, verify=context, trust_env=False) as client,
    ):
        for _ in range(2):
            answer = client.get(f"{'https' if way.is_tls else 'http'}://localhost:{site.port}/file/")
            assert (answer.status_code, answer.content) == (200, expected)
            assert answer.headers["content-length"] == str(len(expected))
