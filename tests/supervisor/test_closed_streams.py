"""Standard streams that are closed, as some who start programs leave them: the server serves, reloads and ends well."""

import http.client
import signal
import socket
import sys
from contextlib import closing

import pytest
from service import until

pytestmark = [pytest.mark.real, pytest.mark.once]

WAYS = {
    "alone": ("--workers", "0"),
    "fork": ("--workers", "2"),
    "preload": ("--workers", "2", "--preload"),
    "spawn": ("--workers", "2", "--start-method", "spawn"),
}
# It writes to all of them whenever it can, and then does not look whether they are there.
TALKS = """
    import os, sys
    print("imported")
    print("imported", file=sys.stderr)

    def app(environ, start_response):
        sys.stdout.write("called")
        sys.stderr.write("called")
        environ["wsgi.errors"].write("called")
        start_response("200 OK", [])
        return [f"{os.getpid()} {sys.stdin.read()}".encode()]
"""


def ask(address):
    """Return what the application answers, on a connection of its own."""
    with closing(http.client.HTTPConnection(*address, timeout=20.0)) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode()


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("way", WAYS)
def test_streams_that_are_closed_change_nothing(launch, write, way, streams):
    write({"talks.py": TALKS})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        command = ["sh", "-c", f'exec "$0" -m trilithon "$@" {streams}', sys.executable]
        service = launch("talks:app", *WAYS[way], "-b", f"fd:{fd}", command=command, pass_fds=[fd])
        first = ask(listener.getsockname())
        if way != "alone":
            service.send(signal.SIGHUP)
            until(lambda: ask(listener.getsockname()) not in (first, ""), "another worker")
            until(lambda: len(service.children()) == (1 if way == "preload" else 2), "the end of the ones before")
        assert service.stop() == 0
    assert "Traceback" not in service.log
