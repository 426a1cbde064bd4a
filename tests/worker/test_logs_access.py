"""The access log: both forms, injection, threads, real records for configured handlers, and broken outputs."""

import io
import json
import logging
import os
import re
import resource
import threading

import pytest

from trilithon.foundation.options import Options
from trilithon.worker.logs import ACCESS_LOGGER, AccessLog, open_access_log

CLIENT = ("192.0.2.7", 51234)


@pytest.fixture
def stream(tmp_path):
    """Give a file to log to."""
    with open(tmp_path / "access.log", "w") as file:
        yield file


@pytest.fixture
def handler():
    """Attach a handler to the logger of the access log, as an application's configuration would."""
    collected = Collector()
    logger = logging.getLogger(ACCESS_LOGGER)
    before = logger.level
    logger.addHandler(collected)
    logger.setLevel(logging.INFO)
    yield collected
    logger.removeHandler(collected)
    logger.setLevel(before)


class Collector(logging.Handler):
    """Keep records, or fail on every one."""

    def __init__(self):
        super().__init__()
        self.records = []
        self.fault = None

    def emit(self, record):
        """Keep the record."""
        self.records.append(record)
        if self.fault:
            raise self.fault


def written(stream):
    """Return what the file holds."""
    with open(stream.name, encoding="ascii") as file:
        return file.read()


def test_a_line_of_the_common_form(stream):
    log = AccessLog("common", stream)
    log.record(CLIENT, b"GET /a?b=c HTTP/1.1", 200, 1234, 0.000123)
    log.flush()

    assert re.fullmatch(
        r"192\.0\.2\.7 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
        r'"GET /a\?b=c HTTP/1\.1" 200 1234 123\n',
        written(stream),
    )


def test_a_line_of_the_json_form(stream):
    log = AccessLog("json", stream)
    log.record(CLIENT, b"GET /a?b=c HTTP/1.1", 200, 1234, 0.000123)
    log.flush()

    members = json.loads(written(stream))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", members.pop("time"))
    assert members == {
        "client": "192.0.2.7",
        "port": 51234,
        "request": "GET /a?b=c HTTP/1.1",
        "method": "GET",
        "target": "/a?b=c",
        "status": 200,
        "bytes": 1234,
        "duration_us": 123,
    }


@pytest.mark.parametrize("form", ["common", "json"])
def test_lines_keep_their_order_and_are_written_by_flush_alone(stream, form):
    log = AccessLog(form, stream)
    for number in range(40):
        log.record(CLIENT, b"GET /%d HTTP/1.1" % (number % 7), 200, number, 0.0)
    assert written(stream) == ""

    log.flush()
    log.flush()

    lines = written(stream).splitlines()
    sent = [json.loads(line)["bytes"] if form == "json" else int(line.split()[-2]) for line in lines]
    assert sent == list(range(40))


def test_records_that_nobody_flushes_do_not_pile_up(stream):
    log = AccessLog("common", stream)
    for _ in range(5000):
        log.record(CLIENT, b"GET / HTTP/1.1", 200, 0, 0.0)

    assert written(stream).count("\n") > 4000


@pytest.mark.spec("H-SEM-10", "H1-TGT-11")
@pytest.mark.parametrize(
    ("line", "common"),
    [
        (b'GET /"x" HTTP/1.1', r"GET /\"x\" HTTP/1.1"),
        (b"GET /\\x0a HTTP/1.1", r"GET /\\x0a HTTP/1.1"),
        (b"GET /\r\n127.0.0.1 - - fake HTTP/1.1", r"GET /\x0d\x0a127.0.0.1 - - fake HTTP/1.1"),
        (b"GET /\x1b[31m HTTP/1.1", r"GET /\x1b[31m HTTP/1.1"),
        (b"GET /\x00\x7f HTTP/1.1", r"GET /\x00\x7f HTTP/1.1"),
        (b"GET /\xc3\xa9\x9b HTTP/1.1", r"GET /\xc3\xa9\x9b HTTP/1.1"),
        (b"", ""),
        (b"\x16\x03\x01", r"\x16\x03\x01"),
    ],
)
def test_a_client_cannot_write_lines_or_steer_a_terminal(stream, tmp_path, line, common):
    log = AccessLog("common", stream)
    with open(tmp_path / "json.log", "w") as second:
        as_json = AccessLog("json", second)
        # Twice, because the second time the escaped form is remembered.
        for each in (log, log, as_json, as_json):
            each.record(CLIENT, line, 400, 0, 0.0)
            each.flush()

        lines = written(stream).split("\n")
        assert len(lines) == 3 and timeless(lines[0]) == timeless(lines[1]) and f'"{common}" 400' in lines[0]
        objects = written(second).split("\n")
        assert len(objects) == 3 and timeless(objects[0]) == timeless(objects[1])
        assert json.loads(objects[0])["request"] == line.decode("latin-1")
        assert all(32 <= ord(character) < 127 for each in (*lines, *objects) for character in each)


def timeless(line):
    """Leave the time of day out: two lines may be written on either side of a second."""
    return re.sub(r"\d\d:\d\d:\d\d", "", line)


@pytest.mark.spec("H-SEM-10")
def test_every_byte_is_escaped_or_plain(stream):
    log = AccessLog("common", stream)
    log.record(CLIENT, bytes(range(256)), 400, 0, 0.0)
    log.flush()

    text = written(stream)
    assert text.count("\n") == 1
    quoted = text[text.index('"') + 1 : text.rindex('"')]
    assert quoted.encode("ascii").decode("unicode_escape").encode("latin-1") == bytes(range(256))


@pytest.mark.spec("H-SEM-10")
@pytest.mark.parametrize("form", ["common", "json"])
def test_the_address_of_a_client_is_escaped_too(stream, form):
    log = AccessLog(form, stream)
    log.record(('evil"\n\x1b', 1), b"GET / HTTP/1.1", 200, 0, 0.0)
    log.flush()

    text = written(stream)
    assert text.count("\n") == 1 and "\x1b" not in text
    assert json.loads(text)["client"] == 'evil"\n\x1b' if form == "json" else text.startswith(r"evil\"\x0a\x1b - - ")


@pytest.mark.parametrize(("form", "start"), [("common", "- - - ["), ("json", '{"time":')])
def test_a_client_without_an_address(stream, form, start):
    log = AccessLog(form, stream)
    log.record(None, b"GET / HTTP/1.1", 200, 0, 0.0)
    log.flush()

    assert written(stream).startswith(start)


def test_many_different_lines_do_not_grow_what_is_remembered(stream):
    log = AccessLog("common", stream)
    for number in range(10_000):
        log.record(CLIENT, b"GET /%d HTTP/1.1" % number, 200, 0, 0.0)
    log.record(CLIENT, b"GET /" + b"x" * 8000 + b" HTTP/1.1", 200, 0, 0.0)
    log.flush()

    lines = written(stream).splitlines()
    assert len(lines) == 10_001 and '"GET /9999 HTTP/1.1"' in lines[-2]
    assert len(log._lines) <= 2048 and max(map(len, log._lines)) <= 256


def test_threads_neither_lose_nor_mix_lines(stream):
    log = AccessLog("common", stream)
    start = threading.Barrier(4)

    def work(name):
        start.wait()
        for number in range(2000):
            log.record(CLIENT, b"GET /%d/%d HTTP/1.1" % (name, number), 200, 0, 0.0)
            if number % 3 == 0:
                log.flush()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush()

    seen = re.findall(r'^192\.0\.2\.7 - - \[[^]]+\] "GET /(\d)/(\d+) HTTP/1\.1" 200 0 0$', written(stream), re.M)
    assert len(seen) == len(set(seen)) == 8000
    assert [number for name, number in seen if name == "2"] == [str(number) for number in range(2000)]


@pytest.mark.parametrize("form", ["common", "json"])
def test_configured_handlers_get_real_records_with_fields(stream, handler, form):
    log = AccessLog(form, stream)
    log.record(CLIENT, b'GET /"\n%s HTTP/1.1', 499, 12, 0.25)
    log.record(None, b"GET / HTTP/1.1", 200, 0, 0.0)
    log.flush()

    first, second = handler.records
    assert (first.name, first.levelno) == (ACCESS_LOGGER, logging.INFO)
    assert (first.client, first.client_port, first.status, first.sent_bytes, first.duration_s) == (
        *CLIENT,
        499,
        12,
        0.25,
    )
    assert first.request_line == r"GET /\"\x0a%s HTTP/1.1"
    assert (second.client, second.client_port) == ("", 0)
    assert "\n" not in first.getMessage()
    assert json.loads(first.getMessage())["status"] == 499 if form == "json" else " 499 12 250000" in first.getMessage()
    assert written(stream) == ""


def test_a_level_above_info_silences_configured_handlers(stream, handler):
    logging.getLogger(ACCESS_LOGGER).setLevel(logging.WARNING)
    log = AccessLog("common", stream)
    log.record(CLIENT, b"GET / HTTP/1.1", 200, 0, 0.0)
    log.flush()

    assert handler.records == [] and written(stream) == ""


def test_a_handler_that_raises_ends_nothing(stream, handler, caplog):
    handler.fault = RuntimeError("no room")
    log = AccessLog("common", stream)
    log.record(CLIENT, b"GET /1 HTTP/1.1", 200, 0, 0.0)
    log.record(CLIENT, b"GET /2 HTTP/1.1", 200, 0, 0.0)
    log.flush()

    assert len(handler.records) == 2
    assert "a handler raised RuntimeError: no room" in caplog.text


@pytest.mark.real
def test_a_full_disk_loses_lines_and_nothing_else():
    with open("/dev/full", "w") as full:
        log = AccessLog("common", full)
        log.record(CLIENT, b"GET / HTTP/1.1", 200, 0, 0.0)
        log.flush()
        assert log._lost == 1


@pytest.mark.real
def test_lost_lines_are_told_when_writing_works_again(tmp_path, caplog):
    with open("/dev/full", "w") as output, open(tmp_path / "later.log", "w") as later:
        log = AccessLog("common", output)
        for _ in range(3):
            log.record(CLIENT, b"GET / HTTP/1.1", 200, 0, 0.0)
        log.flush()
        os.dup2(later.fileno(), output.fileno())
        log.record(CLIENT, b"GET /after HTTP/1.1", 200, 0, 0.0)
        log.flush()

        assert "GET /after" in written(later)
    assert "3 lines were lost" in caplog.text


@pytest.mark.real
def test_a_reader_that_is_gone_or_a_stream_closed_loses_lines_and_nothing_else():
    reading, writing = os.pipe()
    with open(writing, "w") as stream:
        log = AccessLog("common", stream)
        os.close(reading)
        log.record(CLIENT, b"GET / HTTP/1.1", 200, 0, 0.0)
        log.flush()
        assert log._lost == 1
    closed = io.StringIO()
    log = AccessLog("common", closed)
    closed.close()
    log.record(CLIENT, b"GET / HTTP/1.1", 200, 0, 0.0)
    log.flush()
    assert log._lost == 1


@pytest.mark.real
def test_a_full_pipe_never_blocks_and_keeps_lines_whole():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    with open(writing, "w") as stream, open(reading, "rb") as reader:
        log = AccessLog("common", stream)
        for number in range(12_000):
            log.record(CLIENT, b"GET /%d HTTP/1.1" % number, 200, 0, 0.0)
        log.flush()
        received = b""
        # Each turn takes what the pipe holds and lets the log write what it owes.
        for _ in range(20):
            received += reader.read() or b""
            log.record(CLIENT, b"GET /late HTTP/1.1", 200, 0, 0.0)
            log.flush()
        received += reader.read() or b""

    lines = received.decode("ascii").splitlines()
    whole = re.compile(r'192\.0\.2\.7 - - \[[^]]+\] "GET /(\d+|late) HTTP/1\.1" 200 0 0')
    assert all(whole.fullmatch(line) for line in lines)
    assert '"GET /0 HTTP' in lines[0] and '"GET /late HTTP' in lines[-1]
    assert 1000 < len(lines) < 12_020


@pytest.mark.real
def test_a_line_cut_by_a_full_disk_does_not_swallow_the_next(stream, caplog):
    log = AccessLog("common", stream)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system takes as much of the write as fits and refuses the rest, as a disk does that fills up.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        log.record(CLIENT, b"GET /first HTTP/1.1", 200, 0, 0.0)
        for target in (b"/cut", b"/lost"):
            log.record(CLIENT, b"GET %b HTTP/1.1" % target, 200, 0, 0.0)
            log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.record(CLIENT, b"GET /second HTTP/1.1", 200, 0, 0.0)
    log.flush()

    first, cut, second = written(stream).splitlines()
    assert len(first) + len(cut) == 99
    assert first.endswith('"GET /first HTTP/1.1" 200 0 0') and second.endswith('"GET /second HTTP/1.1" 200 0 0')
    assert "2 lines were lost" in caplog.text


def test_a_stream_without_descriptor_is_written_through(capsys):
    log = open_access_log(Options(access_log="common"))
    log.record(CLIENT, b"GET / HTTP/1.1", 200, 0, 0.0)
    log.flush()

    assert '"GET / HTTP/1.1" 200 0 0\n' in capsys.readouterr().err


def test_auto_is_off_where_standard_error_is_no_terminal(capsys):
    assert open_access_log(Options()) is None
    assert open_access_log(Options(access_log="off")) is None
    assert isinstance(open_access_log(Options(access_log="json")), AccessLog)


def test_auto_is_on_where_a_handler_waits_for_it(handler):
    assert isinstance(open_access_log(Options()), AccessLog)
