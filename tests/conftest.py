"""What tests share: the proof of which build is under test, the package's own pytest plugin, files of a test."""

import importlib.metadata
import importlib.util
import os
import textwrap
from pathlib import Path

import pytest


def announced() -> bool:
    """Tell whether an installed package announces the plugin; run from the source tree, nothing does."""
    return any(entry.name == "trilithon" for entry in importlib.metadata.entry_points(group="pytest11"))


if not announced() and importlib.util.find_spec("trilithon.pytest_plugin"):
    pytest_plugins = ["trilithon.pytest_plugin"]


def pytest_configure() -> None:
    """End the run at once when TRILITHON_EXPECTED_BUILD names another build than the one that is imported."""
    expected = os.environ.get("TRILITHON_EXPECTED_BUILD")
    if expected and expected != build():
        raise pytest.UsageError(f"the {expected} build was to be tested, but the {build()} one is imported")


def pytest_report_header() -> str:
    """Name the build under test at the head of the report."""
    from trilithon.foundation import leaf

    return f"trilithon: {build()} build from {Path(leaf.__file__).parent.parent}"


def build() -> str:
    """Return `compiled` or `pure`, as the leaf says itself."""
    from trilithon.foundation import leaf

    return "compiled" if leaf.COMPILED else "pure"


@pytest.fixture
def write(tmp_path):
    """Return a function that writes files, given as `path: text`, into the directory of the test."""

    def write_files(files):
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))

    return write_files
