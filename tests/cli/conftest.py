"""Run the command as a person would: a process of its own in a directory of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from trilithon.foundation import errors

SOURCE = Path(errors.__file__).resolve().parents[2]


def environment(**variables):
    """Return the process's environment without options of ours, so that only the test's own count."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRILITHON_")}
    inherited.pop("DJANGO_SETTINGS_MODULE", None)
    # The build under test, wherever the command is started.
    inherited["PYTHONPATH"] = str(SOURCE)
    return {**inherited, "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1", **variables}


@pytest.fixture
def command(tmp_path):
    """Return a function that runs `trilithon` with arguments and variables, and gives code, output and errors."""

    def run(*arguments, **variables):
        return subprocess.run(
            [sys.executable, "-m", "trilithon", *arguments],
            cwd=tmp_path,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run


@pytest.fixture
def write(tmp_path):
    """Return a function that writes files, given as `path=text` pairs, into the directory of the test."""

    def write_files(files):
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))

    return write_files
