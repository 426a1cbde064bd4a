"""One row of the option table: an option's kind, bounds and prose, and how text becomes its value."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any

from trilithon.foundation.errors import ConfigError

ENVIRONMENT_PREFIX = "TRILITHON_"

# What the word "auto" stands for where a whole number is expected.
AUTO = -1

_SIZE = re.compile(r"([0-9]+) ?(?:([KMG])i?B?|B)?", re.IGNORECASE)
_SIZE_FACTORS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(ms|s|m|h)?")
_SECONDS_FACTORS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Kind(Enum):
    """What the value of an option is, and so how text is read."""

    TEXT = "text"
    CHOICE = "choice"
    SWITCH = "switch"
    COUNT = "count"
    SIZE = "size"
    SECONDS = "seconds"
    LIST = "list"
    PAIRS = "pairs"


class Section(Enum):
    """A group of options: its TOML table and its heading in `--help` and in the documentation."""

    LISTEN = ("listen", "Where to listen")
    TLS = ("tls", "TLS")
    PROXIES = ("proxies", "Behind a proxy")
    APPLICATION = ("application", "The application")
    RUN = ("run", "Running and stopping")
    WORKERS = ("supervisor", "Workers and their supervisor")
    DEVELOPMENT = ("development", "Development")
    LOGGING = ("logging", "Logging")
    HTTP = ("http", "HTTP choices")
    HTTP2 = ("h2", "HTTP/2")
    WEBSOCKET = ("websocket", "WebSocket")
    TIMEOUTS = ("timeouts", "Time-outs")
    CAPACITY = ("capacity", "How much at once")
    LIMITS = ("limits", "Sizes of a message")
    BUFFERS = ("buffers", "Buffers of a connection")

    def __init__(self, table: str, heading: str) -> None:
        self.table = table
        self.heading = heading


@dataclass(frozen=True, slots=True)
class Option:
    """One option as every source sees it.

    `zero` says what the value 0 means, empty when 0 is a value like others. `short` is the one-letter flag, empty for
    none. `flag_name` is the long flag's name where it is not the option's own name. For `maximum` zero means none.
    The value of a `secret` one is never written out. An `automatic` count may be "auto", which is AUTO.
    """

    name: str
    kind: Kind
    default: Any
    section: Section
    prose: str
    choices: tuple[str, ...] = ()
    minimum: float = 0
    maximum: int = 0
    unit: str = ""
    zero: str = ""
    short: str = ""
    flag_name: str = ""
    metavar: str = ""
    everyday: bool = False
    secret: bool = False
    automatic: bool = False

    @property
    def flag(self) -> str:
        """Return the long flag: the name with dashes, without the unit of seconds."""
        return "--" + (self.flag_name or self.name.removesuffix("_s")).replace("_", "-")

    @property
    def env(self) -> str:
        """Return the name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def repeatable(self) -> bool:
        """Say whether the flag may be given several times, each adding a value."""
        return self.kind in (Kind.LIST, Kind.PAIRS)

    def parse(self, text: str, named: str = "") -> object:
        """Read `text` of a flag or a variable; raises `ConfigError` that calls the option `named`."""
        named = named or self.name
        if self.kind is Kind.SWITCH:
            return self._parse_switch(text, named)
        if self.kind is Kind.COUNT:
            if self.automatic and text.strip() == "auto":
                return AUTO
            if not re.fullmatch(r"-?[0-9]{1,18}", text.strip()) or int(text) == AUTO:
                raise ConfigError(named, text, self.allowed())
            return int(text)
        if self.kind is Kind.SIZE:
            return self._parse_size(text, named)
        if self.kind is Kind.SECONDS:
            return self._parse_seconds(text, named)
        if self.repeatable:
            # A line break separates values that hold commas themselves.
            parts = text.splitlines() if "\n" in text else text.split(",")
            return [part.strip() for part in parts if part.strip()]
        return text

    def check(self, value: object, named: str = "") -> object:
        """Return `value` in its final form; raises `ConfigError` that calls the option `named`."""
        named = named or self.name
        if self.kind is Kind.LIST:
            return self._check_list(value, named)
        if self.kind is Kind.PAIRS:
            return self._check_pairs(value, named)
        if self.kind is Kind.SWITCH:
            if not isinstance(value, bool):
                raise ConfigError(named, value, self.allowed())
            return value
        if self.kind is Kind.SECONDS:
            return self._check_seconds(value, named)
        if self.automatic and value in ("auto", AUTO):
            return AUTO
        if self.kind in (Kind.COUNT, Kind.SIZE):
            if not isinstance(value, int) or isinstance(value, bool) or value < self.minimum:
                raise ConfigError(named, value, self.allowed())
            if self.maximum and value > self.maximum:
                raise ConfigError(named, value, self.allowed())
            return value
        if not isinstance(value, str):
            raise ConfigError(named, "***" if self.secret else value, self.allowed())
        if self.kind is Kind.CHOICE and value not in self.choices:
            near = suggestion(value, self.choices)
            raise ConfigError(named, value, self.allowed() + near)
        return value

    def allowed(self) -> str:
        """Say in a phrase which values would do."""
        if self.kind is Kind.CHOICE:
            return "must be one of " + ", ".join(self.choices)
        if self.kind is Kind.SWITCH:
            return "must be true or false"
        if self.kind is Kind.COUNT:
            bound = f"to {self.maximum}" if self.maximum else "or more"
            word = "auto or " if self.automatic else ""
            return f"must be {word}a whole number, {self.minimum} {bound}{self._zero_phrase()}"
        if self.kind is Kind.SIZE:
            return f"must be a number of {self.unit}, {self.minimum} or more, such as 65536 or 64K{self._zero_phrase()}"
        if self.kind is Kind.SECONDS:
            return f"must be a number of seconds, {self.minimum} or more, such as 30, 1.5 or 500ms{self._zero_phrase()}"
        if self.repeatable:
            return "must be a list of text"
        return "must be text"

    def write(self, value: object) -> str:
        """Write `value` for people, a list as its values with commas between, a secret as stars."""
        if self.secret and value:
            return "***"
        if isinstance(value, bool):
            return "true" if value else "false"
        if self.automatic and value == AUTO:
            return "auto"
        if isinstance(value, (tuple, list)):
            return ", ".join(item if isinstance(item, str) else f"{item[0]}={item[1]!r}" for item in value)
        return f"{value:g}" if isinstance(value, float) else str(value)

    def _zero_phrase(self) -> str:
        return f"; 0 means {self.zero}" if self.zero else ""

    def _parse_switch(self, text: str, named: str) -> bool:
        try:
            return _SWITCH[text.strip().lower()]
        except KeyError:
            raise ConfigError(named, text, "must be one of true, false, yes, no, on, off, 1, 0") from None

    def _parse_size(self, text: str, named: str) -> int:
        match = _SIZE.fullmatch(text.strip())
        if match is None or len(match[1]) > 18:
            raise ConfigError(named, text, self.allowed())
        return int(match[1]) * (_SIZE_FACTORS[match[2].upper()] if match[2] else 1)

    def _parse_seconds(self, text: str, named: str) -> float:
        match = _SECONDS.fullmatch(text.strip())
        if match is None:
            raise ConfigError(named, text, self.allowed())
        return float(match[1]) * _SECONDS_FACTORS[match[2] or "s"]

    def _check_seconds(self, value: object, named: str) -> float | int:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ConfigError(named, value, self.allowed())
        if not math.isfinite(value) or value < self.minimum:
            raise ConfigError(named, value, self.allowed())
        # retry_after_s is a whole number on the wire; the others are floats whatever was written.
        if isinstance(self.default, int):
            if value != int(value):
                raise ConfigError(named, value, "must be a whole number of seconds")
            return int(value)
        return float(value)

    def _check_list(self, value: object, named: str) -> tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ConfigError(named, value, f"{self.allowed()}, such as [{value!r}]")
        items = tuple(value)
        for item in items:
            if not isinstance(item, str):
                raise ConfigError(named, item, self.allowed())
        if len(items) < self.minimum:
            raise ConfigError(named, list(items), f"needs {self.minimum} or more")
        return items

    def _check_pairs(self, value: object, named: str) -> tuple[Any, ...]:
        """Accept a mapping, `KEY=VALUE` texts and, for values that are no text, `(key, value)` pairs."""
        if isinstance(value, Mapping):
            value = [(key, item) for key, item in value.items()]
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ConfigError(named, value, f"must be a list of {self.metavar} or a mapping")
        items: list[Any] = []
        for item in value:
            if isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], str) and "=" not in item[0]:
                items.append(f"{item[0]}={item[1]}" if isinstance(item[1], str) else (item[0], item[1]))
            elif isinstance(item, str) and item.partition("=")[0] and "=" in item:
                items.append(item)
            else:
                raise ConfigError(named, item, f"must have the form {self.metavar}")
        return tuple(items)


def row(default: Any, section: Section, prose: str, **more: Any) -> Any:
    """Declare a field of `Options` as a row of the table; `more` are fields of `Option`, the kind is inferred."""
    return dataclasses.field(default=default, metadata={"section": section, "prose": prose, **more})


def option_of(field: "dataclasses.Field[Any]") -> Option:
    """Return the row that `field` declares."""
    more = dict(field.metadata)
    more.setdefault("kind", _kind(field.name, field.default, bool(more.get("choices"))))
    if not more.get("unit"):
        more["unit"] = "bytes" if more["kind"] is Kind.SIZE else "seconds" if more["kind"] is Kind.SECONDS else ""
    return Option(name=field.name, default=field.default, **more)


def _kind(name: str, default: object, has_choices: bool) -> Kind:
    if has_choices:
        return Kind.CHOICE
    if isinstance(default, bool):
        return Kind.SWITCH
    if name.endswith("_s"):
        return Kind.SECONDS
    if isinstance(default, int):
        return Kind.SIZE if name.endswith("_bytes") else Kind.COUNT
    return Kind.LIST if isinstance(default, tuple) else Kind.TEXT


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for the known word nearest to `word`, or nothing when none is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
