"""The server's own log: set-up, format, injection, configuration files, outputs that fail."""

import io
import json
import logging
import re
import subprocess
import sys
import textwrap

import pytest

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.worker.logs import (
    ACCESS_LOGGER,
    ERROR_LOGGER,
    LineFormatter,
    StandardErrorHandler,
    configure,
    escape,
    open_access_log,
    read_log_config,
)


@pytest.fixture(autouse=True)
def loggers():
    """Put the loggers back as they were."""
    named = [logging.getLogger(name) for name in ("trilithon", ERROR_LOGGER, ACCESS_LOGGER)]
    before = [(logger, logger.level, list(logger.handlers), logger.disabled, logger.propagate) for logger in named]
    yield
    for logger, level, handlers, disabled, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.disabled = disabled
        logger.propagate = propagate


def error_log():
    """Return the logger of the server."""
    return logging.getLogger(ERROR_LOGGER)


def record(message, *arguments, exc_info=None):
    """Make a record of the server's log."""
    return error_log().makeRecord(ERROR_LOGGER, logging.ERROR, "file", 1, message, arguments, exc_info)


def test_a_line_has_time_process_and_level(capsys):
    configure(Options())

    error_log().info("listening on %s", "127.0.0.1:8000")

    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[\d+\] INFO listening on 127\.0\.0\.1:8000\n"
    assert re.fullmatch(pattern, capsys.readouterr().err)


def test_the_level_is_the_one_asked_for(capsys):
    configure(Options(log_level="error"))

    error_log().warning("quiet")
    error_log().error("loud")

    captured = capsys.readouterr().err
    assert "loud" in captured and "quiet" not in captured


def test_an_application_that_silences_all_loggers_does_not_silence_the_server(capsys):
    configure(Options())
    logging.getLogger(ERROR_LOGGER).disabled = True  # as dictConfig does by default
    open_access_log(Options())

    error_log().warning("awake")

    assert "awake" in capsys.readouterr().err


def test_configuring_twice_shows_lines_once(capsys):
    configure(Options())
    configure(Options())

    error_log().warning("once")

    assert capsys.readouterr().err.count("once") == 1


@pytest.mark.parametrize("name", ["trilithon", ERROR_LOGGER])
def test_handlers_that_somebody_set_are_kept_and_none_is_added(capsys, name):
    stream = io.StringIO()
    logging.getLogger(name).addHandler(logging.StreamHandler(stream))

    configure(Options())
    error_log().warning("mine")

    assert stream.getvalue() == "mine\n"
    assert capsys.readouterr().err == ""


def test_a_console_handler_on_the_root_shows_lines_once(capsys):
    configure(Options())
    root = logging.StreamHandler(sys.stderr)
    logging.root.addHandler(root)
    try:
        error_log().warning("once")
    finally:
        logging.root.removeHandler(root)

    assert capsys.readouterr().err == "once\n"


def test_records_reach_the_root_for_tests_and_collectors(caplog):
    configure(Options())

    error_log().warning("seen by %s", "caplog")

    assert "seen by caplog" in caplog.text


@pytest.mark.spec("H-SEM-10")
def test_text_of_a_client_cannot_pass_for_a_record():
    injected = "GET /\r\n2026-01-01 00:00:00,000 [1] INFO all is well\x1b[2J\x00\x9b\u2028x"
    try:
        raise ValueError(injected)
    except ValueError:
        text = LineFormatter().format(record("refused %s", injected, exc_info=sys.exc_info()))

    first, *rest = text.split("\n")
    assert re.match(r"\d{4}-\d\d-\d\d .* ERROR refused GET /\\x0d$", first)
    assert rest and all(line.startswith("    ") for line in rest)
    assert "Traceback (most recent call last):" in rest[1]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", text)
    assert r"\x1b[2J\x00\x9b\u2028x" in text


def test_escape_makes_everything_visible():
    assert escape("plain /path?x=1") == "plain /path?x=1"
    assert escape('"\\\n\x7f\xe9\u20ac\U0001f600') == r"\"\\\x0a\x7f\xe9\u20ac\U0001f600"


class BrokenStream(io.StringIO):
    """A stream on a full disk."""

    def write(self, text):
        """Refuse."""
        raise OSError(28, "No space left on device")


class ReplacedStderr:
    """Put another stream in the place of standard error for a while."""

    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        self.before, sys.stderr = sys.stderr, self.stream

    def __exit__(self, *exc):
        sys.stderr = self.before


def closed_stream():
    """Return a stream that is closed."""
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [BrokenStream(), closed_stream(), None], ids=["full", "closed", "none"])
def test_a_standard_error_that_fails_raises_nothing(stream):
    handler = StandardErrorHandler()
    handler.setFormatter(LineFormatter())
    with ReplacedStderr(stream):
        handler.emit(record("lost"))


def test_a_message_with_wrong_arguments_raises_nothing(capsys):
    handler = StandardErrorHandler()
    handler.setFormatter(LineFormatter())

    handler.emit(record("%d", "no number"))

    assert "Logging error" in capsys.readouterr().err


CONFIG = {
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "FILE", "level": "INFO"}},
    "loggers": {
        "trilithon.error": {"handlers": ["file"], "level": "WARNING", "propagate": False},
        "trilithon.access": {"handlers": ["file"]},
    },
}


def as_toml(log):
    """Return the configuration as TOML."""
    return textwrap.dedent(f"""
        [handlers.file]
        class = "logging.FileHandler"
        filename = "{log}"
        level = "INFO"
        [loggers."trilithon.error"]
        handlers = ["file"]
        level = "WARNING"
        propagate = false
        [loggers."trilithon.access"]
        handlers = ["file"]
    """)


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_a_configuration_file_sets_handlers_and_levels(tmp_path, capsys, ending):
    log = tmp_path / "server.log"
    text = json.dumps(CONFIG).replace("FILE", str(log)) if ending == "json" else as_toml(log)
    (tmp_path / f"log.{ending}").write_text(text)
    other = logging.getLogger("an.application")

    configure(Options(log_config=str(tmp_path / f"log.{ending}")))
    error_log().info("below")
    error_log().warning("above")
    logging.getLogger(ACCESS_LOGGER).info("a request")
    for handler in error_log().handlers:
        handler.close()

    assert log.read_text() == "above\na request\n"
    assert capsys.readouterr().err == ""
    assert not other.disabled


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("log.json", "{", "is not JSON"),
        ("log.toml", "[", "is not TOML"),
        ("log.json", "[]", "must hold a table"),
        ("log.json", '{"version": 2}', "dictConfig refuses it"),
        ("log.json", '{"handlers": {"x": {"class": "no.such.Handler"}}}', "dictConfig refuses it"),
        ("log.json", '{"loggers": {"trilithon.error": {"handlers": ["missing"]}}}', "missing"),
        ("log.json", b"\xff", "is not JSON"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(tmp_path, name, text, remedy):
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError, match=remedy) as caught:
        configure(Options(log_config=str(file)))

    assert caught.value.option == "log_config"


def test_a_configuration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_log_config(str(tmp_path / "missing.json"))


@pytest.mark.real
@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full"])
def test_a_process_without_a_usable_standard_error_logs_on_and_ends_well(tmp_path, redirect):
    script = tmp_path / "logs.py"
    script.write_text(
        textwrap.dedent("""
        import logging
        from trilithon.foundation.options import Options
        from trilithon.worker import logs
        logs.configure(Options(access_log="common"))
        access = logs.open_access_log(Options(access_log="common"))
        for number in range(3):
            logging.getLogger("trilithon.error").error("number %d", number)
            access.record(("127.0.0.1", 1), b"GET / HTTP/1.1", 200, 0, 0.0)
            access.flush()
        print("reached the end")
        """)
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$1" {redirect}', sys.executable, str(script)], capture_output=True, text=True
    )

    assert done.stdout == "reached the end\n"
