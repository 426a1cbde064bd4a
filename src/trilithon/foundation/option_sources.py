"""The sources of options beside Python: flags, variables and TOML; which wins, and where a value came from."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.option_row import ENVIRONMENT_PREFIX, Kind, Option, Section, suggestion
from trilithon.foundation.options import BY_NAME, TABLE, Options

CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"
OWN_FILE = "trilithon.toml"
PROJECT_FILE = "pyproject.toml"

# TRILITHON_PURE steers the build and TRILITHON_EXPECTED_BUILD the test suite. A Kubernetes service or a container link
# of the name "trilithon" injects the rest; refusing those would stop the server for a name that somebody else chose.
_NOT_OPTIONS = re.compile(r"TRILITHON_(CONFIG|PURE|EXPECTED_BUILD|PORT|PORT_.*|SERVICE_.*|NAME|ENV_.*)")

_SECTIONS = {section.table: section for section in Section}


@dataclass(frozen=True, slots=True)
class Settings:
    """Options with the origin of each: "default" or what the person wrote, such as `TRILITHON_THREADS`.

    `file` is the TOML file that was read, empty when there was none.
    """

    options: Options
    origins: Mapping[str, str]
    file: str


def gather(
    flags: Mapping[str, object], environ: Mapping[str, str], directory: Path, config: str | None = None
) -> Settings:
    """Merge all sources, a flag before a variable before TOML before the default; raises `ConfigError`.

    `flags` has the texts of the given flags by option name, a list of texts for a repeatable one and a bool for a
    switch. `config` names the TOML file; without it `TRILITHON_CONFIG` does, and without that `trilithon.toml` or the
    table `[tool.trilithon]` of `pyproject.toml` in `directory` is read.
    """
    file, document = read_toml(directory, config or environ.get(CONFIG_VARIABLE) or None)
    values: dict[str, object] = {}
    origins = {option.name: "default" for option in TABLE}
    for found in (_from_toml(document, file), _from_environ(environ), _from_flags(flags)):
        for name, (value, origin) in found.items():
            values[name] = value
            origins[name] = origin
    checked = {name: BY_NAME[name].check(value, origins[name]) for name, value in values.items()}
    try:
        return Settings(Options.of(checked), origins, file)
    except ConfigError as fault:
        origin = origins.get(fault.option, "default")
        if origin == "default":
            raise
        raise ConfigError(origin, fault.value, fault.remedy) from None


def read_toml(directory: Path, config: str | None) -> tuple[str, Mapping[str, Any]]:
    """Return the name of the TOML file and its table of options; empty ones when there is no file."""
    if config is not None:
        path = directory / config
        document = _parse_toml(path, config)
        if path.name == PROJECT_FILE:
            return f"{config} [tool.trilithon]", _project_table(document) or {}
        return config, document
    own = directory / OWN_FILE
    project = directory / PROJECT_FILE
    table = _project_table(_parse_toml(project, PROJECT_FILE)) if project.is_file() else None
    if not own.is_file():
        return (f"{PROJECT_FILE} [tool.trilithon]", table) if table is not None else ("", {})
    if table is not None:
        raise ConfigError(
            OWN_FILE,
            f"{PROJECT_FILE} [tool.trilithon]",
            "both files hold options; keep one of them, or name one with --config",
        )
    return OWN_FILE, _parse_toml(own, OWN_FILE)


def _parse_toml(path: Path, named: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError("config", named, f"cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError("config", named, "is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError("config", named, f"is not TOML: {fault}") from None


def _project_table(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    tool = document.get("tool", {})
    table = tool.get("trilithon") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError("config", PROJECT_FILE, "[tool.trilithon] must be a table")
    return table


def _from_toml(document: Mapping[str, Any], file: str) -> dict[str, tuple[object, str]]:
    """Take options from the top of the file or from the table of their section."""
    found: dict[str, tuple[object, str]] = {}
    for key, value in document.items():
        if isinstance(value, dict) and key in _SECTIONS and key not in BY_NAME:
            for name, item in value.items():
                option = _known(name, f"{file} [{key}] {name}", item)
                if option.section.table != key:
                    raise ConfigError(
                        f"{file} [{key}] {name}",
                        item,
                        f"belongs into [{option.section.table}] or to the top of the file",
                    )
                if name in found:
                    raise ConfigError(f"{file}: {name}", item, "is given twice; remove one")
                found[name] = _toml_value(option, item, f"{file}: {name}")
        else:
            option = _known(key, f"{file}: {key}", value)
            if key in found:
                raise ConfigError(f"{file}: {key}", value, "is given twice; remove one")
            found[key] = _toml_value(option, value, f"{file}: {key}")
    return found


def _known(name: str, named: str, value: object) -> Option:
    if name in BY_NAME:
        return BY_NAME[name]
    if isinstance(value, dict):
        raise ConfigError(named, "table", f"no such table{suggestion(name, [*_SECTIONS, 'mounts', 'environ'])}")
    raise ConfigError(named, value, f"no such option{suggestion(name, BY_NAME)}")


def _toml_value(option: Option, value: object, named: str) -> tuple[object, str]:
    """Let TOML write quantities with a unit as text, "64K" or "5m"; all else has TOML's own type."""
    if isinstance(value, str) and option.kind in (Kind.SIZE, Kind.SECONDS):
        return option.parse(value, named), named
    return value, named


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    by_variable = {option.env: option for option in TABLE}
    found: dict[str, tuple[object, str]] = {}
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        option = by_variable.get(variable)
        if option is not None:
            found[option.name] = (option.parse(text, variable), variable)
        elif not _NOT_OPTIONS.fullmatch(variable):
            raise ConfigError(
                variable, text, f"no such variable{suggestion(variable, [*by_variable, CONFIG_VARIABLE])}"
            )
    return found


def _from_flags(flags: Mapping[str, object]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for name, given in flags.items():
        option = BY_NAME[name]
        value = option.parse(given, option.flag) if isinstance(given, str) else given
        found[name] = (value, option.flag)
    return found
