"""How files look: a first line that states the job, bounded size, telling names, nothing left over."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tree import ROOT, files, kind, name, parse

pytestmark = pytest.mark.once

SOURCE = [".py", ".pyx", ".pxd"]
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
EMPTY_NAMES = {"utils", "util", "common", "base", "helpers", "helper", "misc"}

# What a file says first: a docstring or a comment that is one whole sentence.
JOB = {
    ".py": re.compile(r'^[ru]?"""\S.*[.:?]("""(  # noqa: .*)?)?$'),
    ".pyx": re.compile(r'^(# |""")\S.*\.(""")?$'),
    ".pxd": re.compile(r'^(# |""")\S.*\.(""")?$'),
    ".sh": re.compile(r"^# \S.*\.$"),
    ".toml": re.compile(r"^# \S.*\.$"),
    ".css": re.compile(r"^/\* \S.*\. \*/$"),
    ".js": re.compile(r"^(// \S.*\.|/\* \S.*\. \*/)$"),
    ".html": re.compile(r"^<!-- \S.*\. -->$"),
    ".c": re.compile(r"^/\* \S.*\.( \*/)?$"),
    ".lua": re.compile(r"^-- \S.*\.$"),
    ".md": re.compile(r"^# \S.*$"),
}


# What has to stand on the first line of some files, so that the job comes second.
PREAMBLES = ("#!", "# cython:", "# distutils:", "<!doctype html>")
# Known to every Python tool by its name, and an empty marker has no job to state.
FIXED = [path for path in files(*JOB) if path == ROOT / "pyproject.toml" or not path.stat().st_size]


@pytest.mark.parametrize("path", [path for path in files(*JOB) if path not in FIXED], ids=name)
def test_the_first_line_states_the_job(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith(PREAMBLES) else lines[0]
    assert JOB[kind(path)].match(first), f"{name(path)} begins with {first!r}"


@pytest.mark.parametrize("path", files(*SOURCE, ".js", ".c"), ids=name)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


def test_functions_stay_short():
    long = [
        f"{name(path)}: {function.name} has {function.end_lineno - function.lineno + 1} lines"
        for path in files(".py")
        for function in functions(path)
        if function.end_lineno - function.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long


def test_calls_stay_small():
    wide = [
        f"{name(path)}: {function.name} takes {count}"
        for path in files(".py")
        if path.is_relative_to(ROOT / "src")
        for function in functions(path)
        if (count := parameters(function)) > MAX_PARAMETERS
    ]
    assert not wide


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of the file at `path`, nested ones and methods too."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the parameters that a caller may pass, `self` and `cls` left out."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(each.arg not in ("self", "cls") for each in every)


def test_names_of_modules_say_something():
    assert not [name(path) for path in files(*SOURCE) if path.stem.strip("_") in EMPTY_NAMES or "_impl" in path.stem]


# Written in two pieces, so that this file does not hold what it looks for.
LEFT_OVERS = ["TO" + "DO", "FIX" + "ME", "HACK" + ":", "/ro" + "ot/", "/wo" + "rk/", "/ho" + "me/", "/tmp" + "/w/"]


@pytest.mark.parametrize("path", files(*JOB, ".cfg", ".txt"), ids=name)
def test_nothing_is_left_over(path):
    text = path.read_text(encoding="utf-8")
    assert not [word for word in LEFT_OVERS if word in text]
