"""The end of a process whose application has started threads that are no daemons: it comes, and is told."""

import signal
import time

import pytest
from invocation import fetch

from trilithon.worker.leaving import END_S

pytestmark = pytest.mark.real

FREE = ("-b", "127.0.0.1:0")

SITE = '''
    """Leaves threads behind, and tells of its end."""

    import atexit
    import concurrent.futures
    import os
    import sys
    import threading

    atexit.register(print, "last words", file=sys.stderr)
    LEFT = os.environ["LEFT"]
    if "thread" in LEFT:
        threading.Thread(target=threading.Event().wait, name="left-behind").start()
    if "pool" in LEFT:
        pool = concurrent.futures.ThreadPoolExecutor(4)
        pool.submit(print).result()
    if "import" in LEFT:
        raise ImportError("no such luck")

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    async def failing(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
'''


@pytest.fixture(autouse=True)
def site(write):
    """Have an application in the directory."""
    write({"leaving_site.py": SITE})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_graceful_stop_waits_for_threads_but_not_for_ever(serving, number):
    server = serving("leaving_site", *FREE, LEFT="thread")
    assert fetch(("127.0.0.1", server.port()))[0] == 200
    begin = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - begin > END_S - 1
    told = "WARNING ended although threads of the application still ran 5 s after the stop: left-behind"
    assert server.log.count(told) == 1
    assert server.log.index("INFO stopped") < server.log.index(told) < server.log.index("last words")
    assert server.log.count("last words") == 1


def test_quit_ends_at_once_even_where_it_was_ignored(serving, write):
    # As it is for what a shell starts in the background.
    write(
        {"deaf_site.py": "import signal\nsignal.signal(signal.SIGQUIT, signal.SIG_IGN)\nfrom leaving_site import app\n"}
    )
    server = serving("deaf_site", *FREE, LEFT="thread")
    server.port()
    assert server.stop(signal.SIGQUIT) == 131
    assert "INFO stopped" not in server.log


def test_a_second_signal_does_not_wait(serving):
    server = serving("leaving_site", *FREE, LEFT="thread")
    server.port()
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("INFO stopped")
    assert server.stop() in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert "still ran" not in server.log


def test_the_threads_of_an_idle_pool_cost_no_time(serving):
    server = serving("leaving_site", *FREE, LEFT="pool")
    server.port()
    assert server.stop() == 0
    assert "still ran" not in server.log
    assert server.log.count("last words") == 1


@pytest.mark.parametrize(
    ("arguments", "left", "code", "reason"),
    [
        (["leaving_site", *FREE], "thread import", 3, "no such luck"),
        (["leaving_site:missing", *FREE], "thread", 3, "missing"),
        (["leaving_site:failing", *FREE], "thread", 5, "no database"),
        (["leaving_site", "-b", "192.0.2.1:80"], "thread", 4, "192.0.2.1"),
        (["check", "leaving_site"], "thread import", 3, "no such luck"),
    ],
)
def test_a_start_that_fails_waits_for_no_thread(command, arguments, left, code, reason):
    done = command(*arguments, LEFT=left)
    assert done.returncode == code
    assert reason in done.stderr
    assert done.stderr.count("last words") == 1
    assert "still ran" not in done.stderr


def test_a_check_ends_too(command):
    done = command("check", "leaving_site", LEFT="thread")
    assert done.returncode == 0
    assert "leaving_site:app: wsgi" in done.stdout
    assert done.stderr.count("last words") == 1
