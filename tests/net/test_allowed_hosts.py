"""Requests for hosts that the site is not served under, over each protocol."""

import httpx
import pytest

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.testing import serve
from trilithon.wire.hosts import AllowedHosts

SERVED = [
    ("example.org", True),
    ("EXAMPLE.org:8000", True),
    ("example.org.", True),
    ("www.example.org", False),
    ("a.example.net", True),
    ("a.b.example.net", True),
    ("example.net", False),
    ("badexample.net", False),
    ("[::1]:80", True),
    ("[::2]", False),
    ("127.0.0.1", False),
]


async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]


@pytest.mark.parametrize(("host", "served"), SERVED)
def test_hosts_are_compared_without_case_and_port(host, served):
    hosts = AllowedHosts(["Example.org", "*.example.net", "[::1]"])
    for _ in range(2):
        assert hosts.allows(host.encode()) is served


def test_a_request_without_a_host_is_for_none():
    assert not AllowedHosts(["example.org"]).allows(None)


@pytest.mark.real
@pytest.mark.spec("H-SEM-04")
@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("app", [asgi, wsgi])
def test_another_host_is_misdirected(app, http2):
    with serve(app, allowed_hosts=["example.org"], max_queued_requests=2) as site:
        for _ in range(3):
            with httpx.Client(http1=not http2, http2=http2) as client:
                for host, status in (("example.org", 200), ("example.org:80", 200), ("example.com", 421)):
                    answer = client.get(site.url, headers={"Host": host})
                    assert answer.status_code == status
                    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")


@pytest.mark.parametrize("host", ["https://example.org", "example.org:80", "*", "a b", "*.", "é"])
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ConfigError, match="a host is a name"):
        Options(allowed_hosts=[host])
