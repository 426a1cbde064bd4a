"""What the checklists leave optional and this server leaves to the application: host allow-lists and ranges."""

import http.client
import tempfile

import pytest

from trilithon.testing import serve

pytestmark = pytest.mark.real

DEADLINE_S = 10
CONTENT = bytes(range(256)) * 40


def send_file(environ, start_response):
    """Answer with a file, and with the Range that was asked for in a field of its own."""
    handle = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it with the response
    handle.write(CONTENT)
    handle.seek(0)
    fields = [("Content-Type", "application/octet-stream"), ("X-Asked", environ.get("HTTP_RANGE", "none"))]
    start_response("200 OK", fields)
    return environ["wsgi.file_wrapper"](handle)


def name_the_host(environ, start_response):
    """Answer with the Host that was asked for."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["HTTP_HOST"].encode("latin-1")]


def ask(site, target: str, fields: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the fields and the content of the answer to one GET."""
    connection = http.client.HTTPConnection(site.host, site.port, timeout=DEADLINE_S)
    try:
        connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in fields.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.spec("H-SEM-09")
def test_a_range_is_the_applications_business():
    with serve(send_file) as site:
        status, fields, content = ask(site, "/", {"Host": "a", "Range": "bytes=5-9"})
    assert status == 200
    assert fields["x-asked"] == "bytes=5-9"
    assert "content-range" not in fields
    assert content == CONTENT


@pytest.mark.spec("H1-HOST-06")
def test_every_valid_host_is_served():
    with serve(name_the_host) as site:
        for host in ("localhost", "other.example", "192.0.2.1:8080", "[2001:db8::1]"):
            status, _, content = ask(site, "/", {"Host": host})
            assert (status, content) == (200, host.encode())


@pytest.mark.spec("H1-HOST-06")
def test_a_host_is_never_reflected_by_the_server():
    with serve(name_the_host) as site:
        status, fields, content = ask(site, "http://else.example/", {"Host": "evil.example"})
        assert status == 400
        assert b"example" not in content
        assert not [name for name, value in fields.items() if "example" in value]
