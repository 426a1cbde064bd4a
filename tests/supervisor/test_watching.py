"""Which files `--reload` watches, and that every kind of change is reported once, by events and by polling."""

import os
import sys
from pathlib import Path

import pytest

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.supervisor.reactor import Reactor
from trilithon.supervisor.sources import Sources
from trilithon.supervisor.watching import Watcher, sources_of

pytestmark = [pytest.mark.real, pytest.mark.once]

DEADLINE_S = 20


def write(path: Path, text: str = "x = 1\n") -> Path:
    """Write a file at one stroke, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".#{path.name}")
    draft.write_text(text)
    return draft.replace(path)


def names(directory: Path, include=("*.py",), exclude=()) -> list[str]:
    """Return the files that count in `directory`, relative to it."""
    sight = Sources([str(directory)], include, exclude).look()
    return sorted(os.path.relpath(path, directory) for path in sight.files)


@pytest.mark.parametrize(
    "include, exclude, taken",
    [
        (["*.py"], [], ["a.py", "shop/web.py", "shop/deep/er.py", "tests/test_a.py"]),
        (
            ["*.py", "*.html"],
            [],
            ["a.py", "shop/web.py", "shop/deep/er.py", "shop/templates/x.html", "tests/test_a.py"],
        ),
        (["templates/*.html"], [], ["shop/templates/x.html"]),
        (["shop/*.py"], [], ["shop/web.py"]),
        (["shop/**/*.py"], [], ["shop/web.py", "shop/deep/er.py"]),
        (["shop/**"], [], ["shop/web.py", "shop/deep/er.py", "shop/templates/x.html"]),
        (["./a.py"], [], ["a.py"]),
        (["[ab].py", "we?.py"], [], ["a.py", "shop/web.py"]),
        (["[!a].py", "e[!a-q].py"], [], ["shop/deep/er.py"]),
        (["*.py"], ["tests"], ["a.py", "shop/web.py", "shop/deep/er.py"]),
        (["*.py"], ["tests/", "er.py"], ["a.py", "shop/web.py"]),
        (["*.py"], ["test_*"], ["a.py", "shop/web.py", "shop/deep/er.py"]),
        (["*.py"], ["shop/deep"], ["a.py", "shop/web.py", "tests/test_a.py"]),
        (["a.py"], ["*.py"], []),
        ([".env"], [], [".env"]),
    ],
)
def test_patterns_choose_files_and_excludes_win(tmp_path, include, exclude, taken):
    for name in ("a.py", "shop/web.py", "shop/deep/er.py", "shop/templates/x.html", "tests/test_a.py", ".env"):
        write(tmp_path / name)
    assert names(tmp_path, include, exclude) == sorted(taken)


def test_a_pattern_for_the_whole_path_begins_with_a_slash(tmp_path):
    for name in ("a.py", "b/a.py"):
        write(tmp_path / name)
    assert names(tmp_path, [f"{tmp_path}/a.py"]) == ["a.py"]
    assert names(tmp_path, exclude=[f"{tmp_path}/b"]) == ["a.py"]


def test_what_lies_above_the_watched_directory_does_not_match(tmp_path):
    write(tmp_path / "tests" / "site" / "a.py")
    assert names(tmp_path / "tests" / "site", exclude=["tests", "tests/*"]) == ["a.py"]


def test_other_peoples_files_and_temporary_ones_never_count(tmp_path):
    for name in (".git", "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache", "lib/site-packages", "my_env"):
        write(tmp_path / name / "a.py")
    write(tmp_path / "my_env" / "pyvenv.cfg")
    for name in (".#a.py", "#a.py#", "a.py~", ".a.py.swp", "4913", "a.py___jb_tmp___", "a.pyc", "x.tmp"):
        write(tmp_path / name)
    write(tmp_path / "a.py")
    assert names(tmp_path, ["*"]) == ["a.py"]


def test_links_neither_loop_nor_count_twice(tmp_path):
    write(tmp_path / "site" / "pkg" / "a.py")
    write(tmp_path / "shared" / "b.py")
    (tmp_path / "site" / "again").symlink_to(tmp_path / "site")
    (tmp_path / "site" / "A_link_before").symlink_to(tmp_path / "site" / "pkg")
    (tmp_path / "site" / "elsewhere").symlink_to(tmp_path / "shared")
    (tmp_path / "site" / "round.py").symlink_to(tmp_path / "site" / "round.py")
    (tmp_path / "site" / "nowhere.py").symlink_to(tmp_path / "missing")
    assert names(tmp_path / "site") == ["elsewhere/b.py", "pkg/a.py"]


def test_a_directory_that_is_not_there_is_told(tmp_path):
    missing = str(tmp_path / "missing")
    with pytest.raises(ConfigError, match=r"reload_dirs = .*missing.*is not a directory"):
        sources_of(Options(reload=True, reload_dirs=[missing]), ["app:app"])
    with pytest.raises(ConfigError, match=r"app_dir = .*missing.*is not a directory"):
        sources_of(Options(reload=True, app_dir=missing), ["app:app"])


def test_the_directory_of_a_file_elsewhere_is_watched_too(tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    file = write(elsewhere / "main.py")
    inside = write(here / "web" / "main.py")
    options = Options(reload=True, app_dir=str(here))
    assert sources_of(options, [f"{file}:app"])["roots"] == [str(here), str(elsewhere)]
    assert sources_of(options, [str(inside), "shop:app", None])["roots"] == [str(here)]
    with pytest.raises(ConfigError, match="an object cannot be loaded anew; name it module:attr"):
        sources_of(options, [object()])


class Observed(Watcher):
    """A watcher whose reports are gathered."""

    def __init__(self, reactor, sources):
        super().__init__(reactor, sources, self.note)
        self.batches = []
        self.announced = []

    def note(self, paths):
        self.batches.append([os.path.basename(path) for path in paths])
        self.reactor.stop()

    def announce(self, message):
        super().announce(message)
        self.announced.append(message)
        self.reactor.stop()

    def until(self, happened):
        """Let the reactor run until `happened()`."""
        late = []
        deadline = self.reactor.later(DEADLINE_S, lambda: late.append(True) or self.reactor.stop())
        while not happened() and not late:
            self.reactor.run()
        deadline.cancel()
        assert happened(), (self.batches, self.announced)

    def batch(self):
        """Wait for the next batch and return its names."""
        self.until(lambda: self.batches)
        return self.batches.pop(0)


@pytest.fixture(params=["watchfiles", "polling"])
def watch(request, tmp_path, monkeypatch):
    """Return a function that begins to watch a directory, with and without watchfiles."""
    if request.param == "polling":
        write(tmp_path / "blocked" / "watchfiles.py", "raise ImportError('not installed')\n")
        monkeypatch.setattr(sys, "path", [str(tmp_path / "blocked"), *sys.path])
    reactor = Reactor()
    started = []

    def begin(directory, **options):
        watcher = Observed(reactor, sources_of(Options(reload=True, reload_dirs=[str(directory)], **options), []))
        started.append(watcher)
        watcher.start()
        watcher.until(lambda: watcher.announced)
        assert watcher.announced[0]["by"] == request.param
        return watcher

    yield begin
    for watcher in started:
        watcher.close()
    reactor.close()


def test_every_kind_of_change_is_one_batch(watch, tmp_path):
    site = tmp_path / "site"
    old, gone = write(site / "old.py"), write(site / "pkg" / "gone.py")
    watcher = watch(site)
    write(old, "x = 22\n")
    assert watcher.batch() == ["old.py"]
    write(site / "pkg" / "new.py")
    assert watcher.batch() == ["new.py"]
    gone.unlink()
    assert watcher.batch() == ["gone.py"]
    os.utime(old, (1, 1))
    assert watcher.batch() == ["old.py"]
    # As editors save: a temporary file that takes the name over.
    write(site / ".old.py.swp")
    os.replace(write(site / "old.py.tmp", "x = 333\n"), old)
    assert watcher.batch() == ["old.py"]
    # As a checkout does: many at once.
    for number in range(20):
        write(tmp_path / "many" / f"{number}.py")
    os.rename(tmp_path / "many", site / "pkg" / "many")
    assert len(watcher.batch()) == 20
    assert not watcher.batches


def test_what_does_not_count_is_no_change(watch, tmp_path):
    site = tmp_path / "site"
    write(site / "a.py")
    write(site / "tests" / "test_a.py")
    watcher = watch(site, reload_exclude=["tests"], reload_include=["*.py", "*.toml"])
    write(site / "a.txt")
    write(site / "tests" / "test_a.py", "x = 22\n")
    write(site / "__pycache__" / "a.py")
    write(site / ".git" / "b.py")
    (site / "a.py").chmod(0o600)
    write(site / "c.toml")
    assert watcher.batch() == ["c.toml"]


def test_new_directories_are_watched_and_so_are_those_that_came_back(watch, tmp_path):
    site = tmp_path / "site"
    write(site / "pkg" / "a.py")
    watcher = watch(site)
    write(site / "more" / "deep" / "b.py")
    assert watcher.batch() == ["b.py"]
    write(site / "more" / "deep" / "b.py", "x = 22\n")
    assert watcher.batch() == ["b.py"]
    os.rename(site / "pkg", site / "moved")
    assert watcher.batch() == ["a.py", "a.py"]
    write(site / "moved" / "a.py", "x = 22\n")
    assert watcher.batch() == ["a.py"]
    # The watched directory itself goes and comes, as with a checkout of another branch.
    os.rename(site, tmp_path / "away")
    assert sorted(watcher.batch()) == ["a.py", "b.py"]
    os.rename(tmp_path / "away", site)
    assert sorted(watcher.batch()) == ["a.py", "b.py"]
    write(site / "moved" / "a.py", "x = 333\n")
    assert watcher.batch() == ["a.py"]


def test_a_file_behind_a_link_counts(watch, tmp_path):
    write(tmp_path / "site" / "a.py")
    shared = write(tmp_path / "shared" / "b.py")
    (tmp_path / "site" / "b.py").symlink_to(shared)
    watcher = watch(tmp_path / "site")
    write(shared, "x = 22\n")
    assert watcher.batch() == ["b.py"]


def test_what_changes_before_the_watcher_is_ready_is_reported(watch, tmp_path):
    write(tmp_path / "site" / "a.py")
    watcher = Observed(watch(tmp_path / "site").reactor, sources_of(Options(reload_dirs=[str(tmp_path / "site")]), []))
    try:
        write(tmp_path / "site" / "a.py", "x = 22\n")
        os.utime(tmp_path / "site" / "a.py")
        watcher.start()
        assert watcher.batch() == ["a.py"]
    finally:
        watcher.close()


def test_a_watcher_that_was_killed_is_replaced_and_nothing_is_missed(watch, tmp_path):
    write(tmp_path / "site" / "a.py")
    watcher = watch(tmp_path / "site")
    watcher.process.kill()
    watcher.process.wait()
    write(tmp_path / "site" / "a.py", "x = 22\n")
    assert watcher.batch() == ["a.py"]


def test_the_watcher_ends_with_the_supervisor(watch, tmp_path):
    write(tmp_path / "site" / "a.py")
    watcher = watch(tmp_path / "site")
    process, watcher.process = watcher.process, None
    watcher.end_process()
    assert process.wait(DEADLINE_S) == 0
