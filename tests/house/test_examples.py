"""Every Python example of the documents is run as it stands."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from tree import files, name

pytestmark = pytest.mark.real

DEADLINE_S = 20
EXAMPLE = re.compile(r"(?:<!-- example: (\w+) -->\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> list:
    """Return the examples of all pages as parameters: how to run each, and its text."""
    return [
        pytest.param(match.group(1), match.group(2), id=f"{name(page)}-{number}")
        for page in files(".md")
        for number, match in enumerate(EXAMPLE.finditer(page.read_text(encoding="utf-8")), 1)
    ]


@pytest.mark.parametrize("kind, text", examples())
def test_the_example_works(kind: str | None, text: str, tmp_path: Path):
    assert kind in RUNNERS, "say how to run it: <!-- example: serves --> , runs or tests"
    RUNNERS[kind](text, tmp_path)


def serve_example(text: str, directory: Path) -> None:
    """Run an example that serves on port 8000, ask it and end it as Ctrl-C does."""
    path = directory / "example.py"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The socket is ours and hands over what waits in it, so the client cannot come too early.
        assert "127.0.0.1:8000" in text
        path.write_text(text.replace("127.0.0.1:8000", f"fd:{listener.fileno()}"), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(path)],
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[listener.fileno()],
        )
        try:
            with urlopen(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=DEADLINE_S) as answer:
                assert b"Hello" in answer.read()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, said
    assert "Traceback" not in said


def run_example(text: str, directory: Path) -> None:
    """Run an example that ends by itself."""
    path = directory / "example.py"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def run_tests(text: str, directory: Path) -> None:
    """Run an example that is a file of tests."""
    path = directory / "test_example.py"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "trilithon.pytest_plugin", "-q", "-W", "error", str(path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=directory,
        # Installed or not, the plugin is loaded once: by name, not by its entry point.
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


RUNNERS = {"serves": serve_example, "runs": run_example, "tests": run_tests}
