"""Serving from the command line: every form of bind, every source of options, exit codes and signals."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from invocation import environment, fetch

pytestmark = pytest.mark.real

SITE = """
    import json
    import logging.config

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"wsgi {environ['SCRIPT_NAME']} {environ['PATH_INFO']} {environ.get('SITE', '')}".encode()]

    async def api(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"asgi {scope['root_path']} {scope['path']}".encode()})

    def silencing():
        logging.config.dictConfig({"version": 1})
        return app

    async def failing(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
FREE = ("-b", "127.0.0.1:0")


@pytest.fixture(autouse=True)
def site(write):
    """Have an application in the directory."""
    write({"served_site.py": SITE})


@pytest.mark.parametrize(("target", "body"), [("served_site", "wsgi  /a "), ("served_site:api", "asgi  /a")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_application_is_served_until_a_signal(serving, target, body, number):
    server = serving(target, *FREE)
    port = server.port()

    status, _, received = fetch(("127.0.0.1", port), "/a")

    assert (status, received) == (200, body)
    assert server.stop(number) == 0
    assert "Traceback" not in server.log


def test_the_long_form_serves_too(serving):
    server = serving("serve", "served_site.py:api", *FREE)

    assert fetch(("127.0.0.1", server.port()))[2] == "asgi  /"


def test_ipv6(serving):
    server = serving("served_site", "-b", "[::1]:0")

    assert fetch(("::1", server.port("::1")))[0] == 200
    assert server.stop() == 0


def test_every_interface(serving):
    server = serving("served_site", "-b", ":0")
    port = int(server.wait_for(r":(\d+)\b(?!:)\D*$")[1])

    assert fetch(("127.0.0.1", port))[0] == 200


def test_a_unix_socket(serving, tmp_path):
    server = serving("served_site", "-b", f"unix:{tmp_path}/site.sock", "--access-log", "common")
    server.wait_for("site.sock")

    assert fetch(f"{tmp_path}/site.sock")[0] == 200
    assert server.stop() == 0
    assert "- - - [" in server.log


def test_a_socket_handed_over(serving):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = serving("served_site", "-b", f"fd:{listener.fileno()}", pass_fds=[listener.fileno()])

        assert fetch(listener.getsockname())[0] == 200
        assert server.stop() == 0


def test_several_binds_at_once(serving, tmp_path):
    server = serving("served_site", *FREE, "-b", "[::1]:0", "-b", f"unix:{tmp_path}/site.sock")
    addresses = [("127.0.0.1", server.port()), ("::1", server.port("::1"))]
    server.wait_for("site.sock")

    assert [fetch(address)[0] for address in (*addresses, f"{tmp_path}/site.sock")] == [200, 200, 200]


@pytest.mark.spec("W-EXT-02")
@pytest.mark.parametrize("source", ["environment", "toml", "pyproject"])
def test_options_of_every_source_reach_the_server(serving, write, source):
    variables = {}
    if source == "environment":
        variables = {
            "TRILITHON_BIND": "127.0.0.1:0",
            "TRILITHON_ENVIRON": "SITE=one",
            "TRILITHON_SERVER_HEADER": "mine",
        }
    else:
        text = 'bind = ["127.0.0.1:0"]\nserver_header = "mine"\nenviron = ["SITE=one"]\n'
        name = "trilithon.toml" if source == "toml" else "pyproject.toml"
        write({name: text if source == "toml" else "[tool.trilithon]\n" + text})

    server = serving("served_site", **variables)
    _, fields, body = fetch(("127.0.0.1", server.port()))

    assert fields["Server"] == "mine"
    assert body == "wsgi  / one"


def test_mounts_need_no_application(serving):
    server = serving("--mount", "/old=served_site:app", "--mount", "/=served_site:api", *FREE)
    port = server.port()

    assert fetch(("127.0.0.1", port), "/old/x")[2] == "wsgi /old /x "
    assert fetch(("127.0.0.1", port), "/older")[2] == "asgi  /older"


def test_mounts_of_the_file_beside_an_application(serving, write):
    write({"trilithon.toml": '[mounts]\n"/new/" = "served_site:api"\n'})
    server = serving("served_site:app", *FREE)
    port = server.port()

    assert fetch(("127.0.0.1", port), "/new/x")[2] == "asgi /new /new/x"
    assert fetch(("127.0.0.1", port), "/x")[2] == "wsgi  /x "


@pytest.mark.parametrize("target", ["served_site:app", "served_site:api"])
def test_the_access_log_of_the_common_form(serving, target):
    server = serving(target, *FREE, "--access-log", "common")
    body = fetch(("127.0.0.1", server.port()), "/a%22b")[2]

    assert server.stop() == 0
    line = next(line for line in server.log.splitlines() if '"GET ' in line)
    assert re.fullmatch(rf'127\.0\.0\.1 - - \[[^]]+\] "GET /a%22b HTTP/1\.1" 200 {len(body)} \d+', line)


@pytest.mark.parametrize("target", ["served_site:app", "served_site:api"])
def test_the_access_log_of_the_json_form(serving, target):
    server = serving(target, *FREE, "--access-log", "json")
    fetch(("127.0.0.1", server.port()), "/a")

    assert server.stop() == 0
    line = json.loads(next(line for line in server.log.splitlines() if line.startswith("{")))
    assert (line["client"], line["method"], line["target"], line["status"]) == ("127.0.0.1", "GET", "/a", 200)


def test_the_access_log_is_on_where_standard_error_is_a_terminal(tmp_path):
    ours, theirs = os.openpty()
    with socket.create_server(("127.0.0.1", 0)) as listener, open(ours, "rb", buffering=0) as terminal:
        arguments = ["served_site", "-b", f"fd:{listener.fileno()}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "trilithon", *arguments],
            cwd=tmp_path,
            env=environment(),
            stderr=theirs,
            pass_fds=[listener.fileno()],
        )
        os.close(theirs)
        try:
            assert fetch(listener.getsockname(), "/seen")[0] == 200
        finally:
            process.terminate()
        assert process.wait(20) == 0
        shown = terminal.read(1 << 16)

    assert b'"GET /seen HTTP/1.1" 200' in shown


def test_the_access_log_is_off_where_standard_error_is_no_terminal(serving):
    server = serving("served_site", *FREE)
    fetch(("127.0.0.1", server.port()))

    assert server.stop() == 0
    assert "GET" not in server.log


def test_a_logging_configuration_takes_both_logs(serving, tmp_path, write):
    log = tmp_path / "all.log"
    handlers = {
        name: {"class": "logging.FileHandler", "filename": str(log), "formatter": name} for name in ("access", "error")
    }
    formatters = {"access": {"format": "%(name)s %(status)s"}, "error": {"format": "%(name)s"}}
    loggers = {f"trilithon.{name}": {"handlers": [name], "level": "INFO"} for name in ("access", "error")}
    write({"log.json": json.dumps({"handlers": handlers, "formatters": formatters, "loggers": loggers})})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bind = f"fd:{listener.fileno()}"
        server = serving("served_site", "-b", bind, "--log-config", "log.json", pass_fds=[listener.fileno()])
        fetch(listener.getsockname())

        assert server.stop() == 0
    assert server.log == ""
    lines = log.read_text().splitlines()
    assert "trilithon.access 200" in lines and "trilithon.error" in lines


def test_an_application_that_disables_loggers_does_not_silence_the_server(serving):
    server = serving("served_site:silencing", "--factory", *FREE)

    assert fetch(("127.0.0.1", server.port()))[0] == 200


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full"])
def test_a_standard_error_that_fails_does_not_stop_serving(serving, redirect, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        shell = f'exec "$0" -m trilithon served_site -b fd:{listener.fileno()} --access-log common {redirect}'
        process = subprocess.Popen(
            ["sh", "-c", shell, sys.executable], cwd=tmp_path, env=environment(), pass_fds=[listener.fileno()]
        )
        try:
            for _ in range(3):
                assert fetch(listener.getsockname(), "/a")[0] == 200
        finally:
            process.terminate()
        assert process.wait(20) == 0


def test_an_address_in_use_ends_with_its_code(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command("served_site", "-b", f"127.0.0.1:{taken.getsockname()[1]}")

    assert done.returncode == 4
    assert "in use" in done.stderr and "Traceback" not in done.stderr


def test_a_descriptor_that_is_none_ends_with_its_code(command):
    done = command("served_site", "-b", "fd:77")

    assert done.returncode == 4
    assert "fd:77" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.spec("A-LIFE-04")
def test_a_failed_startup_ends_with_its_code(command):
    done = command("served_site:failing", *FREE)

    assert done.returncode == 5
    assert "no database" in done.stderr


def test_an_application_that_cannot_be_loaded_ends_with_its_code_and_without_frames_of_ours(command, write):
    write({"broken_site.py": "1 / 0\n"})

    done = command("broken_site", *FREE)

    assert done.returncode == 3
    assert 'broken_site.py", line 1' in done.stderr and "trilithon/" not in done.stderr


def test_an_interrupt_while_the_application_is_imported_is_quiet(serving, write):
    write({"slow_site.py": "import sys, threading\nprint('importing', file=sys.stderr)\nthreading.Event().wait()\n"})
    server = serving("slow_site", *FREE)
    server.wait_for("importing")

    assert server.stop(signal.SIGINT) in (130, -signal.SIGINT)
    assert "Traceback" not in server.log
