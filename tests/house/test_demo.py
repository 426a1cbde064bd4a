"""The demo site serves its page and both parts, and a slow request on either part holds nobody up."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest
from tree import ROOT

pytestmark = pytest.mark.real

DEADLINE_S = 20
MOUNTS = re.findall(r'^    "(/.*=.*:app)",$', (ROOT / "scripts" / "demo").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Serve the demo as scripts/demo does, on a socket that is already listening, and stop it as Ctrl-C does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mounts = [word for mount in MOUNTS for word in ("--mount", mount)]
        bound = ["--bind", f"fd:{listener.fileno()}", "--stream-grace", "0"]
        command = [sys.executable, "-m", "trilithon", "serve", *mounts, *bound]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, pass_fds=[listener.fileno()])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, said
    assert "Traceback" not in said


def fetch(url: str, body: bytes | None = None) -> tuple[str, bytes]:
    """Return the media type and the content that `url` answers with."""
    with urlopen(Request(url, data=body), timeout=DEADLINE_S) as answer:
        return answer.headers.get_content_type(), answer.read()


def facts(url: str, body: bytes | None = None) -> dict:
    """Return what a part says about the request."""
    return json.loads(fetch(url, body)[1])


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/live.js", "text/javascript"),
        ("/chat/", "text/html"),
        ("/chat/line.js", "text/javascript"),
        ("/ticker/", "text/html"),
        ("/ticker/chart.js", "text/javascript"),
    ],
)
def test_the_page_is_there(site, path, kind):
    got, content = fetch(site + path)
    assert got == kind
    assert len(content) > 1000


def test_nothing_comes_from_elsewhere():
    for path in (ROOT / "demo" / "page").iterdir():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org"}, path


def test_all_four_are_mounted():
    assert [mount.partition("=")[0] for mount in MOUNTS] == ["/flask", "/chat", "/ticker", "/"]


def test_the_ticker_is_live(site):
    with urlopen(f"{site}/ticker/events", timeout=DEADLINE_S) as answer:
        assert answer.headers.get_content_type() == "text/event-stream"
        numbers: list[int] = []
        while len(numbers) < 485:
            line = answer.readline()
            if line.startswith(b"id: "):
                numbers.append(int(line[4:]))
    assert numbers == list(range(numbers[0], numbers[0] + 485))


def test_both_parts_answer_on_their_own_interface(site):
    flask, starlette = facts(f"{site}/flask/"), facts(f"{site}/starlette")
    assert (flask["interface"], starlette["interface"]) == ("WSGI 1.0", "ASGI 3.0")
    assert flask["process"] == starlette["process"]
    assert flask["thread"] != starlette["thread"]
    assert flask["mount"] == ["SCRIPT_NAME", "/flask"]
    assert starlette["mount"] == ["root_path", ""]


def test_both_parts_take_a_body(site):
    body = bytes(65536)
    assert facts(f"{site}/flask/echo", body)["received"] == 65536
    assert facts(f"{site}/starlette/echo", body)["received"] == 65536


def test_the_page_asks_for_what_is_there(site):
    script = (ROOT / "demo" / "page" / "page.js").read_text(encoding="utf-8")
    paths = set(re.findall(r'(?:quick|slow|echo): "([^"]+)"', script))
    assert len(paths) == 6
    assert {path for path in paths if "slow" in path} == {"/flask/slow", "/starlette/slow"}
    for path in paths - {"/flask/slow", "/starlette/slow"}:
        assert facts(site + path, b"x" if path.endswith("echo") else None)["process"]


def test_slow_requests_hold_nobody_up(site):
    slow = [threading.Thread(target=facts, args=[site + path]) for path in ("/flask/slow", "/starlette/slow")]
    began = time.monotonic()
    for thread in slow:
        thread.start()
    quick = [facts(site + path) for path in ["/flask/", "/starlette"] * 5]
    assert len(quick) == 10
    assert all(thread.is_alive() for thread in slow), f"ten quick requests took {time.monotonic() - began:.1f} s"
    for thread in slow:
        thread.join(DEADLINE_S)
    assert time.monotonic() - began < 4, "the two slow requests ran one after the other"
