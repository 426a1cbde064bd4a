"""Log files of a service with workers: one file for all, rotated under requests, changed by a reload, refused."""

import os
import re
import signal

import pytest
from service import until

pytestmark = [pytest.mark.real, pytest.mark.once]

# The application has a log file of its own, set up when it is imported.
LOGGING_APP = """
import logging, os

log = logging.getLogger("shop")
log.addHandler(logging.FileHandler("shop.log"))
log.setLevel("INFO")

def app(environ, start_response):
    log.info("called %s", environ["PATH_INFO"])
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""
# It wants USR1 for itself: to say that it was there.
DUMPING_APP = """
import pathlib, signal
from shop import app

signal.signal(signal.SIGUSR1, lambda number, frame: pathlib.Path("dumped").touch())
"""
FILES = ("--log-file", "site.log", "--access-log-file", "access.log")


@pytest.fixture
def shop(launch, write, tmp_path):
    """Return a function that starts the service with log files and waits until it serves."""
    write({"shop.py": LOGGING_APP, "dumping.py": DUMPING_APP})

    def start(*arguments, target="shop:app"):
        service = launch(target, *FILES, *arguments)
        log = tmp_path / "site.log"
        until(lambda: service.ended or (log.exists() and " serves " in log.read_text()), "the start")
        service.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())[1])
        return service

    return start


def rotate(directory, *names):
    """Move files away, as logrotate does."""
    for name in names:
        os.rename(directory / name, directory / f"{name}.1")


@pytest.mark.parametrize(
    "how", [["--workers", "2"], ["--workers", "2", "--preload"], []], ids=["two", "preload", "alone"]
)
def test_a_rotation_loses_no_line_of_any_log(shop, tmp_path, how):
    service = shop(*how)
    names = ("site.log", "access.log", "shop.log")
    for number in range(10):
        assert service.get(f"/before/{number}")[0] == 200
    rotate(tmp_path, *names)
    service.send(signal.SIGUSR1)

    after = []

    def ask():
        after.append(f"/after/{len(after)}")
        assert service.get(after[-1])[0] == 200
        return all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in names[1:])

    until(ask, "lines in the new files")
    assert service.stop() == 0
    wanted = {f"/before/{number}" for number in range(10)} | set(after)
    for name, pattern in (("access.log", r'"GET (\S+) HTTP/1.1" 200'), ("shop.log", r"^called (\S+)$")):
        old, new = (re.findall(pattern, (tmp_path / each).read_text(), re.M) for each in (f"{name}.1", name))
        assert len(old) + len(new) == len(wanted)
        assert {*old, *new} == wanted
    assert " serves " in (tmp_path / "site.log.1").read_text()
    assert re.search("stopp(ed|ing)", (tmp_path / "site.log").read_text())
    assert service.log == ""


def test_a_worker_that_is_forked_after_a_rotation_writes_to_the_new_files(shop, tmp_path):
    service = shop("--workers", "1", "--preload")
    first = int(service.get("/first")[1])
    until(lambda: "/first" in (tmp_path / "access.log").read_text(), "the line that is written behind the answer")
    rotate(tmp_path, "site.log", "access.log", "shop.log")
    service.send(signal.SIGUSR1)
    until(lambda: (tmp_path / "site.log").exists(), "the new file")
    os.kill(first, signal.SIGKILL)
    until(lambda: "another one starts" in (tmp_path / "site.log").read_text(), "the end of the worker")
    assert int(service.get("/second")[1]) != first
    assert service.stop() == 0
    assert "/second" in (tmp_path / "access.log").read_text()
    assert "called /second" in (tmp_path / "shop.log").read_text()
    for name in ("access.log.1", "shop.log.1"):
        assert "/first" in (tmp_path / name).read_text() and "/second" not in (tmp_path / name).read_text()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_application_may_have_the_signal_for_itself(shop, tmp_path, workers):
    service = shop("--workers", workers, target="dumping:app")
    os.kill(service.children()[0] if workers == "1" else service.pid, signal.SIGUSR1)
    until((tmp_path / "dumped").exists, "the application's own handler")
    assert service.get()[0] == 200
    assert service.stop() == 0


def test_the_control_socket_opens_them_anew_too(shop, launch, tmp_path):
    service = shop("--workers", "1", "--control-socket", "ctl")
    rotate(tmp_path, "site.log")
    assert launch("ctl", "--socket", "ctl", "reopen", free_port=False).end() == 0
    assert (tmp_path / "site.log").exists()
    assert service.stop() == 0


def test_a_reload_takes_over_other_log_files(launch, write, tmp_path):
    write({"shop.py": LOGGING_APP, "trilithon.toml": 'log_file = "a.log"\n'})
    service = launch("shop:app", "--workers", "1", "--config", "trilithon.toml")
    until(lambda: (tmp_path / "a.log").exists() and " serves " in (tmp_path / "a.log").read_text(), "the start")
    write({"trilithon.toml": 'log_file = "b.log"\naccess_log_file = "access.log"\n'})
    service.send(signal.SIGHUP)
    log = tmp_path / "b.log"
    until(lambda: log.exists() and "INFO reloaded" in log.read_text(), "the end of the reload")
    service.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", (tmp_path / "a.log").read_text())[1])
    # The worker before may still take a connection: it has been told to leave, and hears it when it has time.
    until(lambda: service.get("/after")[0] == 200 and (tmp_path / "access.log").read_text(), "a line of the new worker")
    assert service.stop() == 0
    assert "stopping" in log.read_text() and "stopping" not in (tmp_path / "a.log").read_text()


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("option", ["--log-file", "--access-log-file"])
def test_a_file_that_cannot_be_written_stops_the_start(launch, workers, option):
    service = launch("pids:app", "--workers", workers, option, "none/site.log")
    assert service.end() == 2
    assert "none/site.log': cannot be written: No such file or directory; choose a file that can be" in service.log
    assert "Traceback" not in service.log


def test_a_full_disk_stops_no_request(launch, tmp_path):
    (tmp_path / "full.log").symlink_to("/dev/full")
    service = launch("pids:app", "--workers", "1", "--access-log-file", "full.log").started()
    for _ in range(5):
        assert service.get()[0] == 200
    service.wait_for("log file full.log cannot be written: No space left on device; lines are counted and lost")
    (tmp_path / "full.log").unlink()
    service.send(signal.SIGUSR1)
    until((tmp_path / "full.log").exists, "the new file")
    until(lambda: service.get()[0] == 200 and (tmp_path / "full.log").read_text(), "a line in the new file")
    assert service.stop() == 0
    lost = int(service.wait_for(r"access log: (\d+) lines were lost while it could not be written")[1])
    kept = len((tmp_path / "full.log").read_text().splitlines())
    assert lost >= 5 and kept >= 1
    assert service.log.count("cannot be written: No space") == 1
