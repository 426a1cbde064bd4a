"""The option table: every option once, with its default, bounds and prose; all other sources are derived from it."""

import dataclasses
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trilithon.foundation.addresses import Address, AddressKind, parse_address
from trilithon.foundation.errors import ConfigError
from trilithon.foundation.h2_options import check_windows
from trilithon.foundation.limits import Buffers, Capacity, H2Limits, Limits, MessageLimits, SocketLimits, Timeouts
from trilithon.foundation.option_row import Kind, Option, Section, option_of, row, suggestion
from trilithon.foundation.proxy_options import check_proxies
from trilithon.foundation.socket_options import check_origins
from trilithon.foundation.tls_options import check_tls
from trilithon.foundation.worker_options import WorkerOptions, check_workers

_MESSAGE = MessageLimits()
_TIMEOUTS = Timeouts()
_CAPACITY = Capacity()
_BUFFERS = Buffers()

_ENVIRON_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(WorkerOptions):
    """All options of a server, checked when made; a value that cannot be used raises `ConfigError`.

    Lists are stored as tuples. `mounts` takes `"/prefix=module:attr"` texts, `(prefix, application)` pairs or a mapping
    from prefix to either; read it through `mount_table()`.
    """

    bind: Sequence[str] = row(
        ("127.0.0.1:8000",),
        Section.LISTEN,
        "Address to listen on: HOST:PORT, [IPV6]:PORT, :PORT for every interface, unix:PATH for a Unix socket, "
        "unix:@NAME for one without a file, fd:NUMBER for a socket handed over by the parent. May be given several "
        "times. Port 0 takes a free one.",
        short="-b",
        metavar="ADDRESS",
        minimum=1,
        everyday=True,
    )
    backlog: int = row(
        2048,
        Section.LISTEN,
        "Connections that the system holds while they wait to be accepted.",
        unit="connections",
        minimum=1,
    )
    interface: str = row(
        "auto",
        Section.APPLICATION,
        "Which interface the application speaks; auto looks at how it can be called.",
        choices=("auto", "asgi", "asgi2", "wsgi"),
        everyday=True,
    )
    factory: bool = row(
        False,
        Section.APPLICATION,
        "Treat what APP names as a function without arguments that returns the application.",
        everyday=True,
    )
    app_dir: str = row(
        ".",
        Section.APPLICATION,
        "Directory put first on the import path, in which APP is looked for.",
        metavar="DIRECTORY",
        everyday=True,
    )
    mounts: Sequence[str | tuple[str, Any]] | Mapping[str, Any] = row(
        (),
        Section.APPLICATION,
        "Serve the application TARGET under a path, longest path first; WSGI and ASGI applications mix. May be given "
        "several times; in TOML a table works too.",
        kind=Kind.PAIRS,
        flag_name="mount",
        metavar="/PATH=TARGET",
        everyday=True,
    )
    root_path: str = row(
        "",
        Section.APPLICATION,
        "Path under which a proxy publishes the site: ASGI root_path and WSGI SCRIPT_NAME.",
        metavar="/PATH",
    )
    environ: Sequence[str | tuple[str, str]] | Mapping[str, str] = row(
        (),
        Section.APPLICATION,
        "Key and value that every WSGI environ gets. May be given several times; in TOML a table works too.",
        kind=Kind.PAIRS,
        metavar="KEY=VALUE",
    )
    threads: int = row(
        8,
        Section.RUN,
        "Threads that may run WSGI calls; 1 means strictly one call at a time.",
        unit="threads",
        minimum=1,
        everyday=True,
    )
    loop: str = row(
        "auto",
        Section.RUN,
        "Event loop for ASGI; auto takes uvloop where it is installed.",
        choices=("auto", "asyncio", "uvloop"),
    )
    lifespan: str = row(
        "auto",
        Section.RUN,
        "ASGI lifespan events; auto sends them and goes on when the application does not know them, on requires them.",
        choices=("auto", "on", "off"),
    )
    lifespan_timeout_s: float = row(
        60.0, Section.RUN, "Longest wait for lifespan start-up, and again for shutdown.", zero="no limit"
    )
    graceful_timeout_s: float = row(
        30.0,
        Section.RUN,
        "After SIGINT or SIGTERM, time that running requests have to finish before they are cut off.",
        zero="cut off at once",
        everyday=True,
    )
    log_level: str = row(
        "info",
        Section.LOGGING,
        "Least severe message that the server's own log shows.",
        choices=("debug", "info", "warning", "error", "critical"),
        everyday=True,
    )
    access_log: str = row(
        "auto",
        Section.LOGGING,
        "One line per request on standard error; auto means common when that is a terminal or when logging is "
        'configured for "trilithon.access", off otherwise.',
        choices=("auto", "off", "common", "json"),
        everyday=True,
    )
    log_file: str = row(
        "",
        Section.LOGGING,
        "File for the server's own log instead of standard error, - for standard output. SIGUSR1 opens it anew.",
        metavar="FILE",
    )
    access_log_file: str = row(
        "",
        Section.LOGGING,
        "File for the access log instead of standard error, - for standard output; access_log auto means common then. "
        "SIGUSR1 opens it anew.",
        metavar="FILE",
    )
    log_config: str = row(
        "",
        Section.LOGGING,
        "JSON or TOML file in the form of logging.config.dictConfig; loggers are trilithon.error and trilithon.access.",
        metavar="FILE",
    )
    allowed_hosts: Sequence[str] = row(
        (),
        Section.HTTP,
        "Host that the site is served under, a name or an address, *.NAME for all below it; requests for others get "
        "421. None given: all are served. May be given several times.",
        flag_name="allowed-host",
        metavar="HOST",
    )
    early_hints: bool = row(
        True,
        Section.HTTP,
        "Send 103 Early Hints to clients of HTTP/1.1; some old ones take them for the answer.",
    )
    server_header: str = row(
        "", Section.HTTP, "Value of the Server field of every answer; empty sends none.", metavar="TEXT"
    )
    underscore_fields: str = row(
        "drop",
        Section.HTTP,
        "What happens to a request field with an underscore in its name, which WSGI cannot tell from a dash: drop it "
        "from the environ, or refuse the request with 400.",
        choices=("drop", "refuse"),
    )
    header_timeout_s: float = row(
        _TIMEOUTS.header_timeout_s,
        Section.TIMEOUTS,
        "Time for a whole request head, from the connection's start or the head's first byte; slow bytes do not "
        "extend it.",
        zero="no limit",
    )
    keep_alive_timeout_s: float = row(
        _TIMEOUTS.keep_alive_timeout_s,
        Section.TIMEOUTS,
        "Time that a connection may idle between two requests.",
        zero="no limit",
    )
    body_timeout_s: float = row(
        _TIMEOUTS.body_timeout_s,
        Section.TIMEOUTS,
        "Longest silence while a request body is awaited; after it min_body_rate is demanded too.",
        zero="no limit",
    )
    write_timeout_s: float = row(
        _TIMEOUTS.write_timeout_s,
        Section.TIMEOUTS,
        "Longest time in which a client takes nothing of an answer that waits for it.",
        zero="no limit",
    )
    linger_timeout_s: float = row(
        _TIMEOUTS.linger_timeout_s,
        Section.TIMEOUTS,
        "After an answer that closes the connection, time for which what the client still sends is read and dropped.",
        zero="close at once",
    )
    request_timeout_s: float = row(
        _TIMEOUTS.request_timeout_s,
        Section.TIMEOUTS,
        "Time that the application has for one request.",
        zero="no limit",
    )
    max_connections: int = row(
        _CAPACITY.max_connections,
        Section.CAPACITY,
        "Connections held at once.",
        unit="connections",
        zero="no limit",
    )
    max_requests: int = row(
        _CAPACITY.max_requests,
        Section.CAPACITY,
        "Requests inside applications at once.",
        unit="requests",
        zero="no limit",
    )
    max_queued_requests: int = row(
        _CAPACITY.max_queued_requests,
        Section.CAPACITY,
        "Requests that wait when max_requests is reached; what comes beyond is answered 503.",
        unit="requests",
        zero="none waits",
    )
    retry_after_s: int = row(
        _CAPACITY.retry_after_s, Section.CAPACITY, "Value of Retry-After in a 503 answer.", zero="retry at once"
    )
    max_keep_alive_requests: int = row(
        _CAPACITY.max_keep_alive_requests,
        Section.CAPACITY,
        "Requests served on one connection before it is closed.",
        unit="requests",
        zero="no limit",
    )
    max_body_bytes: int = row(
        _MESSAGE.max_body_bytes,
        Section.LIMITS,
        "Largest request body; a larger one is answered 413 without calling the application.",
        zero="no limit",
    )
    max_head_bytes: int = row(
        _MESSAGE.max_head_bytes, Section.LIMITS, "Largest request head, answered 431 above.", minimum=64
    )
    max_request_line_bytes: int = row(
        _MESSAGE.max_request_line_bytes, Section.LIMITS, "Longest request line, answered 414 above.", minimum=16
    )
    max_method_bytes: int = row(
        _MESSAGE.max_method_bytes, Section.LIMITS, "Longest method name, answered 501 above.", minimum=1
    )
    max_fields: int = row(
        _MESSAGE.max_fields,
        Section.LIMITS,
        "Most header fields of a request, answered 431 above.",
        unit="fields",
        minimum=1,
    )
    max_field_bytes: int = row(
        _MESSAGE.max_field_bytes, Section.LIMITS, "Longest header field line, answered 431 above.", minimum=16
    )
    max_trailer_bytes: int = row(
        _MESSAGE.max_trailer_bytes, Section.LIMITS, "Largest trailer section of a chunked body."
    )
    max_trailer_fields: int = row(
        _MESSAGE.max_trailer_fields, Section.LIMITS, "Most fields in a trailer section.", unit="fields"
    )
    max_chunk_extension_bytes: int = row(
        _MESSAGE.max_chunk_extension_bytes, Section.LIMITS, "Longest extension of one chunk."
    )
    max_chunk_extensions_bytes: int = row(
        _MESSAGE.max_chunk_extensions_bytes, Section.LIMITS, "Chunk extensions of a whole body together."
    )
    request_buffer_bytes: int = row(
        _BUFFERS.request_buffer_bytes,
        Section.BUFFERS,
        "A WSGI request body up to this size is complete before the application is called; a larger one streams. Over "
        "HTTP/2 it is half of h2_stream_window_bytes where that is less.",
    )
    read_ahead_bytes: int = row(
        _BUFFERS.read_ahead_bytes,
        Section.BUFFERS,
        "Request body held for an application that has not asked for it yet.",
        minimum=1024,
    )
    write_high_water_bytes: int = row(
        _BUFFERS.write_high_water_bytes,
        Section.BUFFERS,
        "Unsent answer above which the application has to wait.",
        minimum=1024,
    )
    write_low_water_bytes: int = row(
        _BUFFERS.write_low_water_bytes, Section.BUFFERS, "Unsent answer below which the application goes on."
    )
    min_body_rate: int = row(
        _BUFFERS.min_body_rate,
        Section.BUFFERS,
        "Slowest pace of a request body, counted after body_timeout_s.",
        unit="bytes per second",
        zero="no limit",
    )

    def __post_init__(self) -> None:
        """Bring every value into its final form and refuse what cannot be used."""
        for option in TABLE:
            object.__setattr__(self, option.name, option.check(getattr(self, option.name)))
        _check_addresses(self.addresses())
        _check_mounts(self)
        _check_environ(self)
        _check_texts(self)
        _check_hosts(self)
        check_origins(self)
        check_windows(self)
        check_tls(self)
        check_proxies(self)
        check_workers(self)
        if self.write_low_water_bytes >= self.write_high_water_bytes:
            raise ConfigError(
                "write_low_water_bytes",
                self.write_low_water_bytes,
                f"must be below write_high_water_bytes, which is {self.write_high_water_bytes}",
            )
        if self.loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
            raise ConfigError("loop", self.loop, "uvloop is not installed; pip install uvloop, or choose asyncio")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Options":
        """Make options from `values` by name; a name that is none raises `ConfigError` with a suggestion."""
        for name in values:
            if name not in BY_NAME:
                raise ConfigError(name, values[name], f"no such option{suggestion(name, BY_NAME)}")
        return cls(**values)

    def addresses(self) -> tuple[Address, ...]:
        """Return the bind addresses, taken apart."""
        return tuple(parse_address(text) for text in self.bind)

    def mount_table(self) -> tuple[tuple[str, Any], ...]:
        """Return `(prefix, target)` pairs in the order given; a prefix is "/" or has no slash at its end."""
        pairs = (item.split("=", 1) if isinstance(item, str) else item for item in self.mounts)
        return tuple((prefix.rstrip("/") or "/", target) for prefix, target in pairs)

    def environ_table(self) -> dict[str, str]:
        """Return what every WSGI environ gets, as a new dict."""
        table: dict[str, str] = {}
        for item in self.environ:
            key, value = item.split("=", 1) if isinstance(item, str) else item
            table[key] = value
        return table

    def limits(self) -> Limits:
        """Return the limits in the groups that the lower floors take."""
        return Limits(
            message=MessageLimits(**self._group(MessageLimits)),
            timeouts=Timeouts(**self._group(Timeouts)),
            capacity=Capacity(**self._group(Capacity)),
            buffers=Buffers(**self._group(Buffers)),
            sockets=SocketLimits(**self._group(SocketLimits)),
            http2=H2Limits(**self._group(H2Limits)),
        )

    def _group(self, group: type[Any]) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(group)}


_ORDER = list(Section)
TABLE: tuple[Option, ...] = tuple(
    sorted((option_of(field) for field in dataclasses.fields(Options)), key=lambda row: _ORDER.index(row.section))
)
BY_NAME: dict[str, Option] = {option.name: option for option in TABLE}


def _check_addresses(addresses: tuple[Address, ...]) -> None:
    seen: set[Address] = set()
    for address in addresses:
        # Port 0 is a different port each time.
        if address in seen and not (address.kind is AddressKind.TCP and address.port == 0):
            raise ConfigError("bind", str(address), "is given twice; remove one")
        seen.add(address)


def _check_mounts(options: Options) -> None:
    seen: set[str] = set()
    for prefix, target in options.mount_table():
        if not prefix.startswith("/") or re.search(r"//|[?#\x00-\x20\x7f]|(^|/)\.\.?(/|$)", prefix):
            raise ConfigError("mounts", prefix, "a path begins with / and has no empty or dot segments, as in /legacy")
        if prefix in seen:
            raise ConfigError("mounts", prefix, "is mounted twice; remove one")
        if not (target if isinstance(target, str) else callable(target)):
            raise ConfigError("mounts", prefix, f"names no application; type {prefix}=module:attr")
        seen.add(prefix)


def _check_hosts(options: Options) -> None:
    for host in options.allowed_hosts:
        if not re.fullmatch(r"(\*\.)?[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]", host):
            raise ConfigError(
                "allowed_hosts", host, "a host is a name without port, as in example.org, or *.example.org"
            )


def _check_environ(options: Options) -> None:
    for key, value in options.environ_table().items():
        # HTTP_* keys would pass for fields of the request; "wsgi." keys are the gateway's to set.
        if not _ENVIRON_KEY.fullmatch(key) or key.startswith(("HTTP_", "wsgi.")):
            raise ConfigError("environ", key, "a key is a name such as SITE_MODE, not HTTP_... and not wsgi....")
        if not isinstance(value, str):
            raise ConfigError("environ", value, f"the value of {key} must be text")
        _check_latin1("environ", value)


def _check_texts(options: Options) -> None:
    path = options.root_path
    if path and (not path.startswith("/") or path.endswith("/") or re.search(r"//|[?#\x00-\x20\x7f]", path)):
        raise ConfigError("root_path", path, "must begin with / and not end with it, as in /shop; empty for none")
    if re.search(r"[\x00-\x1f\x7f]", options.server_header) or options.server_header != options.server_header.strip():
        raise ConfigError("server_header", options.server_header, "must be printable text without spaces around it")
    _check_latin1("server_header", options.server_header)
    if not options.app_dir:
        raise ConfigError("app_dir", options.app_dir, "must name a directory; . is the current one")


def _check_latin1(option: str, value: str) -> None:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ConfigError(option, value, "may hold only characters of ISO 8859-1 (U+0000 to U+00FF)") from None
