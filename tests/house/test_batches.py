"""The batches of scripts/test hold every test file once, and what their pytests say is counted."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from tree import ROOT

pytestmark = pytest.mark.once

PASSING = "def test_it(): pass\n"
# Plugins, of which these tests need none, take most of the time of a start.
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
ONCE = "import pytest\npytestmark = [pytest.mark.real, pytest.mark.once]\n" + PASSING


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the module as the scripts do."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import batches

    return batches


@pytest.fixture
def tree(batches: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a tree of its own for the scripts."""
    monkeypatch.setattr(batches.environments, "ROOT", tmp_path)
    return tmp_path


def run(batches: ModuleType, tree: Path, text: str, *options: str) -> object:
    """Run one test file in a pool and return what came of it."""
    (tree / "test_one.py").write_text(text)
    outcome = batches.Outcome()
    pool = batches.Pool(1)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "test_one.py"]
    pool.submit("one", command, ALONE, outcome).result(60)
    return outcome


def test_every_test_file_is_in_one_batch(batches: ModuleType):
    found = [file for batch in batches.batches([], True) for file in batch.files]
    assert sorted(found) == sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))


def test_no_batch_is_long_and_all_names_differ(batches: ModuleType):
    found = batches.batches([], True)
    assert max(len(batch.files) for batch in found) <= batches.FILES_PER_BATCH
    assert len({batch.name for batch in found}) == len(found)
    assert all(len({Path(file).parent for file in batch.files}) == 1 for batch in found)


def test_what_takes_longest_comes_first(batches: ModuleType):
    names = [Path(batch.files[0]).parent == batches.LONGEST for batch in batches.batches([], True)]
    assert names == sorted(names, reverse=True)
    assert names[0]


def test_files_of_once_alone_are_left_out(batches: ModuleType, tree: Path):
    (tree / "tests").mkdir()
    (tree / "tests" / "test_all.py").write_text(PASSING)
    (tree / "tests" / "test_tools.py").write_text(ONCE)
    assert [batch.files for batch in batches.batches([], False)] == [["tests/test_all.py"]]
    assert [batch.files for batch in batches.batches([], True)] == [["tests/test_all.py", "tests/test_tools.py"]]


def test_paths_are_told_from_options(batches: ModuleType):
    words = ["-k", "house", "tests/house", "-x", "tests/house/test_batches.py::test_nothing", "tests/nowhere"]
    options, paths = batches.split(words)
    assert options == ["-k", "house", "-x", "tests/nowhere"]
    assert paths == ["tests/house", "tests/house/test_batches.py::test_nothing"]
    assert [batch.files for batch in batches.batches(paths, True)] == [paths]
    assert {Path(file).parent for batch in batches.batches(["tests/house"], True) for file in batch.files} == {
        Path("tests/house")
    }


@pytest.mark.real
@pytest.mark.parametrize(
    ("text", "counts", "is_good"),
    [
        (PASSING, {"passed": 1}, True),
        ("import pytest\n@pytest.mark.skip\ndef test_other(): pass\n" + PASSING, {"passed": 1, "skipped": 1}, True),
        ("def test_it(): assert False\ndef test_other(): pass\n", {"passed": 1, "failed": 1}, False),
        ("import pytest\n@pytest.fixture\ndef bad(): 1 / 0\ndef test_it(bad): pass\n", {"error": 1}, False),
        ("import nothing_like_it\n", {"error": 1}, False),
        ("", {}, False),
    ],
    ids=["passes", "skips", "fails", "fails before", "cannot be imported", "has no test"],
)
def test_what_pytest_says_is_counted(batches: ModuleType, tree: Path, text: str, counts: dict[str, int], is_good: bool):
    outcome = run(batches, tree, text)
    assert (outcome.counts, outcome.is_good) == (counts, is_good)


@pytest.mark.real
def test_what_a_failure_said_is_printed(batches: ModuleType, tree: Path, capfd: pytest.CaptureFixture[str]):
    run(batches, tree, "def test_it(): assert 'this' == 'that'\n")
    assert "AssertionError: assert 'this' == 'that'" in capfd.readouterr().out


@pytest.mark.real
def test_skipped_tests_are_named(batches: ModuleType, tree: Path, capfd: pytest.CaptureFixture[str]):
    run(batches, tree, "import pytest\ndef test_it(): pytest.skip('no such kernel')\n", "-ra")
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith("one: 1 skipped in ")
    assert said[1].endswith("no such kernel")
    assert len(said) == 2


@pytest.mark.real
def test_arguments_that_pytest_does_not_take_end_all(batches: ModuleType, tree: Path):
    (tree / "test_one.py").write_text(PASSING)
    outcome, pool = batches.Outcome(), batches.Pool(1)
    command = [sys.executable, "-m", "pytest", "test_one.py"]
    started = [pool.submit("one", [*command, *more], ALONE, outcome) for more in (["--no-such-option"], [])]
    for each in started:
        each.result(60)
    assert (outcome.counts, outcome.codes, outcome.is_good) == ({}, {batches.USAGE_ERROR}, False)
