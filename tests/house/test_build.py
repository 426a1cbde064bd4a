"""Installing the package where nothing can be compiled gives the pure build, and one line says so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tree import ROOT

pytestmark = [pytest.mark.build, pytest.mark.real, pytest.mark.timeout(240)]

SOURCES = ("src", "setup.py", "pyproject.toml", "README.md", "LICENSE")
LINE = "trilithon: not compiled ("
IGNORED = shutil.ignore_patterns("*.so", "*.c", "__pycache__", "*.egg-info")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a copy of the sources, so that building leaves nothing in the tree."""
    copy = tmp_path / "sources"
    copy.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=IGNORED)
        else:
            shutil.copy(path, copy / name)
    return copy


def keep_one_hot_module(sources: Path) -> None:
    """Leave one hot module beside the leaf, enough to see the rule; scripts/test compiles and proves all of them."""
    for declarations in (sources / "src").rglob("*.pxd"):
        if declarations.name not in ("__init__.pxd", "leaf.pxd", "cells.pxd"):
            declarations.unlink()


def install(sources: Path, target: Path, **variables: str) -> str:
    """Install from `sources` into `target` with pip and return everything that was said."""
    command = [sys.executable, "-m", "pip", "install", "-v", "--no-deps", "--no-build-isolation"]
    environ = {**os.environ, **variables, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [*command, "--target", str(target), str(sources)],
        capture_output=True,
        text=True,
        env=environ,
        cwd=sources.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def version(target: Path) -> str:
    """Return what `trilithon --version` of the package in `target` says."""
    command = [sys.executable, "-P", "-m", "trilithon", "--version"]
    environ = {**os.environ, "PYTHONPATH": str(target)}
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=target, check=True).stdout.strip()


def complaints(said: str) -> list[str]:
    """Return the lines that say why nothing was compiled; pip prepares and builds, so the same one may come twice."""
    return sorted({line[line.index(LINE) :].strip() for line in said.splitlines() if LINE in line})


def assert_pure(target: Path) -> None:
    """See that the package in `target` runs, says that it is pure, and holds no compiled module."""
    assert f"pure Python, CPython {sys.version.split()[0]}" in version(target)
    assert not list((target / "trilithon").rglob("*.so"))


def test_without_a_compiler_the_pure_build_is_installed(sources, tmp_path):
    said = install(sources, tmp_path / "site", CC="no-such-compiler")
    assert complaints(said) == [
        "trilithon: not compiled (no C compiler: no-such-compiler was not found); "
        "installing the pure Python build, which is slower"
    ]
    assert_pure(tmp_path / "site")


def test_the_pure_build_can_be_asked_for(sources, tmp_path):
    said = install(sources, tmp_path / "site", TRILITHON_PURE="1")
    assert complaints(said) == [
        "trilithon: not compiled (TRILITHON_PURE is set); installing the pure Python build, which is slower"
    ]
    assert_pure(tmp_path / "site")


def test_a_compiler_that_fails_leaves_the_pure_build_whole(sources, tmp_path):
    keep_one_hot_module(sources)
    said = install(sources, tmp_path / "site", CC="false", TRILITHON_PURE="0")
    assert len(complaints(said)) == 1
    assert_pure(tmp_path / "site")


def test_with_a_compiler_the_compiled_build_is_installed(sources, tmp_path):
    keep_one_hot_module(sources)
    said = install(sources, tmp_path / "site", TRILITHON_PURE="")
    assert not complaints(said)
    assert "compiled, CPython" in version(tmp_path / "site")
