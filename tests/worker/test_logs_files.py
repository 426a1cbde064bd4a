"""Log files: appended to by several processes, moved away and opened anew, given away, and full disks."""

import contextlib
import io
import logging
import os
import re
import subprocess
import sys
from logging.handlers import MemoryHandler, WatchedFileHandler
from pathlib import Path

import pytest

import trilithon
from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.worker import log_file
from trilithon.worker.logs import ACCESS_LOGGER, ERROR_LOGGER, AccessLog, configure, open_access_log, reopen_log_files

pytestmark = pytest.mark.real

NOBODY = (65534, 65534)
IS_ROOT = os.geteuid() == 0


@pytest.fixture(autouse=True)
def loggers():
    """Put the loggers back as they were and close the files."""
    named = [logging.getLogger(name) for name in ("trilithon", ERROR_LOGGER, ACCESS_LOGGER)]
    before = [(logger, logger.level, list(logger.handlers)) for logger in named]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    log_file.close_other_log_files(())


@pytest.fixture
def path(tmp_path):
    """The path of a log file that is not there yet."""
    return tmp_path / "site.log"


def log(message, *arguments):
    """Write to the server's log."""
    logging.getLogger(ERROR_LOGGER).warning(message, *arguments)


def access(options):
    """Return a function that notes a request for a path, at once."""
    journal = open_access_log(options)

    def note(target):
        journal.record(("192.0.2.1", 40), f"GET {target} HTTP/1.1".encode(), 200, 5, 0.001)
        journal.flush()

    return note


def test_the_servers_log_goes_to_the_file_and_not_to_standard_error(path, capsys):
    configure(Options(log_file=str(path)))
    log("one")
    log("two\nlines")
    text = path.read_text()
    assert re.fullmatch(r"\S+ \S+ \[\d+\] WARNING one\n\S+ \S+ \[\d+\] WARNING two\n    lines\n", text)
    assert capsys.readouterr().err == ""


def test_configuring_again_changes_the_file_and_writes_once(tmp_path, capsys):
    for name in ("a.log", "a.log", "b.log"):
        configure(Options(log_file=str(tmp_path / name)))
    log("in b")
    configure(Options())
    log("on standard error")
    assert (tmp_path / "a.log").read_text() == ""
    assert (tmp_path / "b.log").read_text().count("in b") == 1
    assert "on standard error" not in (tmp_path / "b.log").read_text()
    assert capsys.readouterr().err.count("on standard error") == 1


def test_files_that_are_not_wanted_any_more_are_closed_and_not_made_again(tmp_path):
    configure(Options(log_file=str(tmp_path / "a.log")))
    configure(Options(log_file=str(tmp_path / "b.log")))
    (tmp_path / "a.log").unlink()
    reopen_log_files()
    assert os.listdir(tmp_path) == ["b.log"]


def test_the_access_log_has_a_file_of_its_own_and_is_on_then(path, capsys):
    note = access(Options(access_log_file=str(path)))
    note("/a")
    assert re.fullmatch(r'192\.0\.2\.1 - - \[.+\] "GET /a HTTP/1\.1" 200 5 1000\n', path.read_text())
    assert capsys.readouterr().err == ""


def test_handlers_of_somebody_get_the_requests_as_well(path):
    seen = io.StringIO()
    logging.getLogger(ACCESS_LOGGER).addHandler(logging.StreamHandler(seen))
    logging.getLogger(ACCESS_LOGGER).setLevel(logging.INFO)
    access(Options(access_log_file=str(path)))("/a")
    assert path.read_text() == seen.getvalue() != ""


def test_no_file_is_made_for_an_access_log_that_is_off(path):
    options = Options(access_log="off", access_log_file=str(path))
    configure(options)
    assert open_access_log(options) is None
    assert not path.exists()


def test_the_mask_decides_on_the_mode(path):
    before = os.umask(0o027)
    try:
        configure(Options(log_file=str(path)))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_is_appended_to(path):
    path.write_text("before\n")
    configure(Options(log_file=str(path)))
    log("after")
    assert re.fullmatch(r"before\n.* after\n", path.read_text())


@pytest.mark.parametrize("name", ["log_file", "access_log_file"])
def test_a_file_that_cannot_be_opened_is_told_before_anything_is_served(tmp_path, name):
    with pytest.raises(ConfigError, match=rf"{name}.*none/site\.log.*cannot be written: No such file"):
        configure(Options(**{name: str(tmp_path / "none" / "site.log")}))


def test_a_rotation_moves_the_files_and_opens_new_ones(tmp_path):
    options = Options(log_file=str(tmp_path / "site.log"), access_log_file=str(tmp_path / "access.log"))
    configure(options)
    note = access(options)
    log("first")
    note("/first")
    for name in ("site.log", "access.log"):
        os.rename(tmp_path / name, tmp_path / f"{name}.1")
    log("moved")
    note("/moved")
    reopen_log_files()
    log("second")
    note("/second")
    for name, before, after in (("site.log", " moved\n", " second\n"), ("access.log", "/moved", "/second")):
        assert before in (tmp_path / f"{name}.1").read_text() and after not in (tmp_path / f"{name}.1").read_text()
        assert len((tmp_path / name).read_text().splitlines()) == 1 and after in (tmp_path / name).read_text()


def test_a_file_that_cannot_be_opened_anew_is_kept_and_told(tmp_path, capsys):
    directory = tmp_path / "logs"
    directory.mkdir()
    configure(Options(log_file=str(directory / "site.log")))
    os.rename(directory, tmp_path / "old")
    reopen_log_files()
    log("still there")
    assert " still there\n" in (tmp_path / "old" / "site.log").read_text()
    message = capsys.readouterr().err
    assert re.fullmatch(
        r"trilithon: log file .* cannot be opened anew: No such file or directory; .* kept\n", message
    ), message


def test_descriptors_are_not_used_up_by_rotations_nor_inherited(path):
    configure(Options(log_file=str(path)))
    file = log_file.open_log_file(str(path), "log_file")
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        path.unlink()
        reopen_log_files()
    assert len(os.listdir("/dev/fd")) == before
    assert not os.get_inheritable(file.fd)


@pytest.mark.parametrize(("name", "descriptor"), [("-", 1), ("/dev/stdout", 1), ("/dev/stderr", 2)])
def test_standard_streams_can_be_named_whatever_they_lead_to(name, descriptor):
    code = f"""
import logging
from trilithon.foundation.options import Options
from trilithon.worker.logs import configure, reopen_log_files
configure(Options(log_file={name!r}))
reopen_log_files()
logging.getLogger("trilithon.error").warning("here")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(trilithon.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=50)
    assert (done.stdout, done.stderr)[descriptor - 1].endswith(" WARNING here\n"), done
    assert (done.stderr, done.stdout)[descriptor - 1] == ""


class TestFileHandlers:
    """Handlers of the logging module, wherever they are."""

    @pytest.fixture
    def handlers(self):
        """Take handlers, and close them in the end."""
        with contextlib.ExitStack() as stack:
            yield lambda handler: stack.callback(handler.close) and handler

    @staticmethod
    def write(handler, text):
        """Have a handler write a line."""
        handler.handle(logging.makeLogRecord({"msg": text, "levelno": logging.INFO}))
        handler.flush()

    @pytest.mark.parametrize("mode", ["a", "w"])
    def test_a_moved_file_is_opened_anew(self, path, handlers, mode):
        handler = handlers(logging.FileHandler(path, mode=mode))
        self.write(handler, "first")
        os.rename(path, f"{path}.1")
        reopen_log_files()
        self.write(handler, "second")
        assert (Path(f"{path}.1").read_text(), path.read_text()) == ("first\n", "second\n")

    @pytest.mark.parametrize("mode", ["a", "w"])
    def test_a_file_that_nobody_moved_is_left_as_it_is(self, path, handlers, mode):
        handler = handlers(logging.FileHandler(path, mode=mode))
        self.write(handler, "first")
        stream = handler.stream
        reopen_log_files()
        assert handler.stream is stream
        assert path.read_text() == "first\n"

    def test_one_behind_another_handler_is_found(self, path, handlers):
        target = handlers(logging.FileHandler(path))
        memory = handlers(MemoryHandler(10, target=target))
        os.rename(path, f"{path}.1")
        reopen_log_files()
        self.write(memory, "late")
        assert path.read_text() == "late\n"

    def test_those_that_look_themselves_and_those_without_a_file_are_left_alone(self, tmp_path, handlers):
        watched = handlers(WatchedFileHandler(tmp_path / "watched.log"))
        late = handlers(logging.FileHandler(tmp_path / "late.log", delay=True))
        stream = watched.stream
        (tmp_path / "watched.log").unlink()
        reopen_log_files()
        assert watched.stream is stream
        assert late.stream is None
        assert os.listdir(tmp_path) == []

    def test_one_that_cannot_be_opened_is_kept_and_told(self, tmp_path, handlers, capsys):
        directory = tmp_path / "logs"
        directory.mkdir()
        handler = handlers(logging.FileHandler(directory / "site.log"))
        os.rename(directory, tmp_path / "old")
        reopen_log_files()
        self.write(handler, "still there")
        assert (tmp_path / "old" / "site.log").read_text() == "still there\n"
        assert "cannot be opened anew" in capsys.readouterr().err


class TestFullDisk:
    """A file that takes nothing: /dev/full is one, behind a link that later leads elsewhere."""

    @pytest.fixture(autouse=True)
    def full(self, path):
        """Have the path lead to a full disk."""
        path.symlink_to("/dev/full")

    @staticmethod
    def repair(path):
        """Have room again."""
        path.unlink()
        reopen_log_files()

    def test_the_servers_log_is_lost_told_once_and_counted(self, path, capsys):
        configure(Options(log_file=str(path)))
        for _ in range(3):
            log("lost\nin two lines")
        message = capsys.readouterr().err
        assert message.count("cannot be written: No space left on device") == message.count("\n") == 1
        self.repair(path)
        log("kept")
        assert re.fullmatch(
            r".* WARNING kept\n.* WARNING log file: 6 lines were lost while it could not be written\n",
            path.read_text(),
        )

    def test_the_access_log_is_lost_told_once_and_counted(self, path, capsys):
        configure(Options())
        note = access(Options(access_log_file=str(path)))
        for _ in range(3):
            note("/lost")
        message = capsys.readouterr().err
        assert message.count("cannot be written: No space left on device") == message.count("\n") == 1
        self.repair(path)
        note("/kept")
        assert len(path.read_text().splitlines()) == 1
        assert "access log: 3 lines were lost while it could not be written" in capsys.readouterr().err

    def test_the_next_full_disk_is_told_again(self, path, capsys):
        configure(Options(log_file=str(path)))
        for _ in range(2):
            log("lost")
            self.repair(path)
            log("kept")
            path.unlink()
            path.symlink_to("/dev/full")
            reopen_log_files()
        assert capsys.readouterr().err.count("No space left on device") == 2


CUT = """
import logging, resource, sys
from trilithon.foundation.options import Options
from trilithon.worker.logs import configure, open_access_log

options = Options(log_file=sys.argv[1], access_log_file=sys.argv[2], access_log="json")
configure(options)
journal = open_access_log(options)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
for number in range(3):
    if number == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    logging.getLogger("trilithon.error").warning("x" * 80)
    journal.record(None, b"GET / HTTP/1.1", 200, 5, 0.001)
    journal.flush()
"""


def test_a_line_that_was_cut_ends_where_the_next_begins(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(trilithon.__file__).parents[1])}
    paths = [tmp_path / "site.log", tmp_path / "access.log"]
    command = [sys.executable, "-c", CUT, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=50)
    assert done.returncode == 0, done.stderr
    cut, whole, lost, _ = paths[0].read_text().splitlines()
    assert len(cut) == 100
    assert whole.endswith("x" * 80) and "2 lines were lost" in lost
    cut, whole = paths[1].read_text().splitlines()
    assert len(cut) == 100
    assert whole.startswith("{") and whole.endswith("}")


WRITER = """
import sys
from trilithon.foundation.options import Options
from trilithon.worker.logs import open_access_log

journal = open_access_log(Options(access_log_file=sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
client = ("192.0.2.1", 40)
for batch in range(200):
    for number in range(20):
        journal.record(client, b"GET /%s/%d/%d HTTP/1.1" % (sys.argv[2].encode(), batch, number), 200, 5, 0.0)
    journal.flush()
"""


def test_several_processes_append_whole_lines_to_one_file(path):
    environment = {**os.environ, "PYTHONPATH": str(Path(trilithon.__file__).parents[1])}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.close()
        assert [writer.wait(50) for writer in writers] == [0, 0, 0]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    pattern = re.compile(r'192\.0\.2\.1 - - \[[^]]+\] "GET (/\w/\d+/\d+) HTTP/1\.1" 200 5 0')
    lines = [pattern.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(lines)
    targets = [line[1] for line in lines]
    for name in "abc":
        own = [target for target in targets if target[1] == name]
        assert own == [f"/{name}/{batch}/{number}" for batch in range(200) for number in range(20)]


class TestOwner:
    """Files that root opens first and workers of another user open anew."""

    def test_root_gives_a_file_away_and_others_keep_it(self, path):
        configure(Options(log_file=str(path)), NOBODY)
        mine = (os.geteuid(), os.getegid())
        assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY if IS_ROOT else mine)
        path.unlink()
        reopen_log_files()
        assert path.stat().st_uid == (NOBODY[0] if IS_ROOT else mine[0])

    def test_a_file_that_is_there_is_given_away_too(self, path):
        path.write_text("before\n")
        configure(Options(log_file=str(path)), NOBODY)
        assert path.stat().st_uid == (NOBODY[0] if IS_ROOT else os.geteuid())

    def test_root_follows_no_link_that_the_other_user_may_have_put_there(self, tmp_path, path):
        precious = tmp_path / "precious"
        precious.write_text("")
        directory = tmp_path / "logs"
        directory.mkdir(mode=0o777)
        directory.chmod(0o777)
        (directory / "site.log").symlink_to(precious)
        refusal = pytest.raises(ConfigError, match="symbolic link") if IS_ROOT else contextlib.nullcontext()
        with refusal:
            configure(Options(log_file=str(directory / "site.log")), NOBODY)
        assert precious.stat().st_uid == os.geteuid()

    def test_a_second_name_of_a_file_is_not_given_away(self, tmp_path, path):
        precious = tmp_path / "precious"
        precious.write_text("")
        path.hardlink_to(precious)
        configure(Options(log_file=str(path)), NOBODY)
        assert precious.stat().st_uid == os.geteuid()


def test_a_journal_without_a_file_is_as_before():
    stream = io.StringIO()
    journal = AccessLog("common", stream)
    journal.record(None, b"GET / HTTP/1.1", 200, 5, 0.0)
    journal.flush()
    assert stream.getvalue().endswith('"GET / HTTP/1.1" 200 5 0\n')
