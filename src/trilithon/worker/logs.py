"""Logging: the server's own log on standard error and the access log, both safe against injected lines."""

import json
import logging
import logging.config
import os
import re
import sys
import threading
import time
import tomllib
from collections import deque
from pathlib import Path
from typing import Any, TextIO

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.identity import identity_of
from trilithon.foundation.options import Options
from trilithon.worker.log_file import LogFile, LogFileHandler, close_other_log_files, open_log_file, reopen_log_files

__all__ = ["AccessLog", "configure", "open_access_log", "reopen_log_files"]

ERROR_LOGGER = "trilithon.error"
ACCESS_LOGGER = "trilithon.access"

# Lines gathered before a record writes them itself, should nobody flush.
_GATHER_LIMIT = 512
# Request lines, and clients, whose escaped form is kept, and the longest kept: a megabyte or two when all are long.
_CACHED_TEXTS = 2048
_CACHED_BYTES = 256
_LINE_FEED = 0x0A
# A standard error that takes nothing for now, a full pipe, may owe this much; what comes beyond is counted and lost.
_OWED_BYTES = 1 << 18

# In a line of the log everything that could end it, steer a terminal or close a quoted text becomes visible.
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f-\uffff]|[\U00010000-\U0010ffff]')
_UNSAFE_BYTES = bytes({*range(0x20), *range(0x7F, 0x100), *b'"\\'})
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_Record = tuple[Any, bytes, int, int, float]


class LineFormatter(logging.Formatter):
    """Time, level and process id, then the message; further lines and tracebacks are indented.

    Only a record's first line begins at the margin, so text of a client cannot pass for a record of its own.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(process)d] %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Write the record with control characters escaped and continuation lines indented."""
        text = _CONTROL.sub(_escape_match, super().format(record))
        return text.replace("\n", "\n    ") if "\n" in text else text


class StandardErrorHandler(logging.Handler):
    """Write records to whatever `sys.stderr` is at that moment; a closed or full one loses records and nothing else.

    Silent while the root logger writes to the console too, which would show every record twice.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; never raises."""
        stream = sys.stderr
        if stream is None or _root_writes_to_console():
            return
        try:
            stream.write(self.format(record) + "\n")
            stream.flush()
        except (OSError, ValueError):
            # ValueError: the stream was closed. There is no other place to say so.
            return
        except Exception:
            self.handleError(record)


def configure(options: Options, owner: tuple[int, int] | None = None) -> None:
    """Set up the loggers `trilithon.error` and `trilithon.access` and open their files; idempotent.

    Call it in the process that the server owns, before the application is loaded. Handlers that somebody set on these
    loggers, or on `trilithon`, are kept, and standard error is added only where there are none. `owner` is the user and
    the group that will open the files anew, by default those that workers run as. Raises `ConfigError` for a
    `log_config` or a file that cannot be used.
    """
    if owner is None:
        owner = identity_of(options).owner()
    if options.log_config:
        _apply(options.log_config)
    level = options.log_level.upper()
    error = logging.getLogger(ERROR_LOGGER)
    access = logging.getLogger(ACCESS_LOGGER)
    _wake()
    if error.level == logging.NOTSET or not options.log_config:
        error.setLevel(level)
    if access.level == logging.NOTSET:
        access.setLevel(logging.INFO)
    if options.access_log_file and options.access_log != "off":
        open_log_file(options.access_log_file, "access_log_file", owner)
    for old in error.handlers[:]:
        if isinstance(old, LogFileHandler) and old.file.path != options.log_file:
            error.removeHandler(old)
    close_other_log_files({options.log_file, options.access_log_file})
    if options.log_file:
        _write_to_file(error, open_log_file(options.log_file, "log_file", owner))
    elif not _has_handlers(error):
        handler = StandardErrorHandler()
        handler.setFormatter(LineFormatter())
        error.addHandler(handler)


def _write_to_file(logger: logging.Logger, file: LogFile) -> None:
    """Have a logger write to a file, and no longer to standard error by our doing."""
    if not any(isinstance(handler, LogFileHandler) for handler in logger.handlers):
        handler = LogFileHandler(file)
        handler.setFormatter(LineFormatter())
        logger.addHandler(handler)
    for old in logger.handlers[:]:
        if isinstance(old, StandardErrorHandler):
            logger.removeHandler(old)


def read_log_config(path: str) -> dict[str, Any]:
    """Read a dictConfig document, JSON or TOML by the file's ending; raises `ConfigError`."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except OSError as fault:
        raise ConfigError("log_config", path, f"cannot be read: {fault.strerror}") from None
    except ValueError as fault:
        kind = "TOML" if file.suffix == ".toml" else "JSON"
        raise ConfigError("log_config", path, f"is not {kind}: {fault}") from None
    if not isinstance(document, dict):
        raise ConfigError("log_config", path, "must hold a table of logging.config.dictConfig")
    document.setdefault("version", 1)
    # dictConfig's own default silences every logger that exists already, those of the application among them.
    document.setdefault("disable_existing_loggers", False)
    return document


def open_access_log(options: Options) -> "AccessLog | None":
    """Return the access log that `options` ask for, none when it is off.

    Call it after the application is loaded, which may have set handlers, or silenced all loggers that it did not name:
    that is the default of `dictConfig`. The server's loggers are woken again.
    """
    _wake()
    form = options.access_log
    path = options.access_log_file
    if form == "auto":
        is_wanted = path or _has_handlers(logging.getLogger(ACCESS_LOGGER)) or _stderr_is_terminal()
        form = "common" if is_wanted else "off"
    if form == "off":
        return None
    return AccessLog(form, file=open_log_file(path, "access_log_file") if path else None)


class AccessLog:
    """Lines about finished exchanges, gathered by `record` and written together by `flush`.

    `form` is "common" (the Common Log Format and the duration in microseconds) or "json" (one object a line).
    `file`, or `stream`, is where lines go, standard error without it. As soon as the logger `trilithon.access`, or
    `trilithon`, has a handler, real log records go there, beside a file. Any thread may call any method at any time.
    """

    def __init__(self, form: str = "common", stream: TextIO | None = None, file: LogFile | None = None) -> None:
        self._form = form
        self._pending: deque[_Record] = deque()
        self._add = self._pending.append
        self._stream = stream if stream is not None else sys.stderr
        self._file = file
        self._fd = file.fd if file is not None else _descriptor(self._stream)
        self._logger = logging.getLogger(ACCESS_LOGGER)
        self._parent = logging.getLogger("trilithon")
        # Held while lines are formatted and written, so that lines of two threads do not mix; guards all below.
        self._lock = threading.Lock()
        self._hosts: dict[Any, str] = {}
        self._lines: dict[Any, str] = {}
        self._second = -1
        self._stamp = ""
        self._owed = b""
        self._lost = 0

    def record(
        self, client: tuple[Any, ...] | None, request_line: bytes, status: int, sent_bytes: int, duration_s: float
    ) -> None:
        """Note one finished exchange; about 0.1 us, the rest of the cost is paid in `flush`.

        `client` is `(host, port)` or None for a Unix socket; `request_line` is as received, without its end.
        """
        self._add((client, request_line, status, sent_bytes, duration_s))
        if len(self._pending) >= _GATHER_LIMIT:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered, with one write; never raises, costs nothing when nothing was gathered."""
        if not self._pending:
            return
        with self._lock:
            # Another thread may add while this one takes; what was there at the start is enough.
            batch = [self._pending.popleft() for _ in range(len(self._pending))]
            now = int(time.time())
            if now != self._second:
                self._second = now
                self._stamp = _common_stamp(now) if self._form == "common" else _json_stamp(now)
            if self._logger.handlers or self._parent.handlers:
                self._hand_over(batch)
                if self._file is None:
                    return
            if self._form == "common":
                self._write("".join(self._common_lines(batch)))
            else:
                self._write("".join(self._json_lines(batch)))

    def _common_lines(self, batch: list[_Record]) -> list[str]:
        hosts = self._hosts
        requests = self._lines
        stamp = self._stamp
        lines = []
        for client, request_line, status, sent_bytes, duration_s in batch:
            host = client[0] if client else "-"
            peer = hosts.get(host) or remember(hosts, host, escape(host) or "-")
            request = requests.get(request_line) or remember(requests, request_line, _escape_bytes(request_line))
            lines.append(f'{peer} - - [{stamp}] "{request}" {status} {sent_bytes} {int(duration_s * 1e6)}\n')
        return lines

    def _json_lines(self, batch: list[_Record]) -> list[str]:
        hosts = self._hosts
        requests = self._lines
        stamp = self._stamp
        lines = []
        for client, request_line, status, sent_bytes, duration_s in batch:
            host, port = (client[0], client[1]) if client else ("", 0)
            peer = hosts.get(host) or remember(hosts, host, _json_text(host))
            request = requests.get(request_line) or remember(requests, request_line, _json_request(request_line))
            lines.append(
                f'{{"time":"{stamp}","client":{peer},"port":{port},{request},'
                f'"status":{status},"bytes":{sent_bytes},"duration_us":{int(duration_s * 1e6)}}}\n'
            )
        return lines

    def _hand_over(self, batch: list[_Record]) -> None:
        """Send real log records to the handlers that somebody configured."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        lines = self._common_lines(batch) if self._form == "common" else self._json_lines(batch)
        failed = ""
        for line, (client, request_line, status, sent_bytes, duration_s) in zip(lines, batch, strict=True):
            record = self._logger.makeRecord(ACCESS_LOGGER, logging.INFO, "(access)", 0, line[:-1], (), None)
            record.client = client[0] if client else ""
            record.client_port = client[1] if client else 0
            record.request_line = _escape_bytes(request_line)
            record.status = status
            record.sent_bytes = sent_bytes
            record.duration_s = duration_s
            try:
                self._logger.handle(record)
            except Exception as fault:
                # A handler of somebody else must not end the engine's turn.
                failed = f"access log: a handler raised {type(fault).__name__}: {fault}"
        if failed:
            _complain(failed)

    def _write(self, text: str) -> None:
        """Write to the descriptor itself: no buffer that a second process could flush again, no lock of a stream."""
        data = self._owed + text.encode("ascii", "backslashreplace")
        self._owed = b""
        done = 0
        try:
            if self._fd < 0:
                self._write_stream(data)
            else:
                while done < len(data):
                    done += os.write(self._fd, data[done:] if done else data)
        except BlockingIOError:
            self._owe(data[done:])
            return
        except (OSError, ValueError) as fault:
            # A full disk, a reader that is gone, a stream closed: lines are lost, requests are not.
            if self._file is not None:
                self._file.fail(fault)
            self._lost += data.count(b"\n", max(done, 1))
            if data[done - 1] != _LINE_FEED if done else data[0] == _LINE_FEED:
                self._owed = b"\n"  # what follows must not join the line that was cut
            return
        if self._lost:
            if self._file is not None:
                self._file.is_failing = False
            lost, self._lost = self._lost, 0
            _complain(f"access log: {lost} lines were lost while it could not be written")

    def _write_stream(self, data: bytes) -> None:
        """Write to a stream without a descriptor, such as one that a test put there."""
        if self._stream is not None:
            self._stream.write(data.decode("ascii"))
            self._stream.flush()

    def _owe(self, data: bytes) -> None:
        """Keep what a full pipe did not take, whole lines up to a bound; the first may have been begun already."""
        if len(data) > _OWED_BYTES:
            end = data.rfind(b"\n", 0, _OWED_BYTES) + 1
            self._lost += data.count(b"\n", end)
            data = data[:end]
        self._owed = data


def remember(cache: dict[Any, str], key: bytes | str, text: str) -> str:
    """Keep the escaped form of a short text; forget all of them when clients made up too many."""
    if len(key) <= _CACHED_BYTES:
        if len(cache) >= _CACHED_TEXTS:
            cache.clear()
        cache[key] = text
    return text


def escape(text: str) -> str:
    r"""Make control characters, quotes, backslashes and everything beyond ASCII visible: `\x0a`, `\"`, `\\`."""
    return _UNSAFE.sub(_escape_match, text) if _UNSAFE.search(text) else text


def _escape_bytes(line: bytes) -> str:
    """Escape a line as received; the common case, nothing to escape, is told by one pass over the bytes."""
    text = line.decode("latin-1")
    return text if len(line.translate(None, _UNSAFE_BYTES)) == len(line) else escape(text)


def _escape_match(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _json_text(text: str) -> str:
    # json leaves DEL as it is, which some terminals act on.
    return json.dumps(text).replace("\x7f", "\\u007f")


def _json_request(request_line: bytes) -> str:
    """Write the request line as members of an object, with method and target apart when it has three parts."""
    text = request_line.decode("latin-1")
    parts = text.split(" ")
    if len(request_line.translate(None, _UNSAFE_BYTES)) == len(request_line):
        request = f'"request":"{text}"'
        return request + f',"method":"{parts[0]}","target":"{parts[1]}"' if len(parts) == 3 else request
    request = f'"request":{_json_text(text)}'
    if len(parts) == 3:
        request += f',"method":{_json_text(parts[0])},"target":{_json_text(parts[1])}'
    return request


def _common_stamp(now: int) -> str:
    local = time.localtime(now)
    month = _MONTHS[local.tm_mon - 1]  # strftime would follow the locale
    return f"{local.tm_mday:02}/{month}/{local.tm_year}:{time.strftime('%H:%M:%S %z', local)}"


def _json_stamp(now: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


def _apply(path: str) -> None:
    try:
        logging.config.dictConfig(read_log_config(path))
    except ConfigError:
        raise
    except Exception as fault:
        cause = f": {fault.__cause__}" if fault.__cause__ else ""
        raise ConfigError("log_config", path, f"dictConfig refuses it: {fault}{cause}") from None


def _wake() -> None:
    for name in (ERROR_LOGGER, ACCESS_LOGGER):
        logging.getLogger(name).disabled = False


def _has_handlers(logger: logging.Logger) -> bool:
    """Say whether somebody set handlers on this logger or on `trilithon`; those of the root do not count."""
    return bool(logger.handlers or logging.getLogger("trilithon").handlers)


def _root_writes_to_console() -> bool:
    console = (sys.stderr, sys.stdout)
    return any(
        isinstance(handler, logging.StreamHandler) and handler.stream in console for handler in logging.root.handlers
    )


def _stderr_is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        return False


def _descriptor(stream: TextIO | None) -> int:
    """Return the stream's descriptor, -1 when it has none."""
    try:
        return stream.fileno() if stream is not None else -1
    except (OSError, ValueError):
        return -1


def _complain(message: str) -> None:
    logging.getLogger(ERROR_LOGGER).warning("%s", message)
