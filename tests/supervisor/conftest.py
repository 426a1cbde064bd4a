"""What the tests of the supervisor share: real services in directories of their own."""

import pytest
from service import Service

APP = '''
"""Answers with the worker's process id."""

import os


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})


def wsgi(environ, start_response):
    body = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
'''


@pytest.fixture
def launch(tmp_path, write):
    """Return a function that starts `trilithon` with arguments and gives it as `Service`; all are ended at the end.

    `pids.py` in the test's directory answers with process ids: `pids:app` (ASGI) and `pids:wsgi`.
    """
    services = []
    write({"pids.py": APP})

    def start(*arguments, pass_fds=(), directory=tmp_path, command=None, free_port=True, **variables):
        if free_port and "-b" not in arguments and "--bind" not in arguments:
            arguments = [*arguments, "-b", "127.0.0.1:0"]
        service = Service(arguments, directory, pass_fds, command, **variables)
        services.append(service)
        return service

    yield start
    for service in services:
        service.clean_up()
        print(f"What {service.process.args} logged:", service.log, sep="\n")  # pytest shows it where a test failed
