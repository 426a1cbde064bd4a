"""What every test shares: the proof of which build is under test, and the pytest plugin of the package itself."""

import importlib.metadata
import os

import pytest

try:
    importlib.metadata.distribution("trilithon")
except importlib.metadata.PackageNotFoundError:
    # Run from the source tree, where no entry point announces the plugin.
    pytest_plugins = ["trilithon.pytest_plugin"]


def pytest_configure(config: pytest.Config) -> None:
    """End the run at once when TRILITHON_EXPECTED_BUILD names another build than the one that is imported."""
    expected = os.environ.get("TRILITHON_EXPECTED_BUILD")
    if expected and expected != build():
        raise pytest.UsageError(f"the {expected} build was to be tested, but the {build()} one is imported")


def pytest_report_header() -> str:
    """Name the build under test at the head of the report."""
    import trilithon

    return f"trilithon: {build()} build from {os.path.dirname(trilithon.__file__)}"


def build() -> str:
    """Return `compiled` or `pure`, as the leaf says itself."""
    from trilithon.foundation import leaf

    return "compiled" if leaf.COMPILED else "pure"
